"""What others do in box_area, box_iou, nms and its relatives, and match_boxes."""

import numpy as np

from roikit import reference
from roikit.testing.variants import combine, rounded_apart, trait

__all__ = ["BATCHED_NMS", "BOX_AREA", "BOX_IOU", "MATCH_BOXES", "NMS", "NMS_PADDED"]


def iou_matrix(a, b, *, plus_one=False, sort=False, signed=False, loose=False, empty="zero"):
    """IoU (N, M) in the dtype of the boxes.

    Args:
        plus_one: sides are x2 - x1 + 1.
        sort: the corners of a reversed box are put in order first.
        signed: the sides of a reversed box are multiplied as they are for its area.
        loose: the sides of the intersection are not limited to 0 from below.
        empty: what 0 / 0 and NaN become: "zero", "nan", or "eps": the union is at least 1e-6.
    """
    dtype = np.result_type(a, b)
    real = dtype.type
    a, b = a.astype(dtype)[:, None], b.astype(dtype)[None]
    one = real(1 if plus_one else 0)
    if sort:
        a, b = (np.concatenate([np.minimum(c[..., :2], c[..., 2:]), np.maximum(c[..., :2], c[..., 2:])], axis=-1)
                for c in (a, b))

    def side(low, high, free=False):
        length = high - low + one
        return length if free else np.where(length < 0, real(0), length)

    def area(box):
        return side(box[..., 0], box[..., 2], signed) * side(box[..., 1], box[..., 3], signed)

    with np.errstate(all="ignore"):
        corners = np.where(a > b, a, b), np.where(a < b, a, b)
        inter = (side(corners[0][..., 0], corners[1][..., 2], loose)
                 * side(corners[0][..., 1], corners[1][..., 3], loose))
        union = (area(a) + area(b)) - inter
        if empty == "eps":
            union = np.where(union > real(1e-6), union, real(1e-6))
        quotient = inter / union
    if empty == "nan":
        return quotient
    return np.where((union > 0) & ~np.isnan(quotient), quotient, real(0))


SIDES = (
    trait("plus-one", "boxes include their last pixel: a side is x2 - x1 + 1", plus_one=True),
    trait("corners-sorted", "the corners of a reversed box are put in order: it has an area and overlaps", sort=True),
)
DIVISION = (
    trait("nan-iou", "the IoU of empty, NaN and infinite boxes is NaN where the division says so, not 0", empty="nan"),
    trait("nan-iou-signed-areas", "the IoU is NaN where the division gives NaN, and reversed boxes have the area of "
          "their sides multiplied as they are (torchvision)", empty="nan", signed=True),
    trait("eps-union", "the union is kept above 1e-6 instead of 0 / 0 being 0", empty="eps"),
)
LOOSE = trait("loose-intersection", "the sides of an intersection are not limited to 0: boxes apart on both axes "
              "overlap", loose=True)


def area_model(case, got, *, plus_one=False, signs="zero"):
    boxes = case["boxes"]
    with np.errstate(all="ignore"):
        sides = boxes[:, 2:] - boxes[:, :2] + boxes.dtype.type(plus_one)
        sides = {"zero": np.where(sides < 0, boxes.dtype.type(0), sides), "kept": sides, "lost": np.abs(sides)}[signs]
        return sides[:, 0] * sides[:, 1]


BOX_AREA = (*combine(area_model, (
    SIDES[0],
    trait("signed-sides", "the sides of a reversed box are multiplied as they are: its area may be negative, or "
          "positive if both are reversed", signs="kept"),
    trait("corners-sorted", "a reversed box has the area of the box with its corners in order", signs="lost"),
)), rounded_apart(reference.box_area))


def box_iou_model(case, got, *, over_first=False, **flags):
    if not over_first:
        return iou_matrix(case["boxes1"], case["boxes2"], **flags)
    a, b = case["boxes1"], case["boxes2"]
    dtype = np.result_type(a, b)
    area = reference.box_area(a.astype(dtype))[:, None]
    with np.errstate(all="ignore"):
        low = np.maximum(a.astype(dtype)[:, None, :2], b[None, :, :2])
        size = np.maximum(np.minimum(a.astype(dtype)[:, None, 2:], b[None, :, 2:]) - low, 0)
        return np.where(area > 0, size[..., 0] * size[..., 1] / area, 0).astype(dtype)


BOX_IOU = (*combine(box_iou_model, (*SIDES, *DIVISION, LOOSE,
                                    trait("over-first", "the intersection is divided by the area of the first box",
                                          alone=True, over_first=True))),
           rounded_apart(reference.box_iou))


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


def match_model(case, got, *, strict="", ties="low", zero=False, reassign=False, low_quality=None, above=False,
                **sides):
    """Matching; ``strict`` names the thresholds that equality does not reach."""
    anchors, gt = case["anchors"], case["gt_boxes"]
    matrix = iou_matrix(anchors, gt, **sides)
    high, low = matrix.dtype.type(case["high"]), matrix.dtype.type(case["low"])
    if len(gt) == 0:
        return tuple(np.full(len(anchors), value, dtype)
                     for value, dtype in ((-1, np.int64), (0, np.int8), (0, matrix.dtype)))
    last = matrix.shape[1] - 1
    index = matrix.argmax(axis=1) if ties == "low" else last - matrix[:, ::-1].argmax(axis=1)
    iou = np.take_along_axis(matrix, index[:, None], axis=1)[:, 0]
    with np.errstate(invalid="ignore"):
        positive = iou > high if "high" in strict else iou >= high
        ignored = iou > low if "low" in strict else iou >= low
        label = np.where(positive, 1, np.where(ignored, -1, 0)).astype(np.int8)
        if (case["allow_low_quality"] if low_quality is None else low_quality) and len(anchors):
            best = matrix.max(axis=0)
            chosen = (matrix == best) & ((best > 0) | zero)
            if above:
                chosen &= best >= low
            label[chosen.any(axis=1)] = 1
            if reassign:
                for g in range(len(gt)):
                    index[chosen[:, g]] = g
                    iou[chosen[:, g]] = best[g]
    return index.astype(np.int64), label, iou


MATCH_BOXES = combine(match_model, (
    *SIDES,
    trait("strict-high", "an anchor is positive above the high threshold: > instead of >=", strict="high"),
    trait("strict-low", "an anchor is ignored above the low threshold: > instead of >=", strict="low"),
    trait("strict-thresholds", "both thresholds are exceeded, not reached: > instead of >=", strict="high low"),
    trait("ties-high-index", "among equal IoUs the ground truth of the higher index is taken", ties="high"),
    trait("zero-promotes", "a ground truth that no anchor touches makes every anchor of IoU 0 with it positive",
          zero=True),
    trait("low-quality-reassigned", "an anchor made positive by a ground truth is given to that ground truth, not to "
          "its own best", reassign=True),
    trait("low-quality-above-low", "a ground truth promotes its best anchor only from the low threshold on",
          above=True),
    trait("low-quality-always", "allow_low_quality is always on", needs="allow_low_quality", low_quality=True),
    trait("low-quality-never", "no anchor is made positive for being a ground truth's best", low_quality=False),
    *DIVISION, LOOSE))
