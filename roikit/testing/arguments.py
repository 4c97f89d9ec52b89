"""Whole calls: a hypothesis strategy for the arguments of each op, named and in order.

Ordinary cases keep to what every implementation is made for: at least one box, all of them of whole or quarter
coordinates and with an area, finite numbers. Awkward ones may also have empty, reversed, huge, NaN and infinite boxes,
NaN and infinite scores, and no boxes at all.
"""

import math

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference import rle
from roikit.testing import strategies as some

__all__ = ["cases"]

PLAIN = ("grid", "cluster")
DTYPES = st.sampled_from([np.float32, np.float32, np.float64])
SIZES = st.sampled_from([1, 2, 3, (2, 3), (1, 2)])
SCALES = st.sampled_from([1.0, 0.5, 0.25, 1 / 3])


def _boxes(draw, awkward, dtype, n=None, max_size=5, kinds=None):
    if n is None and not awkward:
        n = draw(st.integers(1, max_size))
    kinds = kinds or (some.KINDS if awkward else PLAIN)
    return draw(some.boxes(n=n, dtype=dtype, kinds=kinds, max_size=max_size))


def _rois(draw, awkward, images, max_size=3, kinds=some.KINDS):
    n = None if awkward else draw(st.integers(1, max_size))
    return draw(some.rois(images, n=n, kinds=kinds if awkward else PLAIN, max_size=max_size, as_list=False))


def _maps(draw, awkward, least=1, **options):
    low = 0 if awkward and draw(st.integers(0, 9)) == 9 else least
    shape = (draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(low, 9)), draw(st.integers(low, 9)))
    return draw(some.feature_maps(shape, **options))


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
    cell = _boxes(draw, awkward, draw(DTYPES), max_size=3, kinds=some.ORDINARY if awkward else PLAIN)
    return {"cell_anchors": cell, "feature_size": (draw(side), draw(side)), "stride": stride,
            "offset": draw(st.sampled_from([0.0, 0.5, 0.3]))}


@st.composite
def box_area(draw, awkward):
    return {"boxes": _boxes(draw, awkward, draw(DTYPES))}


@st.composite
def box_iou(draw, awkward):
    dtype = draw(DTYPES)
    return {"boxes1": _boxes(draw, awkward, dtype), "boxes2": _boxes(draw, awkward, dtype)}


def _scores(draw, awkward, n, dtype):
    return draw(some.scores(n, dtype, awkward=awkward))


def _threshold(draw, awkward, boxes, others):
    """Any threshold, or one that some pair reaches exactly, or misses by less than float32 can tell."""
    iou = reference.box_iou(boxes, others)
    reached = sorted(set(iou[iou > 0].astype(float).tolist()))
    if not reached or draw(st.booleans()):
        return draw(some.thresholds() if awkward else st.sampled_from(some.THRESHOLDS))
    return draw(st.sampled_from(reached)) * (1 + draw(st.sampled_from([0, 1e-9, -1e-9] if awkward else [0])))


@st.composite
def nms(draw, awkward):
    dtype = draw(DTYPES)
    boxes = _boxes(draw, awkward, dtype, max_size=7)
    return {"boxes": boxes, "scores": _scores(draw, awkward, len(boxes), dtype),
            "iou_threshold": _threshold(draw, awkward, boxes, boxes)}


@st.composite
def batched_nms(draw, awkward):
    case = draw(nms(awkward))
    classes = st.sampled_from([0, 1, 2, 7] if not awkward else [0, 1, 2, -1, 10**6])
    n = len(case["boxes"])
    idxs = np.array(draw(st.lists(classes, min_size=n, max_size=n)), np.int64)
    return {"boxes": case["boxes"], "scores": case["scores"], "idxs": idxs, "iou_threshold": case["iou_threshold"]}


@st.composite
def match_boxes(draw, awkward):
    dtype = draw(DTYPES)
    anchors, gt_boxes = _boxes(draw, awkward, dtype), _boxes(draw, awkward, dtype, max_size=4)
    low, high = sorted(_threshold(draw, awkward, anchors, gt_boxes) for _ in range(2))
    return {"anchors": anchors, "gt_boxes": gt_boxes, "high": high, "low": low,
            "allow_low_quality": draw(st.booleans())}


WEIGHTS = st.sampled_from([(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0), (10.0, 20.0, 3.0, 7.0)])


@st.composite
def encode_boxes(draw, awkward):
    dtype = draw(DTYPES)
    kinds = (*PLAIN, "degenerate", "reversed", "nonfinite") if awkward else PLAIN
    boxes = _boxes(draw, awkward, dtype, kinds=kinds) * dtype(draw(st.sampled_from([1, 1, 128])))
    anchors = _boxes(draw, awkward, dtype, n=len(boxes), kinds=kinds)
    return {"boxes": boxes, "anchors": anchors, "weights": draw(WEIGHTS)}


