"""RoIWarp on tensors, twice differentiable in the features."""

import torch

from roikit import _check, _config, _core
from roikit.ops._derivatives import linear
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import autocast_boxes, register
from roikit.ops._rois import as_rois, check_images, feature_map

__all__ = ["roi_warp"]

MAX, MEAN, GIVEN = 0, 1, 2


def roi_warp(input, boxes, output_size, spatial_scale=1.0, *, reduce="max"):
    """Bilinear samples in each RoI rounded to whole pixels, two a bin along each axis, reduced to PH x PW.

    The RoIWarp of Mask R-CNN's ablation: it interpolates as RoIAlign does, in a box that is quantised as in RoIPool.

    Args:
        input: (N, C, H, W) float16, bfloat16, float32 or float64 features, contiguous (others are copied).
        boxes: (K, 5) floating with the batch index first, x1 y1 x2 y2 in input pixels, or a list with one (L, 4)
            tensor an image; whatever the features' dtype, half is cast to float32.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel, positive.
        reduce: "max" or "mean" of a bin's four samples.

    Returns:
        (K, C, PH, PW), contiguous, the dtype of ``input``; 0 for a RoI that is not finite. Differentiable in ``input``:
        the first largest sample, or a quarter each, receives the bin's gradient. The boxes have none.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, in a sentence.
        IndexError: a batch index is not whole, negative, or at least N (CUDA: with ROIKIT_DEBUG=1; else that RoI gives
            0 and has no gradient).
        BackendError: CUDA tensors, and no CUDA module in this build.

    On CUDA the gradient is added up in an order that changes from run to run, unless
    ``torch.use_deterministic_algorithms(True)`` asks for the CPU's order and bits.

    Source: Dai et al. 2016, arXiv:1512.04412, section 3.2; He et al. 2017, arXiv:1703.06870, section 3.
    """
    op = "roi_warp"
    feature_map(op, "input", input)
    rois = as_rois(op, boxes, input)
    rows, columns = _check.pair(op, "output_size", output_size)
    _check.choice(op, "reduce", reduce, ("max", "mean"))
    scale = _check.positive(op, "spatial_scale", spatial_scale)
    return torch.ops.roikit.roi_warp(input, rois, scale, rows, columns, reduce == "mean")[0]


def _forward_fake(input, boxes, spatial_scale, rows, columns, mean):
    bins = input.shape[1], rows, columns
    return (input.new_empty((boxes.shape[0], *bins)),
            input.new_empty((0 if mean else boxes.shape[0], *bins), dtype=torch.int8))


def _run(input, boxes, spatial_scale, reduce, output, argmax):
    input, boxes = input.contiguous(), boxes.contiguous()
    core = backend(output, "roi_warp")
    if core is not _core and _config.debug():
        check_images("roi_warp", boxes, input.shape[0])
    core.roi_warp(view(input), view(boxes), spatial_scale, reduce, view(output), view(argmax), launch(output))


def _forward(input, boxes, spatial_scale, rows, columns, mean):
    output, argmax = _forward_fake(input, boxes, spatial_scale, rows, columns, mean)
    _run(input, boxes, spatial_scale, MEAN if mean else MAX, output, argmax)
    return output, argmax


def _given_fake(input, argmax, boxes, spatial_scale):
    return input.new_empty(argmax.shape)


def _given(input, argmax, boxes, spatial_scale):
    output = _given_fake(input, argmax, boxes, spatial_scale)
    _run(input, boxes, spatial_scale, GIVEN, output, argmax.contiguous())
    return output


def _backward_fake(grad, argmax, boxes, images, height, width, spatial_scale):
    return grad.new_empty((images, grad.shape[1], height, width))


def _backward(grad, argmax, boxes, images, height, width, spatial_scale):
    gradient = _backward_fake(grad, argmax, boxes, images, height, width, spatial_scale)
    grad, argmax, boxes = grad.contiguous(), argmax.contiguous(), boxes.contiguous()
    core, place = backend(grad, "roi_warp"), {}
    if core is not _core:
        place["deterministic"] = torch.are_deterministic_algorithms_enabled()
        place["scratch"] = workspace(grad, core.roi_warp_backward_workspace(view(gradient)))
    core.roi_warp_backward(view(grad), view(argmax), view(boxes), spatial_scale, view(gradient),
                           launch(grad, **place))
    return gradient


def _forward_context(ctx, inputs, output):
    input, boxes, ctx.scale, *_ = inputs
    ctx.save_for_backward(output[1], boxes)
    ctx.set_materialize_grads(False)
    ctx.place = input.shape[0], input.shape[2], input.shape[3]


def _forward_backward(ctx, grad, _):
    if grad is None:
        return None, None, None, None, None, None
    gradient = torch.ops.roikit.roi_warp_backward(grad, *ctx.saved_tensors, *ctx.place, ctx.scale)
    return gradient, None, None, None, None, None


def _tangent(op, place, tangent, inputs, output):
    """The samples of the tangent that the winners are made of, or the mean of all."""
    _, boxes, scale, rows, columns, mean = inputs
    if mean:
        return op(tangent, boxes, scale, rows, columns, True)[0], None
    return torch.ops.roikit.roi_warp_at(tangent, output[1], boxes, scale), None


def _given_context(ctx, inputs, output):
    input, argmax, boxes, ctx.scale = inputs
    ctx.save_for_backward(argmax, boxes)
    ctx.place = input.shape[0], input.shape[2], input.shape[3]


def _given_backward(ctx, grad):
    gradient = torch.ops.roikit.roi_warp_backward(grad, *ctx.saved_tensors, *ctx.place, ctx.scale)
    return gradient, None, None, None


def _backward_context(ctx, inputs, output):
    grad, argmax, boxes, _, _, _, ctx.scale = inputs
    ctx.save_for_backward(argmax, boxes)
    ctx.size = grad.shape[2:]


def _backward_backward(ctx, grad):
    """The backward is linear in the bins' gradients: its transpose samples where the winners are, or everywhere."""
    argmax, boxes = ctx.saved_tensors
    if argmax.shape[0] == boxes.shape[0]:
        again = torch.ops.roikit.roi_warp_at(grad, argmax, boxes, ctx.scale)
    else:
        again = torch.ops.roikit.roi_warp(grad, boxes, ctx.scale, *ctx.size, True)[0]
    return again, None, None, None, None, None, None


register("roi_warp(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
         "bool mean) -> (Tensor, Tensor)",
         _forward, _forward_fake, backward=_forward_backward, setup_context=_forward_context,
         tangents={"input": _tangent})
register("roi_warp_at(Tensor input, Tensor argmax, Tensor boxes, float spatial_scale) -> Tensor",
         _given, _given_fake, backward=_given_backward, setup_context=_given_context, tangents={"input": linear})
register("roi_warp_backward(Tensor grad, Tensor argmax, Tensor boxes, SymInt images, SymInt height, SymInt width, "
         "float spatial_scale) -> Tensor",
         _backward, _backward_fake, backward=_backward_backward, setup_context=_backward_context,
         tangents={"grad": linear})
autocast_boxes("roi_warp")
