"""Greedy non-maximum suppression on NumPy arrays. The compiled face of roikit.reference.nms."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import as_candidates, as_classes, launch, result, view

__all__ = ["batched_nms", "nms", "nms_padded"]


def _arguments(op, boxes, scores, iou_threshold):
    boxes, scores = as_candidates(op, boxes, scores)
    return boxes, scores, _check.number(op, "iou_threshold", iou_threshold)


def nms(boxes, scores, iou_threshold, *, threads=None):
    """The boxes that no box of higher score overlaps by more than ``iou_threshold``.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy; half is cast to float32. N < 2^31.
        scores: (N,) of any float dtype; equal scores go by index, NaN comes last.
        iou_threshold: compared strictly, after rounding to the dtype of the boxes.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (K,) int64: the kept boxes in the order of their scores.

    Raises:
        TypeError, ValueError: a wrong kind or shape, a threshold that is NaN.

    Source: Felzenszwalb et al., PAMI 2010, section 5.2.
    """
    boxes, scores, threshold = _arguments("nms", boxes, scores, iou_threshold)
    keep, count = np.empty(len(boxes), np.int64), np.empty((), np.int64)
    _core.nms(view(boxes), view(scores), threshold, view(keep), view(count), launch("nms", threads))
    return keep[: int(count)]


def batched_nms(boxes, scores, idxs, iou_threshold, *, threads=None):
    """`nms` within each class; the kept boxes of all classes in the order of their scores.

    Args:
        boxes, scores, iou_threshold, threads: as in `nms`.
        idxs: (N,) integers of any dtype, the class of each box; negative ones too.

    Returns:
        (K,) int64. Boxes are never moved apart by offsets, so far and large ones keep their precision.

    Raises:
        TypeError, ValueError: as in `nms`; idxs is not an integer vector of N.
    """
    boxes, scores, threshold = _arguments("batched_nms", boxes, scores, iou_threshold)
    idxs = as_classes("batched_nms", idxs, len(boxes))
    keep, count = np.empty(len(boxes), np.int64), np.empty((), np.int64)
    _core.batched_nms(view(boxes), view(scores), view(idxs), threshold, view(keep), view(count),
                      launch("batched_nms", threads))
    return keep[: int(count)]


def nms_padded(boxes, scores, iou_threshold, max_output, *, out=None, threads=None):
    """The first ``max_output`` boxes of `nms`, in a result whose shape does not depend on the data.

    Args:
        boxes, scores, iou_threshold, threads: as in `nms`.
        max_output: a whole number of at least 0; the work ends when as many are found.
        out: (max_output,) int64 array for keep.

    Returns:
        keep (max_output,) int64, padded with -1; count () int64, how many are not padding.

    Raises:
        TypeError, ValueError: as in `nms`; max_output is no whole number or negative.
    """
    boxes, scores, threshold = _arguments("nms_padded", boxes, scores, iou_threshold)
    size = _check.whole("nms_padded", "max_output", max_output, 0)
    keep, count = result("nms_padded", out, (size,), np.int64), np.empty((), np.int64)
    _core.nms(view(boxes), view(scores), threshold, view(keep), view(count),
              launch("nms_padded", threads))
    return keep, count[()]
