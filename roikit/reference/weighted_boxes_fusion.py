"""The boxes that several models found in one image, fused into one set.

T is the common dtype of boxes and scores, half being cast to float32; thresholds and weights are rounded to T once. A
box whose sides are reversed is taken with its corners swapped. Its vote is its score times the weight of its model.
Boxes are left out whose score is not at least the skip threshold (NaN is not), whose vote is not finite, or whose area
is 0.

Within each class boxes are taken by descending vote, equal votes by ascending index. A box joins the cluster whose
fused box has the largest IoU with it, of equal ones the earliest, if that exceeds the threshold; else it begins one.
IoU is that of ``boxes.box_iou`` with the fused box as "a", so a NaN or infinite box stays alone. The fused box of one
box is that box. After each that joins it is the sum of votes times corners over the sum of the votes, both added up in
the order of joining; where the votes sum to 0 it stays as it was.

A cluster has n boxes, votes of the sum s, of which the first is the largest, and models of its own. W is the sum of
the weights of all M models, w that of the cluster's boxes and p that of its models, each once; all by ascending model.

    avg                     s / n * min(M, n) / W, and s / n * n / W where overflow is allowed
    max                     the first vote / the largest weight
    box_and_model_avg       s / n * n / w * p / W
    absent_model_aware_avg  s / n * n / (w + (W - p))

from left to right, where a division by 0 gives 0. Without weights each model has 1, and M is the highest index of any
box, left out or not, plus 1. Clusters come by descending score, equal scores by the index of their first box, NaN last.

Exact. Source: Solovyev, Wang, Gabruseva: "Weighted boxes fusion", Image and Vision Computing 107, 2021,
arXiv:1910.13302; what the paper leaves open is as in its authors' package ensemble-boxes 1.0.9.
"""

import numpy as np

from roikit.reference.arguments import as_candidates, as_classes
from roikit.reference.boxes import box_iou
from roikit.reference.order import score_order

__all__ = ["weighted_boxes_fusion"]

MOST_MODELS = 2**31


def clusters(boxes, votes, order, threshold):
    """The boxes of a class, joined in this order: of each cluster its boxes, the sum of their votes, the fused box."""
    members, sums, corners, fused = [], [], [], np.empty((0, 4), boxes.dtype)
    for i in order:
        iou = box_iou(fused, boxes[i : i + 1])[:, 0]
        if len(iou) and iou.max() > threshold:
            k = int(iou.argmax())
            members[k].append(i)
            sums[k] = sums[k] + votes[i]
            corners[k] = corners[k] + votes[i] * boxes[i]
            if sums[k] != 0:
                fused[k] = corners[k] / sums[k]
        else:
            members.append([i])
            sums.append(votes[i])
            corners.append(votes[i] * boxes[i])
            fused = np.concatenate([fused, boxes[i : i + 1]])
    return zip(members, sums, fused, strict=True)


def over(a, b):
    return a / b if b != 0 else type(b)(0)


def fused_score(conf_type, overflow, votes, total, of_boxes, weights):
    """The score of a cluster.

    Args:
        votes: of its boxes in the order of joining; total: their sum.
        of_boxes: the model of each of its boxes.
        weights: (the number of models, the sum of their weights, the largest weight, model -> weight).
    """
    count, of_all, largest, weight = weights
    T = total.dtype.type
    if conf_type == "max":
        return over(votes[0], largest)
    own, present = T(0), T(0)
    for before, model in zip([-1, *sorted(of_boxes)], sorted(of_boxes), strict=False):
        own = own + weight(model)
        present = present + weight(model) if model != before else present
    n, average = T(len(of_boxes)), total / T(len(of_boxes))
    if conf_type == "box_and_model_avg":
        return over(over(average * n, own) * present, of_all)
    if conf_type == "absent_model_aware_avg":
        return over(average * n, own + (of_all - present))
    return over(average * (n if overflow else T(min(count, len(of_boxes)))), of_all)


def weighted_boxes_fusion(boxes, scores, idxs, models, weights=None, iou_threshold=0.55, *, skip_box_threshold=0.0,
                          conf_type="avg", allows_overflow=False):
    """Fuse the boxes of several models.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2.
        scores: (N,) float.
        idxs: (N,) integers, the class of each box.
        models: (N,) integers from 0 on, the model that found each box.
        weights: a number for each model, or None for 1 each.
        iou_threshold: float of at least 0, compared strictly.
        skip_box_threshold: float; boxes whose score is below it are left out.
        conf_type: "avg", "max", "box_and_model_avg" or "absent_model_aware_avg".
        allows_overflow: of "avg": more boxes than models in a cluster raise its score.

    Returns:
        boxes T (K, 4), scores T (K,), idxs int64 (K,): the clusters in the order of their scores.

    Raises:
        IndexError: a model that is negative or has no weight, or is 2^31 or more.
    """
    op = "weighted_boxes_fusion"
    boxes, scores = as_candidates(op, boxes, scores)
    idxs, models = as_classes(op, "idxs", idxs, boxes).astype(np.int64), as_classes(op, "models", models, boxes)
    T = np.result_type(boxes, scores).type
    boxes, scores = boxes.astype(T), scores.astype(T)
    limit = MOST_MODELS if weights is None else len(weights)
    if len(wrong := models[(models < 0) | (models >= limit)]):
        raise IndexError(f"{op}: models must lie in [0, {limit}), got {wrong[0]}")
    if weights is None:
        count = int(models.max(initial=-1)) + 1
        of_models = count, T(count), T(1), lambda model: T(1)
    else:
        rounded = np.array(weights, T)
        of_all = T(0)
        for weight in rounded:
            of_all = of_all + weight
        of_models = len(weights), of_all, rounded.max(), lambda model: rounded[model]
    with np.errstate(all="ignore"):
        votes = scores * np.array([of_models[-1](model) for model in models], T)
        low, high = boxes[:, :2], boxes[:, 2:]
        boxes = np.concatenate([np.where(high < low, high, low), np.where(high < low, low, high)], 1)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        taken = (scores >= T(skip_box_threshold)) & np.isfinite(votes) & (area != 0)
        found = []
        order = score_order(votes)
        for label in np.unique(idxs):
            own = order[(idxs[order] == label) & taken[order]]
            for members, total, fused in clusters(boxes, votes, own, T(iou_threshold)):
                score = fused_score(conf_type, allows_overflow, votes[members], total, models[members], of_models)
                found.append((members[0], fused, score, label))
    found.sort(key=lambda cluster: cluster[0])
    fused = np.array([cluster[1] for cluster in found], T).reshape(-1, 4)
    scores = np.array([cluster[2] for cluster in found], T)
    idxs = np.array([cluster[3] for cluster in found], np.int64)
    by_score = score_order(scores)
    return fused[by_score], scores[by_score], idxs[by_score]
