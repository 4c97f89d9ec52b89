"""Ground truth for anchors on NumPy arrays. The compiled face of roikit.reference.matching."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import as_boxes, launch, view

__all__ = ["match_boxes"]


def match_boxes(anchors, gt_boxes, high, low, *, allow_low_quality=True, threads=None):
    """Give each anchor its best ground truth and a label, in O(N + M) memory.

    Args:
        anchors: (N, 4) float16, float32 or float64, xyxy; half is cast to float32.
        gt_boxes: (M, 4), likewise; the two are computed in the wider dtype.
        high: the IoU from which an anchor is positive.
        low: the IoU from which an anchor that is not positive is ignored; at most ``high``.
        allow_low_quality: also make positive, for each ground truth whose best IoU is above 0, every anchor that has
            exactly that IoU with it; the anchor keeps its own best ground truth and IoU.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        index (N,) int64: the ground truth with the largest IoU, the lowest of equals; -1 without ground truth.
        label (N,) int8: 1 positive, 0 negative, -1 ignored.
        iou (N,) float32 or float64: the IoU with that ground truth.

    Raises:
        TypeError, ValueError: a wrong kind or shape; low is above high.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.2.
    """
    anchors = as_boxes("match_boxes", "anchors", anchors)
    gt_boxes = as_boxes("match_boxes", "gt_boxes", gt_boxes)
    high, low = _check.number("match_boxes", "high", high), _check.number("match_boxes", "low", low)
    if low > high:
        raise ValueError(f"match_boxes: low must be at most high, got low={low}, high={high}")
    dtype = np.result_type(anchors, gt_boxes)
    anchors, gt_boxes = anchors.astype(dtype, copy=False), gt_boxes.astype(dtype, copy=False)
    n = len(anchors)
    index, label, iou = np.empty(n, np.int64), np.empty(n, np.int8), np.empty(n, dtype)
    _core.match_boxes(view(anchors), view(gt_boxes), high, low, bool(allow_low_quality), view(index),
                      view(label), view(iou), launch("match_boxes", threads))
    return index, label, iou
