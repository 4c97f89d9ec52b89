"""Whole calls: a hypothesis strategy for the arguments of each op, named and in order."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference import rle
from roikit.testing import arguments_boxes, arguments_rotated
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, SAMPLED, SCALES, SIZES, boxes_of, maps_of, rois_of

__all__ = ["cases"]


@st.composite
def roi_pool(draw, awkward):
    maps = maps_of(draw, awkward, nan=awkward and draw(st.booleans()))
    return {"input": maps, "boxes": rois_of(draw, awkward, len(maps)), "output_size": draw(SIZES),
            "spatial_scale": draw(SCALES)}


@st.composite
def roi_align(draw, awkward):
    maps = maps_of(draw, awkward)
    ratio = draw(st.sampled_from([-1, 2, 1, 3, 0]))
    kinds = some.KINDS if ratio > 0 else SAMPLED
    return {"input": maps, "boxes": rois_of(draw, awkward, len(maps), kinds=kinds), "output_size": draw(SIZES),
            "spatial_scale": draw(SCALES), "sampling_ratio": ratio, "aligned": draw(st.booleans()),
            "reduce": draw(st.sampled_from(["mean", "max"]))}


@st.composite
def ps_roi_align(draw, awkward):
    case = draw(ps_roi_pool(awkward, kinds=SAMPLED))
    return {**case, "sampling_ratio": draw(st.sampled_from([-1, 2, 1, 3, 0]))}


@st.composite
def ps_roi_pool(draw, awkward, kinds=some.KINDS):
    size = draw(SIZES)
    rows, columns = size if np.ndim(size) else (size, size)
    maps = maps_of(draw, awkward, channels=draw(st.integers(1, 2)) * rows * columns)
    return {"input": maps, "boxes": rois_of(draw, awkward, len(maps), kinds=kinds), "output_size": size,
            "spatial_scale": draw(SCALES)}


@st.composite
def roi_warp(draw, awkward):
    return {**draw(roi_pool(awkward)), "reduce": draw(st.sampled_from(["max", "mean"]))}


@st.composite
def deform_conv2d(draw, awkward):
    dtype, few = draw(DTYPES), st.integers(1, 2)
    images, groups, shared, outputs = (draw(few) for _ in range(4))
    kernel, stride, dilation = (tuple(draw(st.integers(1, most)) for _ in range(2)) for most in (3, 2, 2))
    padding = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    places, extent = [], []
    for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True):
        extent.append(max((draw(st.integers(1, 3)) - 1) * s + d * (k - 1) + 1 - 2 * p, 1))
        places.append((extent[-1] + 2 * p - d * (k - 1) - 1) // s + 1)
    taps = shared * kernel[0] * kernel[1]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def quarters(most, *shape):
        return (rng.integers(-4 * most, 4 * most + 1, shape) / 4).astype(dtype)

    channels = 2 * groups  # a multiple of both kinds of groups
    offset = quarters(2, images, 2 * taps, *places)
    if awkward:  # NaN is left out: torchvision's reads out of bounds there, and takes the process with it
        special = rng.choice([np.inf, -np.inf, 1e9, -1e9, 0, -1, 1], offset.shape)
        offset = np.where(rng.random(offset.shape) < 0.2, special, offset).astype(dtype)
    return {"input": quarters(4, images, channels, *extent), "offset": offset,
            "weight": quarters(2, outputs * groups, channels // groups, *kernel),
            "bias": quarters(4, outputs * groups) if draw(st.booleans()) else None,
            "stride": stride, "padding": padding, "dilation": dilation,
            "mask": quarters(2, images, taps, *places) if draw(st.booleans()) else None}


@st.composite
def multiscale_roi_align(draw, awkward):
    images = draw(st.integers(1, 2))
    features = [draw(some.feature_maps((images, 1, side, side))) for side in (8, 4, 2)]
    square = st.builds(lambda x, y, s: [0, x, y, x + s, y + s], *[st.integers(0, 4)] * 2,
                       st.sampled_from([4, 8, 16, 6]))
    boxes = rois_of(draw, awkward, images, kinds=SAMPLED)
    squares = np.array(draw(st.lists(square, max_size=3)), boxes.dtype).reshape(-1, 5)
    return {"features": features, "boxes": np.concatenate([boxes, squares]), "output_size": draw(SIZES),
            "scales": [0.5, 0.25, 0.125], "sampling_ratio": draw(st.sampled_from([2, -1, 1])),
            "aligned": draw(st.booleans()), "canonical_scale": 8, "canonical_level": 2,
            "reduce": draw(st.sampled_from(["mean", "max"]))}


@st.composite
def paste_masks(draw, awkward):
    dtype = draw(DTYPES)
    boxes = boxes_of(draw, awkward, dtype, max_size=3)
    masks = draw(some.soft_masks(n=len(boxes), dtype=dtype))
    side = st.integers(0 if awkward else 1, 16)
    size, rule = (draw(side), draw(side)), draw(st.sampled_from(["continuous", "integer"]))
    with np.errstate(all="ignore"):
        values = reference.paste_masks(masks, boxes, size, threshold=None, rule=rule)
    reached = sorted(set(values[values > 0].astype(float).tolist()))  # thresholds that some pixel reaches exactly
    threshold = st.sampled_from([0.5, None, *([reached[len(reached) // 2]] if reached else [])])
    return {"masks": masks, "boxes": boxes, "image_size": size, "threshold": draw(threshold), "rule": rule}


@st.composite
def paste_masks_rle(draw, awkward):
    case = draw(paste_masks(awkward))
    return {**case, "threshold": case["threshold"] or 0.5}


@st.composite
def mask_targets(draw, awkward):
    count = draw(st.integers(1, 3))
    masks = draw(some.bitmaps(n=count, size=(draw(st.integers(1, 9)), draw(st.integers(1, 9)))))
    boxes = boxes_of(draw, awkward, np.float32, max_size=3, kinds=SAMPLED if awkward else None)
    matched = draw(st.lists(st.integers(0, count - 1), min_size=len(boxes), max_size=len(boxes)))
    return {"masks": masks, "boxes": boxes, "matched": np.array(matched, np.int64), "size": draw(st.integers(1, 4)),
            "rule": draw(st.sampled_from(["soft", "binary"]))}


@st.composite
def encode_keypoints(draw, awkward):
    boxes = boxes_of(draw, awkward, draw(DTYPES), max_size=3)
    count = draw(st.integers(0 if awkward else 1, 3))
    return {"keypoints": draw(some.keypoints(boxes, count, awkward)), "boxes": boxes,
            "size": draw(st.sampled_from([1, 2, 3, 7, 56] if awkward else [3, 7, 56]))}


@st.composite
def decode_keypoints(draw, awkward):
    boxes = boxes_of(draw, awkward, draw(DTYPES), max_size=2, kinds=SAMPLED if awkward else None)
    shape = len(boxes), draw(st.integers(0 if awkward else 1, 2)), draw(st.integers(1, 7)), draw(st.integers(1, 7))
    if awkward:
        return {"maps": draw(some.feature_maps(shape, boxes.dtype, nan=draw(st.booleans()))), "boxes": boxes}
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))  # no two values of a map are equal
    maps = rng.permuted(np.arange(shape[2] * shape[3]) + np.zeros((*shape[:2], 1)), axis=2).reshape(shape)
    return {"maps": maps.astype(boxes.dtype) / 4, "boxes": boxes}


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
    strategies = (*arguments_boxes.STRATEGIES, *arguments_rotated.STRATEGIES, roi_pool, roi_align,
                  multiscale_roi_align, ps_roi_align, ps_roi_pool, roi_warp, deform_conv2d, paste_masks,
                  paste_masks_rle, mask_targets, encode_keypoints, decode_keypoints, rle_encode, rle_decode)
    by_name = {strategy.__name__: strategy for strategy in strategies}
    if op not in by_name:
        raise ValueError(f"cases: op must be one of {', '.join(by_name)}, got {op!r}")
    return st.one_of(by_name[op](False), by_name[op](True)) if awkward else by_name[op](False)
