"""RoIPool on tensors, differentiable in the features."""

import torch

from roikit import _check, _core
from roikit._check.roi_pool import planes
from roikit.ops._arguments import as_map, as_rois
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._maps import in_format, in_own_format, stored_channels_last
from roikit.ops._roi_gradients import register_winners
from roikit.ops._rois import add_up, bins_with_argmax, roi_kernels, unpooled

__all__ = ["RoIPool", "roi_pool"]


@torch.fx.wrap
def roi_pool(input, boxes, output_size, spatial_scale=1.0):
    """Pool each RoI, rounded to whole pixels, into PH x PW maxima.

    Args:
        input: (N, C, H, W) float16, bfloat16, float32 or float64 features with H * W < 2**31, contiguous or
            channels_last (others are copied).
        boxes: (K, 5) floating with the batch index first, x1 y1 x2 y2 in input pixels, or a list with one (L, 4)
            tensor an image; whatever the features' dtype, half is cast to float32.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel, positive.

    Returns:
        (K, C, PH, PW), the dtype and the memory format of ``input``; 0 for a bin without a maximum and for a RoI that
        is not finite. Differentiable in ``input``: each maximum receives its bin's gradient. torch.ops.roikit.roi_pool
        gives the places of the maxima too; this function has them found only where a gradient is recorded.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, in a sentence.
        IndexError: a batch index is not whole, negative, or at least N (CUDA: with ROIKIT_DEBUG=1; else that RoI gives
            0 and has no gradient).
        BackendError: CUDA tensors, and no CUDA module in this build.

    On CUDA the gradient is added up in an order that changes from run to run, unless
    ``torch.use_deterministic_algorithms(True)`` asks for the CPU's order and bits.

    Source: Girshick 2015, arXiv:1504.08083, section 2.1.
    """
    op = "roi_pool"
    planes(op, as_map(op, "input", input))
    rois = as_rois(op, boxes, input)
    wanted = torch.is_grad_enabled() and input.requires_grad
    return torch.ops.roikit.roi_pool(input, rois, *_check.pooling(op, output_size, spatial_scale), wanted)[0]


class RoIPool(torch.nn.Module):
    """`roi_pool` with fixed parameters; torchvision's constructor. Input: features (N, C, H, W), boxes."""

    def __init__(self, output_size, spatial_scale):
        super().__init__()
        self.output_size, self.spatial_scale = output_size, spatial_scale

    def forward(self, input, rois):
        return roi_pool(input, rois, self.output_size, self.spatial_scale)

    def extra_repr(self):
        return f"output_size={self.output_size}, spatial_scale={self.spatial_scale}"


def _forward_fake(input, boxes, spatial_scale, rows, columns, with_argmax=True):
    return bins_with_argmax([input], boxes, rows, columns, with_argmax)


def _forward(input, boxes, spatial_scale, rows, columns, with_argmax=True):
    output, argmax = bins_with_argmax([input], boxes, rows, columns, with_argmax)
    input, boxes = in_own_format(input), boxes.contiguous()
    core = roi_kernels("roi_pool", output, boxes, input.shape[0])
    scratch = None if core is _core else workspace(output, core.roi_pool_workspace(boxes.shape[0], rows, columns))
    core.roi_pool(view(input), view(boxes), spatial_scale, view(output), view(argmax), launch(output, scratch))
    return output, argmax


def _backward_fake(grad, argmax, boxes, images, height, width, channels_last):
    return unpooled(grad, images, height, width, channels_last)


def _backward(grad, argmax, boxes, images, height, width, channels_last):
    gradient = unpooled(grad, images, height, width, channels_last)
    grad, argmax = in_format([grad, argmax], stored_channels_last([argmax]))
    boxes = boxes.contiguous()
    add_up(backend(grad, "roi_pool"), "roi_pool_backward", grad, view(grad), view(argmax), view(boxes), view(gradient),
           scratch_for=lambda exact: (view(argmax), view(gradient), exact))
    return gradient


def _at(maps, argmax, boxes):
    """What stands in the maps (N, C, H, W) at the maxima (K, C, PH, PW); 0 where there is none."""
    images, channels, height, width = maps.shape
    image = boxes[:, 0].long()  # CUDA: may name no image
    named = (image >= 0) & (image < images) & (image == boxes[:, 0])
    won = named[:, None, None, None] & (argmax >= 0) & (argmax < height * width)
    plane = torch.where(named, image, 0)[:, None] * channels + torch.arange(channels, device=maps.device)
    at = plane[:, :, None, None] * (height * width) + torch.where(won, argmax, 0)
    return torch.where(won, maps.contiguous().flatten()[at], 0)


register_winners(
    ("roi_pool(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
     "bool with_argmax=True) -> (Tensor, Tensor)", _forward, _forward_fake),
    ("roi_pool_backward(Tensor grad, Tensor argmax, Tensor boxes, SymInt images, SymInt height, SymInt width, "
     "bool channels_last) -> Tensor", _backward, _backward_fake), _at)
