"""RoIWarp on NumPy arrays: the compiled face of roikit.reference.roi_warp."""

import numpy as np

from roikit import _check, _core
from roikit._check.roi_warp import reduction
from roikit.kernels._arguments import as_argmax, as_map, as_rois
from roikit.kernels._launch import launch, result, view

__all__ = ["roi_warp", "roi_warp_backward", "roi_warp_with_argmax"]


def roi_warp_with_argmax(input, boxes, output_size, spatial_scale=1.0, *, reduce="max", out=None, threads=None):
    """`roi_warp` and which of a bin's samples won.

    Args:
        input, boxes, output_size, spatial_scale, reduce, out, threads: as in `roi_warp`.

    Returns:
        output (K, C, PH, PW), argmax int8 (K, C, PH, PW): 0 to 3 in the order of rows and columns, or -1 where all are
        NaN; (0, C, PH, PW) for the mean.

    Raises: TypeError, ValueError or IndexError as `roi_warp`.
    """
    op = "roi_warp"
    input, rois = np.ascontiguousarray(as_map(op, "input", input)), as_rois(op, boxes)
    kind = reduction(op, reduce)
    scale, *size = _check.pooling(op, output_size, spatial_scale)
    shape = len(rois), input.shape[1], *size
    out = result(op, out, shape, input.dtype)
    argmax = np.empty(shape if reduce == "max" else (0, *shape[1:]), np.int8)
    _core.roi_warp(view(input), view(rois), scale, kind, view(out), view(argmax), launch(op, threads))
    return out, argmax


def roi_warp(input, boxes, output_size, spatial_scale=1.0, *, reduce="max", out=None, threads=None):
    """Bilinear samples in each RoI rounded to whole pixels, reduced to PH x PW: `roikit.ops.roi_warp` for arrays.

    Args:
        input: (N, C, H, W) float16, float32 or float64, contiguous (others are copied).
        boxes: (K, 5) floating, or a list with one (L, 4) array an image.
        output_size, spatial_scale, reduce: as in `roikit.ops.roi_warp`.
        out: (K, C, PH, PW), for the result.
        threads: how many may work.

    Returns:
        (K, C, PH, PW), the dtype of ``input``.

    Raises: TypeError or ValueError for a wrong kind, shape or value, IndexError for a batch index that names no image.
    """
    return roi_warp_with_argmax(input, boxes, output_size, spatial_scale, reduce=reduce, out=out, threads=threads)[0]


def roi_warp_backward(grad, argmax, boxes, input_shape, spatial_scale=1.0, *, threads=None):
    """Gradient of `roi_warp` with respect to its input.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        argmax: int8 (K, C, PH, PW) from `roi_warp_with_argmax`; one of no rows means the mean.
        boxes, spatial_scale, threads: as given to the forward pass.
        input_shape: (N, C, H, W).

    Returns:
        (N, C, H, W), the dtype of ``grad``.

    Raises: TypeError, ValueError or IndexError as `roi_warp`.
    """
    op = "roi_warp_backward"
    grad, rois = np.ascontiguousarray(as_map(op, "grad", grad)), as_rois(op, boxes)
    argmax = np.ascontiguousarray(as_argmax(op, argmax, "int8"))
    shape = _check.map_shape(op, "input_shape", input_shape)
    if grad.shape[:2] != (len(rois), shape[1]) or argmax.shape not in (grad.shape, (0, *grad.shape[1:])):
        raise ValueError(f"{op}: grad must have shape ({len(rois)}, {shape[1]}, PH, PW) and argmax the same or no "
                         f"rows, got {_check.shape_text(grad)} and {_check.shape_text(argmax)}")
    gradient = np.empty(shape, grad.dtype)
    _core.roi_warp_backward(view(grad), view(argmax), view(rois), _check.positive(op, "spatial_scale", spatial_scale),
                            view(gradient), launch(op, threads))
    return gradient
