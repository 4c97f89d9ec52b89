"""nms, batched_nms and nms_padded: their arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing.draws import candidates_of, threshold_of
from roikit.testing.judged._overlap import LOOSE, SIDES, iou_matrix
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


@st.composite
def nms(draw, awkward, classes=False):
    case = candidates_of(draw, awkward, classes=classes)
    iou = np.triu(reference.box_iou(case["boxes"], case["boxes"]), 1)
    return {**case, "iou_threshold": threshold_of(draw, awkward, iou)}


@st.composite
def batched_nms(draw, awkward):
    return draw(nms(awkward, classes=True))


@st.composite
def nms_padded(draw, awkward):
    return {**draw(nms(awkward)), "max_output": draw(st.integers(0 if awkward else 1, 5))}


def priority(scores, ties, nan_scores, got):
    """Indices in the order in which boxes are taken."""
    place = np.full(len(scores), len(scores), np.int64)
    if ties == "any" and isinstance(got, np.ndarray) and got.dtype.kind in "iu" and got.ndim == 1:
        known = got[(got >= 0) & (got < len(scores))]
        place[known] = np.arange(len(known))
    index = np.arange(len(scores))
    tie = {"low": index, "high": -index, "any": place}[ties]
    missing = np.isnan(scores)
    value = np.where(missing, 0, -scores)
    return np.lexsort((index, tie, value, missing if nan_scores == "last" else ~missing))


def suppress(boxes, scores, idxs, threshold, got, *, inclusive=False, ties="low", nan_scores="last", nan_boxes="kept",
             output="score", chained=False, precise=False, near=False, overlap=iou_matrix, **sides):
    """Greedy suppression with every habit that we have met.

    Args:
        inclusive: an IoU equal to the threshold suppresses.
        ties: among equal scores the "low" or the "high" index is first, or "any" order will do: if some order of equal
            scores explains ``got``, the one that puts what was kept first does.
        nan_scores: "last" or "first".
        nan_boxes: "kept"; "suppressed": what is not comparable suppresses; "dropped": never kept.
        output: in the order of "score" or of "index", or "class" by class.
        chained: a box that was itself removed removes others, as in Fast NMS.
        precise: the threshold is not rounded to the dtype of the boxes.
        near: an IoU within 1e-5 of the threshold falls either way: if some way explains ``got``, that one.
        overlap: the IoU of boxes (N, M).
        sides: options of ``overlap``.
    """
    limit = np.float64(threshold) if precise else boxes.dtype.type(threshold)
    if nan_boxes == "suppressed":
        sides = {**sides, "empty": "nan"}
    matrix = overlap(boxes, boxes, **sides)
    matrix = matrix.astype(np.float64) if precise else matrix
    with np.errstate(invalid="ignore"):
        hit = ~(matrix <= limit) if nan_boxes == "suppressed" else matrix > limit
        if inclusive:
            hit |= matrix == limit
        if near and isinstance(got, np.ndarray):
            hit = np.where(np.abs(matrix - limit) <= 1e-5, ~np.isin(np.arange(len(boxes)), got), hit)
    order = priority(scores, ties, nan_scores, got)
    removed = ~np.isfinite(boxes).all(axis=1) if nan_boxes == "dropped" else np.zeros(len(boxes), bool)
    dropped = removed.copy()
    keep = []
    later = np.ones(len(boxes), bool)
    for i in order:
        later[i] = False
        if not removed[i]:
            keep.append(i)
        if (not removed[i] or chained) and not dropped[i]:
            removed |= hit[i] & (idxs == idxs[i]) & later
    keep = np.array(keep, np.int64)
    if output == "index":
        return np.sort(keep)
    return keep[np.argsort(idxs[keep], kind="stable")] if output == "class" else keep


def nms_model(case, got, **flags):
    return suppress(case["boxes"], case["scores"], np.zeros(len(case["boxes"]), np.int64), case["iou_threshold"], got,
                    **flags)


RULES = (
    trait("inclusive-threshold", "a box is suppressed at an IoU equal to the threshold: >= instead of >",
          inclusive=True),
    trait("ties-high-index", "among equal scores the higher index is taken first", ties="high"),
    trait("nan-scores-first", "NaN scores sort first", nan_scores="first"),
    trait("nan-suppresses", "an IoU that is NaN (empty or NaN boxes) suppresses", nan_boxes="suppressed"),
    trait("nan-boxes-dropped", "boxes with NaN or infinite coordinates are never kept", nan_boxes="dropped"),
    trait("index-order", "the kept boxes come in the order of their indices, not of their scores", output="index"),
    trait("removed-boxes-remove", "a box that was removed removes others all the same (Fast NMS)", chained=True),
)
# Last: it explains whatever a fixed order of ties explains.
ANY_TIES = trait("ties-in-no-order", "equal scores are taken in no fixed order (an unstable sort)", ties="any")
GREEDY = (
    *SIDES, *RULES,
    trait("threshold-in-double", "the threshold is compared in double, not rounded to the dtype of the boxes",
          precise=True),
    LOOSE, ANY_TIES,
)
NMS = combine(nms_model, GREEDY)


def reach_of(boxes, classes):
    """How far the classes are moved apart for each unit of their index."""
    real = boxes.dtype.type
    return boxes.max() + real(1) if classes == "max" else (boxes.max() - boxes.min()) + real(1)


def batched_model(case, got, *, classes="apart", reach=reach_of, places=4, **flags):
    """Suppression by class; the first ``places`` columns of a box move with it."""
    boxes, idxs = case["boxes"], case["idxs"]
    if classes == "ignored":
        idxs = np.zeros_like(idxs)
    elif classes != "apart" and len(boxes):
        with np.errstate(all="ignore"):
            moved = boxes[:, :places] + (idxs.astype(boxes.dtype) * reach(boxes, classes))[:, None]
        boxes, idxs = np.concatenate([moved, boxes[:, places:]], axis=1), np.zeros_like(idxs)
    return suppress(boxes, case["scores"], idxs, case["iou_threshold"], got, **flags)


CLASSES = (
    trait("offset-trick", "classes are moved apart by class * (largest coordinate + 1): wrong with negative "
          "coordinates, and it rounds the boxes", classes="max"),
    trait("offset-trick-range", "classes are moved apart by class * (max - min + 1): it rounds the boxes",
          classes="range"),
    trait("classes-ignored", "boxes of different classes suppress each other", classes="ignored"),
    trait("class-order", "the kept boxes come class by class, not in the order of their scores", output="class"),
)
BATCHED_NMS = combine(batched_model, (*CLASSES, *GREEDY))


def padded_model(case, got, *, pad=-1, first=False, **flags):
    boxes, scores, most = case["boxes"], case["scores"], case["max_output"]
    count = len(boxes)
    if isinstance(got, tuple) and len(got) == 2 and np.ndim(got[1]) == 0 and np.ndim(got[0]) == 1:
        got = got[0][: int(got[1])]
    looked = priority(scores, flags.get("ties", "low"), flags.get("nan_scores", "last"), got)
    looked = np.sort(looked[:most]) if first else np.arange(count)
    place = np.full(count + 1, -1, np.int64)
    place[looked] = np.arange(len(looked))
    if isinstance(got, np.ndarray) and got.dtype.kind in "iu":
        got = place[got[(got >= 0) & (got < count)]]
    kept = looked[suppress(boxes[looked], scores[looked], np.zeros(len(looked), np.int64), case["iou_threshold"], got,
                           **flags)][:most]
    keep = np.full(most, kept[-1] if pad == "last" and len(kept) else 0 if pad == "last" else pad, np.int64)
    keep[: len(kept)] = kept
    return keep, np.array(len(kept))


NMS_PADDED = combine(padded_model, (
    trait("padded-with-0", "the result is padded with 0, not with -1", pad=0),
    trait("padded-with-last", "the result is padded with the last kept box, not with -1", pad="last"),
    trait("limit-first", "only the max_output best boxes are looked at", first=True),
    *GREEDY))


OPS = (
    Op("nms", reference.nms, "sides are x2 - x1; an IoU equal to the threshold does not suppress (>); equal scores by "
       "lower index; NaN scores last; NaN boxes are kept; result in the order of scores", NMS, 3, arguments=nms),
    Op("batched_nms", reference.batched_nms, "classes never touch each other, whatever the coordinates (no offset "
       "trick); an IoU equal to the threshold does not suppress (>); equal scores by lower index; result in the order "
       "of scores", BATCHED_NMS, 4, arguments=batched_nms),
    Op("nms_padded", reference.nms_padded, "nms; the first max_output of its result, padded with -1, and their number",
       NMS_PADDED, 4, arguments=nms_padded),
)
