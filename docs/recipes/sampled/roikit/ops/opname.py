"""One sample a bin on tensors, twice differentiable in the features."""

import torch

from roikit import _check
from roikit.ops._arguments import as_map, as_rois
from roikit.ops._launch import backend, launch, view
from roikit.ops._roi_gradients import register_linear
from roikit.ops._rois import add_up, roi_kernels

__all__ = ["opname"]


def opname(input, boxes, output_size, spatial_scale=1.0):
    """One bilinear sample at the centre of each of PH x PW bins of each box.

    Args:
        input: (N, C, H, W) float16, bfloat16, float32 or float64 features, contiguous (others are copied).
        boxes: (K, 5) floating with the batch index first, x1 y1 x2 y2 in input pixels, or a list with one (L, 4)
            tensor an image; whatever the features' dtype, half is cast to float32.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel, positive.

    Returns:
        (K, C, PH, PW), contiguous, the dtype of ``input``; 0 for a sample that is not on the map. Twice differentiable
        in ``input``; the boxes have no gradient.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, in a sentence.
        IndexError: a batch index is not whole, negative, or at least N (CUDA: with ROIKIT_DEBUG=1; else that box gives
            0 and has no gradient).
        BackendError: CUDA tensors, and no CUDA module in this build.

    On CUDA the gradient is added up in an order that changes from run to run, unless
    ``torch.use_deterministic_algorithms(True)`` asks for the CPU's order.

    Source: this project's own; the bilinear sample is that of He et al. 2017, arXiv:1703.06870, section 3.
    """
    op = "opname"
    rois = as_rois(op, boxes, as_map(op, "input", input))
    rule = _check.pooling(op, output_size, spatial_scale)
    return torch.ops.roikit.opname(input, rois, *rule)


def _fake(input, boxes, spatial_scale, rows, columns):
    return input.new_empty((boxes.shape[0], input.shape[1], rows, columns))


def _kernel(input, boxes, spatial_scale, rows, columns):
    output = _fake(input, boxes, spatial_scale, rows, columns)
    input, boxes = input.contiguous(), boxes.contiguous()
    core = roi_kernels("opname", output, boxes, input.shape[0])
    core.opname(view(input), view(boxes), spatial_scale, view(output), launch(output))
    return output


def _back_fake(grad, boxes, images, height, width, spatial_scale):
    return grad.new_empty((images, grad.shape[1], height, width))


def _back_kernel(grad, boxes, images, height, width, spatial_scale):
    gradient = _back_fake(grad, boxes, images, height, width, spatial_scale)
    grad, boxes = grad.contiguous(), boxes.contiguous()
    core = backend(grad, "opname")
    add_up(core, "opname_backward", grad, view(grad), view(boxes), spatial_scale, view(gradient),
           scratch_for=lambda exact: (view(gradient),))
    return gradient


register_linear(
    ("opname(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, "
     "SymInt pooled_width) -> Tensor", _kernel, _fake),
    ("opname_backward(Tensor grad, Tensor boxes, SymInt images, SymInt height, SymInt width, "
     "float spatial_scale) -> Tensor", _back_kernel, _back_fake))
