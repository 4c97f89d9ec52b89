"""The arguments of the ops on rotated boxes; ``arguments`` says what a case is."""

import math

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, PLAIN, SCALES, SIZES, candidates_of, maps_of, threshold_of

__all__ = ["STRATEGIES"]


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


# Without "huge", as for roi_align.
ALIGNED = tuple(kind for kind in some.ROTATED_KINDS if kind != "huge")


@st.composite
def roi_align_rotated(draw, awkward):
    maps = maps_of(draw, awkward)
    image = st.integers(0, len(maps) - 1)
    one = some.rotated_box(ALIGNED if awkward else PLAIN, copies=False)
    rows = draw(st.lists(st.tuples(image, one), min_size=0 if awkward else 1, max_size=3))
    rois = some.as_boxes([(index, *box) for index, box in rows], draw(DTYPES), 6)
    return {"input": maps, "boxes": rois, "output_size": draw(SIZES), "spatial_scale": draw(SCALES),
            "sampling_ratio": draw(st.sampled_from([-1, 2, 1, 3, 0]))}


WEIGHTS = st.sampled_from([(1.0, 1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0, 1.0), (10.0, 20.0, 3.0, 7.0, 2.0)])
CODED = ("grid", "cluster", "thin", "degenerate", "reversed", "nonfinite")


def pairs_of(draw, awkward, other):
    """Rotated anchors, and as many rows of something else."""
    one = some.rotated_box(CODED if awkward else PLAIN, copies=False)
    rows = draw(st.lists(st.tuples(one, other), min_size=0 if awkward else 1, max_size=4))
    return some.as_rotated_boxes([row for row, _ in rows], dtype := draw(DTYPES)), [o for _, o in rows], dtype


@st.composite
def encode_boxes_rotated(draw, awkward):
    anchors, boxes, dtype = pairs_of(draw, awkward, some.rotated_box(CODED if awkward else PLAIN, copies=False))
    return {"boxes": some.as_rotated_boxes(boxes, dtype), "anchors": anchors, "weights": draw(WEIGHTS)}


@st.composite
def decode_boxes_rotated(draw, awkward):
    columns = 5 * draw(st.integers(1, 2))
    number = st.one_of(st.integers(-16, 16), st.sampled_from([-80, 80, 240])).map(lambda i: i / 8)
    number = st.one_of(number, st.just(np.nan)) if awkward else number
    anchors, deltas, dtype = pairs_of(draw, awkward, st.lists(number, min_size=columns, max_size=columns))
    return {"deltas": some.as_boxes(deltas, dtype, columns), "anchors": anchors, "weights": draw(WEIGHTS),
            "clip": draw(st.sampled_from([math.log(1000 / 16), 2.0]))}


@st.composite
def cell_anchors_rotated(draw, awkward):
    def few(*values):
        return draw(st.lists(st.sampled_from(values), min_size=0 if awkward else 1, max_size=3))

    return {"sizes": few(32.0, 8.0, 12.5, 64.0), "aspect_ratios": few(1.0, 0.5, 2.0, 1 / 3),
            "angles": few(0.0, -90.0, 45.0, 30.0, 180.0)}


STRATEGIES = (box_iou_rotated, nms_rotated, batched_nms_rotated, encode_boxes_rotated, decode_boxes_rotated,
              cell_anchors_rotated, roi_align_rotated)
