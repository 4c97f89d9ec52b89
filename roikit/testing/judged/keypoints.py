"""encode_keypoints and decode_keypoints: their arguments, their bound, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.keypoints import grid, resized
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, SAMPLED, boxes_of
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


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


def encode_model(case, got, *, edges="closed", cell="floor", scale="size", visible="above", order="rows", plus=0):
    keypoints, boxes, size = case["keypoints"], case["boxes"], case["size"]
    dtype = np.result_type(keypoints, boxes)
    real = dtype.type
    keypoints, boxes = keypoints.astype(dtype), boxes.astype(dtype)
    seen = keypoints[:, :, 2]
    valid = {"above": seen > 0, "never": np.ones_like(seen, bool), "fully": seen > 1}[visible]
    cells = []
    with np.errstate(all="ignore"):
        for axis in (0, 1):
            at, low, high = keypoints[:, :, axis], boxes[:, axis, None], boxes[:, axis + 2, None]
            per = real(size - 1 if scale == "size - 1" else size) / (high - low + real(plus))
            valid = valid & (low <= at) & ((at < high) if edges == "open" else (at <= high)) & (per > 0)
            valid = valid & (per < np.inf) if scale == "size" else valid & (high > low) & np.isfinite(high - low)
            index = (at - low) * per
            index = np.rint(index) if cell == "round" else np.floor(index)
            cells.append(np.where(index < size, index, real(size - 1)))
    x, y = (np.where(valid, index, 0).astype(np.int64) for index in cells)
    return (x * size + y if order == "columns" else y * size + x), valid


ENCODE_KEYPOINTS = combine(encode_model, (
    trait("open-edges", "a point on the box's right or lower edge is not valid", edges="open"),
    trait("rounded", "the cell is rounded to the nearest, not down", cell="round"),
    trait("size-minus-one", "the grid has size - 1 cells: corners of the box are centres of cells", scale="size - 1"),
    trait("visibility-ignored", "a point that is not visible is valid", visible="never"),
    trait("fully-visible", "only visibility 2 is valid, not 1", visible="fully"),
    trait("column-major", "the target is bx * S + by", order="columns"),
    trait("plus-one", "boxes include their last pixel: a side is x2 - x1 + 1", plus=1),
))


def lines(values, cells):
    """Values (E, ...) at so many cells along the first axis, linear between the pixels."""
    real, extent = values.dtype.type, len(values)
    u = np.clip((np.arange(cells, dtype=real) + real(0.5)) * (real(extent) / real(cells)) - real(0.5), 0, extent - 1)
    low = np.floor(u).astype(np.int64)
    t = (u - low).reshape(-1, *[1] * (values.ndim - 1))
    with np.errstate(all="ignore"):
        return values[low] * (1 - t) + values[np.minimum(low + 1, extent - 1)] * t


def decode_model(case, got, *, half=0.5, surface="cubic", score="value", corner="box"):
    dtype = np.result_type(case["maps"], case["boxes"])
    maps, boxes, real = case["maps"].astype(dtype), case["boxes"].astype(dtype), dtype.type
    xy, scores = np.zeros((*maps.shape[:2], 2), dtype), np.zeros(maps.shape[:2], dtype)
    for n, (x1, y1, x2, y2) in enumerate(boxes):
        across, down = grid(x1, x2), grid(y1, y2)
        if across is None or down is None:
            continue
        (width, columns), (height, rows) = across, down
        if surface == "none":
            rows, columns = maps.shape[2:]
        resize = {"cubic": resized, "linear": lines, "none": lambda values, _: values}[surface]
        for k, one in enumerate(maps[n]):
            grown = resize(resize(one.T, columns).T, rows)
            best = np.where(np.isnan(grown), -np.inf, grown)
            iy, ix = divmod(int(best.argmax()), columns)
            if best[iy, ix] == -np.inf:
                iy = ix = 0
            value = grown[iy, ix]
            if score == "probability":
                with np.errstate(all="ignore"):
                    value = 1 / np.exp(grown - value).sum()
            scores[n, k] = value
            with np.errstate(all="ignore"):
                xy[n, k] = ((real(ix) + real(half)) * (width / real(columns)) + (x1 if corner == "box" else 0),
                            (real(iy) + real(half)) * (height / real(rows)) + (y1 if corner == "box" else 0))
    return xy, scores


DECODE_KEYPOINTS = combine(decode_model, (
    trait("no-half", "the keypoint is the corner of its cell, not the centre", half=0.0),
    trait("map-not-resized", "the largest value is looked for in the map as it is, not resized to the box",
          surface="none"),
    trait("bilinear", "the map is resized bilinearly, not bicubically", surface="linear"),
    trait("score-is-probability", "the score is the softmax of the resized map at its largest value",
          score="probability"),
    trait("box-relative", "keypoints are relative to the box's corner", corner="none"),
))


def _keypoint_bound(case, expected):
    return {"float32": 1e-4, "float64": 1e-12}[str(expected[0].dtype)]  # of pixels, and of values in quarters


OPS = (
    Op("encode_keypoints", reference.encode_keypoints, "cell floor((x - x1) * S / (x2 - x1)); a point on the right or "
       "lower edge is in the last cell; visibility above 0", ENCODE_KEYPOINTS, 3, arguments=encode_keypoints),
    Op("decode_keypoints", reference.decode_keypoints, "the largest value of the map resized to the box (bicubic, half "
       "pixels); the centre of its cell; the value as score", DECODE_KEYPOINTS, 2, _keypoint_bound,
       room="a keypoint 1e-4 pixels",
       arguments=decode_keypoints),
)
