"""Suppression that weighs instead of deciding (soft, matrix) or decides all at once (fast). All is exact.

T is the common dtype of boxes and scores (half is cast to float32) where scores are decayed, and the
dtype of the boxes in ``fast_nms``. Thresholds, sigma and min_score are rounded to T once. IoU is that
of ``boxes.box_iou`` with the better box as "a", so a NaN, infinite, empty or reversed box has IoU 0
with everything: it decays nothing and nothing decays it. Boxes stand in the order of
``order.score_order``: descending scores, ties (0.0 and -0.0 tie) by index, NaN last.

A box is dropped for good as soon as its score is below T(min_score) or is -inf. NaN is neither.
exp is the ``exp_fixed`` below on every floor, so that the Gaussian decay has the same bits too.

Sources: Bodla et al., "Soft-NMS", ICCV 2017; Bolya et al., "YOLACT", ICCV 2019, section 3.3 (fast);
Wang et al., "SOLOv2", NeurIPS 2020, section 3.3 (matrix).
"""

import math

import numpy as np

from roikit.reference.arguments import as_candidates, as_classes
from roikit.reference.boxes import box_iou
from roikit.reference.order import score_order

__all__ = ["fast_nms", "matrix_nms", "soft_nms"]


def exp_fixed(x):
    """e to the power of x in the dtype of x, float32 or float64, by a fixed row of operations.

    x = k ln2 + r with a whole k and ln2 in two parts; the Taylor series of exp(r) by Horner's scheme;
    times 2^k as two powers. Within 1 unit in the last place.
    """
    T = x.dtype.type
    single = T is np.float32
    low, high = (-104.0, 89.0) if single else (-746.0, 710.0)
    ln2 = (0.693359375, -2.12194440054690583e-4) if single else (
        float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33"))
    magic = T(12582912.0 if single else 6755399441055744.0)  # adding it rounds to a whole number
    a = np.where(x < T(low), T(low), x)
    a = np.where(a > T(high), T(high), a)
    k = (a * T(1.44269504088896340736) + magic) - magic
    r = (a - k * T(ln2[0])) - k * T(ln2[1])
    terms = 7 if single else 13
    series = np.full_like(r, T(1 / math.factorial(terms)))
    for i in range(terms - 1, 1, -1):
        series = T(1 / math.factorial(i)) + r * series
    value = T(1) + (r + (r * r) * series)
    k = np.where(k == k, k, T(0)).astype(np.int64)  # NaN, which value has
    half = k // 2
    return (value * np.ldexp(T(1), half)) * np.ldexp(T(1), k - half)


def in_one_dtype(boxes, scores):
    """Both in T."""
    T = np.result_type(boxes, scores)
    return boxes.astype(T), scores.astype(T)


def dropped(scores, min_score):
    return (scores < min_score) | (scores == -np.inf)


def soft_nms(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method="linear"):
    """Take the best box, decay the scores of those that it overlaps, and again.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2.
        scores: (N,) float.
        iou_threshold: float, compared strictly; the Gaussian decay has none.
        sigma: float > 0, of the Gaussian decay.
        min_score: float; boxes whose score is or falls below it are dropped.
        method: what the score of a box of IoU x with the one taken is multiplied with. "linear":
            1 - x where x > iou_threshold, else 1; "gaussian": exp(-(x * x) / sigma), and 1 where x is
            0; "naive": 0 where x > iou_threshold, else 1.

    Returns:
        keep int64 (K,): the boxes in the order in which they were taken; scores T (K,): the scores
        that they then had.
    """
    boxes, scores = in_one_dtype(*as_candidates("soft_nms", boxes, scores))
    T = boxes.dtype.type
    keep, taken = [], []
    left = ~dropped(scores, T(min_score))
    while left.any():
        remaining = np.flatnonzero(left)
        i = remaining[score_order(scores[remaining])[0]]
        keep.append(i)
        taken.append(scores[i])
        left[i] = False
        iou = box_iou(boxes[i : i + 1], boxes)[0]
        if method == "gaussian":
            with np.errstate(all="ignore"):
                weight = np.where(iou > 0, exp_fixed(-(iou * iou) / T(sigma)), T(1))
        elif method == "linear":
            weight = np.where(iou > T(iou_threshold), T(1) - iou, T(1))
        elif method == "naive":
            weight = np.where(iou > T(iou_threshold), T(0), T(1))
        else:
            raise ValueError(f"soft_nms: method must be 'linear', 'gaussian' or 'naive', got {method!r}")
        with np.errstate(all="ignore"):
            scores = scores * weight
        left &= ~dropped(scores, T(min_score))
    return np.array(keep, np.int64), np.array(taken, T)


def fast_nms(boxes, scores, idxs, iou_threshold, *, top_k=200, cross_class=False):
    """Keep the boxes that no better box of their class overlaps by more, be that one kept or not.

    Args:
        boxes, scores: as in ``nms``.
        idxs: (N,) integer, the class of each box.
        iou_threshold: float, compared strictly.
        top_k: int >= 0; only the best ``top_k`` boxes of each class are looked at, the others go.
        cross_class: bool; take all boxes for one class.

    Returns:
        int64 (K,): the kept boxes of all classes, merged in the order of their scores.
    """
    boxes, scores = as_candidates("fast_nms", boxes, scores)
    idxs = as_classes("fast_nms", "idxs", idxs, boxes)
    idxs = np.zeros_like(idxs) if cross_class else idxs
    if top_k < 0:
        raise ValueError(f"fast_nms: top_k must be at least 0, got {top_k}")
    order = score_order(scores)
    kept = np.zeros(len(boxes), bool)
    for label in np.unique(idxs):
        best = order[idxs[order] == label][:top_k]
        over = box_iou(boxes[best], boxes[best]) > boxes.dtype.type(iou_threshold)
        kept[best] = ~np.triu(over, 1).any(axis=0)
    return order[kept[order]]


def matrix_nms(boxes, scores, idxs, *, sigma=2.0, min_score=1e-3, method="gaussian"):
    """Decay every score by its overlap with better boxes of its class, these being discounted by their own.

    With x_ij the IoU of boxes i and j, i the better one, and c_i the largest of i's with boxes better
    than i (0 without any), the score of j is multiplied with

    - "gaussian": exp(-(sigma * max_i (x_ij * x_ij - c_i * c_i))), the least exp(-sigma x_ij^2) /
      exp(-sigma c_i^2) of all i; 1 where the largest difference is 0;
    - "linear": the least (1 - x_ij) / (1 - c_i), where c_i is not 1 (then another box has the same x_ij).

    The best box of a class keeps its score.

    Args:
        boxes, scores: as in ``soft_nms``.
        idxs: (N,) integer, the class of each box.
        sigma: float > 0, of the Gaussian decay.
        min_score: float; boxes whose decayed score is below it are dropped.
        method: "gaussian" or "linear".

    Returns:
        keep int64 (K,): the boxes in the order of their decayed scores; scores T (K,): these scores.
    """
    boxes, scores = in_one_dtype(*as_candidates("matrix_nms", boxes, scores))
    idxs = as_classes("matrix_nms", "idxs", idxs, boxes)
    if method not in ("gaussian", "linear"):
        raise ValueError(f"matrix_nms: method must be 'gaussian' or 'linear', got {method!r}")
    T = boxes.dtype.type
    order = score_order(scores)
    decay = np.ones(len(boxes), T)
    for label in np.unique(idxs):
        members = order[idxs[order] == label]
        iou = box_iou(boxes[members], boxes[members])
        before = [iou[:j, j] for j in range(len(members))]
        own = np.array([x.max(initial=0) for x in before], T)
        for j, x in enumerate(before):
            if j == 0:
                continue
            if method == "gaussian":
                most = (x * x - own[:j] * own[:j]).max()
                if most > 0:
                    decay[members[j]] = exp_fixed(np.array(-(T(sigma) * most), T))
            else:
                counted = own[:j] != 1
                decay[members[j]] = ((T(1) - x[counted]) / (T(1) - own[:j][counted])).min()
    with np.errstate(all="ignore"):
        scores = scores * decay
    keep = score_order(scores)
    keep = keep[~dropped(scores[keep], T(min_score))]
    return keep, scores[keep]
