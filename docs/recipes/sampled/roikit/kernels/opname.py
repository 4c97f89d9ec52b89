"""One sample a bin on NumPy arrays. The compiled face of roikit.reference.opname."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arguments import as_map, as_rois
from roikit.kernels._launch import launch, result, view

__all__ = ["opname", "opname_backward"]


def opname(input, boxes, output_size, spatial_scale=1.0, *, out=None, threads=None):
    """One bilinear sample at the centre of each bin of each box: `roikit.ops.opname` for arrays.

    Args:
        input: (N, C, H, W) float16, float32 or float64, contiguous (others are copied).
        boxes: (K, 5) floating, or a list with one (L, 4) array an image.
        output_size, spatial_scale: as in `roikit.ops.opname`.
        out: (K, C, PH, PW), for the result.
        threads: how many may work.

    Returns:
        (K, C, PH, PW), the dtype of ``input``.

    Raises: TypeError or ValueError for a wrong kind, shape or value, IndexError for a batch index that names no image.
    """
    op = "opname"
    input, rois = np.ascontiguousarray(as_map(op, "input", input)), as_rois(op, boxes)
    scale, *size = _check.pooling(op, output_size, spatial_scale)
    out = result(op, out, (len(rois), input.shape[1], *size), input.dtype)
    _core.opname(view(input), view(rois), scale, view(out), launch(op, threads))
    return out


def opname_backward(grad, boxes, input_shape, spatial_scale=1.0, *, threads=None):
    """Gradient of `opname` with respect to its input.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        boxes, spatial_scale, threads: as given to the forward pass.
        input_shape: (N, C, H, W).

    Returns:
        (N, C, H, W), the dtype of ``grad``.

    Raises: TypeError, ValueError or IndexError as `opname`.
    """
    op = "opname_backward"
    grad, rois = np.ascontiguousarray(as_map(op, "grad", grad)), as_rois(op, boxes)
    shape, scale = _check.map_shape(op, "input_shape", input_shape), _check.positive(op, "spatial_scale", spatial_scale)
    if grad.shape[:2] != (len(rois), shape[1]):
        raise ValueError(f"{op}: grad must have shape ({len(rois)}, {shape[1]}, PH, PW), got {_check.shape_text(grad)}")
    gradient = np.empty(shape, grad.dtype)
    _core.opname_backward(view(grad), view(rois), scale, view(gradient), launch(op, threads))
    return gradient
