"""decode_keypoints by ONNX's Resize, in a Scan over the boxes, because each resizes its maps to a size of its own."""

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
    batch = op.Unsqueeze(op.Cast(maps, to=1), [0])  # onnxruntime resizes cubically in float32 alone
    points = op.Shape(maps, start=0, end=1)
    surface = op.Resize(batch, None, None, op.Concat([1], points, rows, columns, axis=0), mode="cubic",
                        cubic_coeff_a=-0.75, coordinate_transformation_mode="half_pixel")
    values = op.Reshape(surface, op.Concat(points, [-1], axis=0))
    place = op.ArgMax(op.Where(op.IsNaN(values), NOTHING, values), axis=1, keepdims=1)
    best = op.CastLike(op.GatherElements(values, place, axis=1), box)
    cell = op.CastLike(op.Concat(op.Mod(place, columns), place / columns, axis=1), box)
    return op.Concat((cell + 0.5) * (side / cells) + low, best, axis=1)
