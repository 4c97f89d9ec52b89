"""match_boxes: its arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing.draws import DTYPES, boxes_of, threshold_of
from roikit.testing.judged._overlap import DIVISION, LOOSE, SIDES, iou_matrix
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


@st.composite
def match_boxes(draw, awkward):
    dtype = draw(DTYPES)
    anchors, gt_boxes = boxes_of(draw, awkward, dtype), boxes_of(draw, awkward, dtype, max_size=4)
    iou = reference.box_iou(anchors, gt_boxes)
    low, high = sorted(threshold_of(draw, awkward, iou) for _ in range(2))
    return {"anchors": anchors, "gt_boxes": gt_boxes, "high": high, "low": low,
            "allow_low_quality": draw(st.booleans())}


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


OPS = (
    Op("match_boxes", reference.match_boxes, "thresholds are reached (>=); the lower index among equal IoUs; a ground "
       "truth that no anchor touches promotes none; promoted anchors keep their own best", MATCH_BOXES, 4,
       arguments=match_boxes),
)
