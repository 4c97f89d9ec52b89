"""torch.ops.roikit.roi_align_integral: RoIAlign's integral rule, with gradients to the features and to the boxes."""

import torch

from roikit.ops._align import means, means_backward
from roikit.ops._derivatives import linear
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import autocast_boxes, register
from roikit.ops._maps import in_own_format, stored_channels_last
from roikit.ops._rois import bins, unpooled


def _fake(input, boxes, spatial_scale, rows, columns, aligned):
    return bins([input], boxes, rows, columns)


def _forward(input, boxes, spatial_scale, rows, columns, aligned):
    return means([input], boxes, [spatial_scale], [], rows, columns, -1, aligned, True)


def _backward_fake(grad, boxes, images, height, width, channels_last, spatial_scale, aligned):
    return unpooled(grad, images, height, width, channels_last)


def _backward(grad, boxes, images, height, width, channels_last, spatial_scale, aligned):
    return means_backward(grad, boxes, images, [height], [width], channels_last, [spatial_scale], [], -1, aligned,
                          True)[0]


def _boxes_fake(grad, input, boxes, spatial_scale, aligned):
    return boxes.new_empty(boxes.shape)


def _boxes(grad, input, boxes, spatial_scale, aligned):
    grad, input, boxes = in_own_format(grad), in_own_format(input), boxes.contiguous()
    gradient = torch.empty_like(boxes)
    backend(grad, "roi_align").roi_align_boxes_backward(view(grad), view(input), view(boxes), spatial_scale, aligned,
                                                        view(gradient), launch(grad))
    return gradient


def _context(ctx, inputs, output):
    input, boxes, ctx.scale, _, _, ctx.aligned = inputs
    ctx.place = input.shape[0], input.shape[2], input.shape[3], stored_channels_last([input])
    ctx.save_for_backward(boxes, input if ctx.needs_input_grad[1] else None)


def _both_backward(ctx, grad):
    boxes, input = ctx.saved_tensors
    to_input = to_boxes = None
    if ctx.needs_input_grad[0]:
        to_input = torch.ops.roikit.roi_align_integral_backward(grad, boxes, *ctx.place, ctx.scale, ctx.aligned)
    if ctx.needs_input_grad[1]:
        to_boxes = torch.ops.roikit.roi_align_boxes_backward(grad, input, boxes, ctx.scale, ctx.aligned)
    return to_input, to_boxes, None, None, None, None


def _no_second_derivative():
    raise NotImplementedError("roi_align: rule='integral' has no second derivative that involves the boxes; detach "
                              "them, or do not differentiate their gradient")


def _backward_context(ctx, inputs, output):
    grad, boxes, *_, ctx.scale, ctx.aligned = inputs
    ctx.size = grad.shape[2:]
    ctx.save_for_backward(boxes)


def _backward_backward(ctx, grad):
    """Linear in the bins' gradients: the transpose is the op itself."""
    if ctx.needs_input_grad[1]:
        _no_second_derivative()
    again = torch.ops.roikit.roi_align_integral(grad, ctx.saved_tensors[0], ctx.scale, *ctx.size, ctx.aligned)
    return again, None, None, None, None, None, None, None


def _boxes_backward(ctx, grad):
    _no_second_derivative()


register("roi_align_integral(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, "
         "SymInt pooled_width, bool aligned) -> Tensor",
         _forward, _fake, backward=_both_backward, setup_context=_context, tangents={"input": linear})
register("roi_align_integral_backward(Tensor grad, Tensor boxes, SymInt images, SymInt height, SymInt width, "
         "bool channels_last, float spatial_scale, bool aligned) -> Tensor",
         _backward, _backward_fake, backward=_backward_backward, setup_context=_backward_context,
         tangents={"grad": linear})
register("roi_align_boxes_backward(Tensor grad, Tensor input, Tensor boxes, float spatial_scale, bool aligned) "
         "-> Tensor",
         _boxes, _boxes_fake, backward=_boxes_backward, tangents={"grad": linear, "input": linear})
autocast_boxes("roi_align_integral")
