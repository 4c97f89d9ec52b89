"""The arguments of the ops on boxes; ``arguments`` says what a case is."""

import math

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, PLAIN, boxes_of, candidates_of, threshold_of

__all__ = ["STRATEGIES"]


@st.composite
def cell_anchors(draw, awkward):
    few = st.integers(0 if awkward else 1, 3)
    size = st.one_of(st.integers(1, 40), st.integers(1, 160).map(lambda i: i / 4))
    ratio = st.sampled_from([1.0, 0.5, 2.0, 0.25, 4.0, 1 / 3])
    sizes, ratios = (draw(st.lists(one, min_size=(n := draw(few)), max_size=n)) for one in (size, ratio))
    return {"sizes": sizes, "aspect_ratios": ratios, "rounded": draw(st.booleans()),
            "order": draw(st.sampled_from(["ratio", "size"]))}


@st.composite
def grid_anchors(draw, awkward):
    side = st.integers(0 if awkward else 1, 4)
    stride = draw(st.one_of(st.sampled_from([1, 8]), st.tuples(st.sampled_from([4, 16]), st.sampled_from([8, 5]))))
    cell = boxes_of(draw, awkward, draw(DTYPES), max_size=3, kinds=some.ORDINARY if awkward else PLAIN)
    return {"cell_anchors": cell, "feature_size": (draw(side), draw(side)), "stride": stride,
            "offset": draw(st.sampled_from([0.0, 0.5, 0.3]))}


@st.composite
def box_area(draw, awkward):
    return {"boxes": boxes_of(draw, awkward, draw(DTYPES))}


@st.composite
def box_iou(draw, awkward):
    dtype = draw(DTYPES)
    return {"boxes1": boxes_of(draw, awkward, dtype), "boxes2": boxes_of(draw, awkward, dtype)}


@st.composite
def nms(draw, awkward, classes=False):
    case = candidates_of(draw, awkward, classes=classes)
    iou = np.triu(reference.box_iou(case["boxes"], case["boxes"]), 1)
    return {**case, "iou_threshold": threshold_of(draw, awkward, iou)}


@st.composite
def batched_nms(draw, awkward):
    return draw(nms(awkward, classes=True))


@st.composite
def match_boxes(draw, awkward):
    dtype = draw(DTYPES)
    anchors, gt_boxes = boxes_of(draw, awkward, dtype), boxes_of(draw, awkward, dtype, max_size=4)
    iou = reference.box_iou(anchors, gt_boxes)
    low, high = sorted(threshold_of(draw, awkward, iou) for _ in range(2))
    return {"anchors": anchors, "gt_boxes": gt_boxes, "high": high, "low": low,
            "allow_low_quality": draw(st.booleans())}


WEIGHTS = st.sampled_from([(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0), (10.0, 20.0, 3.0, 7.0)])


@st.composite
def encode_boxes(draw, awkward):
    dtype = draw(DTYPES)
    kinds = (*PLAIN, "degenerate", "reversed", "nonfinite") if awkward else PLAIN
    boxes = boxes_of(draw, awkward, dtype, kinds=kinds) * dtype(draw(st.sampled_from([1, 1, 128])))
    anchors = boxes_of(draw, awkward, dtype, n=len(boxes), kinds=kinds)
    return {"boxes": boxes, "anchors": anchors, "weights": draw(WEIGHTS)}


@st.composite
def decode_boxes(draw, awkward):
    dtype = draw(DTYPES)
    anchors = boxes_of(draw, awkward, dtype, kinds=(*PLAIN, "degenerate", "reversed") if awkward else PLAIN)
    classes = draw(st.integers(1, 2))
    eighths = st.one_of(st.integers(-16, 16), st.sampled_from([-80, 80, 240])).map(lambda i: i / 8)
    number = st.one_of(eighths, st.just(np.nan)) if awkward else eighths
    deltas = draw(st.lists(st.lists(number, min_size=4 * classes, max_size=4 * classes), min_size=len(anchors),
                           max_size=len(anchors)))
    return {"deltas": np.array(deltas, dtype).reshape(len(anchors), 4 * classes), "anchors": anchors,
            "weights": draw(WEIGHTS), "clip": draw(st.sampled_from([math.log(1000 / 16), 2.0]))}


# relatives and forms of boxes

@st.composite
def generalized_box_iou(draw, awkward):
    return draw(box_iou(awkward))


@st.composite
def distance_box_iou(draw, awkward):
    return {**draw(box_iou(awkward)), "eps": draw(st.sampled_from([1e-7, 1e-7, 0.25]))}


@st.composite
def complete_box_iou(draw, awkward):
    return draw(distance_box_iou(awkward))


@st.composite
def box_convert(draw, awkward):
    forms = st.sampled_from(["xyxy", "xywh", "cxcywh"])
    return {"boxes": boxes_of(draw, awkward, draw(DTYPES)), "in_fmt": draw(forms), "out_fmt": draw(forms)}


@st.composite
def clip_boxes_to_image(draw, awkward):
    side = st.integers(0 if awkward else 1, 16)
    return {"boxes": boxes_of(draw, awkward, draw(DTYPES)), "size": (draw(side), draw(side))}


@st.composite
def remove_small_boxes(draw, awkward):
    return {"boxes": boxes_of(draw, awkward, draw(DTYPES)),
            "min_size": draw(st.sampled_from([1.0, 2.0, 4.0, 5.0, 1.25, *([0.0, 1e-3] if awkward else [])]))}


@st.composite
def masks_to_boxes(draw, awkward):
    side = st.integers(0 if awkward else 1, 9)
    masks = draw(some.bitmaps(n=None if awkward else draw(st.integers(1, 3)), size=(draw(side), draw(side)),
                              dtype=draw(st.sampled_from([np.bool_, np.uint8]))))
    if not awkward:  # an empty mask has no box
        masks[:, draw(st.integers(0, masks.shape[1] - 1)), draw(st.integers(0, masks.shape[2] - 1))] = 1
    return {"masks": masks, "inclusive": draw(st.booleans())}


# more suppression

@st.composite
def nms_padded(draw, awkward):
    return {**draw(nms(awkward)), "max_output": draw(st.integers(0 if awkward else 1, 5))}


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


MIN_SCORES = st.sampled_from([1e-3, 0.25, 0.5])  # scores of the grid reach them exactly

STRATEGIES = (cell_anchors, grid_anchors, box_area, box_iou, generalized_box_iou, distance_box_iou, complete_box_iou,
              box_convert, clip_boxes_to_image, remove_small_boxes, masks_to_boxes, encode_boxes, decode_boxes,
              match_boxes, nms, batched_nms, nms_padded, soft_nms, fast_nms, matrix_nms)
