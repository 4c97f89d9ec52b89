"""Deformable convolution on NumPy arrays: the compiled face of roikit.reference.deform_conv."""

import numpy as np

from roikit import _check, _core
from roikit._check.deform_conv import convolution
from roikit.kernels._arguments import as_array, as_map, as_maps
from roikit.kernels._launch import empty_map, launch, result, view

__all__ = ["deform_conv2d", "deform_conv2d_backward"]


def _arrays(op, input, offset, weight, bias, mask):
    """The arrays without a copy; None stays."""
    return (as_map(op, "input", input), *(None if x is None and name in ("bias", "mask") else as_array(op, name, x)
                                          for name, x in (("offset", offset), ("weight", weight), ("bias", bias),
                                                          ("mask", mask))))


def _laid_out(*arrays):
    return (None if a is None else np.ascontiguousarray(a) for a in arrays)


def _view(a):
    return None if a is None else view(a)


def deform_conv2d(input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), mask=None, *,
                  out=None, threads=None):
    """Convolve with a kernel whose taps are moved by ``offset``: `roikit.ops.deform_conv2d` for arrays.

    Args:
        input: (N, C, H, W) float16, float32 or float64, contiguous or channels_last (others are copied).
        offset: (N, 2 * DG * KH * KW, OH, OW), the dtype of ``input``, as all the arrays.
        weight: (O, C / G, KH, KW).
        bias: (O,), or None.
        stride, padding, dilation: a whole number or (y, x).
        mask: (N, DG * KH * KW, OH, OW), or None.
        out: (N, O, OH, OW), for the result.
        threads: how many may work.

    Returns:
        (N, O, OH, OW), the dtype of ``input``, and channels_last where it is.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "deform_conv2d"
    input, offset, weight, bias, mask = _arrays(op, input, offset, weight, bias, mask)
    *rule, shape = convolution(op, input, offset, weight, bias, stride, padding, dilation, mask)
    offset, weight, bias, mask = _laid_out(offset, weight, bias, mask)
    (input,), channels_last = as_maps([input])
    out = empty_map(shape, input.dtype, channels_last) if out is None else result(op, out, shape, input.dtype)
    _core.deform_conv2d(view(input), view(offset), _view(mask), view(weight), _view(bias), *rule, view(out),
                        launch(op, threads))
    return out


def deform_conv2d_backward(grad, input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1),
                           mask=None, *, threads=None):
    """Gradients of `deform_conv2d` with respect to its arrays.

    Args:
        grad: (N, O, OH, OW), the gradient of the output.
        input, offset, weight, bias, stride, padding, dilation, mask, threads: as given to the forward pass.

    Returns:
        The gradients of input, offset, weight, bias and mask, contiguous, each of its argument's shape and dtype; None
        where the argument is None.

    Raises: TypeError or ValueError as `deform_conv2d`.
    """
    op = "deform_conv2d_backward"
    grad, (input, offset, weight, bias, mask) = as_map(op, "grad", grad), _arrays(op, input, offset, weight, bias, mask)
    *rule, shape = convolution(op, input, offset, weight, bias, stride, padding, dilation, mask)
    _check.dtype(op, "grad", grad, (_check.dtype_name(input),))
    if grad.shape != shape:
        raise ValueError(f"{op}: grad must have shape {shape}, got {_check.shape_text(grad)}")
    offset, weight, bias, mask = _laid_out(offset, weight, bias, mask)
    (input,), (grad,) = (as_maps([a])[0] for a in (input, grad))
    gradients = [None if a is None else np.empty(a.shape, input.dtype) for a in (input, offset, weight, bias, mask)]
    of_input, of_offset, of_weight, of_bias, of_mask = map(_view, gradients)
    _core.deform_conv2d_backward(view(grad), view(input), view(offset), _view(mask), view(weight), *rule, of_input,
                                 of_offset, of_mask, of_weight, of_bias, launch(op, threads))
    return tuple(gradients)
