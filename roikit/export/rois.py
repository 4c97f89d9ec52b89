"""roi_align and multiscale_roi_align by ONNX's RoiAlign, roi_pool by its MaxRoiPool."""

import math

import numpy as np
from onnx import TensorProto
from onnxscript import opset18 as op

from roikit.export._values import columns, constant, corners, int64s, is_finite, wider

FLOAT = TensorProto.FLOAT

__all__ = ["multiscale_roi_align", "roi_align", "roi_pool"]


def roi_align(input, boxes, spatial_scale, rows, columns, sampling_ratio, aligned):
    """See `roikit.ops.roi_align`: input (N, C, H, W), boxes (K, 5) -> (K, C, rows, columns)."""
    return multiscale_roi_align([input], boxes, [spatial_scale], [], rows, columns, sampling_ratio, aligned)


def multiscale_roi_align(features, boxes, scales, thresholds, rows, columns, sampling_ratio, aligned):
    """See `roikit.ops.multiscale_roi_align`. Each level pools its own boxes; rows go back to the boxes' order."""
    kind = features[0].dtype
    wide = wider(features[0], boxes)
    boxes = op.Cast(boxes, to=wide)
    rule = {"output_height": rows, "output_width": columns, "sampling_ratio": max(sampling_ratio, 0), "mode": "avg",
            "coordinate_transformation_mode": "half_pixel" if aligned else "output_half_pixel"}
    if len(features) == 1:
        pooled = _pool(features[0], boxes, scales[0], wide, rule)
    else:
        level = _levels(boxes, thresholds)
        places, parts = [], []
        for i, (features_i, scale) in enumerate(zip(features, scales, strict=True)):
            place = op.Squeeze(op.NonZero(op.Equal(level, i)), int64s(0))
            places.append(place)
            parts.append(_pool(features_i, op.Gather(boxes, place), scale, wide, rule))
        order = op.Concat(*places, axis=0)
        rank = op.Range(0, op.Squeeze(op.Shape(order), int64s(0)), 1)
        pooled = op.Gather(op.Concat(*parts, axis=0), op.ScatterElements(rank, order, rank, axis=0))
    return op.Cast(pooled, to=kind)


def roi_pool(input, boxes, spatial_scale, rows, columns, with_argmax=True):
    """See `roikit.ops.roi_pool`. torch.ops.roikit.roi_pool gives the places of the maxima too; a graph has none."""
    boxes = _inside(op.Cast(boxes, to=FLOAT), spatial_scale, FLOAT)  # onnxruntime pools in float32 alone
    pooled = op.MaxRoiPool(op.Cast(input, to=FLOAT), boxes, pooled_shape=[rows, columns], spatial_scale=spatial_scale)
    return op.Cast(pooled, to=input.dtype), constant(np.zeros((0, 1, rows, columns)), TensorProto.INT32)


def _levels(boxes, thresholds):
    """(K,) int64: how many of the thresholds the size of a box (K, 5) reaches, which is its place in the pyramid.

    The size is float32; to reach a float64 threshold is to reach the first float32 from there on.
    """
    first, last = corners(op.Cast(columns(boxes, 1, 5), to=FLOAT))
    sides = op.Max(op.Sub(last, first), 0.0)
    size = op.Sqrt(op.Mul(columns(sides, 0, 1), columns(sides, 1, 2)))  # (K, 1)
    reached = op.GreaterOrEqual(size, op.Constant(value_floats=[_float32_from(t) for t in thresholds]))
    return op.ReduceSum(op.Cast(reached, to=TensorProto.INT64), int64s(1), keepdims=0)


def _float32_from(number):
    nearest = np.float32(number)
    return float(nearest if float(nearest) >= number else np.nextafter(nearest, np.float32(math.inf)))


def _inside(boxes, scale, kind):
    """Boxes (K, 5) with each that is not finite moved to the left of the map, where everything is 0."""
    index, own = columns(boxes, 0, 1), columns(boxes, 1, 5)
    return op.Concat(index, op.Where(is_finite(own, kind), own, constant(-8 / scale, kind)), axis=1)


def _pool(features, boxes, scale, wide, rule):
    boxes = _inside(boxes, scale, wide)
    index = op.Cast(op.Squeeze(columns(boxes, 0, 1), int64s(1)), to=TensorProto.INT64)
    return op.RoiAlign(op.Cast(features, to=wide), columns(boxes, 1, 5), index, spatial_scale=scale, **rule)
