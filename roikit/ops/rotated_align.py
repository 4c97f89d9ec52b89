"""RoIAlign of rotated boxes on tensors, twice differentiable in the features."""

import torch

from roikit import _check, _config, _core
from roikit.ops._derivatives import linear
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import autocast_boxes, register
from roikit.ops._rois import as_rois, check_images, empty_map, feature_map, in_format, stored_channels_last

__all__ = ["RoIAlignRotated", "roi_align_rotated"]


@torch.fx.wrap
def roi_align_rotated(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    """Pool each rotated RoI into PH x PW means of bilinear samples.

    Args:
        input: (N, C, H, W) float16, bfloat16, float32 or float64 features, contiguous or channels_last (others are
            copied).
        boxes: (K, 6) floating with the batch index first, then cx, cy, w, h in input pixels and degrees
            counter-clockwise, or a list with one (L, 5) tensor an image; whatever the features' dtype, half is cast to
            float32.
        output_size: P, or (PH, PW); rows lie along the box's height, from its upper side where the angle is 0.
        spatial_scale: map pixels an input pixel, positive.
        sampling_ratio: samples a bin along each axis, at most 2**24; 0 or less: as many as a bin has map pixels,
            rounded up.

    Returns:
        (K, C, PH, PW), the dtype and the memory format of ``input``; 0 for a RoI that is empty, reversed or not finite.
        Twice differentiable in ``input``; the boxes have no gradient.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, in a sentence; planes of 2^31 pixels or more.
        IndexError: a batch index is not whole, negative, or at least N (CUDA: with ROIKIT_DEBUG=1; else that RoI gives
            0 and has no gradient).
        BackendError: CUDA tensors, and no CUDA module in this build.

    On CUDA the gradient is added up in an order that changes from run to run, unless
    ``torch.use_deterministic_algorithms(True)`` asks for one order.

    Source: Ma et al. 2017, arXiv:1703.01086, section IV; He et al. 2017, arXiv:1703.06870, section 3.
    """
    op = "roi_align_rotated"
    feature_map(op, "input", input)
    rois = as_rois(op, boxes, input, 5)
    rows, columns = _check.pair(op, "output_size", output_size)
    return torch.ops.roikit.roi_align_rotated(input, rois, _check.positive(op, "spatial_scale", spatial_scale), rows,
                                              columns, _check.sampling(op, sampling_ratio))


class RoIAlignRotated(torch.nn.Module):
    """`roi_align_rotated` with fixed parameters; detectron2's constructor. Input: features (N, C, H, W), boxes."""

    def __init__(self, output_size, spatial_scale, sampling_ratio):
        super().__init__()
        self.output_size, self.spatial_scale, self.sampling_ratio = output_size, spatial_scale, sampling_ratio

    def forward(self, input, rois):
        return roi_align_rotated(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio)

    def extra_repr(self):
        return (f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
                f"sampling_ratio={self.sampling_ratio}")


def _forward(input, boxes, spatial_scale, rows, columns, sampling_ratio):
    output = _forward_fake(input, boxes, spatial_scale, rows, columns, sampling_ratio)
    (input,), boxes = in_format([input], stored_channels_last([input])), boxes.contiguous()
    core = backend(output, "roi_align_rotated")
    if core is not _core and _config.debug():
        check_images("roi_align_rotated", boxes, input.shape[0])
    core.roi_align_rotated(view(input), view(boxes), spatial_scale, sampling_ratio, view(output), launch(output))
    return output


def _forward_fake(input, boxes, spatial_scale, rows, columns, sampling_ratio):
    return empty_map(input, (boxes.shape[0], input.shape[1], rows, columns), stored_channels_last([input]))


def _backward(grad, boxes, images, height, width, channels_last, spatial_scale, sampling_ratio):
    (grad,), boxes = in_format([grad], stored_channels_last([grad])), boxes.contiguous()
    gradient = empty_map(grad, (images, grad.shape[1], height, width), channels_last)
    core, place = backend(grad, "roi_align_rotated"), {}
    if core is not _core:
        place["deterministic"] = torch.are_deterministic_algorithms_enabled()
        place["scratch"] = workspace(grad, core.roi_align_rotated_backward_workspace(view(gradient)))
    core.roi_align_rotated_backward(view(grad), view(boxes), spatial_scale, sampling_ratio, view(gradient),
                                    launch(grad, **place))
    return gradient


def _backward_fake(grad, boxes, images, height, width, channels_last, spatial_scale, sampling_ratio):
    return empty_map(grad, (images, grad.shape[1], height, width), channels_last)


def _forward_context(ctx, inputs, output):
    input, boxes, ctx.scale, _, _, ctx.ratio = inputs
    ctx.save_for_backward(boxes)
    ctx.place = input.shape[0], input.shape[2], input.shape[3], stored_channels_last([input])


def _forward_backward(ctx, grad):
    gradient = torch.ops.roikit.roi_align_rotated_backward(grad, ctx.saved_tensors[0], *ctx.place, ctx.scale, ctx.ratio)
    return gradient, None, None, None, None, None


def _backward_context(ctx, inputs, output):
    grad, boxes, _, _, _, _, ctx.scale, ctx.ratio = inputs
    ctx.save_for_backward(boxes)
    ctx.size = grad.shape[2:]


def _backward_backward(ctx, grad):
    """The op is linear in the features: its backward's backward is the op itself."""
    again = torch.ops.roikit.roi_align_rotated(grad, ctx.saved_tensors[0], ctx.scale, *ctx.size, ctx.ratio)
    return again, None, None, None, None, None, None, None


register("roi_align_rotated(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, "
         "SymInt pooled_width, int sampling_ratio) -> Tensor",
         _forward, _forward_fake, backward=_forward_backward, setup_context=_forward_context,
         tangents={"input": linear})
register("roi_align_rotated_backward(Tensor grad, Tensor boxes, SymInt images, SymInt height, SymInt width, "
         "bool channels_last, float spatial_scale, int sampling_ratio) -> Tensor",
         _backward, _backward_fake, backward=_backward_backward, setup_context=_backward_context,
         tangents={"grad": linear})
autocast_boxes("roi_align_rotated")