@st.composite
def decode_boxes(draw, awkward):
    dtype = draw(DTYPES)
    anchors = _boxes(draw, awkward, dtype, kinds=(*PLAIN, "degenerate", "reversed") if awkward else PLAIN)
    classes = draw(st.integers(1, 2))
    eighths = st.one_of(st.integers(-16, 16), st.sampled_from([-80, 80, 240])).map(lambda i: i / 8)
    number = st.one_of(eighths, st.just(np.nan)) if awkward else eighths
    deltas = draw(st.lists(st.lists(number, min_size=4 * classes, max_size=4 * classes), min_size=len(anchors),
                           max_size=len(anchors)))
    return {"deltas": np.array(deltas, dtype).reshape(len(anchors), 4 * classes), "anchors": anchors,
            "weights": draw(WEIGHTS), "clip": draw(st.sampled_from([math.log(1000 / 16), 2.0]))}


@st.composite
def roi_pool(draw, awkward):
    maps = _maps(draw, awkward, nan=awkward and draw(st.booleans()))
    return {"input": maps, "boxes": _rois(draw, awkward, len(maps)), "output_size": draw(SIZES),
            "spatial_scale": draw(SCALES)}


# Without "huge": an adaptive grid over such a box keeps most implementations busy for hours.
SAMPLED = (*some.ORDINARY, "degenerate", "reversed", "nonfinite")


@st.composite
def roi_align(draw, awkward):
    maps = _maps(draw, awkward)
    ratio = draw(st.sampled_from([-1, 2, 1, 3, 0]))
    kinds = some.KINDS if ratio > 0 else SAMPLED
    return {"input": maps, "boxes": _rois(draw, awkward, len(maps), kinds=kinds), "output_size": draw(SIZES),
            "spatial_scale": draw(SCALES), "sampling_ratio": ratio, "aligned": draw(st.booleans())}


@st.composite
def multiscale_roi_align(draw, awkward):
    images = draw(st.integers(1, 2))
    features = [draw(some.feature_maps((images, 1, side, side))) for side in (8, 4, 2)]
    square = st.builds(lambda x, y, s: [0, x, y, x + s, y + s], *[st.integers(0, 4)] * 2,
                       st.sampled_from([4, 8, 16, 6]))
    boxes = _rois(draw, awkward, images, kinds=SAMPLED)
    squares = np.array(draw(st.lists(square, max_size=3)), boxes.dtype).reshape(-1, 5)
    return {"features": features, "boxes": np.concatenate([boxes, squares]), "output_size": draw(SIZES),
            "scales": [0.5, 0.25, 0.125], "sampling_ratio": draw(st.sampled_from([2, -1, 1])),
            "aligned": draw(st.booleans()), "canonical_scale": 8, "canonical_level": 2}


@st.composite
def paste_masks(draw, awkward):
    dtype = draw(DTYPES)
    boxes = _boxes(draw, awkward, dtype, max_size=3)
    masks = draw(some.soft_masks(n=len(boxes), dtype=dtype))
    side = st.integers(0 if awkward else 1, 16)
    size, rule = (draw(side), draw(side)), draw(st.sampled_from(["continuous", "integer"]))
    with np.errstate(all="ignore"):
        values = reference.paste_masks(masks, boxes, size, threshold=None, rule=rule)
    reached = sorted(set(values[values > 0].astype(float).tolist()))  # thresholds that some pixel reaches exactly
    threshold = st.sampled_from([0.5, None, *([reached[len(reached) // 2]] if reached else [])])
    return {"masks": masks, "boxes": boxes, "image_size": size, "threshold": draw(threshold), "rule": rule}


@st.composite
def mask_targets(draw, awkward):
    count = draw(st.integers(1, 3))
    masks = draw(some.bitmaps(n=count, size=(draw(st.integers(1, 9)), draw(st.integers(1, 9)))))
    boxes = _boxes(draw, awkward, np.float32, max_size=3, kinds=SAMPLED if awkward else None)
    matched = draw(st.lists(st.integers(0, count - 1), min_size=len(boxes), max_size=len(boxes)))
    return {"masks": masks, "boxes": boxes, "matched": np.array(matched, np.int64), "size": draw(st.integers(1, 4)),
            "rule": draw(st.sampled_from(["soft", "binary"]))}


@st.composite
def rle_encode(draw, awkward):
    low, most = (0, 40) if awkward else (1, 9)
    size = draw(st.integers(low, most)), draw(st.integers(low, most))
    return {"mask": np.asfortranarray(draw(some.bitmaps(n=1, size=size, dtype=np.uint8))[0])}


@st.composite
def rle_decode(draw, awkward):
    mask = draw(rle_encode(awkward))["mask"]
    return {"rle_object": {"size": list(mask.shape), "counts": rle.string_from_counts(rle.encode(mask))}}


def cases(op, awkward=True):
    """A strategy for the arguments of an op: a dict, in the order of the op's arguments.

    Args:
        op: the name of a function, say "roi_align" or "rle_encode".
        awkward: False for ordinary cases alone; True for as many awkward ones beside them.
    """
    strategies = (cell_anchors, grid_anchors, box_area, box_iou, encode_boxes, decode_boxes, match_boxes, nms,
                  batched_nms, roi_pool, roi_align, multiscale_roi_align, paste_masks, mask_targets, rle_encode,
                  rle_decode)
    by_name = {strategy.__name__: strategy for strategy in strategies}
    if op not in by_name:
        raise ValueError(f"cases: op must be one of {', '.join(by_name)}, got {op!r}")
    return st.one_of(by_name[op](False), by_name[op](True)) if awkward else by_name[op](False)
