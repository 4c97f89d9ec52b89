"""Weighted boxes fusion on NumPy arrays. The compiled face of roikit.reference.weighted_boxes_fusion."""

import numpy as np

from roikit import _core
from roikit._check.weighted_boxes_fusion import CONF_TYPES, fusion
from roikit.kernels._arguments import as_candidates, as_classes, wider
from roikit.kernels._launch import launch, view

__all__ = ["weighted_boxes_fusion"]


def weighted_boxes_fusion(boxes, scores, idxs, models, weights=None, iou_threshold=0.55, *, skip_box_threshold=0.0,
                          conf_type="avg", allows_overflow=False, threads=None):
    """Fuse the boxes that several models found in one image: `roikit.ops.weighted_boxes_fusion` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy. N < 2^31.
        scores: (N,) of any float dtype.
        idxs: (N,) integers of any dtype, the class of each box.
        models: (N,) integers of any dtype from 0 on, the model that found each box.
        weights: (M,) finite numbers of at least 0, one for each model; None for 1 each.
        iou_threshold, skip_box_threshold, conf_type, allows_overflow: as in `roikit.ops.weighted_boxes_fusion`.
        threads: how many may work, each on classes of its own.

    Returns:
        boxes (K, 4) and scores (K,) of the common dtype, float32 at least; idxs (K,) int64. In the order of the scores.

    Raises: TypeError or ValueError for a wrong kind, shape or value, IndexError for a model that is negative or has no
        weight.
    """
    op = "weighted_boxes_fusion"
    boxes, scores = wider(*as_candidates(op, boxes, scores))
    idxs, models = as_classes(op, "idxs", idxs, boxes), as_classes(op, "models", models, boxes)
    weights, threshold, skip, conf_type, overflow = fusion(op, weights, iou_threshold, skip_box_threshold, conf_type,
                                                           allows_overflow)
    n, of_models = len(boxes), np.array(weights, boxes.dtype)
    fused, fused_scores = np.empty((n, 4), boxes.dtype), np.empty(n, boxes.dtype)
    classes, count = np.empty(n, np.int64), np.empty((), np.int64)
    _core.weighted_boxes_fusion(view(boxes), view(scores), view(idxs), view(models), view(of_models), threshold, skip,
                                CONF_TYPES[conf_type], overflow, view(fused), view(fused_scores), view(classes),
                                view(count), launch(op, threads))
    found = int(count)
    return fused[:found], fused_scores[:found], classes[:found]
