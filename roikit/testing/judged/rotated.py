"""box_iou_rotated and suppression of rotated boxes: their arguments, their bound, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, PLAIN, candidates_of, threshold_of
from roikit.testing.judged._overlap import iou_matrix
from roikit.testing.judged.nms import ANY_TIES, CLASSES, RULES, batched_model, suppress
from roikit.testing.judging import Op, per_dtype
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


@st.composite
def box_iou_rotated(draw, awkward):
    one = some.rotated_box() if awkward else some.rotated_box(PLAIN, copies=False)
    least = draw(st.sampled_from([0 if awkward else 1, 4, 6]))
    rows = draw(st.lists(st.tuples(one, st.booleans()), min_size=least, max_size=7))
    boxes = some.as_rotated_boxes([row for row, _ in rows], draw(DTYPES))
    second = np.array([second for _, second in rows], bool)  # a copy may be in the other argument
    return {"boxes1": boxes[~second], "boxes2": boxes[second]}


@st.composite
def nms_rotated(draw, awkward, classes=False):
    case = candidates_of(draw, awkward, max_size=6, classes=classes, rotated=True)
    iou = np.triu(reference.box_iou_rotated(case["boxes"], case["boxes"]), 1)
    return {**case, "iou_threshold": threshold_of(draw, awkward, iou)}


@st.composite
def batched_nms_rotated(draw, awkward):
    return draw(nms_rotated(awkward, classes=True))


def as_degrees(boxes, unit="degrees", sense=1, first="width", angle="used"):
    """Boxes of another convention as the reference's, float64."""
    out = boxes.astype(np.float64)
    if first == "height":
        out[:, 2:4] = out[:, [3, 2]]
    with np.errstate(all="ignore"):
        out[:, 4] *= sense * (180 / np.pi if unit == "radians" else 1)
    if angle == "ignored":
        out[:, 4] *= 0  # NaN stays
    return out


def hull_of(boxes):
    """The smallest upright boxes x1 y1 x2 y2 around rotated ones."""
    x, y, w, h, degrees = boxes.T
    with np.errstate(all="ignore"):
        c, s = np.abs(np.cos(np.radians(degrees))), np.abs(np.sin(np.radians(degrees)))
        dx, dy = (c * w + s * h) / 2, (s * w + c * h) / 2
        hull = np.stack([x - dx, y - dy, x + dx, y + dy], axis=1)
    return np.where(((w > 0) & (h > 0))[:, None], hull, np.nan)


def overlap(a, b, *, hull=False, sides="signed", least=0.0, over_first=False, empty="zero", **convention):
    """IoU (N, M) of rotated boxes.

    Args:
        hull: the IoU of the upright boxes around them.
        sides: "absolute": of w and h the sign is dropped; "product": where both are negative.
        least: a box of a smaller area has IoU 0 with everything.
        over_first: the intersection is divided by the area of the first box.
        empty: "nan": the IoU with a box that has NaN or infinities, or of two empty boxes, is NaN.
        convention: of ``as_degrees``.
    """
    dtype = np.result_type(a, b)
    a, b = (as_degrees(c, **convention) for c in (a, b))
    if sides != "signed":
        for c in (a, b):
            drop = np.ones(len(c), bool) if sides == "absolute" else (c[:, 2] < 0) & (c[:, 3] < 0)
            c[drop, 2:4] = np.abs(c[drop, 2:4])
    iou = iou_matrix(hull_of(a), hull_of(b)) if hull else reference.box_iou_rotated(a, b)
    with np.errstate(all="ignore"):
        areas = a[:, 2, None] * a[:, 3, None], b[None, :, 2] * b[None, :, 3]
        iou = np.where((areas[0] < least) | (areas[1] < least), 0, iou)
        if over_first:
            iou = np.where(iou > 0, iou * (areas[0] + areas[1]) / (1 + iou) / areas[0], 0)
        if empty == "nan":
            spoilt = [~np.isfinite(c).all(axis=1) for c in (a, b)]
            none = (areas[0] + areas[1] == 0) & (iou == 0)
            iou = np.where(spoilt[0][:, None] | spoilt[1] | none, np.nan, iou)
        return iou.astype(dtype)


def iou_model(case, got, **flags):
    return overlap(case["boxes1"], case["boxes2"], **flags)


ANGLES = (
    trait("radians", "the angle is in radians", unit="radians"),
    trait("clockwise", "the angle is clockwise as seen on an image", sense=-1),
    trait("angle-ignored", "the angle does not count: boxes are upright", angle="ignored"),
    trait("height-first", "a box is cx, cy, h, w and the angle", first="height"),
)
OVERLAP = (
    *ANGLES,
    trait("upright-hull", "the IoU is that of the upright boxes around the rotated ones", hull=True),
    trait("sides-absolute", "the sign of w and h is dropped: a reversed box has an area", sides="absolute"),
    trait("sides-multiplied", "a box with both w and h negative has an area", sides="product"),
)
BOX_IOU_ROTATED = combine(iou_model, (
    *OVERLAP,
    trait("tiny-is-empty", "a box with an area below 1e-14 has IoU 0", least=1e-14),
    trait("over-first", "the intersection is divided by the area of the first box", over_first=True),
    trait("nan-iou", "the IoU of empty, NaN and infinite boxes is NaN where the division says so, not 0", empty="nan"),
))


def nms_model(case, got, **flags):
    return suppress(case["boxes"], case["scores"], np.zeros(len(case["boxes"]), np.int64), case["iou_threshold"], got,
                    **{"overlap": overlap, **flags})


NEAR = trait("threshold-by-rounding", "an IoU within 1e-5 of the threshold falls either way, by rounding", near=True)
NMS_ROTATED = combine(nms_model, (*OVERLAP, *RULES, NEAR, ANY_TIES))


def reach_of(boxes, classes):
    """mmcv's and detectron2's offset for each unit of a class."""
    real = boxes.dtype.type
    if classes == "max":
        return boxes[:, :2].max() + boxes[:, 2:4].max() + real(1)
    half = boxes[:, 2:4].max(axis=1) / real(2)
    return ((boxes[:, :2].max(axis=1) + half).max() - (boxes[:, :2].min(axis=1) - half).min()) + real(1)


def batched_rotated_model(case, got, **flags):
    return batched_model(case, got, **{"overlap": overlap, "reach": reach_of, "places": 2, **flags})


BATCHED_NMS_ROTATED = combine(batched_rotated_model, (*CLASSES, *OVERLAP, *RULES, NEAR, ANY_TIES))
_rotated_bound = per_dtype(1e-5, 1e-9)


OPS = (
    Op("box_iou_rotated", reference.box_iou_rotated, "cx, cy, w, h and degrees counter-clockwise; an empty, reversed, "
       "NaN or infinite box has IoU 0", BOX_IOU_ROTATED, 2, _rotated_bound, arguments=box_iou_rotated,
       room="an IoU of rotated boxes 1e-5 in float32 and 1e-9 in float64"),
    Op("nms_rotated", reference.nms_rotated, "box_iou_rotated's conventions, and nms's", NMS_ROTATED, 3,
       arguments=nms_rotated),
    Op("batched_nms_rotated", reference.batched_nms_rotated, "box_iou_rotated's conventions, and batched_nms's",
       BATCHED_NMS_ROTATED, 4, arguments=batched_nms_rotated),
)
