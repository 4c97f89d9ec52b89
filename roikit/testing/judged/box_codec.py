"""encode_boxes and decode_boxes: their arguments, their bounds, and what others do."""

import math

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.box_codec import TOLERANCE
from roikit.testing.draws import DTYPES, PLAIN, boxes_of
from roikit.testing.judging import Op
from roikit.testing.variants import combine, rounded_apart, trait

__all__ = ["OPS"]


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


def corners(boxes, plus_one):
    """Centre and size (..., 2) of boxes (..., 4), with legacy sizes where asked."""
    real = boxes.dtype.type
    size = boxes[..., 2:] - boxes[..., :2] + real(plus_one)
    return boxes[..., :2] + real(0.5) * size, size


def encode_model(case, got, *, plus_one=0, inverted=False, unweighted=False, least=None, yx=False, capped=False):
    dtype = np.result_type(case["boxes"], case["anchors"])
    real = dtype.type
    weights = np.ones(4, dtype) if unweighted else np.asarray(case["weights"], dtype)
    weights = 1 / weights if inverted else weights
    with np.errstate(all="ignore"):
        centre, size = corners(case["boxes"].astype(dtype), plus_one)
        middle, side = corners(case["anchors"].astype(dtype), plus_one)
        if least is not None:
            size, side = (np.where(s > real(least), s, real(least)) for s in (size, side))
        growth = np.log(size / side)
        if capped:
            growth = np.minimum(growth, real(np.log(1000 / 16)))
        deltas = np.concatenate([weights[:2] * (centre - middle) / side, weights[2:] * growth], axis=1)
    return deltas[:, [1, 0, 3, 2]] if yx else deltas


WEIGHTED = (
    trait("weights-divide", "weights are standard deviations: encoding divides by them", needs="weights",
          inverted=True),
    trait("weights-ignored", "the weights are ignored", needs="weights", unweighted=True),
    trait("plus-one", "boxes include their last pixel: a side is x2 - x1 + 1", plus_one=1),
    trait("yx-order", "deltas come as dy, dx, dh, dw", yx=True),
)
ENCODE_BOXES = (*combine(encode_model, (
    *WEIGHTED,
    trait("clipped-log", "the logarithms of the sizes are limited to log(1000 / 16)", capped=True),
    *(trait(f"sizes-at-least-{least:g}", f"sides of less than {least:g} count as {least:g}", least=least)
      for least in (1e-6, 1e-5, 1e-3, 1.0)),
)), rounded_apart(reference.encode_boxes))


def decode_model(case, got, *, plus_one=0, inverted=False, unweighted=False, yx=False, clip="above"):
    deltas, dtype = case["deltas"], np.result_type(case["deltas"], case["anchors"])
    real = dtype.type
    weights = np.ones(4, dtype) if unweighted else np.asarray(case["weights"], dtype)
    weights = 1 / weights if inverted else weights
    rows = deltas.astype(dtype).reshape(len(deltas), deltas.shape[1] // 4, 4)
    rows = rows[..., [1, 0, 3, 2]] if yx else rows
    limit = real(np.log(1000 / 16) if clip == "fixed" else case["clip"])
    with np.errstate(all="ignore"):
        centre, size = (part[:, None] for part in corners(case["anchors"].astype(dtype), plus_one))
        if clip == "before":
            rows = np.concatenate([rows[..., :2], np.where(rows[..., 2:] > limit, limit, rows[..., 2:])], axis=-1)
        growth = rows[..., 2:] / weights[2:]
        if clip in ("above", "both", "fixed"):
            growth = np.where(growth > limit, limit, growth)
        if clip == "both":
            growth = np.where(growth < -limit, -limit, growth)
        size_now = np.exp(growth) * size
        middle = (rows[..., :2] / weights[:2]) * size + centre
        boxes = np.concatenate([middle - real(0.5) * size_now, middle + real(0.5) * size_now - real(plus_one)], axis=-1)
    return boxes.reshape(deltas.shape)


DECODE_BOXES = (*combine(decode_model, (
    trait("unclipped", "dw and dh are not limited at all", clip="none"),
    trait("clipped-both-sides", "dw and dh are limited from below, too (mmdet)", clip="both"),
    trait("clipped-before-weights", "dw and dh are limited before they are divided by their weights", clip="before"),
    trait("clip-fixed", "the clip is log(1000 / 16) whatever is asked", needs="clip", clip="fixed"),
    *WEIGHTED)), rounded_apart(reference.decode_boxes))


def _encode_bound(case, expected):
    allowed = TOLERANCE[str(expected.dtype)] * np.abs(expected)
    allowed[:, :2] = 0  # dx and dy are exact
    return allowed


def _decode_bound(case, expected):
    rows = np.abs(expected).reshape(len(expected), expected.shape[1] // 4, 4)
    both = rows[..., :2] + rows[..., 2:]
    return TOLERANCE[str(expected.dtype)] * np.concatenate([both, both], axis=-1).reshape(expected.shape)


OPS = (
    Op("encode_boxes", reference.encode_boxes, "sides are x2 - x1; deltas dx, dy, dw, dh, multiplied by the weights; "
       "nothing is limited", ENCODE_BOXES, 3, _encode_bound, arguments=encode_boxes),
    Op("decode_boxes", reference.decode_boxes, "deltas are divided by the weights, then dw and dh limited from above "
       "only; sides are x2 - x1", DECODE_BOXES, 3, _decode_bound, arguments=decode_boxes),
)
