"""weighted_boxes_fusion: its arguments, the error allowed, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing.draws import DTYPES, boxes_of, candidates_of, threshold_of
from roikit.testing.judged._overlap import iou_matrix
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]

MODELS = 3
CONF_TYPES = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")


def crowd(draw):
    """Boxes around one place, of one class or two, and scores that seldom tie: many that may join several clusters."""
    dtype = draw(DTYPES)
    boxes = boxes_of(draw, False, dtype, draw(st.integers(3, 9)), kinds=("cluster",))
    scores, idxs = (draw(st.lists(part, min_size=len(boxes), max_size=len(boxes)))
                    for part in (st.integers(1, 32), st.sampled_from([0, 0, 0, 7])))
    return {"boxes": boxes, "scores": np.array(scores, dtype) / dtype(32), "idxs": np.array(idxs, np.int64)}


@st.composite
def weighted_boxes_fusion(draw, awkward):
    case = candidates_of(draw, awkward, classes=True) if awkward or draw(st.integers(0, 3)) == 0 else crowd(draw)
    n = len(case["boxes"])
    models = draw(st.lists(st.integers(0, MODELS - 1), min_size=n, max_size=n))
    iou = np.triu(reference.box_iou(case["boxes"], case["boxes"]), 1)
    threshold = draw(st.sampled_from([0.55, 0.5, 0.75, 0.6, None, None]))
    return {**case, "models": np.array(models, np.int64),
            "weights": draw(st.sampled_from([[1.0, 1.0, 1.0], [2.0, 1.0, 0.5]])),
            "iou_threshold": abs(threshold_of(draw, False, iou)) if threshold is None else threshold,
            "skip_box_threshold": draw(st.sampled_from([0.0, 0.0, 0.25, 0.5])),
            "conf_type": draw(st.sampled_from(CONF_TYPES)), "allows_overflow": draw(st.booleans())}


def ordered(boxes):
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.where(high < low, high, low), np.where(high < low, low, high)], 1)


def score_of(conf_type, overflow, votes, models, weights, rescaled):
    """As the reference has it, but for the order of its sums."""
    n, own, present, total = len(votes), weights[models].sum(), weights[np.unique(models)].sum(), weights.sum()
    if conf_type == "max":
        a, b = (votes[0], weights.max()) if rescaled else (votes[0], 1)
    elif not rescaled:
        a, b = votes.sum(), n
    elif conf_type == "box_and_model_avg":
        a, b = votes.sum() * present, own * total
    elif conf_type == "absent_model_aware_avg":
        a, b = votes.sum(), own + (total - present)
    else:
        a, b = votes.sum() / n * (n if overflow else min(len(weights), n)), total
    return a / b if b else 0.0


def model(case, got, *, inclusive=False, high=False, matched="best", met="fused", mean="votes", apart=True,
          rescaled=True, strict=False, conf_type=None, overflow=None, by_class=False, swapped=True):
    """Every habit at once.

    Args:
        inclusive: an IoU at the threshold joins. high: of equal votes the higher index is first.
        matched: the "best" cluster above the threshold, or the "first". met: its "fused" box, or its "first".
        mean: by "votes", or "plain".
        apart: classes do not meet. rescaled: scores know of weights and models, and are no mere means or maxima.
        strict: a score at the skip threshold is left out.
        conf_type, overflow: one whatever is asked.
        by_class: the result comes class by class. swapped: corners of reversed boxes are put in order.
    """
    T = np.result_type(case["boxes"], case["scores"]).type
    boxes, scores = case["boxes"].astype(T), case["scores"].astype(T)
    boxes = ordered(boxes) if swapped else boxes
    models, weights = case["models"], np.array(case["weights"], T)
    idxs = case["idxs"] if apart else np.zeros_like(case["idxs"])
    skip, threshold = T(case["skip_box_threshold"]), T(case["iou_threshold"])
    found = []
    with np.errstate(all="ignore"):
        votes = scores * weights[models]
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
        taken = (scores > skip if strict else scores >= skip) & np.isfinite(votes) & (sides[:, 0] * sides[:, 1] != 0)
        index = np.arange(len(boxes))
        order = np.lexsort((-index if high else index, -votes))
        for label in np.unique(idxs):
            clusters, fused = [], np.empty((0, 4), T)
            for i in order[(idxs == label)[order] & taken[order]]:
                iou = iou_matrix(fused, boxes[i : i + 1])[:, 0]
                hit = iou >= threshold if inclusive else iou > threshold
                if not hit.any():
                    clusters.append([i])
                    fused = np.concatenate([fused, boxes[i : i + 1]])
                    continue
                k = int(hit.argmax() if matched == "first" else iou.argmax())
                clusters[k].append(i)
                if met == "fused":
                    fused[k] = mean_of(clusters[k], boxes, votes, mean)
            for own, box in zip(clusters, fused, strict=True):
                score = score_of(conf_type or case["conf_type"],
                                 case["allows_overflow"] if overflow is None else overflow, votes[own], models[own],
                                 weights, rescaled)
                box = mean_of(own, boxes, votes, mean) if met == "first" else box
                found.append((own[0], box, score, case["idxs"][own[0]]))
    found.sort(key=lambda cluster: cluster[0])
    results = [np.array([cluster[i] for cluster in found], dtype) for i, dtype in ((1, T), (2, T), (3, np.int64))]
    scores, labels = results[1:]
    order = np.lexsort((-scores, labels)) if by_class else np.lexsort((-scores,))
    return results[0].reshape(-1, 4)[order], scores[order], labels[order]


def mean_of(own, boxes, votes, mean):
    """The fused box of a cluster, its votes added up in order."""
    share = votes[own] if mean == "votes" else np.ones_like(votes[own])
    total, corners = share.cumsum()[-1], (share[:, None] * boxes[own]).cumsum(0)[-1]
    return corners / total if len(own) > 1 and total != 0 else boxes[own[0]]


def bound(case, expected):
    """Means are rounded in other orders by others: of what is large, in the last digits."""
    most = max(np.abs(x[np.isfinite(x)]).max(initial=1) for x in expected[:2])
    return float(most) * {"float32": 2e-6, "float64": 1e-12}[str(expected[0].dtype)]


WEIGHTED_BOXES_FUSION = combine(model, (
    trait("inclusive-threshold", "an IoU equal to the threshold joins: >= instead of >", inclusive=True),
    trait("ties-high-index", "among equal votes the higher index is taken first", high=True),
    trait("first-cluster", "a box joins the first cluster above the threshold, not the one of the largest IoU",
          matched="first"),
    trait("first-box-met", "boxes are compared with the first box of a cluster, not with the fused one", met="first"),
    trait("plain-mean", "a fused box is the plain mean of its boxes, whatever their scores", mean="plain"),
    trait("classes-ignored", "boxes of different classes are fused", apart=False),
    trait("not-rescaled", "the score is the mean or the maximum of the votes, however many models there are",
          rescaled=False),
    trait("skip-exceeded", "a score must be above skip_box_threshold: > instead of >=", strict=True),
    trait("always-avg", "the score of \"avg\", whatever conf_type says", needs="conf_type", conf_type="avg"),
    trait("always-max", "the score of \"max\", whatever conf_type says", conf_type="max"),
    trait("always-overflows", "more boxes than models raise a score, whatever allows_overflow says",
          needs="allows_overflow", overflow=True),
    trait("never-overflows", "no more boxes count than there are models, whatever allows_overflow says",
          overflow=False),
    trait("class-order", "the result comes class by class, not in the order of the scores", by_class=True),
    trait("reversed-left-out", "a box whose sides are reversed is left out, not put in order", swapped=False),
))


OPS = (
    Op("weighted_boxes_fusion", reference.weighted_boxes_fusion, "within a class, by votes, ties by index; a box joins "
       "the cluster whose fused box has the largest IoU with it, above the threshold (>); a score below "
       "skip_box_threshold (<) is left out; result in the order of the fused scores", WEIGHTED_BOXES_FUSION, 6, bound,
       arguments=weighted_boxes_fusion,
       room="fused boxes and scores 2e-6 of the largest number in float32 and 1e-12 in float64"),
)
