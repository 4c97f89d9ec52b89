"""Anchors, the box codec, IoU and mask pasting in plain ONNX arithmetic, in the order that roikit's reference fixes."""

import numpy as np
from onnx import TensorProto
from onnxscript import opset18 as op

from roikit.export._values import columns, constant, corners, int64s, is_finite

__all__ = ["box_iou", "cell_anchors", "decode_boxes", "encode_boxes", "grid_anchors", "paste_masks"]

_LIMIT = 2**30


def cell_anchors(sizes, ratios, ratio_outside, rounded):
    """See `roikit.ops.cell_anchors`: sizes (S,), ratios (R,) -> (S * R, 4)."""
    outer, inner, kind = int64s(1), int64s(0), sizes.dtype
    heights = op.Unsqueeze(op.Sqrt(ratios), outer if ratio_outside else inner)
    sizes = op.Unsqueeze(sizes, inner if ratio_outside else outer)
    w = op.Reshape(op.Mul(op.Div(constant(1, kind), heights), sizes), int64s(-1, 1))
    h = op.Reshape(op.Mul(heights, sizes), int64s(-1, 1))
    cell = op.Div(op.Concat(op.Neg(w), op.Neg(h), w, h, axis=1), constant(2, kind))
    return op.Round(cell) if rounded else cell


def grid_anchors(cell_anchors, height, width, stride_y, stride_x, offset):
    """See `roikit.ops.grid_anchors`: cell (A, 4) -> (H * W * A, 4), rows in the order y, x, cell."""
    kind = cell_anchors.dtype
    shift = []
    for count, stride, axes in ((width, stride_x, (0, 2, 3)), (height, stride_y, (1, 2, 3))):
        stride = constant(stride, kind) if isinstance(stride, (int, float)) else op.Cast(stride, to=kind)
        place = op.Cast(op.Range(0, count, 1), to=kind)
        shift.append(op.Unsqueeze(op.Mul(op.Add(place, constant(offset, kind)), stride), int64s(*axes)))
    x_columns = constant([1, 0, 1, 0], kind)
    y_columns = constant([0, 1, 0, 1], kind)
    shift = op.Add(op.Mul(shift[0], x_columns), op.Mul(shift[1], y_columns))  # (H, W, 1, 4)
    return op.Reshape(op.Add(shift, cell_anchors), int64s(-1, 4))


def box_iou(boxes1, boxes2):
    """See `roikit.ops.box_iou`: (N, 4), (M, 4) -> (N, M)."""
    zero = constant(0, boxes1.dtype)
    a, b = op.Unsqueeze(boxes1, int64s(1)), op.Unsqueeze(boxes2, int64s(0))
    (a1, a2), (b1, b2) = corners(a), corners(b)
    inter = _area(op.Max(a1, b1), op.Min(a2, b2), zero)
    union = op.Sub(op.Add(_area(a1, a2, zero), _area(b1, b2, zero)), inter)
    iou = op.Div(inter, union)
    # A NaN in a box may be lost in Max and Min, but not in the union; inf / inf is a NaN of the quotient.
    return op.Where(op.And(op.Greater(union, zero), op.GreaterOrEqual(iou, zero)), iou, zero)


def encode_boxes(boxes, anchors, weights):
    """See `roikit.ops.encode_boxes`: (N, 4), (N, 4) -> (N, 4)."""
    kind = boxes.dtype
    shift, size = _factors(weights, kind)
    (centre, side), (a_centre, a_side) = _centre_and_side(boxes, kind), _centre_and_side(anchors, kind)
    moved = op.Div(op.Mul(shift, op.Sub(centre, a_centre)), a_side)
    return op.Concat(moved, op.Mul(size, op.Log(op.Div(side, a_side))), axis=1)


def decode_boxes(deltas, anchors, weights, clip):
    """See `roikit.ops.decode_boxes`: (N, 4 C), (N, 4) -> (N, 4 C)."""
    classes, kind = deltas.shape[1] // 4, deltas.dtype
    moved, grown = corners(op.Reshape(deltas, int64s(-1, classes, 4)))
    shift, size = _factors(weights, kind)
    centre, side = (op.Unsqueeze(part, int64s(1)) for part in _centre_and_side(anchors, kind))
    grown, clip = op.Div(grown, size), constant(clip, kind)
    centre = op.Add(op.Mul(op.Div(moved, shift), side), centre)
    side = op.Mul(op.Exp(op.Where(op.Greater(grown, clip), clip, grown)), side)
    half = op.Mul(side, constant(0.5, kind))
    return op.Reshape(op.Concat(op.Sub(centre, half), op.Add(centre, half), axis=2), int64s(-1, 4 * classes))


