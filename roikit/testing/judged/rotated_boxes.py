"""Rotated boxes made and moved: their arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, PLAIN
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


@st.composite
def min_area_boxes(draw, awkward):
    return {"masks": draw(some.bitmaps(n=draw(st.integers(1, 3)), size=(draw(st.integers(2, 12)),
                                                                       draw(st.integers(2, 12)))))}


def boxes_of(draw, awkward):
    kinds = some.ROTATED_KINDS if awkward else PLAIN
    rows = draw(st.lists(some.rotated_box(kinds, copies=False), min_size=0 if awkward else 1, max_size=4))
    return some.as_rotated_boxes(rows, draw(DTYPES))


@st.composite
def flip_boxes_rotated(draw, awkward):
    return {"boxes": boxes_of(draw, awkward), "size": (draw(st.integers(1, 40)), draw(st.integers(1, 40))),
            "direction": draw(st.sampled_from(["horizontal", "vertical"]))}


@st.composite
def rotate_boxes_rotated(draw, awkward):
    return {"boxes": boxes_of(draw, awkward), "degrees": draw(st.sampled_from([30.0, 90.0, -45.0, 170.0, 33.3])),
            "center": (draw(st.integers(0, 9)) / 2, draw(st.integers(0, 9)) / 2)}


def smallest_model(case, got, *, range90="signed", sense=1, unit="degrees", first="long"):
    boxes = reference.min_area_boxes(case["masks"], dtype=np.float64)
    if first == "short":
        boxes[:, 2:4] = boxes[:, [3, 2]]
    boxes[:, 4] *= sense * (np.pi / 180 if unit == "radians" else 1)
    if range90 == "positive":
        boxes[:, 4] = np.where(boxes[:, 4] < 0, boxes[:, 4] + 180, boxes[:, 4])
    return boxes.astype(np.float32)


MIN_AREA_BOXES = combine(smallest_model, (
    trait("clockwise", "angles are clockwise", sense=-1),
    trait("radians", "angles are radians", unit="radians"),
    trait("height-first", "the shorter side comes first", first="short"),
    trait("angles-positive", "angles lie in [0, 180)", range90="positive"),
))


def flip_model(case, got, *, angle="turned", minus=0):
    boxes = reference.flip_boxes_rotated(case["boxes"], [n - minus for n in case["size"]], case["direction"])
    if angle == "kept":
        with np.errstate(all="ignore"):
            boxes[:, 4] = case["boxes"][:, 4]
    return boxes


FLIP_BOXES_ROTATED = combine(flip_model, (
    trait("angle-kept", "the angle stays as it is", angle="kept"),
    trait("minus-one", "the mirror lies at (W - 1) / 2: pixels are points", minus=1),
))


def rotate_model(case, got, *, sense=1, unit="degrees", swapped=False):
    degrees = sense * case["degrees"] * (180 / np.pi if unit == "radians" else 1)
    center = case["center"][::-1] if swapped else case["center"]
    return reference.rotate_boxes_rotated(case["boxes"], degrees, center)


ROTATE_BOXES_ROTATED = combine(rotate_model, (
    trait("clockwise", "the image is turned clockwise", sense=-1),
    trait("radians", "the angle is taken for radians", unit="radians"),
    trait("center-swapped", "the centre is taken as (y, x)", swapped=True),
))


OPS = (
    Op("min_area_boxes", reference.min_area_boxes, "w is the longer side, degrees counter-clockwise in [-90, 90); "
       "pixels cover [x, x + 1) x [y, y + 1)", MIN_AREA_BOXES, 1, arguments=min_area_boxes),
    Op("flip_boxes_rotated", reference.flip_boxes_rotated, "cx becomes W - cx, the angle its negative",
       FLIP_BOXES_ROTATED, 3, arguments=flip_boxes_rotated),
    Op("rotate_boxes_rotated", reference.rotate_boxes_rotated, "degrees counter-clockwise about (x, y); angles in "
       "[-180, 180)", ROTATE_BOXES_ROTATED, 3, arguments=rotate_boxes_rotated),
)
