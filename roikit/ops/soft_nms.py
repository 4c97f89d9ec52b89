"""Soft, fast and matrix suppression on tensors. Nothing here is differentiable."""

import torch

from roikit import _check, _core
from roikit.ops import _candidates
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register

__all__ = ["fast_nms", "matrix_nms", "soft_nms"]

METHODS = {"naive": 0, "linear": 1, "gaussian": 2}


def _same_dtype(op, boxes, scores):
    boxes = _candidates.check(op, boxes, scores)
    dtype = torch.promote_types(boxes.dtype, scores.dtype)
    return boxes.to(dtype), scores.to(dtype)


def soft_nms(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method="linear"):
    """Take the best box, decay the scores of the boxes that it overlaps, and again.

    Args:
        boxes: (N, 4) floating, xyxy. N < 2^31.
        scores: (N,) of any float dtype, on the same device; both are cast to their common dtype T, float32 at least.
            Equal scores go by index, NaN comes last.
        iou_threshold: of "linear" and "naive"; compared strictly.
        sigma: > 0, of "gaussian".
        min_score: boxes whose score is or falls below it are dropped.
        method: by which a score is multiplied at an IoU of x with the box taken. "linear": 1 - x where x >
            iou_threshold; "gaussian": exp(-x^2 / sigma); "naive": 0 where x > iou_threshold.

    Returns:
        keep (K,) int64, the boxes in the order in which they were taken; scores (K,) T, those that they then had:
        exact, the same bits on every device.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, a number that is NaN, a method that does not exist.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: Bodla et al., ICCV 2017.
    """
    boxes, scores = _same_dtype("soft_nms", boxes, scores)
    threshold = _check.number("soft_nms", "iou_threshold", iou_threshold)
    sigma = _check.positive("soft_nms", "sigma", sigma)
    min_score = _check.number("soft_nms", "min_score", min_score)
    _check.choice("soft_nms", "method", method, ("linear", "gaussian", "naive"))
    return torch.ops.roikit.soft_nms(boxes, scores, threshold, sigma, min_score, method)


def fast_nms(boxes, scores, idxs, iou_threshold, *, top_k=200, cross_class=False):
    """The boxes that no better box of their class overlaps by more than ``iou_threshold``, be that one kept or not.

    Args:
        boxes, scores, iou_threshold: as in `nms`.
        idxs: (N,) integers of any dtype, the class of each box; negative ones too.
        top_k: a whole number of at least 0; only the best ``top_k`` boxes of each class are looked at.
        cross_class: take all boxes for one class.

    Returns:
        (K,) int64: the kept boxes of all classes in the order of their scores.

    Raises:
        TypeError, ValueError, BackendError: as in `batched_nms`; a negative top_k.

    Source: Bolya et al., ICCV 2019, section 3.3.
    """
    boxes = _candidates.check("fast_nms", boxes, scores)
    threshold = _check.number("fast_nms", "iou_threshold", iou_threshold)
    idxs = _candidates.check_classes("fast_nms", boxes, idxs)
    top_k = _check.whole("fast_nms", "top_k", top_k, 0)
    if cross_class:
        idxs = torch.zeros_like(idxs)
    return torch.ops.roikit.fast_nms(boxes, scores, idxs, threshold, top_k)


def matrix_nms(boxes, scores, idxs, *, sigma=2.0, min_score=1e-3, method="gaussian"):
    """Decay every score by the overlap with better boxes of its class, these discounted by their own overlap.

    Args:
        boxes, scores, min_score: as in `soft_nms`; min_score is compared with the decayed score.
        idxs: (N,) integers of any dtype, the class of each box; negative ones too.
        sigma: > 0, of "gaussian".
        method: "gaussian": by the least exp(-sigma (x^2 - c^2)) over all better boxes, x being their IoU with this one
            and c their largest IoU with boxes better still; "linear": by the least (1 - x) / (1 - c).

    Returns:
        keep (K,) int64, the boxes in the order of their decayed scores; scores (K,), these scores in the common dtype
        of boxes and scores. Exact: the same bits on every device.

    Raises:
        TypeError, ValueError, BackendError: as in `soft_nms`; idxs is not an integer vector of N.

    Source: Wang et al., NeurIPS 2020, section 3.3.
    """
    boxes, scores = _same_dtype("matrix_nms", boxes, scores)
    idxs = _candidates.check_classes("matrix_nms", boxes, idxs)
    sigma = _check.positive("matrix_nms", "sigma", sigma)
    min_score = _check.number("matrix_nms", "min_score", min_score)
    _check.choice("matrix_nms", "method", method, ("gaussian", "linear"))
    return torch.ops.roikit.matrix_nms(boxes, scores, idxs, sigma, min_score, method)


