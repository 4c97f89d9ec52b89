"""Rotated boxes on tensors: overlap and suppression. Nothing here is differentiable."""

import torch

from roikit import _check, _core
from roikit.ops._arguments import as_boxes, as_candidates, as_classes, wider
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register
from roikit.ops._order import by_class, by_score, kept, kept_fake

__all__ = ["batched_nms_rotated", "box_iou_rotated", "nms_rotated"]


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
    op = "box_iou_rotated"
    a, b = as_boxes(op, "boxes1", boxes1, 5), as_boxes(op, "boxes2", boxes2, 5)
    _check.same_device(op, boxes1=a, boxes2=b)
    return torch.ops.roikit.box_iou_rotated(*wider(a, b))


def nms_rotated(boxes, scores, iou_threshold):
    """The rotated boxes that no box of higher score overlaps by more than ``iou_threshold``.

    Args:
        boxes: (N, 5), as in `box_iou_rotated`. N < 2^31.
        scores: (N,), as in `nms`.
        iou_threshold: as in `nms`.

    Returns:
        (K,) int64: the kept boxes in the order of their scores.

    Raises:
        TypeError, ValueError, BackendError: as in `nms`.

    Source: Felzenszwalb et al., PAMI 2010, section 5.2.
    """
    boxes, scores = as_candidates("nms_rotated", boxes, scores, 5)
    threshold = _check.number("nms_rotated", "iou_threshold", iou_threshold)
    return torch.ops.roikit.nms_rotated(boxes, scores, threshold)


def batched_nms_rotated(boxes, scores, idxs, iou_threshold):
    """`nms_rotated` within each class, as `batched_nms` is `nms` within each.

    Args:
        boxes: (N, 5), as in `box_iou_rotated`. N < 2^31.
        scores: (N,), as in `nms`.
        idxs: (N,) integers, as in `batched_nms`.
        iou_threshold: as in `nms`.

    Returns:
        (K,) int64: the kept boxes of all classes in the order of their scores.

    Raises:
        TypeError, ValueError, BackendError: as in `batched_nms`.
    """
    boxes, scores = as_candidates("batched_nms_rotated", boxes, scores, 5)
    threshold = _check.number("batched_nms_rotated", "iou_threshold", iou_threshold)
    idxs = as_classes("batched_nms_rotated", "idxs", idxs, boxes)
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


def _nms_kernel(boxes, scores, iou_threshold):
    boxes, scores = boxes.contiguous(), scores.contiguous()
    core = backend(boxes, "nms_rotated")
    if core is _core:
        return kept("nms_rotated", boxes, view(scores), iou_threshold)
    return _chosen(core, "nms_rotated_in_order", boxes, (by_score(core, scores),), iou_threshold)


def _batched_nms_kernel(boxes, scores, idxs, iou_threshold):
    boxes, scores, idxs = boxes.contiguous(), scores.contiguous(), idxs.contiguous()
    core = backend(boxes, "batched_nms_rotated")
    if core is _core:
        return kept("batched_nms_rotated", boxes, view(scores), view(idxs), iou_threshold)
    return _chosen(core, "batched_nms_rotated_in_order", boxes, by_class(core, scores, idxs), iou_threshold)


def _chosen(core, op, boxes, ranked, iou_threshold):
    """Which of the boxes a CUDA kernel keeps; ``ranked``: the boxes by score, and what it takes of their classes."""
    chosen = boxes.new_empty(boxes.shape[0], dtype=torch.bool)
    scratch = workspace(boxes, core.nms_rotated_workspace(view(boxes)))
    getattr(core, op)(view(boxes), *map(view, ranked), iou_threshold, view(chosen), launch(boxes, scratch))
    return ranked[0][chosen]


register("box_iou_rotated(Tensor boxes1, Tensor boxes2) -> Tensor", _iou_kernel, _iou_fake)
register("nms_rotated(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor", _nms_kernel, kept_fake,
         discrete=True)
register("batched_nms_rotated(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor",
         _batched_nms_kernel, kept_fake, discrete=True)
