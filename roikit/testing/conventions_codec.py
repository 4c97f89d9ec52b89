"""What others do in cell_anchors, grid_anchors, encode_boxes and decode_boxes."""

import numpy as np

from roikit import reference
from roikit.testing.variants import combine, rounded_apart, trait

__all__ = ["CELL_ANCHORS", "DECODE_BOXES", "ENCODE_BOXES", "GRID_ANCHORS"]


def cell_model(case, got, *, order=None, rounding=None, how="even", inverted=False, legacy=False, scaled=False):
    """cell_anchors: ``order`` and ``rounding`` overrule the arguments; ``how`` a corner is rounded."""
    sizes, ratios = (np.asarray(case[name], np.float32) for name in ("sizes", "aspect_ratios"))
    ratios = 1 / ratios if inverted else ratios
    cell = reference.cell_anchors(sizes, ratios, order=order or case["order"])
    if scaled:  # w = size, h = size * ratio: the area follows the ratio
        side = np.sqrt(np.repeat(ratios, len(sizes)) if (order or case["order"]) == "ratio"
                       else np.tile(ratios, len(sizes)))
        cell = cell * side[:, None]
    if legacy:  # around the middle of [0, size - 1]
        cell = cell + np.float32([0, 0, -1, -1])
    if case["rounded"] if rounding is None else rounding:
        cell = {"even": np.rint, "away": lambda c: np.trunc(c + np.copysign(np.float32(0.5), c)), "truncated": np.trunc,
                "floor": np.floor}[how](cell)
    return cell


CELL_ANCHORS = (*combine(cell_model, (
    trait("size-major", "the size is outside and the ratio inside (detectron2), whatever is asked", order="size"),
    trait("ratio-major", "the ratio is outside and the size inside (torchvision), whatever is asked", needs="order",
          order="ratio"),
    trait("always-rounded", "corners are rounded to whole pixels (torchvision), whatever is asked", rounding=True),
    trait("never-rounded", "corners are never rounded (detectron2)", needs="rounded", rounding=False),
    trait("rounded-away", "corners are rounded half away from zero, not half to even", needs="rounded", how="away"),
    trait("truncated", "corners are truncated toward zero instead of rounded", needs="rounded", how="truncated"),
    trait("floored", "corners are rounded down", needs="rounded", how="floor"),
    trait("ratio-is-width", "a ratio is width over height", inverted=True),
    trait("legacy-plus-one", "x2 and y2 are the last pixel: one less (Detectron1)", legacy=True),
    trait("width-fixed", "the width is the size and the height size * ratio: the area is not kept", scaled=True),
)), rounded_apart(reference.cell_anchors))


def grid_model(case, got, *, offset=None, rows="yxa", swapped=False, transposed=False, shift_cast=False):
    cell = np.asarray(case["cell_anchors"])
    height, width = case["feature_size"][::-1] if transposed else case["feature_size"]
    stride = case["stride"]
    if swapped and np.ndim(stride):
        stride = stride[::-1]
    offset = case["offset"] if offset is None else offset
    if shift_cast:  # whole pixels only
        stride_y, stride_x = stride if np.ndim(stride) else (stride, stride)
        offset_y, offset_x = np.trunc(offset * stride_y) / stride_y, np.trunc(offset * stride_x) / stride_x
        grid = reference.grid_anchors(cell, (height, width), stride)
        grid[:, 0::2] += offset_x * stride_x
        grid[:, 1::2] += offset_y * stride_y
    else:
        grid = reference.grid_anchors(cell, (height, width), stride, offset=offset)
    grid = grid.reshape(height, width, len(cell), 4)
    axes = ["yxa".index(axis) for axis in rows]
    return grid.transpose(*axes, 3).reshape(-1, 4)


GRID_ANCHORS = (*combine(grid_model, (
    trait("half-offset", "anchors sit at the centre of a map pixel: an offset of 0.5", offset=0.5),
    trait("no-offset", "the offset is ignored", needs="offset", offset=0.0),
    trait("whole-offset", "the offset is truncated to whole pixels", needs="offset", offset=None, shift_cast=True),
    trait("columns-first", "rows of the result go down the columns of the map: x, y, cell", rows="xya"),
    trait("cell-first", "the cell is outermost: cell, y, x", rows="ayx"),
    trait("stride-xy", "stride is (sx, sy)", swapped=True),
    trait("size-wh", "feature_size is (W, H)", transposed=True),
)), rounded_apart(reference.grid_anchors))


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


WEIGHTS = (
    trait("weights-divide", "weights are standard deviations: encoding divides by them", needs="weights",
          inverted=True),
    trait("weights-ignored", "the weights are ignored", needs="weights", unweighted=True),
    trait("plus-one", "boxes include their last pixel: a side is x2 - x1 + 1", plus_one=1),
    trait("yx-order", "deltas come as dy, dx, dh, dw", yx=True),
)
ENCODE_BOXES = (*combine(encode_model, (
    *WEIGHTS,
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
    *WEIGHTS)), rounded_apart(reference.decode_boxes))
