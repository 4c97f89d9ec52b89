"""cell_anchors and grid_anchors: their arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, PLAIN, boxes_of
from roikit.testing.judging import Op
from roikit.testing.variants import combine, rounded_apart, trait

__all__ = ["OPS"]


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


OPS = (
    Op("cell_anchors", reference.cell_anchors, "ratio outside, size inside unless order says otherwise; a ratio is "
       "height over width; corners rounded half to even only where asked; no + 1", CELL_ANCHORS, 2, arrays=False,
       arguments=cell_anchors),
    Op("grid_anchors", reference.grid_anchors, "rows in the order y, x, cell; shift (j + offset) * stride; stride "
       "is (sy, sx)", GRID_ANCHORS, 3, arguments=grid_anchors),
)
