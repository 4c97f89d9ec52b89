"""RoIPool on NumPy arrays: the compiled face of roikit.reference.roi_pool."""

import numpy as np

from roikit import _check, _core
from roikit._check.roi_pool import planes
from roikit.kernels._arguments import as_argmax, as_map, as_maps, as_rois
from roikit.kernels._launch import empty_map, launch, result, view

__all__ = ["roi_pool", "roi_pool_backward", "roi_pool_with_argmax"]


def _pool(input, boxes, output_size, spatial_scale, out, threads, with_argmax):
    op = "roi_pool"
    input = as_map(op, "input", input)
    planes(op, input)
    rois = as_rois(op, boxes)
    (input,), channels_last = as_maps([input])
    scale, *size = _check.pooling(op, output_size, spatial_scale)
    shape = len(rois), input.shape[1], *size
    if out is None:
        out = empty_map(shape, input.dtype, channels_last)
    else:
        out = result(op, out, shape, input.dtype)
        input, channels_last = np.ascontiguousarray(input), False
    argmax = empty_map(shape if with_argmax else (0, *shape[1:]), np.int32, channels_last)
    _core.roi_pool(view(input), view(rois), scale, view(out), view(argmax), launch(op, threads))
    return out, argmax


def roi_pool_with_argmax(input, boxes, output_size, spatial_scale=1.0, *, out=None, threads=None):
    """`roi_pool` and where each maximum stands.

    Args:
        input, boxes, output_size, spatial_scale, out, threads: as in `roi_pool`.

    Returns:
        output (K, C, PH, PW), argmax int32 (K, C, PH, PW): y * W + x in the RoI's image and channel, or -1 for a bin
        without a maximum, whose output is 0.

    Raises: TypeError, ValueError or IndexError as `roi_pool`.
    """
    return _pool(input, boxes, output_size, spatial_scale, out, threads, True)


def roi_pool(input, boxes, output_size, spatial_scale=1.0, *, out=None, threads=None):
    """Pool each RoI, rounded to whole pixels, into PH x PW maxima: `roikit.ops.roi_pool` for arrays.

    Args:
        input: (N, C, H, W) float16, float32 or float64, contiguous or channels_last (others are copied).
        boxes: (K, 5) floating, or a list with one (L, 4) array an image.
        output_size, spatial_scale: as in `roikit.ops.roi_pool`.
        out: (K, C, PH, PW), for the result.
        threads: how many may work.

    Returns:
        (K, C, PH, PW), the dtype of ``input``, and channels_last where it is.

    Raises: TypeError or ValueError for a wrong kind, shape or value, IndexError for a batch index that names no image.
    """
    return _pool(input, boxes, output_size, spatial_scale, out, threads, False)[0]


def roi_pool_backward(grad, argmax, boxes, input_shape, *, threads=None):
    """Gradient of `roi_pool` with respect to its input.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        argmax: int32 (K, C, PH, PW) from `roi_pool_with_argmax`.
        boxes: as given to the forward pass; only the images of the RoIs are read.
        input_shape: (N, C, H, W).
        threads: how many may work.

    Returns:
        (N, C, H, W), the dtype of ``grad``.

    Raises: TypeError, ValueError or IndexError as `roi_pool`.
    """
    op = "roi_pool_backward"
    grad, argmax, rois = as_map(op, "grad", grad), as_argmax(op, argmax, "int32"), as_rois(op, boxes)
    shape = _check.map_shape(op, "input_shape", input_shape)
    if grad.shape[:2] != (len(rois), shape[1]) or argmax.shape != grad.shape:
        raise ValueError(f"{op}: grad and argmax must have shape ({len(rois)}, {shape[1]}, PH, PW), "
                         f"got {_check.shape_text(grad)} and {_check.shape_text(argmax)}")
    (grad, argmax), _ = as_maps([grad, argmax])
    gradient = np.empty(shape, grad.dtype)
    _core.roi_pool_backward(view(grad), view(argmax), view(rois), view(gradient), launch(op, threads))
    return gradient
