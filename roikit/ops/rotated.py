"""Rotated boxes on tensors: overlap and suppression. Nothing here is differentiable."""

import torch

from roikit import _check, _core
from roikit.ops import _candidates
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register

__all__ = ["batched_nms_rotated", "box_iou_rotated", "nms_rotated"]


def _boxes(name, x):
    _check.boxes("box_iou_rotated", name, x, 5)
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def box_iou_rotated(boxes1, boxes2):
    """Intersection over union of every pair of rotated boxes.

    Args:
        boxes1: (N, 5) floating: cx, cy, w, h in pixels, degrees counter-clockwise; half is cast to float32.
        boxes2: (M, 5), likewise, on the same device; the result has the wider dtype.

    Returns:
        (N, M) float32 or float64 in [0, 1], computed in float64 and symmetric bit by bit; 0 where a box is empty,
        reversed or not finite.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: Green's theorem on the clamped outline; docs/ops/rotated.md.
    """
    a, b = _boxes("boxes1", boxes1), _boxes("boxes2", boxes2)
    _check.same_device("box_iou_rotated", boxes1=a, boxes2=b)
    dtype = torch.promote_types(a.dtype, b.dtype)
    return torch.ops.roikit.box_iou_rotated(a.to(dtype), b.to(dtype))


def nms_rotated(boxes, scores, iou_threshold):
    """The rotated boxes that no box of higher score overlaps by more than ``iou_threshold``.

    Args:
        boxes: (N, 5), as in `box_iou_rotated`. N < 2^31.
        scores: (N,) of any float dtype, on the same device; equal scores go by index, NaN comes last.
        iou_threshold: compared strictly, after rounding to the dtype of the boxes.

    Returns:
        (K,) int64: the kept boxes in the order of their scores.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, a threshold that is NaN.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: Felzenszwalb et al., PAMI 2010, section 5.2.
    """
    boxes = _candidates.check("nms_rotated", boxes, scores, 5)
    threshold = _check.number("nms_rotated", "iou_threshold", iou_threshold)
    return torch.ops.roikit.nms_rotated(boxes, scores, threshold)


def batched_nms_rotated(boxes, scores, idxs, iou_threshold):
    """`nms_rotated` within each class; the kept boxes of all classes in the order of their scores.

    Args:
        boxes, scores, iou_threshold: as in `nms_rotated`.
        idxs: (N,) integers of any dtype, the class of each box; negative ones too.

    Returns:
        (K,) int64. Boxes are never moved apart by offsets, so far and large ones keep their precision.

    Raises:
        TypeError, ValueError, BackendError: as in `nms_rotated`; idxs is not an integer vector of N.
    """
    boxes = _candidates.check("batched_nms_rotated", boxes, scores, 5)
    threshold = _check.number("batched_nms_rotated", "iou_threshold", iou_threshold)
    idxs = _candidates.check_classes("batched_nms_rotated", boxes, idxs)
    return torch.ops.roikit.batched_nms_rotated(boxes, scores, idxs, threshold)


def _iou_kernel(boxes1, boxes2):
    a, b = boxes1.contiguous(), boxes2.contiguous()
    out = a.new_empty((a.shape[0], b.shape[0]))
    core = backend(a, "box_iou_rotated")
    scratch = None if core is _core else workspace(a, core.box_iou_rotated_workspace(view(a), view(b)))
    core.box_iou_rotated(view(a), view(b), view(out), launch(a, scratch))
    return out


def _iou_fake(boxes1, boxes2):
    return boxes1.new_empty((boxes1.shape[0], boxes2.shape[0]))


def _nms_on_host(boxes, scores, idxs, iou_threshold):
    keep = boxes.new_empty(boxes.shape[0], dtype=torch.int64)
    count = boxes.new_empty((), dtype=torch.int64)
    if idxs is None:
        _core.nms_rotated(view(boxes), view(scores), iou_threshold, view(keep), view(count), launch(boxes))
    else:
        _core.batched_nms_rotated(view(boxes), view(scores), view(idxs), iou_threshold, view(keep), view(count),
                                  launch(boxes))
    return keep[: count.item()].clone()


def _nms_on_device(core, boxes, scores, idxs, iou_threshold):
    by_score = _candidates.by_score(core, scores)
    chosen = boxes.new_empty(boxes.shape[0], dtype=torch.bool)
    run = launch(boxes, scratch := workspace(boxes, core.nms_rotated_workspace(view(boxes))))
    if idxs is None:
        core.nms_rotated_in_order(view(boxes), view(by_score), iou_threshold, view(chosen), run)
    else:
        classes, ranks = torch.sort(idxs[by_score], stable=True)
        core.batched_nms_rotated_in_order(view(boxes), view(by_score), view(classes), view(ranks), iou_threshold,
                                          view(chosen), run)
    del scratch  # in stream order
    return by_score[chosen]


def _nms(op, boxes, scores, idxs, iou_threshold):
    boxes, scores = boxes.contiguous(), scores.contiguous()
    idxs = None if idxs is None else idxs.contiguous()
    core = backend(boxes, op)
    if core is _core:
        return _nms_on_host(boxes, scores, idxs, iou_threshold)
    return _nms_on_device(core, boxes, scores, idxs, iou_threshold)


def _nms_kernel(boxes, scores, iou_threshold):
    return _nms("nms_rotated", boxes, scores, None, iou_threshold)


def _batched_nms_kernel(boxes, scores, idxs, iou_threshold):
    return _nms("batched_nms_rotated", boxes, scores, idxs, iou_threshold)


register("box_iou_rotated(Tensor boxes1, Tensor boxes2) -> Tensor", _iou_kernel, _iou_fake)
register("nms_rotated(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor", _nms_kernel,
         _candidates.kept_fake, discrete=True)
register("batched_nms_rotated(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor",
         _batched_nms_kernel, _candidates.kept_fake, discrete=True)
