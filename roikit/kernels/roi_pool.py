"""RoIPool on NumPy arrays: the compiled face of roikit.reference.roi_pool."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import (
    as_array,
    as_map,
    as_maps,
    as_rois,
    empty_map,
    launch,
    result,
    view,
)

__all__ = ["roi_pool", "roi_pool_backward", "roi_pool_with_argmax"]


def _pool(input, boxes, output_size, spatial_scale, out, threads, with_argmax):
    op = "roi_pool"
    input = as_map(op, "input", input)
    if input.shape[2] * input.shape[3] >= 2**31:
        raise ValueError(f"{op}: input must have H * W < 2**31, got {_check.shape_text(input)}")
    rois = as_rois(op, boxes)
    (input,), channels_last = as_maps([input])
    shape = (len(rois), input.shape[1], *_check.pair(op, "output_size", output_size))
    if out is None:
        out = empty_map(shape, input.dtype, channels_last)
    else:
        out = result(op, out, shape, input.dtype)
        input, channels_last = np.ascontiguousarray(input), False
    argmax = empty_map(shape if with_argmax else (0, *shape[1:]), np.int32, channels_last)
    _core.roi_pool(view(input), view(rois), _check.positive(op, "spatial_scale", spatial_scale),
                   view(out), view(argmax), launch(op, threads))
    return out, argmax


def roi_pool_with_argmax(input, boxes, output_size, spatial_scale=1.0, *, out=None, threads=None):
    """`roi_pool` and where each maximum stands.

    Args and errors as in `roi_pool`.

    Returns:
        output (K, C, PH, PW), argmax int32 (K, C, PH, PW): y * W + x in the RoI's image and channel, or -1 for a bin
        without a maximum, whose output is 0.
    """
    return _pool(input, boxes, output_size, spatial_scale, out, threads, True)


def roi_pool(input, boxes, output_size, spatial_scale=1.0, *, out=None, threads=None):
    """Pool each RoI, rounded to whole pixels, into PH x PW maxima.

    Args:
        input: (N, C, H, W) float16, float32 or float64 features, contiguous or channels_last (others are copied).
        boxes: (K, 5) floating with the batch index first, x1 y1 x2 y2 in input pixels, or a list with one (L, 4)
            array an image; half is cast to float32.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel, positive.
        out: contiguous (K, C, PH, PW) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (K, C, PH, PW), the dtype of ``input``, and channels_last where it is; 0 for a bin without a maximum and for
        a RoI that is not finite.

    Raises:
        TypeError, ValueError: a wrong kind or shape, in a sentence.
        IndexError: a batch index is not whole, negative, or at least N.

    Source: Girshick 2015, arXiv:1504.08083, section 2.1.
    """
    return _pool(input, boxes, output_size, spatial_scale, out, threads, False)[0]


def roi_pool_backward(grad, argmax, boxes, input_shape, *, threads=None):
    """Gradient (N, C, H, W) of `roi_pool` with respect to its input, the dtype of ``grad``.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        argmax: int32 (K, C, PH, PW) from `roi_pool_with_argmax`.
        boxes: as given to the forward pass; only the images of the RoIs are read.
        input_shape: (N, C, H, W).

    Raises:
        TypeError, ValueError, IndexError: as in `roi_pool`.
    """
    op = "roi_pool_backward"
    grad, argmax, rois = as_map(op, "grad", grad), as_array(op, "argmax", argmax), as_rois(op, boxes)
    shape = _check.map_shape(op, "input_shape", input_shape)
    _check.dtype(op, "argmax", argmax, ("int32",))
    if grad.shape[:2] != (len(rois), shape[1]) or argmax.shape != grad.shape:
        raise ValueError(f"{op}: grad and argmax must have shape ({len(rois)}, {shape[1]}, PH, PW), "
                         f"got {_check.shape_text(grad)} and {_check.shape_text(argmax)}")
    (grad, argmax), _ = as_maps([grad, argmax])
    gradient = np.empty(shape, grad.dtype)
    _core.roi_pool_backward(view(grad), view(argmax), view(rois), view(gradient), launch(op, threads))
    return gradient
