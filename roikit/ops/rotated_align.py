"""RoIAlign of rotated boxes on tensors, twice differentiable in the features."""

import torch

from roikit import _check
from roikit.ops._arguments import as_map, as_rois
from roikit.ops._launch import backend, launch, view
from roikit.ops._maps import in_own_format
from roikit.ops._roi_gradients import register_linear
from roikit.ops._rois import add_up, bins, roi_kernels, unpooled

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
    rois = as_rois(op, boxes, as_map(op, "input", input), 5)
    rule = _check.pooling(op, output_size, spatial_scale)
    return torch.ops.roikit.roi_align_rotated(input, rois, *rule, _check.sampling(op, sampling_ratio))


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


def _forward_fake(input, boxes, spatial_scale, rows, columns, sampling_ratio):
    return bins([input], boxes, rows, columns)


def _forward(input, boxes, spatial_scale, rows, columns, sampling_ratio):
    output = bins([input], boxes, rows, columns)
    input, boxes = in_own_format(input), boxes.contiguous()
    core = roi_kernels("roi_align_rotated", output, boxes, input.shape[0])
    core.roi_align_rotated(view(input), view(boxes), spatial_scale, sampling_ratio, view(output), launch(output))
    return output


def _backward_fake(grad, boxes, images, height, width, channels_last, spatial_scale, sampling_ratio):
    return unpooled(grad, images, height, width, channels_last)


def _backward(grad, boxes, images, height, width, channels_last, spatial_scale, sampling_ratio):
    gradient = unpooled(grad, images, height, width, channels_last)
    grad, boxes = in_own_format(grad), boxes.contiguous()
    add_up(backend(grad, "roi_align_rotated"), "roi_align_rotated_backward", grad, view(grad), view(boxes),
           spatial_scale, sampling_ratio, view(gradient), scratch_for=lambda exact: (view(gradient),))
    return gradient


register_linear(
    ("roi_align_rotated(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
     "int sampling_ratio) -> Tensor", _forward, _forward_fake),
    ("roi_align_rotated_backward(Tensor grad, Tensor boxes, SymInt images, SymInt height, SymInt width, "
     "bool channels_last, float spatial_scale, int sampling_ratio) -> Tensor", _backward, _backward_fake))
