"""Position-sensitive pooling on NumPy arrays: the compiled face of roikit.reference.ps_roi."""

import numpy as np

from roikit import _check, _core
from roikit._check.ps_roi import pooling
from roikit.kernels._arguments import as_map, as_rois
from roikit.kernels._launch import launch, result, view

__all__ = ["ps_roi_align", "ps_roi_align_backward", "ps_roi_pool", "ps_roi_pool_backward"]


def _forward(op, input, boxes, output_size, spatial_scale, align, sampling_ratio, out, threads):
    input, rois = np.ascontiguousarray(as_map(op, "input", input)), as_rois(op, boxes)
    scale, rows, columns = pooling(op, input.shape[1], output_size, spatial_scale)
    out = result(op, out, (len(rois), input.shape[1] // (rows * columns), rows, columns), input.dtype)
    _core.ps_roi(view(input), view(rois), scale, align, _check.sampling(op, sampling_ratio), view(out),
                 launch(op, threads))
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
    """Means of bilinear samples, each bin from channels of its own: `roikit.ops.ps_roi_align` for arrays.

    Args:
        input: (N, C * PH * PW, H, W) float16, float32 or float64, contiguous (others are copied).
        boxes: (K, 5) floating, or a list with one (L, 4) array an image.
        output_size, spatial_scale, sampling_ratio: as in `roikit.ops.ps_roi_align`.
        out: (K, C, PH, PW), for the result.
        threads: how many may work.

    Returns:
        (K, C, PH, PW), the dtype of ``input``.

    Raises: TypeError or ValueError for a wrong kind, shape or value, IndexError for a batch index that names no image.
    """
    return _forward("ps_roi_align", input, boxes, output_size, spatial_scale, True, sampling_ratio, out, threads)


def ps_roi_align_backward(grad, boxes, input_shape, spatial_scale=1.0, sampling_ratio=-1, *, threads=None):
    """Gradient of `ps_roi_align` with respect to its input.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        boxes, spatial_scale, sampling_ratio, threads: as given to the forward pass.
        input_shape: (N, C * PH * PW, H, W).

    Returns:
        (N, C * PH * PW, H, W), the dtype of ``grad``.

    Raises: TypeError, ValueError or IndexError as `ps_roi_align`.
    """
    return _backward("ps_roi_align", grad, boxes, input_shape, spatial_scale, True, sampling_ratio, threads)


def ps_roi_pool(input, boxes, output_size, spatial_scale=1.0, *, out=None, threads=None):
    """Means over the pixels of each bin, each from channels of its own: `roikit.ops.ps_roi_pool` for arrays.

    Args:
        input: (N, C * PH * PW, H, W), as in `ps_roi_align`.
        boxes, output_size, spatial_scale, out, threads: as in `ps_roi_align`.

    Returns:
        (K, C, PH, PW), the dtype of ``input``.

    Raises: TypeError, ValueError or IndexError as `ps_roi_align`.
    """
    return _forward("ps_roi_pool", input, boxes, output_size, spatial_scale, False, -1, out, threads)


def ps_roi_pool_backward(grad, boxes, input_shape, spatial_scale=1.0, *, threads=None):
    """Gradient of `ps_roi_pool` with respect to its input.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        boxes, input_shape, spatial_scale, threads: as in `ps_roi_align_backward`.

    Returns:
        (N, C * PH * PW, H, W), the dtype of ``grad``.

    Raises: TypeError, ValueError or IndexError as `ps_roi_align`.
    """
    return _backward("ps_roi_pool", grad, boxes, input_shape, spatial_scale, False, -1, threads)
