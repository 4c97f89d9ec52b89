"""Soft, fast and matrix suppression on tensors. Nothing here is differentiable."""

import torch

from roikit import _check, _core
from roikit._check.soft_nms import METHODS, decay
from roikit.ops._arguments import as_candidates, as_classes, wider
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register
from roikit.ops._order import by_class, by_score, kept, kept_fake, kept_with_scores

__all__ = ["fast_nms", "matrix_nms", "soft_nms"]


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
    op = "soft_nms"
    boxes, scores = wider(*as_candidates(op, boxes, scores))
    threshold = _check.number(op, "iou_threshold", iou_threshold)
    rule = decay(op, sigma, min_score, method, ("linear", "gaussian", "naive"))
    return torch.ops.roikit.soft_nms(boxes, scores, threshold, *rule)


def fast_nms(boxes, scores, idxs, iou_threshold, *, top_k=200, cross_class=False):
    """The boxes that no better box of their class overlaps by more than ``iou_threshold``, be that one kept or not.

    Args:
        boxes: (N, 4), as in `nms`.
        scores: (N,), as in `nms`.
        idxs: (N,) integers, as in `batched_nms`.
        iou_threshold: as in `nms`.
        top_k: a whole number of at least 0; only the best ``top_k`` boxes of each class are looked at.
        cross_class: take all boxes for one class.

    Returns:
        (K,) int64: the kept boxes of all classes in the order of their scores.

    Raises:
        TypeError, ValueError, BackendError: as in `batched_nms`; a negative top_k.

    Source: Bolya et al., ICCV 2019, section 3.3.
    """
    op = "fast_nms"
    boxes, scores = as_candidates(op, boxes, scores)
    threshold = _check.number(op, "iou_threshold", iou_threshold)
    idxs = as_classes(op, "idxs", idxs, boxes)
    top_k = _check.whole(op, "top_k", top_k, 0)
    if cross_class:
        idxs = torch.zeros_like(idxs)
    return torch.ops.roikit.fast_nms(boxes, scores, idxs, threshold, top_k)


def matrix_nms(boxes, scores, idxs, *, sigma=2.0, min_score=1e-3, method="gaussian"):
    """Decay every score by the overlap with better boxes of its class, these discounted by their own overlap.

    Args:
        boxes: (N, 4), as in `soft_nms`.
        scores: (N,), as in `soft_nms`.
        idxs: (N,) integers, as in `batched_nms`.
        sigma: > 0, of "gaussian".
        min_score: boxes whose decayed score is below it are dropped.
        method: "gaussian": by the least exp(-sigma (x^2 - c^2)) over all better boxes, x being their IoU with this one
            and c their largest IoU with boxes better still; "linear": by the least (1 - x) / (1 - c).

    Returns:
        keep (K,) int64, the boxes in the order of their decayed scores; scores (K,), these scores in the common dtype
        of boxes and scores. Exact: the same bits on every device.

    Raises:
        TypeError, ValueError, BackendError: as in `soft_nms`; idxs is not an integer vector of N.

    Source: Wang et al., NeurIPS 2020, section 3.3.
    """
    op = "matrix_nms"
    boxes, scores = wider(*as_candidates(op, boxes, scores))
    idxs = as_classes(op, "idxs", idxs, boxes)
    rule = decay(op, sigma, min_score, method, ("gaussian", "linear"))
    return torch.ops.roikit.matrix_nms(boxes, scores, idxs, *rule)


def _soft_nms_kernel(boxes, scores, iou_threshold, sigma, min_score, method):
    boxes, scores = boxes.contiguous(), scores.contiguous()
    core = backend(boxes, "soft_nms")
    scratch = None if core is _core else workspace(boxes, core.soft_nms_workspace(view(boxes)))
    return kept_with_scores(core, "soft_nms", boxes, view(scores), iou_threshold, sigma, min_score, METHODS[method],
                            scratch=scratch)


def _fast_nms_kernel(boxes, scores, idxs, iou_threshold, top_k):
    boxes, scores, idxs = boxes.contiguous(), scores.contiguous(), idxs.contiguous()
    top_k = min(top_k, boxes.shape[0])
    core = backend(boxes, "fast_nms")
    if core is _core:
        return kept("fast_nms", boxes, view(scores), view(idxs), iou_threshold, top_k)
    order, *groups = by_class(core, scores, idxs)
    chosen = torch.empty_like(order, dtype=torch.bool)
    scratch = workspace(boxes, core.soft_nms_workspace(view(boxes)))
    core.fast_nms_in_order(view(boxes), view(order), *map(view, groups), iou_threshold, top_k, view(chosen),
                           launch(boxes, scratch))
    return order[chosen]


def _matrix_nms_kernel(boxes, scores, idxs, sigma, min_score, method):
    boxes, scores, idxs = boxes.contiguous(), scores.contiguous(), idxs.contiguous()
    core = backend(boxes, "matrix_nms")
    if core is _core:
        return kept_with_scores(core, "matrix_nms", boxes, view(scores), view(idxs), sigma, min_score, METHODS[method])
    decayed, ranked = torch.empty_like(scores), by_class(core, scores, idxs)
    scratch = workspace(boxes, core.soft_nms_workspace(view(boxes)))
    core.matrix_nms_in_order(view(boxes), view(scores), *map(view, ranked), sigma, METHODS[method], view(decayed),
                             launch(boxes, scratch))
    order = by_score(core, decayed)
    decayed = decayed[order]
    least = torch.full((), min_score, dtype=decayed.dtype, device=decayed.device)
    enough = ~((decayed < least) | (decayed == -torch.inf))
    return order[enough], decayed[enough]


def _decayed_fake(boxes, *_):
    keep = kept_fake(boxes)
    return keep, boxes.new_empty(keep.shape[0])


register("soft_nms(Tensor boxes, Tensor scores, float iou_threshold, float sigma, float min_score, str method) "
         "-> (Tensor, Tensor)", _soft_nms_kernel, _decayed_fake)
register("fast_nms(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold, SymInt top_k) -> Tensor",
         _fast_nms_kernel, kept_fake, discrete=True)
register("matrix_nms(Tensor boxes, Tensor scores, Tensor idxs, float sigma, float min_score, str method) "
         "-> (Tensor, Tensor)", _matrix_nms_kernel, _decayed_fake)
