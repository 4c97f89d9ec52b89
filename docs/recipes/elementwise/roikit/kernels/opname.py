"""The centres of boxes on NumPy arrays. The compiled face of roikit.reference.opname."""

from roikit import _check, _core
from roikit.kernels._arguments import as_boxes
from roikit.kernels._launch import launch, result, view

__all__ = ["opname"]


def opname(boxes, stride=1.0, *, out=None, threads=None):
    """The centre of each box, in pixels of a map: `roikit.ops.opname` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy.
        stride: image pixels a pixel of the map, positive.
        out: (N, 2), for the result.
        threads: how many may work.

    Returns:
        (N, 2) float32 or float64: x, y.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "opname"
    boxes, stride = as_boxes(op, "boxes", boxes), _check.positive(op, "stride", stride)
    out = result(op, out, (len(boxes), 2), boxes.dtype)
    _core.opname(view(boxes), stride, view(out), launch(op, threads))
    return out
