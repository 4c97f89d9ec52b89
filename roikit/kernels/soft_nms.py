"""Soft, fast and matrix suppression on NumPy arrays. The compiled face of roikit.reference.soft_nms."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import as_candidates, as_classes, launch, view

__all__ = ["fast_nms", "matrix_nms", "soft_nms"]

METHODS = {"naive": 0, "linear": 1, "gaussian": 2}


def _same_dtype(op, boxes, scores):
    """Boxes and scores in their common dtype, float32 at least, with room for what is kept of them."""
    boxes, scores = as_candidates(op, boxes, scores)
    dtype = np.result_type(boxes, scores)
    keep, count = np.empty(len(boxes), np.int64), np.empty((), np.int64)
    return boxes.astype(dtype, copy=False), scores.astype(dtype, copy=False), keep, np.empty(len(boxes), dtype), count


def soft_nms(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method="linear", threads=None):
    """Take the best box, decay the scores of the boxes that it overlaps, and again.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy. N < 2^31.
        scores: (N,) of any float dtype; both are cast to their common dtype T, float32 at least. Equal scores go by
            index, NaN comes last.
        iou_threshold: of "linear" and "naive"; compared strictly.
        sigma: > 0, of "gaussian".
        min_score: boxes whose score is or falls below it are dropped.
        method: by which a score is multiplied at an IoU of x with the box taken. "linear": 1 - x where x >
            iou_threshold; "gaussian": exp(-x^2 / sigma); "naive": 0 where x > iou_threshold.
        threads: how many threads may work: one is enough, each choice depends on the one before.

    Returns:
        keep (K,) int64, the boxes in the order in which they were taken; scores (K,) T, those that they then had:
        exact, the bits of the reference.

    Raises:
        TypeError, ValueError: a wrong kind or shape, a number that is NaN, a method that does not exist.

    Source: Bodla et al., ICCV 2017.
    """
    boxes, scores, keep, decayed, count = _same_dtype("soft_nms", boxes, scores)
    threshold = _check.number("soft_nms", "iou_threshold", iou_threshold)
    sigma = _check.positive("soft_nms", "sigma", sigma)
    min_score = _check.number("soft_nms", "min_score", min_score)
    _check.choice("soft_nms", "method", method, ("linear", "gaussian", "naive"))
    _core.soft_nms(view(boxes), view(scores), threshold, sigma, min_score, METHODS[method], view(keep), view(decayed),
                   view(count), launch("soft_nms", threads))
    return keep[: int(count)], decayed[: int(count)]


def fast_nms(boxes, scores, idxs, iou_threshold, *, top_k=200, cross_class=False, threads=None):
    """The boxes that no better box of their class overlaps by more than ``iou_threshold``, be that one kept or not.

    Args:
        boxes, scores, iou_threshold: as in `nms`.
        idxs: (N,) integers of any dtype, the class of each box; negative ones too.
        top_k: a whole number of at least 0; only the best ``top_k`` boxes of each class are looked at.
        cross_class: take all boxes for one class.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (K,) int64: the kept boxes of all classes in the order of their scores.

    Raises:
        TypeError, ValueError: a wrong kind or shape, a threshold that is NaN, a negative top_k.

    Source: Bolya et al., ICCV 2019, section 3.3.
    """
    boxes, scores = as_candidates("fast_nms", boxes, scores)
    threshold = _check.number("fast_nms", "iou_threshold", iou_threshold)
    idxs = as_classes("fast_nms", idxs, len(boxes))
    top_k = min(_check.whole("fast_nms", "top_k", top_k, 0), len(boxes))
    if cross_class:
        idxs = np.zeros_like(idxs)
    keep, count = np.empty(len(boxes), np.int64), np.empty((), np.int64)
    _core.fast_nms(view(boxes), view(scores), view(idxs), threshold, top_k, view(keep), view(count),
                   launch("fast_nms", threads))
    return keep[: int(count)]


def matrix_nms(boxes, scores, idxs, *, sigma=2.0, min_score=1e-3, method="gaussian", threads=None):
    """Decay every score by the overlap with better boxes of its class, these discounted by their own overlap.

    Args:
        boxes, scores, min_score: as in `soft_nms`; min_score is compared with the decayed score.
        idxs: (N,) integers of any dtype, the class of each box; negative ones too.
        sigma: > 0, of "gaussian".
        method: "gaussian": by the least exp(-sigma (x^2 - c^2)) over all better boxes, x being their IoU with this one
            and c their largest IoU with boxes better still; "linear": by the least (1 - x) / (1 - c).
        threads: how many threads may work; the result does not depend on it.

    Returns:
        keep (K,) int64, the boxes in the order of their decayed scores; scores (K,), these scores in the common dtype
        of boxes and scores. Exact: the bits of the reference.

    Raises:
        TypeError, ValueError: as in `soft_nms`; idxs is not an integer vector of N.

    Source: Wang et al., NeurIPS 2020, section 3.3.
    """
    boxes, scores, keep, decayed, count = _same_dtype("matrix_nms", boxes, scores)
    idxs = as_classes("matrix_nms", idxs, len(boxes))
    sigma = _check.positive("matrix_nms", "sigma", sigma)
    min_score = _check.number("matrix_nms", "min_score", min_score)
    _check.choice("matrix_nms", "method", method, ("gaussian", "linear"))
    _core.matrix_nms(view(boxes), view(scores), view(idxs), sigma, min_score, METHODS[method], view(keep),
                     view(decayed), view(count), launch("matrix_nms", threads))
    return keep[: int(count)], decayed[: int(count)]
