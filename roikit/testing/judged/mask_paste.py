"""paste_masks and paste_masks_rle: their arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.mask_paste import continuous_taps, integer_taps
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, boxes_of
from roikit.testing.judged.rle import RUNS, encode_model
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


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


def other_continuous(low, high, cells, extent, pixel, edge):
    """Taps of the continuous rule with another pixel or edge rule; indices into the mask padded by one zero cell."""
    real = low.dtype.type
    with np.errstate(all="ignore"):
        place = (np.arange(extent, dtype=low.dtype) + real(0 if pixel == "corner" else 0.5)) - low
        u = place / (high - low) * real(cells - 1 if pixel == "aligned corners" else cells)
        u = u if pixel == "aligned corners" else u - real(0.5)
        floor = np.floor(u)
        sized = (high > low) & np.isfinite(high - low)
        if edge == "replicate":
            covered = sized & (place >= 0) & (place <= high - low)
            u = np.clip(u, real(0), real(cells - 1))
            floor = np.floor(u)
        else:
            covered = sized & (floor >= -1) & (floor <= cells - 1)
        fraction = np.where(covered, u - floor, real(0))
    first = np.where(covered, floor, 0).astype(np.int64) + 1
    second = np.minimum(first + 1, cells if edge == "replicate" else cells + 1)
    return covered, first, second, fraction


def other_integer(low, high, cells, extent, corner, padded, plus):
    """Taps of the integer rule with another rounding, size or without the border of zeros."""
    real = low.dtype.type
    pixel = np.arange(extent)
    border = 2 if padded else 0
    with np.errstate(all="ignore"):
        half = (high - low) * real(0.5) * (real(cells + border) / real(cells))
        centre = (high + low) * real(0.5)
        whole = {"trunc": np.trunc, "round": np.rint, "floor": np.floor}[corner]
        ends = whole(np.array([centre - half, centre + half]))
    if not np.isfinite(ends).all():
        return np.zeros(extent, bool), pixel * 0, pixel * 0, np.zeros(extent, low.dtype)
    start, end = (int(c) for c in np.clip(ends, -(2**30), 2**30))
    length = max(end - start + plus, 1)
    covered = (pixel >= start) & (pixel < start + length)
    u = ((pixel - start).astype(low.dtype) + real(0.5)) * (real(cells + border) / real(length)) - real(0.5)
    u = np.where(covered & (u > 0), u, real(0))
    first = np.floor(u).astype(np.int64)
    second = np.minimum(first + 1, cells + border - 1)
    moved = 0 if padded else 1  # past the border of zeros
    return covered, first + moved, second + moved, u - np.floor(u)


def paste_model(case, got, *, rule=None, strict=False, pixel="centre", edge="zeros", corner="trunc", padded=True,
                plus=1,
                soft=False, nearest=False):
    masks, boxes = case["masks"], case["boxes"]
    masks = masks[:, 0] if masks.ndim == 4 else masks
    dtype = np.result_type(masks, boxes)
    height, width = case["image_size"]
    cells = masks.shape[1]
    one = dtype.type(1)
    rule = rule or case["rule"]
    # Options of the other rule change nothing.
    if rule == "continuous":
        taps = continuous_taps if (pixel, edge) == ("centre", "zeros") else (
            lambda *axis: other_continuous(*axis, pixel, edge))
    else:
        taps = integer_taps if (corner, padded, plus) == ("trunc", True, 1) else (
            lambda *axis: other_integer(*axis, corner, padded, plus))
    values = np.zeros((len(masks), height, width), dtype)
    for n, (x1, y1, x2, y2) in enumerate(boxes.astype(dtype)):
        if not np.isfinite(boxes[n]).all():
            continue
        mask = np.pad(masks[n].astype(dtype), 1)
        in_x, left, right, fx = taps(x1, x2, cells, width)
        in_y, top, bottom, fy = taps(y1, y2, cells, height)
        if nearest:
            fx, fy = ((f >= 0.5).astype(dtype) for f in (fx, fy))
        with np.errstate(all="ignore"):
            rows = mask[:, left] * (one - fx) + mask[:, right] * fx
            value = rows[top] * (one - fy)[:, None] + rows[bottom] * fy[:, None]
        values[n] = np.where(in_y[:, None] & in_x[None, :], value, dtype.type(0))
    if case["threshold"] is None or soft:
        return values
    threshold = dtype.type(case["threshold"])
    return values > threshold if strict else values >= threshold


PASTE = (
    trait("integer-rule", "torchvision's integer rule, whatever is asked: padded mask, grown box, corners truncated",
          rule="integer"),
    trait("continuous-rule", "detectron2's continuous rule, whatever is asked", needs="rule", rule="continuous"),
    trait("strict-threshold", "a pixel is inside above the threshold: > instead of >=", strict=True),
    trait("pixel-corners", "pixels are sampled at their corners, not at their centres", pixel="corner"),
    trait("aligned-corners", "the corner cells' centres lie on the box (align_corners=True)", pixel="aligned corners"),
    trait("edge-replicated", "the mask does not fade to 0 at the border of its box: the edge cells are repeated",
          edge="replicate"),
    trait("nearest", "the nearest cell is taken, not the bilinear value", nearest=True),
    trait("corners-rounded", "the integer rule rounds corners to the nearest instead of truncating", needs="rule",
          corner="round"),
    trait("corners-floored", "the integer rule rounds corners down, not toward zero", needs="rule", corner="floor"),
    trait("no-padding", "the integer rule neither pads the mask nor grows the box", needs="rule", padded=False),
    trait("no-plus-one", "the integer rule leaves out the last pixel: x2 - x1", needs="rule", plus=0),
)
PASTE_MASKS = combine(paste_model, (
    *PASTE,
    trait("always-soft", "the values themselves are returned, whatever the threshold", soft=True, alone=True),
))


def paste_rle_model(case, got, *, rows=False, swapped=False, **flags):
    return [encode_model({"mask": mask.astype(np.uint8)}, None, rows=rows, swapped=swapped)
            for mask in paste_model(case, None, **flags)]


PASTE_MASKS_RLE = combine(paste_rle_model, (*RUNS, *PASTE))


OPS = (
    Op("paste_masks", reference.paste_masks, "continuous rule (pixel centres, half-pixel cells, zeros outside) or "
       "integer rule as asked; a pixel is inside from the threshold on (>=)", PASTE_MASKS, 3,
       arguments=paste_masks),
    Op("paste_masks_rle", reference.paste_masks_rle, "paste_masks's conventions; runs go down the columns, zeros "
       "first", PASTE_MASKS_RLE, 3, arguments=paste_masks_rle),
)
