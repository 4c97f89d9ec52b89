"""What the translations share: dtypes, vectors of constants, columns, boxes that are what they seem."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnxscript import opset18 as op

__all__ = ["LARGEST", "columns", "constant", "corners", "has_area", "int64s", "is_finite", "wider"]

LARGEST = float(np.finfo(np.float32).max)


def wider(*values):
    """The dtype in which roikit computes with inputs of the graph: float64 if one of them has it, else float32."""
    double = any(value.dtype == TensorProto.DOUBLE for value in values)
    return TensorProto.DOUBLE if double else TensorProto.FLOAT


def constant(numbers, kind):
    """An array of a dtype. A plain number beside a value whose dtype the graph has not settled yet is float32."""
    return op.Constant(value=numpy_helper.from_array(np.asarray(numbers, helper.tensor_dtype_to_np_dtype(int(kind)))))


def int64s(*numbers):
    """A vector of whole numbers."""
    return op.Constant(value_ints=list(numbers))


def columns(matrix, first, last, step=1):
    """matrix[:, first:last:step]."""
    return op.Slice(matrix, int64s(first), int64s(last), int64s(1), int64s(step))


def corners(boxes):
    """The first and the last corners (..., 2) of boxes (..., 4)."""
    return op.Split(boxes, axis=-1, num_outputs=2)


def has_area(boxes):
    """(N, 1) bool: whether a float32 box (N, 4) is finite and its sides are positive. One with a NaN is not."""
    first, last = corners(boxes)
    fine = op.And(op.Less(first, last), op.And(op.GreaterOrEqual(first, -LARGEST), op.LessOrEqual(last, LARGEST)))
    return _in_every_column(fine)


def is_finite(boxes, kind):
    """(N, 1) bool: whether all coordinates (N, 4) of a dtype are finite, and in the range of float32."""
    return _in_every_column(op.LessOrEqual(op.Abs(boxes), constant(LARGEST, kind)))


def _in_every_column(true):
    least = op.ReduceMin(op.Cast(true, to=TensorProto.INT32), int64s(1), keepdims=1)
    return op.Cast(least, to=TensorProto.BOOL)
