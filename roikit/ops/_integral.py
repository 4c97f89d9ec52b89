"""torch.ops.roikit.roi_align_integral: RoIAlign's integral rule, with gradients to the features and to the boxes."""

import torch

from roikit import _config, _core
from roikit.ops._derivatives import linear
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import autocast_boxes, register
from roikit.ops._rois import check_images, empty_map, in_format, stored_channels_last


def _fake(input, boxes, spatial_scale, rows, columns, aligned):
    return empty_map(input, (boxes.shape[0], input.shape[1], rows, columns), stored_channels_last([input]))


def _forward(input, boxes, spatial_scale, rows, columns, aligned):
    (input,), boxes = in_format([input], stored_channels_last([input])), boxes.contiguous()
    output = _fake(input, boxes, spatial_scale, rows, columns, aligned)
    core = backend(output, "roi_align")
    if core is not _core and _config.debug():
        check_images("roi_align", boxes, input.shape[0])
    core.roi_align([view(input)], view(boxes), [spatial_scale], [], view(output), -1, aligned, True, launch(output))
    return output


def _backward_fake(grad, boxes, images, height, width, channels_last, spatial_scale, aligned):
    return empty_map(grad, (images, grad.shape[1], height, width), channels_last)


def _backward(grad, boxes, images, height, width, channels_last, spatial_scale, aligned):
    (grad,), boxes = in_format([grad], stored_channels_last([grad])), boxes.contiguous()
    gradient = _backward_fake(grad, boxes, images, height, width, channels_last, spatial_scale, aligned)
    core, place = backend(grad, "roi_align"), {}
    if core is not _core:
        place["deterministic"] = exact = torch.are_deterministic_algorithms_enabled()
        place["scratch"] = workspace(grad, core.roi_align_backward_workspace(view(grad), [view(gradient)], exact))
    core.roi_align_backward(view(grad), view(boxes), [spatial_scale], [], [view(gradient)], -1, aligned, True,
                            launch(grad, **place))
    return gradient


def _boxes_fake(grad, input, boxes, spatial_scale, aligned):
    return boxes.new_empty(boxes.shape)


def _boxes(grad, input, boxes, spatial_scale, aligned):
    (grad,), boxes = in_format([grad], stored_channels_last([grad])), boxes.contiguous()
    (input,), gradient = in_format([input], stored_channels_last([input])), torch.empty_like(boxes)
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
