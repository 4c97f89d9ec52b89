"""nms, batched_nms and nms_padded by ONNX's NonMaxSuppression, without offsets.

NonMaxSuppression compares as roikit does (strictly, half-open boxes, float32; equal scores by index), but it turns
reversed boxes round and says nothing of NaN. So boxes without an area, which overlap nothing, become zeros first.
"""

import numpy as np
from onnx import TensorProto
from onnxscript import opset18 as op

from roikit.export._values import columns, constant, has_area, int64s

__all__ = ["batched_nms", "nms", "nms_padded"]


def nms(boxes, scores, iou_threshold):
    """See `roikit.ops.nms`: boxes (N, 4), scores (N,) -> keep (K,)."""
    scores = _comparable(scores)
    picked = _suppress("nms", boxes, op.Unsqueeze(scores, int64s(0, 1)), iou_threshold, op.Shape(scores))
    return _by_score(picked, scores)


def batched_nms(boxes, scores, idxs, iou_threshold):
    """See `roikit.ops.batched_nms`. Each class has a row of scores, in which the others' boxes are no candidates."""
    scores = _comparable(scores)
    classes, _, _, _ = op.Unique(idxs, sorted=1)
    member = op.Equal(op.Unsqueeze(classes, int64s(1)), op.Unsqueeze(idxs, int64s(0)))  # (C, N)
    rows = op.Where(member, op.Unsqueeze(scores, int64s(0)), float("-inf"))
    picked = _suppress("batched_nms", boxes, op.Unsqueeze(rows, int64s(0)), iou_threshold, op.Shape(scores))
    return _by_score(picked, scores)


def nms_padded(boxes, scores, iou_threshold, max_output):
    """See `roikit.ops.nms_padded`: -> keep (max_output,) padded with -1, count ()."""
    scores = _comparable(scores)
    rows = op.Unsqueeze(scores, int64s(0, 1))
    most = int64s(max_output) if isinstance(max_output, int) else op.Reshape(max_output, int64s(1))
    keep = _by_score(_suppress("nms_padded", boxes, rows, iou_threshold, most), scores)
    count = op.Shape(keep)
    padding = op.Expand(int64s(-1), op.Sub(most, count))
    return op.Concat(keep, padding, axis=0), op.Squeeze(count, int64s(0))


def _comparable(scores):
    """Finite float32 scores (N,) in the order of the given ones; NaN comes below -inf.

    float32 cannot tell all float64 scores apart, so that these give way to their ranks.
    """
    if scores.dtype != TensorProto.DOUBLE:
        return _finite(op.Cast(scores, to=TensorProto.FLOAT), TensorProto.FLOAT)
    count = op.Shape(scores)
    _, order = op.TopK(_finite(scores, TensorProto.DOUBLE), count, largest=1, sorted=1)
    ranks = op.Range(op.Squeeze(count, int64s(0)), op.Constant(value_int=0), op.Constant(value_int=-1))
    return op.ScatterElements(op.Cast(order, to=TensorProto.FLOAT), order, op.Cast(ranks, to=TensorProto.FLOAT), axis=0)


def _finite(scores, kind):
    dtype = np.float64 if kind == TensorProto.DOUBLE else np.float32
    lowest, largest = np.finfo(dtype).min, np.finfo(dtype).max
    known = op.Clip(scores, constant(np.nextafter(lowest, dtype(0)), kind), constant(largest, kind))
    return op.Where(op.IsNaN(scores), constant(lowest, kind), known)


def _suppress(name, boxes, rows, iou_threshold, most):
    """(K,) int64: the boxes that one of the rows of scores (1, C, N) keeps, at most ``most`` (1,) of each."""
    if not iou_threshold >= 0:
        raise ValueError(f"{name}: ONNX's NonMaxSuppression needs an iou_threshold of at least 0, got {iou_threshold}")
    boxes = op.Cast(boxes, to=TensorProto.FLOAT)
    boxes = op.Where(has_area(boxes), boxes, 0.0)
    limit = op.Constant(value_floats=[min(iou_threshold, 1.0)])  # no IoU is above 1
    kept = op.NonMaxSuppression(op.Unsqueeze(boxes, int64s(0)), rows, most, limit,
                                op.Constant(value_floats=[float("-inf")]))
    return op.Squeeze(columns(kept, 2, 3), int64s(1))  # of (batch, class, box)


def _by_score(picked, scores):
    """Box indices (K,) by descending score, equal scores by index."""
    count = op.Shape(picked)
    ascending, _ = op.TopK(picked, count, largest=0, sorted=1)
    _, order = op.TopK(op.Gather(scores, ascending), count, largest=1, sorted=1)  # it leaves equal ones in order
    return op.Gather(ascending, order)
