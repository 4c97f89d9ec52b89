"""Assign ground truth to anchors by IoU. The decisions are exact.

IoU is that of ``boxes.box_iou`` with the anchor as "a" and the ground truth as "b", in T, the wider
of the two dtypes; both thresholds are rounded to T once and compared in T.

Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.2; the low-quality rule is its case (i).
"""

import numpy as np

from roikit.reference.arguments import as_boxes
from roikit.reference.boxes import box_iou

__all__ = ["match_boxes"]


def match_boxes(anchors, gt_boxes, high, low, *, allow_low_quality=True):
    """Give each anchor its best ground truth and a label.

    Args:
        anchors: (N, 4) float, x1 y1 x2 y2.
        gt_boxes: (M, 4) float.
        high: IoU from which an anchor is positive.
        low: IoU from which an anchor that is not positive is ignored; low <= high.
        allow_low_quality: also make positive, for each ground truth whose best IoU over all anchors
            is above 0, every anchor that has exactly that IoU with it. Such an anchor keeps the
            index and IoU of its own best ground truth.

    Returns:
        index int64 (N,): the ground truth with the largest IoU, the lowest index on ties, also when
            that IoU is 0; -1 where there is no ground truth.
        label int8 (N,): 1 positive (IoU >= high), -1 ignored (IoU >= low), 0 negative.
        iou T (N,): the IoU with that ground truth; 0 where there is none.
    """
    anchors = as_boxes("match_boxes", "anchors", anchors)
    gt_boxes = as_boxes("match_boxes", "gt_boxes", gt_boxes)
    if not low <= high:
        raise ValueError(f"match_boxes: low must be at most high, got low={low}, high={high}")
    matrix = box_iou(anchors, gt_boxes)
    high, low = matrix.dtype.type(high), matrix.dtype.type(low)
    if len(gt_boxes) == 0:
        return (np.full(len(anchors), -1, np.int64), np.zeros(len(anchors), np.int8),
                np.zeros(len(anchors), matrix.dtype))
    index = matrix.argmax(axis=1)  # the first of equal maxima
    iou = matrix.max(axis=1)
    label = np.where(iou >= high, 1, np.where(iou >= low, -1, 0)).astype(np.int8)
    if allow_low_quality and len(anchors):
        best = matrix.max(axis=0)
        label[((matrix == best) & (best > 0)).any(axis=1)] = 1
    return index.astype(np.int64), label, iou
