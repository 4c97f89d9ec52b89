"""decode_keypoints in plain ONNX arithmetic, in a Scan over the boxes: each resizes its maps to a size of its own.

A map is resized by two products with cubic weights, of the rows and of the columns, after an edge of two pixels more
on every side. onnxruntime's own cubic Resize gives the same and took twenty times as long. In products a pixel that is
not finite makes its whole map NaN.
"""

import numpy as np
from onnx import helper
from onnxscript import opset18 as op
from onnxscript import script

from roikit.export._values import constant, int64s, is_finite

__all__ = ["decode_keypoints"]

NOTHING = float("-inf")


def decode_keypoints(maps, boxes):
    """See `roikit.ops.decode_keypoints`: maps (N, K, H, W), boxes (N, 4) -> xy (N, K, 2), scores (N, K)."""
    kind, (points, height, width) = boxes.dtype, maps.shape[1:]
    zero, known = constant(0, kind), is_finite(boxes, kind)
    # One row more, which goes again: onnxruntime's Scan takes no 0 boxes.
    maps = op.Concat(maps, constant(np.zeros((1, points, height, width)), kind), axis=0)
    boxes = op.Concat(op.Where(known, boxes, zero), constant(np.zeros((1, 4)), kind), axis=0)
    found = op.Scan(maps, boxes, body=_body(kind, points, height, width), num_scan_inputs=2)
    found = op.Slice(found, int64s(0), int64s(-1))
    found = op.Where(op.Unsqueeze(known, int64s(2)), found, zero)
    return op.Gather(found, int64s(0, 1), axis=2), op.Squeeze(op.Gather(found, int64s(2), axis=2), int64s(2))


def _body(kind, points, height, width):
    function = _one_box.to_function_proto()
    info = helper.make_tensor_value_info
    given = [info(name, int(kind), shape)
             for name, shape in zip(function.input, ((points, height, width), (4,)), strict=True)]
    return helper.make_graph(function.node, "one_box", given, [info(function.output[0], int(kind), (points, 3))])


@script(default_opset=op)
def _one_box(maps, box):
    """maps (K, H, W) and their box (4,) -> (K, 3): x, y, score."""
    low, high = op.Split(box, axis=0, num_outputs=2)
    side = op.Max(high - low, op.CastLike([1.0], box))
    cells = op.Min(op.Ceil(side), op.CastLike([4096.0], box))
    columns, rows = op.Split(op.Cast(cells, to=7), axis=0, num_outputs=2)
    height, width = op.Shape(maps, start=1, end=2), op.Shape(maps, start=2, end=3)
    # The cells of both axes, and their distances from all pixels.
    cell = op.Concat(op.Range(0, op.Squeeze(columns), 1), op.Range(0, op.Squeeze(rows), 1), axis=0)
    along_x, along_y = op.Split(op.CastLike(op.Concat(width, height, axis=0), box) / cells, axis=0, num_outputs=2)
    step = op.Concat(op.Expand(along_x, columns), op.Expand(along_y, rows), axis=0)
    place = (op.CastLike(cell, box) + 0.5) * step - 0.5
    pixels = op.Range(-2, op.Squeeze(op.Max(height, width)) + 2, 1)
    d = op.Abs(op.Unsqueeze(place, [1]) - op.CastLike(pixels, box))
    near = (1.25 * d - 2.25) * d * d + 1.0
    far = ((3.75 - 0.75 * d) * d - 6.0) * d + 3.0
    weights = op.Where(d <= 1.0, near, op.Where(d < 2.0, far, op.CastLike(0.0, box)))
    of_columns = op.Slice(weights, op.Concat([0], [0], axis=0), op.Concat(columns, width + 4, axis=0))
    of_rows = op.Slice(weights, op.Concat(columns, [0], axis=0), op.Concat(columns + rows, height + 4, axis=0))
    edged = op.Pad(maps, [0, 2, 2, 0, 2, 2], mode="edge")
    surface = op.MatMul(of_rows, op.MatMul(edged, op.Transpose(of_columns, perm=[1, 0])))
    values = op.Reshape(surface, op.Concat(op.Shape(maps, start=0, end=1), [-1], axis=0))
    best = op.ArgMax(op.Where(op.IsNaN(values), op.CastLike(NOTHING, box), values), axis=1, keepdims=1)
    found = op.CastLike(op.Concat(op.Mod(best, columns), best / columns, axis=1), box)
    return op.Concat((found + 0.5) * (side / cells) + low, op.GatherElements(values, best, axis=1), axis=1)
