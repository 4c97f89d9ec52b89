"""RoIWarp on NumPy arrays: the compiled face of roikit.reference.roi_warp."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import as_array, as_map, as_rois, launch, result, view

__all__ = ["roi_warp", "roi_warp_backward", "roi_warp_with_argmax"]

REDUCE = ("max", "mean")


def roi_warp_with_argmax(input, boxes, output_size, spatial_scale=1.0, *, reduce="max", out=None, threads=None):
    """`roi_warp` and which of a bin's samples won.

    Args and errors as in `roi_warp`.

    Returns:
        output (K, C, PH, PW), argmax int8 (K, C, PH, PW): 0 to 3 in the order of rows and columns, or -1 where all are
        NaN; (0, C, PH, PW) for the mean.
    """
    op = "roi_warp"
    input, rois = np.ascontiguousarray(as_map(op, "input", input)), as_rois(op, boxes)
    _check.choice(op, "reduce", reduce, REDUCE)
    shape = (len(rois), input.shape[1], *_check.pair(op, "output_size", output_size))
    out = result(op, out, shape, input.dtype)
    argmax = np.empty(shape if reduce == "max" else (0, *shape[1:]), np.int8)
    _core.roi_warp(view(input), view(rois), _check.positive(op, "spatial_scale", spatial_scale), REDUCE.index(reduce),
                   view(out), view(argmax), launch(op, threads))
    return out, argmax


def roi_warp(input, boxes, output_size, spatial_scale=1.0, *, reduce="max", out=None, threads=None):
    """Bilinear samples in each RoI rounded to whole pixels, two a bin along each axis, reduced to PH x PW.

    Args:
        input: (N, C, H, W) float16, float32 or float64 features, contiguous (others are copied).
        boxes: (K, 5) floating with the batch index first, x1 y1 x2 y2 in input pixels, or a list with one (L, 4)
            array an image; half is cast to float32.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel, positive.
        reduce: "max" or "mean" of a bin's four samples.
        out: contiguous (K, C, PH, PW) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (K, C, PH, PW), the dtype of ``input``; 0 for a RoI that is not finite.

    Raises:
        TypeError, ValueError: a wrong kind or shape, in a sentence.
        IndexError: a batch index is not whole, negative, or at least N.

    Source: Dai et al. 2016, arXiv:1512.04412, section 3.2; He et al. 2017, arXiv:1703.06870, section 3.
    """
    return roi_warp_with_argmax(input, boxes, output_size, spatial_scale, reduce=reduce, out=out, threads=threads)[0]


def roi_warp_backward(grad, argmax, boxes, input_shape, spatial_scale=1.0, *, threads=None):
    """Gradient (N, C, H, W) of `roi_warp` with respect to its input, the dtype of ``grad``.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        argmax: from `roi_warp_with_argmax`; one of no rows means the mean.
        boxes, spatial_scale: as given to the forward pass.
        input_shape: (N, C, H, W).

    Raises:
        TypeError, ValueError, IndexError: as in `roi_warp`.
    """
    op = "roi_warp_backward"
    grad, rois = np.ascontiguousarray(as_map(op, "grad", grad)), as_rois(op, boxes)
    argmax = np.ascontiguousarray(as_array(op, "argmax", argmax))
    shape = _check.map_shape(op, "input_shape", input_shape)
    _check.dtype(op, "argmax", argmax, ("int8",))
    if grad.shape[:2] != (len(rois), shape[1]) or argmax.shape not in (grad.shape, (0, *grad.shape[1:])):
        raise ValueError(f"{op}: grad must have shape ({len(rois)}, {shape[1]}, PH, PW) and argmax the same or no "
                         f"rows, got {_check.shape_text(grad)} and {_check.shape_text(argmax)}")
    gradient = np.empty(shape, grad.dtype)
    _core.roi_warp_backward(view(grad), view(argmax), view(rois), _check.positive(op, "spatial_scale", spatial_scale),
                            view(gradient), launch(op, threads))
    return gradient
