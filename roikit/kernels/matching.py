"""Ground truth for anchors on NumPy arrays. The compiled face of roikit.reference.matching."""

import numpy as np

from roikit import _core
from roikit._check.matching import thresholds
from roikit.kernels._arguments import as_boxes, wider
from roikit.kernels._launch import launch, view

__all__ = ["match_boxes"]


def match_boxes(anchors, gt_boxes, high, low, *, allow_low_quality=True, threads=None):
    """Give each anchor its best ground truth and a label: `roikit.ops.match_boxes` for arrays.

    Args:
        anchors: (N, 4) float16, float32 or float64, xyxy.
        gt_boxes: (M, 4), likewise.
        high, low, allow_low_quality: as in `roikit.ops.match_boxes`.
        threads: how many may work.

    Returns:
        index (N,) int64, label (N,) int8, iou (N,) float32 or float64.

    Raises: TypeError or ValueError for a wrong kind or shape, and where low is above high.
    """
    op = "match_boxes"
    anchors, gt_boxes = wider(as_boxes(op, "anchors", anchors), as_boxes(op, "gt_boxes", gt_boxes))
    high, low = thresholds(op, high, low)
    n = len(anchors)
    index, label, iou = np.empty(n, np.int64), np.empty(n, np.int8), np.empty(n, anchors.dtype)
    _core.match_boxes(view(anchors), view(gt_boxes), high, low, bool(allow_low_quality), view(index), view(label),
                      view(iou), launch(op, threads))
    return index, label, iou
