"""Greedy non-maximum suppression: plain, by class, padded. The decisions are exact.

Boxes are taken by descending score; equal scores (0.0 and -0.0 are equal) by ascending index; NaN
scores come last, among themselves by ascending index. A box is kept unless a box kept before it has
iou(kept, box) > T(iou_threshold): the threshold is rounded once to T, the dtype of the boxes, and
compared in T. IoU is that of ``boxes.box_iou`` with the kept box as "a", so equality survives and a
NaN, infinite or empty box neither removes nor is removed.

Source: Felzenszwalb et al. 2010, section 5.2 (greedy suppression); names and order are
torchvision's.
"""

import numpy as np

from roikit.reference.boxes import box_iou
from roikit.reference.order import suppress

__all__ = ["batched_nms", "nms", "nms_padded"]


def nms(boxes, scores, iou_threshold):
    """Keep the boxes that no better box overlaps by more than ``iou_threshold``.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2.
        scores: (N,) float, any float dtype.
        iou_threshold: float, compared strictly.

    Returns:
        int64 (K,): indices of the kept boxes, in the order of their scores.
    """
    return suppress("nms", boxes, scores, None, iou_threshold, box_iou)


def batched_nms(boxes, scores, idxs, iou_threshold):
    """``nms`` within each class; boxes of different classes never touch each other.

    Args:
        boxes, scores, iou_threshold: as in ``nms``.
        idxs: (N,) integer, the class of each box, any value, negative too.

    Returns:
        int64 (K,): the kept boxes of all classes, merged in the order of their scores.
    """
    return suppress("batched_nms", boxes, scores, idxs, iou_threshold, box_iou)


def nms_padded(boxes, scores, iou_threshold, max_output):
    """The first ``max_output`` of ``nms``, in a result whose shape does not depend on the data.

    Args:
        boxes, scores, iou_threshold: as in ``nms``.
        max_output: int >= 0.

    Returns:
        keep int64 (max_output,), padded with -1; count int64 scalar, how many are not padding.
    """
    if max_output < 0:
        raise ValueError(f"nms_padded: max_output must be at least 0, got {max_output}")
    kept = suppress("nms_padded", boxes, scores, None, iou_threshold, box_iou)[:max_output]
    keep = np.full(max_output, -1, np.int64)
    keep[: len(kept)] = kept
    return keep, np.int64(len(kept))
