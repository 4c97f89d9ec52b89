"""Rotated boxes on NumPy arrays: overlap and suppression. The compiled face of roikit.reference.rotated."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import as_boxes, as_candidates, as_classes, launch, result, view

__all__ = ["batched_nms_rotated", "box_iou_rotated", "nms_rotated"]


def box_iou_rotated(boxes1, boxes2, *, out=None, threads=None):
    """Intersection over union of every pair of rotated boxes.

    Args:
        boxes1: (N, 5) float16, float32 or float64: cx, cy, w, h in pixels, degrees counter-clockwise; half is cast to
            float32.
        boxes2: (M, 5), likewise; the result has the wider dtype.
        out: (N, M) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (N, M) float32 or float64 in [0, 1], computed in float64 and symmetric bit by bit; 0 where a box is empty,
        reversed or not finite.

    Raises:
        TypeError, ValueError: a wrong kind or shape, in a sentence.

    Source: Green's theorem on the clamped outline; docs/ops/rotated.md.
    """
    a, b = as_boxes("box_iou_rotated", "boxes1", boxes1, 5), as_boxes("box_iou_rotated", "boxes2", boxes2, 5)
    dtype = np.result_type(a, b)
    a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    out = result("box_iou_rotated", out, (len(a), len(b)), dtype)
    _core.box_iou_rotated(view(a), view(b), view(out), launch("box_iou_rotated", threads))
    return out


def nms_rotated(boxes, scores, iou_threshold, *, threads=None):
    """The rotated boxes that no box of higher score overlaps by more than ``iou_threshold``.

    Args:
        boxes: (N, 5), as in `box_iou_rotated`. N < 2^31.
        scores: (N,) of any float dtype; equal scores go by index, NaN comes last.
        iou_threshold: compared strictly, after rounding to the dtype of the boxes.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (K,) int64: the kept boxes in the order of their scores.

    Raises:
        TypeError, ValueError: a wrong kind or shape, a threshold that is NaN.

    Source: Felzenszwalb et al., PAMI 2010, section 5.2.
    """
    boxes, scores = as_candidates("nms_rotated", boxes, scores, 5)
    threshold = _check.number("nms_rotated", "iou_threshold", iou_threshold)
    keep, count = np.empty(len(boxes), np.int64), np.empty((), np.int64)
    _core.nms_rotated(view(boxes), view(scores), threshold, view(keep), view(count), launch("nms_rotated", threads))
    return keep[: int(count)]


def batched_nms_rotated(boxes, scores, idxs, iou_threshold, *, threads=None):
    """`nms_rotated` within each class; the kept boxes of all classes in the order of their scores.

    Args:
        boxes, scores, iou_threshold, threads: as in `nms_rotated`.
        idxs: (N,) integers of any dtype, the class of each box; negative ones too.

    Returns:
        (K,) int64. Boxes are never moved apart by offsets, so far and large ones keep their precision.

    Raises:
        TypeError, ValueError: as in `nms_rotated`; idxs is not an integer vector of N.
    """
    boxes, scores = as_candidates("batched_nms_rotated", boxes, scores, 5)
    threshold = _check.number("batched_nms_rotated", "iou_threshold", iou_threshold)
    idxs = as_classes("batched_nms_rotated", idxs, len(boxes))
    keep, count = np.empty(len(boxes), np.int64), np.empty((), np.int64)
    _core.batched_nms_rotated(view(boxes), view(scores), view(idxs), threshold, view(keep), view(count),
                              launch("batched_nms_rotated", threads))
    return keep[: int(count)]
