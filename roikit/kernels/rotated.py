"""Rotated boxes on NumPy arrays: overlap and suppression. The compiled face of roikit.reference.rotated."""

from roikit import _check, _core
from roikit.kernels._arguments import as_boxes, as_candidates, as_classes, wider
from roikit.kernels._launch import kept, launch, result, view

__all__ = ["batched_nms_rotated", "box_iou_rotated", "nms_rotated"]


def box_iou_rotated(boxes1, boxes2, *, out=None, threads=None):
    """Intersection over union of every pair of rotated boxes: `roikit.ops.box_iou_rotated` for arrays.

    Args:
        boxes1: (N, 5) float16, float32 or float64: cx, cy, w, h, degrees.
        boxes2: (M, 5), likewise.
        out: (N, M), for the result.
        threads: how many may work.

    Returns:
        (N, M) float32 or float64 in [0, 1].

    Raises: TypeError or ValueError for a wrong kind or shape.
    """
    op = "box_iou_rotated"
    a, b = wider(as_boxes(op, "boxes1", boxes1, 5), as_boxes(op, "boxes2", boxes2, 5))
    out = result(op, out, (len(a), len(b)), a.dtype)
    _core.box_iou_rotated(view(a), view(b), view(out), launch(op, threads))
    return out


def nms_rotated(boxes, scores, iou_threshold, *, threads=None):
    """`nms` of rotated boxes: `roikit.ops.nms_rotated` for arrays.

    Args:
        boxes: (N, 5) float16, float32 or float64: cx, cy, w, h, degrees. N < 2^31.
        scores, iou_threshold, threads: as in `nms`.

    Returns:
        (K,) int64, in the order of the scores.

    Raises: TypeError or ValueError as `nms`.
    """
    op = "nms_rotated"
    boxes, scores = as_candidates(op, boxes, scores, 5)
    return kept(op, threads, boxes, view(scores), _check.number(op, "iou_threshold", iou_threshold))


def batched_nms_rotated(boxes, scores, idxs, iou_threshold, *, threads=None):
    """`nms_rotated` within each class: `roikit.ops.batched_nms_rotated` for arrays.

    Args:
        boxes: (N, 5), as in `nms_rotated`.
        scores, iou_threshold, threads: as in `nms`.
        idxs: (N,) integers of any dtype, the class of each box.

    Returns:
        (K,) int64, in the order of the scores.

    Raises: TypeError or ValueError as `batched_nms`.
    """
    op = "batched_nms_rotated"
    boxes, scores = as_candidates(op, boxes, scores, 5)
    threshold = _check.number(op, "iou_threshold", iou_threshold)
    idxs = as_classes(op, "idxs", idxs, boxes)
    return kept(op, threads, boxes, view(scores), view(idxs), threshold)