def paste_masks(masks, boxes, height, width, threshold, rule):
    """See `roikit.ops.paste_masks`: masks (N, M, M), boxes (N, 4) -> (N, H, W).

    As two products of matrices: bilinear weights of the rows (N, H, M), the mask, weights of the columns (N, M, W).
    """
    taps = _continuous_weights if rule == "continuous" else _integer_weights
    cells, kind = masks.shape[-1], masks.dtype
    zero, known = constant(0, kind), is_finite(boxes, kind)
    boxes = op.Where(known, boxes, zero)
    weights = []
    for axis, count in ((1, height), (0, width)):
        low, high = columns(boxes, axis, axis + 1), columns(boxes, axis + 2, axis + 3)
        pixel = op.Unsqueeze(op.Range(0, count, 1), int64s(0))
        covered, hat = taps(low, high, pixel, cells, kind)  # (N, count), (N, count, M)
        weights.append(op.Where(op.Unsqueeze(op.And(covered, known), int64s(2)), hat, zero))
    across = op.MatMul(masks, op.Transpose(weights[1], perm=[0, 2, 1]))
    value = op.MatMul(weights[0], across)
    return value if threshold is None else op.GreaterOrEqual(value, constant(threshold, kind))


def _hat(place, first, cells, kind):
    """The weights (N, count, cells) of cells first, first + 1, ... at places (N, count) between their centres."""
    cell = constant(np.arange(first, first + cells), kind)
    away = op.Abs(op.Sub(op.Unsqueeze(place, int64s(2)), cell))
    return op.Max(op.Sub(constant(1, kind), away), constant(0, kind))


def _continuous_weights(low, high, pixel, cells, kind):
    half, extent = constant(0.5, kind), constant(cells, kind)
    side = op.Sub(high, low)
    fine = op.Greater(side, constant(0, kind))
    centre = op.Add(op.Cast(pixel, to=kind), half)
    along = op.Div(op.Sub(centre, low), op.Where(fine, side, extent))
    place = op.Sub(op.Mul(along, extent), half)
    covered = op.And(fine, op.And(op.GreaterOrEqual(place, constant(-1, kind)), op.Less(place, extent)))
    return covered, _hat(place, 0, cells, kind)


def _integer_weights(low, high, pixel, cells, kind):
    """The mask has a cell of zeros on every side, cell 0 and cell M + 1, of which a product needs to know nothing."""
    half, padded = constant(0.5, kind), constant(cells + 2, kind)
    reach = op.Mul(op.Mul(op.Sub(high, low), half), op.Div(padded, constant(cells, kind)))
    centre = op.Mul(op.Add(high, low), half)
    first, last = (op.Cast(op.Clip(corner, constant(-_LIMIT, kind), constant(_LIMIT, kind)), to=TensorProto.INT64)
                   for corner in (op.Sub(centre, reach), op.Add(centre, reach)))
    length = op.Max(op.Add(op.Sub(last, first), 1), 1)
    step = op.Div(padded, op.Cast(length, to=kind))
    place = op.Sub(op.Mul(op.Add(op.Cast(op.Sub(pixel, first), to=kind), half), step), half)
    covered = op.And(op.GreaterOrEqual(pixel, first), op.LessOrEqual(pixel, last))
    return covered, _hat(op.Max(place, constant(0, kind)), 1, cells, kind)


def _area(first, last, zero):
    """The areas (...) of boxes of corners (..., 2); a negative side counts as 0. Not by Max: a NaN must stay one."""
    sides = op.Sub(last, first)
    sides = op.Where(op.Less(sides, zero), zero, sides)
    return op.Mul(op.Gather(sides, 0, axis=-1), op.Gather(sides, 1, axis=-1))


def _centre_and_side(boxes, kind):
    first, last = corners(boxes)
    side = op.Sub(last, first)
    return op.Add(first, op.Mul(side, constant(0.5, kind))), side


def _factors(weights, kind):
    """The weights of the centres (2,) and of the sides (2,)."""
    return constant(weights[:2], kind), constant(weights[2:], kind)
