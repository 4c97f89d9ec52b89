"""Soft, fast and matrix suppression on NumPy arrays. The compiled face of roikit.reference.soft_nms."""

import numpy as np

from roikit import _check
from roikit._check.soft_nms import METHODS, decay
from roikit.kernels._arguments import as_candidates, as_classes, wider
from roikit.kernels._launch import kept, kept_with_scores, view

__all__ = ["fast_nms", "matrix_nms", "soft_nms"]


def soft_nms(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method="linear", threads=None):
    """Take the best box, decay the scores of the boxes that it overlaps, and again: `roikit.ops.soft_nms` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy. N < 2^31.
        scores: (N,) of any float dtype.
        iou_threshold, sigma, min_score, method: as in `roikit.ops.soft_nms`.
        threads: how many may work: one is enough, each choice depends on the one before.

    Returns:
        keep (K,) int64, in the order in which they were taken; scores (K,) of the common dtype, float32 at least.

    Raises: TypeError or ValueError for a wrong kind or shape, a number that is NaN, a method that does not exist.
    """
    op = "soft_nms"
    boxes, scores = wider(*as_candidates(op, boxes, scores))
    threshold = _check.number(op, "iou_threshold", iou_threshold)
    *rule, method = decay(op, sigma, min_score, method, ("linear", "gaussian", "naive"))
    return kept_with_scores(op, threads, boxes, view(scores), threshold, *rule, METHODS[method])


def fast_nms(boxes, scores, idxs, iou_threshold, *, top_k=200, cross_class=False, threads=None):
    """The boxes that no better box of their class overlaps, be that one kept or not: `roikit.ops.fast_nms` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy. N < 2^31.
        scores: (N,) of any float dtype.
        idxs: (N,) integers of any dtype, the class of each box.
        iou_threshold, top_k, cross_class: as in `roikit.ops.fast_nms`.
        threads: how many may work.

    Returns:
        (K,) int64, in the order of the scores.

    Raises: TypeError or ValueError for a wrong kind or shape, a threshold that is NaN, a negative top_k.
    """
    op = "fast_nms"
    boxes, scores = as_candidates(op, boxes, scores)
    threshold = _check.number(op, "iou_threshold", iou_threshold)
    idxs = as_classes(op, "idxs", idxs, boxes)
    top_k = min(_check.whole(op, "top_k", top_k, 0), len(boxes))
    if cross_class:
        idxs = np.zeros_like(idxs)
    return kept(op, threads, boxes, view(scores), view(idxs), threshold, top_k)


def matrix_nms(boxes, scores, idxs, *, sigma=2.0, min_score=1e-3, method="gaussian", threads=None):
    """Decay every score by the overlap with better boxes of its class: `roikit.ops.matrix_nms` for arrays.

    Args:
        boxes, scores, idxs, threads: as in `fast_nms`.
        sigma, min_score, method: as in `roikit.ops.matrix_nms`.

    Returns:
        keep (K,) int64, in the order of their decayed scores; scores (K,) of the common dtype, float32 at least.

    Raises: TypeError or ValueError as `soft_nms`, and where idxs is not an integer vector of N.
    """
    op = "matrix_nms"
    boxes, scores = wider(*as_candidates(op, boxes, scores))
    idxs = as_classes(op, "idxs", idxs, boxes)
    *rule, method = decay(op, sigma, min_score, method, ("gaussian", "linear"))
    return kept_with_scores(op, threads, boxes, view(scores), view(idxs), *rule, METHODS[method])