def _room(boxes):
    """What the kernels fill: keep, the scores, how many there are."""
    n = boxes.shape[0]
    return boxes.new_empty(n, dtype=torch.int64), boxes.new_empty(n), boxes.new_empty((), dtype=torch.int64)


def _soft_nms_kernel(boxes, scores, iou_threshold, sigma, min_score, method):
    boxes, scores = boxes.contiguous(), scores.contiguous()
    keep, decayed, count = _room(boxes)
    core = backend(boxes, "soft_nms")
    scratch = None if core is _core else workspace(boxes, core.soft_nms_workspace(view(boxes)))
    core.soft_nms(view(boxes), view(scores), iou_threshold, sigma, min_score, METHODS[method], view(keep),
                  view(decayed), view(count), launch(boxes, scratch))
    found = count.item()
    return keep[:found].clone(), decayed[:found].clone()


def _grouped(core, scores, idxs):
    """The boxes by descending score; their classes in ascending order and the ranks that have them."""
    by_score = _candidates.by_score(core, scores)
    return by_score, *torch.sort(idxs[by_score], stable=True)


def _fast_nms_kernel(boxes, scores, idxs, iou_threshold, top_k):
    boxes, scores, idxs = boxes.contiguous(), scores.contiguous(), idxs.contiguous()
    top_k = min(top_k, boxes.shape[0])
    core = backend(boxes, "fast_nms")
    if core is _core:
        keep, _, count = _room(boxes)
        core.fast_nms(view(boxes), view(scores), view(idxs), iou_threshold, top_k, view(keep), view(count),
                      launch(boxes))
        return keep[: count.item()].clone()
    by_score, classes, ranks = _grouped(core, scores, idxs)
    kept = torch.empty_like(by_score, dtype=torch.bool)
    scratch = workspace(boxes, core.soft_nms_workspace(view(boxes)))
    core.fast_nms_in_order(view(boxes), view(by_score), view(classes), view(ranks), iou_threshold, top_k, view(kept),
                           launch(boxes, scratch))
    return by_score[kept]


def _matrix_nms_kernel(boxes, scores, idxs, sigma, min_score, method):
    boxes, scores, idxs = boxes.contiguous(), scores.contiguous(), idxs.contiguous()
    core = backend(boxes, "matrix_nms")
    if core is _core:
        keep, decayed, count = _room(boxes)
        core.matrix_nms(view(boxes), view(scores), view(idxs), sigma, min_score, METHODS[method], view(keep),
                        view(decayed), view(count), launch(boxes))
        found = count.item()
        return keep[:found].clone(), decayed[:found].clone()
    by_score, classes, ranks = _grouped(core, scores, idxs)
    decayed = torch.empty_like(scores)
    scratch = workspace(boxes, core.soft_nms_workspace(view(boxes)))
    core.matrix_nms_in_order(view(boxes), view(scores), view(by_score), view(classes), view(ranks), sigma,
                             METHODS[method], view(decayed), launch(boxes, scratch))
    order = _candidates.by_score(core, decayed)
    decayed = decayed[order]
    least = torch.full((), min_score, dtype=decayed.dtype, device=decayed.device)
    kept = ~((decayed < least) | (decayed == -torch.inf))
    return order[kept], decayed[kept]


def _decayed_fake(boxes, *_):
    keep = _candidates.kept_fake(boxes)
    return keep, boxes.new_empty(keep.shape[0])


register("soft_nms(Tensor boxes, Tensor scores, float iou_threshold, float sigma, float min_score, str method) "
         "-> (Tensor, Tensor)", _soft_nms_kernel, _decayed_fake)
register("fast_nms(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold, SymInt top_k) -> Tensor",
         _fast_nms_kernel, _candidates.kept_fake, discrete=True)
register("matrix_nms(Tensor boxes, Tensor scores, Tensor idxs, float sigma, float min_score, str method) "
         "-> (Tensor, Tensor)", _matrix_nms_kernel, _decayed_fake)
