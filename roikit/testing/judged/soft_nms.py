"""soft_nms, fast_nms and matrix_nms: their arguments, their bound, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing.draws import candidates_of
from roikit.testing.judged._overlap import SIDES, iou_matrix
from roikit.testing.judged.nms import batched_nms, nms, priority
from roikit.testing.judging import Op, per_dtype
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


MIN_SCORES = st.sampled_from([1e-3, 0.25, 0.5])  # scores of the grid reach them exactly


@st.composite
def soft_nms(draw, awkward):
    case = draw(nms(awkward))
    return {**case, "sigma": draw(st.sampled_from([0.5, 0.25, 2.0])), "min_score": draw(MIN_SCORES),
            "method": draw(st.sampled_from(["linear", "gaussian", "naive"]))}


@st.composite
def fast_nms(draw, awkward):
    return {**draw(batched_nms(awkward)), "top_k": draw(st.sampled_from([200, 200, 3, 2, 1])),
            "cross_class": draw(st.booleans())}


@st.composite
def matrix_nms(draw, awkward):
    return {**candidates_of(draw, awkward, classes=True), "sigma": draw(st.sampled_from([2.0, 0.5])),
            "min_score": draw(MIN_SCORES), "method": draw(st.sampled_from(["gaussian", "linear"]))}


def below(scores, least, strict):
    with np.errstate(invalid="ignore"):
        return (scores <= least if strict else scores < least) | (scores == -np.inf)


def soft_model(case, got, *, inclusive=False, strict=False, ties="low", nan_scores="last", sigma="plain", method=None,
               everywhere=None, filtered="all", output="taken", **sides):
    """Soft-NMS.

    Args:
        inclusive: an IoU equal to the threshold decays.
        strict: a score equal to min_score is dropped.
        ties, nan_scores: as in ``priority``.
        sigma: "deviation": exp(-x^2 / (2 sigma^2)); "double": exp(-x^2 / (2 sigma)).
        method: one whatever is asked.
        everywhere: the linear decay needs no threshold; False: the Gaussian decay has one, too.
        filtered: "all" scores are compared with min_score; "decayed": those that a decay could have touched; "met":
            those of boxes that meet the one taken.
        output: "taken", in that order; "index": by index; "undecayed": the scores that went in.
    """
    boxes = case["boxes"]
    T = np.result_type(boxes, case["scores"]).type
    boxes, scores = boxes.astype(T), case["scores"].astype(T)
    threshold, least = T(case["iou_threshold"]), T(case["min_score"])
    method = method or case["method"]
    matrix = iou_matrix(boxes, boxes, **sides)
    divisor = {"plain": T(case["sigma"]), "double": T(2 * case["sigma"]), "deviation": T(2 * case["sigma"] ** 2)}[sigma]
    keep, taken = [], []
    left = ~below(scores, least, strict) if filtered == "all" else np.ones(len(scores), bool)
    chosen = got[0] if isinstance(got, tuple) else got
    while left.any():
        i = next(i for i in priority(scores, ties, nan_scores, chosen) if left[i])
        keep.append(i)
        taken.append(scores[i])
        left[i] = False
        iou = matrix[i]
        with np.errstate(all="ignore"):
            over = iou >= threshold if inclusive else iou > threshold
            if method == "gaussian":
                weight = np.where((iou > 0) if everywhere is None else over, np.exp(-(iou * iou) / divisor), T(1))
            else:
                decayed = T(1) - iou if method == "linear" else np.zeros_like(iou)
                weight = np.where(over | (everywhere is True and method == "linear"), decayed, T(1))
            scores = np.where(left, scores * weight, scores)
        left &= ~(below(scores, least, strict) & ((iou > 0) | (filtered != "met")))
    keep = np.array(keep, np.int64)
    taken = case["scores"].astype(T)[keep] if output == "undecayed" else np.array(taken, T)
    order = np.argsort(keep) if output == "index" else slice(None)
    return keep[order], taken[order]


PLUS_ONE = SIDES[0]
STRICT = trait("min-score-exceeded", "a score must be above min_score: > instead of >=", strict=True)
HIGH_TIES = trait("ties-high-index", "among equal scores the higher index is taken first", ties="high")
NAN_FIRST = trait("nan-scores-first", "NaN scores sort first", nan_scores="first")
INCLUSIVE = trait("inclusive-threshold", "an IoU equal to the threshold is too much: >= instead of >", inclusive=True)
BY_INDEX = trait("index-order", "the boxes come in the order of their indices", output="index")
UNDECAYED = trait("undecayed-scores", "the scores that went in are returned, not those after the decay",
                  output="undecayed")
ANY_TIES = trait("ties-in-no-order", "equal scores are taken in no fixed order (an unstable sort)", ties="any")
SOFT_NMS = combine(soft_model, (
    *SIDES, INCLUSIVE, STRICT, HIGH_TIES, NAN_FIRST, BY_INDEX, UNDECAYED,
    trait("sigma-is-deviation", "the Gaussian decay is exp(-x^2 / (2 sigma^2)), not exp(-x^2 / sigma)",
          sigma="deviation"),
    trait("sigma-doubled", "the Gaussian decay is exp(-x^2 / (2 sigma)), not exp(-x^2 / sigma)", sigma="double"),
    trait("always-linear", "the linear decay, whatever method says", needs="method", method="linear"),
    trait("always-gaussian", "the Gaussian decay, whatever method says", method="gaussian"),
    trait("always-naive", "plain suppression, whatever method says", method="naive"),
    trait("linear-everywhere", "the linear decay needs no threshold", everywhere=True),
    trait("gaussian-above-threshold", "the Gaussian decay needs an IoU above the threshold", needs="method",
          everywhere=False),
    trait("best-never-dropped", "the scores that come in are not compared with min_score: the first box is always kept",
          filtered="decayed"),
    trait("dropped-where-met", "a score is compared with min_score only when its box meets the one taken",
          filtered="met"),
    ANY_TIES,
))


def fast_model(case, got, *, inclusive=False, ties="low", nan_scores="last", classes=None, top="class", greedy=False,
               output="score", **sides):
    """Fast NMS; ``top`` says where top_k counts: in each "class", "before" the classes are parted, "kept" ones of a
    class, "all" kept ones, or nowhere, "off"."""
    boxes, idxs, top_k = case["boxes"], case["idxs"], case["top_k"]
    across = case["cross_class"] if classes is None else classes == "ignored"
    idxs = np.zeros_like(idxs) if across else idxs
    matrix = iou_matrix(boxes, boxes, **sides)
    threshold = boxes.dtype.type(case["iou_threshold"])
    with np.errstate(invalid="ignore"):
        over = matrix >= threshold if inclusive else matrix > threshold
    order = priority(case["scores"], ties, nan_scores, got)
    order = order[:top_k] if top == "before" else order
    kept = np.zeros(len(boxes), bool)
    for label in np.unique(idxs):
        best = order[idxs[order] == label]
        best = best[:top_k] if top == "class" else best
        if greedy:
            alone = []
            for i in best:
                if not over[alone, i].any():
                    alone.append(i)
            alone = np.array(alone, np.int64)
        else:
            alone = best[~np.triu(over[np.ix_(best, best)], 1).any(axis=0)]
        kept[alone[:top_k] if top == "kept" else alone] = True
    keep = order[kept[order]]
    keep = keep[:top_k] if top == "all" else keep
    if output == "class":
        return keep[np.argsort(case["idxs"][keep], kind="stable")]
    return np.sort(keep) if output == "index" else keep


FAST_NMS = combine(fast_model, (
    *SIDES, INCLUSIVE, HIGH_TIES, NAN_FIRST, BY_INDEX,
    trait("classes-ignored", "boxes of different classes suppress each other, whatever cross_class says",
          classes="ignored"),
    trait("classes-apart", "boxes of different classes never suppress each other, whatever cross_class says",
          needs="cross_class", classes="apart"),
    trait("top-k-of-all", "top_k is taken from all boxes before they are parted by class", top="before"),
    trait("top-k-after", "top_k limits the kept boxes of each class, not those looked at", top="kept"),
    trait("top-k-at-the-end", "top_k limits the kept boxes of all classes together", top="all"),
    trait("top-k-ignored", "every box is looked at, whatever top_k says", needs="top_k", top="off"),
    trait("greedy", "a box that was removed removes no others (greedy suppression)", greedy=True),
    trait("class-order", "the kept boxes come class by class, not in the order of their scores", output="class"),
    ANY_TIES,
))


def matrix_model(case, got, *, strict=False, ties="low", nan_scores="last", sigma="factor", method=None,
                 classes="apart", compensated=True, joined="least", output="decayed", **sides):
    """Matrix NMS; ``joined``: the "least" decay of all better boxes counts, or their "product"."""
    T = np.result_type(case["boxes"], case["scores"]).type
    boxes, scores = case["boxes"].astype(T), case["scores"].astype(T)
    idxs = case["idxs"] if classes == "apart" else np.zeros_like(case["idxs"])
    method = method or case["method"]
    chosen = got[0] if isinstance(got, tuple) else got
    order = priority(scores, ties, nan_scores, chosen)
    matrix = iou_matrix(boxes, boxes, **sides)
    factor = {"factor": T(case["sigma"]), "divisor": T(1) / T(case["sigma"]),
              "deviation": T(0.5) / T(case["sigma"]) ** 2}[sigma]
    decay = np.ones(len(boxes), T)
    for label in np.unique(idxs):
        members = order[idxs[order] == label]
        iou = np.triu(matrix[np.ix_(members, members)], 1)
        own = iou.max(axis=0, initial=0) if compensated else np.zeros(len(members), T)
        for j in range(1, len(members)):
            x, c = iou[:j, j], own[:j]
            with np.errstate(all="ignore"):
                parts = np.exp(-factor * (x * x - c * c)) if method == "gaussian" else (1 - x[c != 1]) / (1 - c[c != 1])
            decay[members[j]] = parts.prod() if joined == "product" else parts.min()
    before = scores
    with np.errstate(all="ignore"):
        scores = scores * decay
    left = ~below(scores, T(case["min_score"]), strict)
    keep = order if output == "before" else priority(scores, ties, nan_scores, chosen)
    keep = keep[left[keep]]
    keep = np.sort(keep) if output == "index" else keep
    return keep, (before if output == "undecayed" else scores)[keep]


MATRIX_NMS = combine(matrix_model, (
    *SIDES, STRICT, HIGH_TIES, NAN_FIRST, BY_INDEX, UNDECAYED,
    trait("uncompensated", "better boxes are not discounted by their own overlaps", compensated=False),
    trait("decays-multiplied", "the decays by all better boxes are multiplied, not the least taken", joined="product"),
    trait("sigma-divides", "the Gaussian decay is exp(-x^2 / sigma), not exp(-sigma x^2)", sigma="divisor"),
    trait("sigma-is-deviation", "the Gaussian decay is exp(-x^2 / (2 sigma^2)), not exp(-sigma x^2)",
          sigma="deviation"),
    trait("always-linear", "the linear decay, whatever method says", method="linear"),
    trait("always-gaussian", "the Gaussian decay, whatever method says", needs="method", method="gaussian"),
    trait("classes-ignored", "boxes of different classes decay each other", classes="ignored"),
    trait("undecayed-order", "the boxes come in the order of the scores that went in", output="before"),
    ANY_TIES,
))
# exp is not roikit's fixed one elsewhere; the corners of rotated boxes are rounded differently by everyone.
_decay_bound = per_dtype(1e-6, 1e-14, relative=True)


OPS = (
    Op("soft_nms", reference.soft_nms, "the linear decay above the threshold alone (>), the Gaussian exp(-x^2 / sigma) "
       "always; below min_score (<) a box is dropped, also before the first decay; in the order in which boxes were "
       "taken, with their scores then", SOFT_NMS, 3, _decay_bound, arguments=soft_nms,
       room="a score decayed by `exp` 1e-6 of itself in float32 and 1e-14 in float64"),
    Op("fast_nms", reference.fast_nms, "a better box of the class suppresses above the threshold (>), be it kept or "
       "not; the top_k best of each class are looked at; result in the order of scores", FAST_NMS, 4,
       arguments=fast_nms),
    Op("matrix_nms", reference.matrix_nms, "the least decay of all better boxes of the class, each discounted by its "
       "own largest overlap; Gaussian exp(-sigma x^2); below min_score (<) a box is dropped; in the order of the "
       "decayed scores", MATRIX_NMS, 3, _decay_bound, arguments=matrix_nms),
)
