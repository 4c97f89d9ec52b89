"""Position-sensitive pooling on NumPy arrays: the compiled face of roikit.reference.ps_roi."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import as_map, as_rois, launch, result, view

__all__ = ["ps_roi_align", "ps_roi_align_backward", "ps_roi_pool", "ps_roi_pool_backward"]


def _forward(op, input, boxes, output_size, spatial_scale, align, sampling_ratio, out, threads):
    input, rois = np.ascontiguousarray(as_map(op, "input", input)), as_rois(op, boxes)
    rows, columns = _check.pair(op, "output_size", output_size)
    _check.channels_of_bins(op, input.shape[1], rows, columns)
    out = result(op, out, (len(rois), input.shape[1] // (rows * columns), rows, columns), input.dtype)
    _core.ps_roi(view(input), view(rois), _check.positive(op, "spatial_scale", spatial_scale), align,
                 _check.sampling(op, sampling_ratio), view(out), launch(op, threads))
    return out


def _backward(op, grad, boxes, input_shape, spatial_scale, align, sampling_ratio, threads):
    grad, rois = np.ascontiguousarray(as_map(op, "grad", grad)), as_rois(op, boxes)
    shape = _check.map_shape(op, "input_shape", input_shape)
    if len(grad) != len(rois) or grad.shape[1] * grad.shape[2] * grad.shape[3] != shape[1]:
        raise ValueError(f"{op}: grad must have shape ({len(rois)}, C, PH, PW) with C * PH * PW = {shape[1]}, "
                         f"got {_check.shape_text(grad)}")
    gradient = np.empty(shape, grad.dtype)
    _core.ps_roi_backward(view(grad), view(rois), _check.positive(op, "spatial_scale", spatial_scale), align,
                          _check.sampling(op, sampling_ratio), view(gradient), launch(op, threads))
    return gradient


def ps_roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, *, out=None, threads=None):
    """Means of bilinear samples, bin (ph, pw) of channel c from input channel (c * PH + ph) * PW + pw.

    Args:
        input: (N, C * PH * PW, H, W) float16, float32 or float64 features, contiguous (others are copied).
        boxes: (K, 5) floating with the batch index first, x1 y1 x2 y2 in input pixels, or a list with one (L, 4)
            array an image; half is cast to float32.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel, positive.
        sampling_ratio: samples a bin along each axis; 0 or less: as many as a bin has map pixels, rounded up.
        out: contiguous (K, C, PH, PW) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (K, C, PH, PW), the dtype of ``input``; 0 for a RoI that is not finite.

    Raises:
        TypeError, ValueError: a wrong kind or shape, in a sentence.
        IndexError: a batch index is not whole, negative, or at least N.

    Source: Dai et al. 2016, arXiv:1605.06409, equation 1; He et al. 2017, arXiv:1703.06870, section 3.
    """
    return _forward("ps_roi_align", input, boxes, output_size, spatial_scale, True, sampling_ratio, out, threads)


def ps_roi_align_backward(grad, boxes, input_shape, spatial_scale=1.0, sampling_ratio=-1, *, threads=None):
    """Gradient (N, C * PH * PW, H, W) of `ps_roi_align` with respect to its input, the dtype of ``grad``.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        input_shape: (N, C * PH * PW, H, W).
        boxes and the rest: as given to the forward pass.

    Raises:
        TypeError, ValueError, IndexError: as in `ps_roi_align`.
    """
    return _backward("ps_roi_align", grad, boxes, input_shape, spatial_scale, True, sampling_ratio, threads)


def ps_roi_pool(input, boxes, output_size, spatial_scale=1.0, *, out=None, threads=None):
    """Means over the pixels of each bin of the rounded RoI, each bin from its own channels as in `ps_roi_align`.

    Args, result and errors as in `ps_roi_align`. The end pixel of a RoI, and the last row and column of the map, are
    left out, as in torchvision.

    Source: Dai et al. 2016, arXiv:1605.06409, equation 1.
    """
    return _forward("ps_roi_pool", input, boxes, output_size, spatial_scale, False, -1, out, threads)


def ps_roi_pool_backward(grad, boxes, input_shape, spatial_scale=1.0, *, threads=None):
    """Gradient of `ps_roi_pool` with respect to its input; arguments and errors as in `ps_roi_align_backward`."""
    return _backward("ps_roi_pool", grad, boxes, input_shape, spatial_scale, False, -1, threads)
