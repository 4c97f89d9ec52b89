"""Greedy non-maximum suppression on NumPy arrays. The compiled face of roikit.reference.nms."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arguments import as_candidates, as_classes
from roikit.kernels._launch import kept, launch, result, view

__all__ = ["batched_nms", "nms", "nms_padded"]


def nms(boxes, scores, iou_threshold, *, threads=None):
    """The boxes that no box of higher score overlaps by more than ``iou_threshold``: `roikit.ops.nms` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy. N < 2^31.
        scores: (N,) of any float dtype.
        iou_threshold: compared strictly.
        threads: how many may work.

    Returns:
        (K,) int64, in the order of the scores.

    Raises: TypeError or ValueError for a wrong kind or shape, or a threshold that is NaN.
    """
    boxes, scores = as_candidates("nms", boxes, scores)
    return kept("nms", threads, boxes, view(scores), _check.number("nms", "iou_threshold", iou_threshold))


def batched_nms(boxes, scores, idxs, iou_threshold, *, threads=None):
    """`nms` within each class: `roikit.ops.batched_nms` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy. N < 2^31.
        scores, iou_threshold, threads: as in `nms`.
        idxs: (N,) integers of any dtype, the class of each box.

    Returns:
        (K,) int64, in the order of the scores.

    Raises: TypeError or ValueError as `nms`, and where idxs is not an integer vector of N.
    """
    op = "batched_nms"
    boxes, scores = as_candidates(op, boxes, scores)
    threshold = _check.number(op, "iou_threshold", iou_threshold)
    idxs = as_classes(op, "idxs", idxs, boxes)
    return kept(op, threads, boxes, view(scores), view(idxs), threshold)


def nms_padded(boxes, scores, iou_threshold, max_output, *, out=None, threads=None):
    """The first ``max_output`` boxes of `nms`: `roikit.ops.nms_padded` for arrays.

    Args:
        boxes, scores, iou_threshold, threads: as in `nms`.
        max_output: a whole number of at least 0.
        out: (max_output,) int64, for keep.

    Returns:
        keep (max_output,) int64, padded with -1; count () int64.

    Raises: TypeError or ValueError as `nms`, and where max_output is no whole number or negative.
    """
    op = "nms_padded"
    boxes, scores = as_candidates(op, boxes, scores)
    threshold = _check.number(op, "iou_threshold", iou_threshold)
    size = _check.whole(op, "max_output", max_output, 0)
    keep, count = result(op, out, (size,), np.int64), np.empty((), np.int64)
    _core.nms(view(boxes), view(scores), threshold, view(keep), view(count), launch(op, threads))
    return keep, count[()]
