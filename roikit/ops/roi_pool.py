"""RoIPool on tensors, differentiable in the features."""

import torch

from roikit import _check, _config, _core
from roikit.ops._derivatives import linear
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import autocast_boxes, register
from roikit.ops._rois import as_rois, check_images, empty_map, feature_map, in_format, stored_channels_last

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
    feature_map(op, "input", input)
    if input.shape[2] * input.shape[3] >= 2**31:
        raise ValueError(f"{op}: input must have H * W < 2**31, got {_check.shape_text(input)}")
    rois = as_rois(op, boxes, input)
    rows, columns = _check.pair(op, "output_size", output_size)
    scale = _check.positive(op, "spatial_scale", spatial_scale)
    wanted = torch.is_grad_enabled() and input.requires_grad
    return torch.ops.roikit.roi_pool(input, rois, scale, rows, columns, wanted)[0]


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
    bins, channels_last = (input.shape[1], rows, columns), stored_channels_last([input])
    return (empty_map(input, (boxes.shape[0], *bins), channels_last),
            empty_map(input, (boxes.shape[0] if with_argmax else 0, *bins), channels_last, dtype=torch.int32))


def _forward(input, boxes, spatial_scale, rows, columns, with_argmax=True):
    output, argmax = _forward_fake(input, boxes, spatial_scale, rows, columns, with_argmax)
    (input,), boxes = in_format([input], stored_channels_last([input])), boxes.contiguous()
    core, scratch = backend(output, "roi_pool"), None
    if core is not _core:
        if _config.debug():
            check_images("roi_pool", boxes, input.shape[0])
        scratch = workspace(output, core.roi_pool_workspace(boxes.shape[0], rows, columns))
    core.roi_pool(view(input), view(boxes), spatial_scale, view(output), view(argmax), launch(output, scratch))
    return output, argmax


def _backward_fake(grad, argmax, boxes, images, height, width, channels_last):
    return empty_map(grad, (images, grad.shape[1], height, width), channels_last)


def _backward(grad, argmax, boxes, images, height, width, channels_last):
    gradient = _backward_fake(grad, argmax, boxes, images, height, width, channels_last)
    grad, argmax = in_format([grad, argmax], stored_channels_last([argmax]))
    boxes = boxes.contiguous()
    core, place = backend(grad, "roi_pool"), {}
    if core is not _core:
        place["deterministic"] = exact = torch.are_deterministic_algorithms_enabled()
        size = core.roi_pool_backward_workspace(view(argmax), view(gradient), exact)
        place["scratch"] = workspace(grad, size)
    core.roi_pool_backward(view(grad), view(argmax), view(boxes), view(gradient), launch(grad, **place))
    return gradient


def _maxima(inputs, output):
    """Where the maxima are, found anew where the call did not ask: a compiler does not say that a transform will."""
    asked = (*inputs, True)[5]  # not by the lengths, which torch.export may not know
    return output[1] if asked else torch.ops.roikit.roi_pool(*inputs[:5], True)[1]


def _forward_context(ctx, inputs, output):
    input, boxes, *_ = inputs
    ctx.save_for_backward(_maxima(inputs, output), boxes)
    ctx.set_materialize_grads(False)  # else argmax gets a gradient of zeros, as large as it is
    ctx.place = (input.shape[0], input.shape[2], input.shape[3], stored_channels_last([input]))


def _forward_backward(ctx, grad, _):
    if grad is None:
        return None, None, None, None, None, None
    argmax, boxes = ctx.saved_tensors
    gradient = torch.ops.roikit.roi_pool_backward(grad, argmax, boxes, *ctx.place)
    return gradient, None, None, None, None, None


def _backward_context(ctx, inputs, output):
    _, argmax, boxes, *_ = inputs
    ctx.save_for_backward(argmax, boxes)


def _backward_backward(ctx, grad):
    """The backward is linear in the bins' gradients: its transpose gathers."""
    return _at(grad, *ctx.saved_tensors), None, None, None, None, None, None


def _tangent(op, place, tangent, inputs, output):
    return _at(tangent, _maxima(inputs, output), inputs[1]), None


def _at(maps, argmax, boxes):
    """What stands in the maps (N, C, H, W) at the maxima (K, C, PH, PW); 0 where there is none."""
    images, channels, height, width = maps.shape
    image = boxes[:, 0].long()  # CUDA: may name no image
    named = (image >= 0) & (image < images) & (image == boxes[:, 0])
    won = named[:, None, None, None] & (argmax >= 0) & (argmax < height * width)
    plane = torch.where(named, image, 0)[:, None] * channels + torch.arange(channels, device=maps.device)
    at = plane[:, :, None, None] * (height * width) + torch.where(won, argmax, 0)
    return torch.where(won, maps.contiguous().flatten()[at], 0)


register("roi_pool(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, "
         "SymInt pooled_width, bool with_argmax=True) -> (Tensor, Tensor)",
         _forward, _forward_fake, backward=_forward_backward, setup_context=_forward_context,
         tangents={"input": _tangent})
register("roi_pool_backward(Tensor grad, Tensor argmax, Tensor boxes, SymInt images, SymInt height, "
         "SymInt width, bool channels_last) -> Tensor",
         _backward, _backward_fake, backward=_backward_backward, setup_context=_backward_context,
         tangents={"grad": linear})
autocast_boxes("roi_pool")
