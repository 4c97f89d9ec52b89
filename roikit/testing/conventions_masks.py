"""What others do in paste_masks, mask_targets and the run lengths of COCO."""

import numpy as np

from roikit.reference import rle
from roikit.reference.mask_paste import continuous_taps, integer_taps
from roikit.testing.conventions_rois import axis_samples, geometry, sample_count
from roikit.testing.variants import Variant, combine, trait

__all__ = ["MASK_TARGETS", "PASTE_MASKS", "PASTE_MASKS_RLE", "RLE_DECODE", "RLE_ENCODE", "rle_decode", "rle_encode"]


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


def target_model(case, got, *, aligned=None, binary=None, strict=False, grid="ceil", plus=0, edge="replicate",
                 least=True):
    masks, boxes, size = case["masks"], case["boxes"], case["size"]
    boxes = boxes.astype(np.result_type(boxes, np.float32))
    real = boxes.dtype.type
    binary = case["rule"] == "binary" if binary is None else binary
    aligned = case["rule"] == "binary" if aligned is None else (case["rule"] != "binary" if aligned == "flipped"
                                                                 else aligned == "on")
    targets = np.zeros((len(boxes), size, size), np.float32)
    for r, ((x1, y1, x2, y2), index) in enumerate(zip(boxes, case["matched"], strict=True)):
        if not np.isfinite(boxes[r]).all():
            continue
        mask = masks[index] != 0
        (top, dy), (left, dx) = (geometry(low, high, size, real(1), aligned, least, plus)
                                 for low, high in ((y1, y2), (x1, x2)))
        gh, gw = sample_count(dy, -1, grid, dx), sample_count(dx, -1, grid, dy)
        if gh <= 0 or gw <= 0:
            continue
        vertical = axis_samples(top, dy, gh, size, mask.shape[0], edge)[0].sum(axis=1)
        horizontal = axis_samples(left, dx, gw, size, mask.shape[1], edge)[0].sum(axis=1)
        column, total = np.zeros((size, mask.shape[1]), boxes.dtype), np.zeros((size, size), boxes.dtype)
        for y in range(mask.shape[0]):
            column += vertical[:, y, None] * mask[y]
        for x in range(mask.shape[1]):
            total += column[:, x, None] * horizontal[:, x]
        value = total / (real(gh) * real(gw))
        targets[r] = value if not binary else value > 0.5 if strict else value >= 0.5
    return targets


MASK_TARGETS = combine(target_model, (
    trait("soft-rule", "torchvision's soft targets (not aligned), whatever is asked", needs="rule", aligned="off",
          binary=False),
    trait("binary-rule", "detectron2's binary targets (aligned, at least 0.5), whatever is asked", aligned="on",
          binary=True),
    trait("aligned-on", "always aligned: shifted by half a pixel", aligned="on"),
    trait("aligned-off", "never aligned: no shift by half a pixel", needs="rule", aligned="off"),
    trait("aligned-flipped", "soft targets are aligned and binary ones are not", needs="rule", aligned="flipped"),
    trait("strict-threshold", "a cell is inside above 0.5: > instead of >=", needs="rule", strict=True),
    trait("grid-2x2", "2 x 2 samples a cell instead of the adaptive grid", grid="two"),
    trait("grid-1x1", "1 sample a cell instead of the adaptive grid", grid="one"),
    trait("edge-zeros", "taps outside the mask are 0: the edge is not replicated", edge="zeros"),
    trait("plus-one", "boxes include their last pixel: they end at x2 + 1", plus=1),
))


def rle_encode(mask):
    """COCO's RLE of a bitmap (H, W): {"size": [H, W], "counts": bytes}."""
    return {"size": list(mask.shape), "counts": rle.string_from_counts(rle.encode(mask))}


def rle_decode(rle_object):
    """The bitmap uint8 (H, W) of COCO's RLE."""
    height, width = rle_object["size"]
    return rle.decode(rle.counts_from_string(rle_object["counts"], height, width), height, width)


def encode_model(case, got, *, rows=False, swapped=False):
    mask = case["mask"]
    counts = rle.encode(mask.T if rows else mask)
    if swapped:
        counts = rle.encode(1 - (mask.T if rows else mask))
    return {"size": list(mask.shape), "counts": rle.string_from_counts(counts)}


def plain_deltas(case, got):
    """Counts written as they are, without differences to the run two places before."""
    counts = rle.encode(case["mask"])
    text = b"".join(rle.string_from_counts(counts[i : i + 1]) for i in range(len(counts)))
    return {"size": list(case["mask"].shape), "counts": text}


def paste_rle_model(case, got, *, rows=False, swapped=False, **flags):
    return [encode_model({"mask": mask.astype(np.uint8)}, None, rows=rows, swapped=swapped)
            for mask in paste_model(case, None, **flags)]


RUNS = (
    trait("row-major", "runs go along the rows, not down the columns", rows=True),
    trait("ones-first", "the first run counts ones, not zeros", swapped=True),
)
PASTE_MASKS_RLE = combine(paste_rle_model, (*RUNS, *PASTE))
RLE_ENCODE = (*combine(encode_model, RUNS),
              Variant("no-deltas", "runs are written as they are, without differences", plain_deltas))


def decode_model(case, got, *, rows=False, swapped=False):
    mask = rle_decode(case["rle_object"])
    mask = 1 - mask if swapped else mask
    return mask.ravel(order="F").reshape(mask.shape) if rows else mask


RLE_DECODE = combine(decode_model, RUNS)
