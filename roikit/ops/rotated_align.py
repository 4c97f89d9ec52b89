"""RoIAlign of rotated boxes on tensors, on one map and on a pyramid, twice differentiable in the features."""

import torch

from roikit import _check
from roikit._check import roi_align as checks
from roikit.ops._arguments import as_map, as_rois
from roikit.ops._launch import backend, launch, view
from roikit.ops._maps import in_format, in_own_format, stored_channels_last
from roikit.ops._roi_gradients import register_linear
from roikit.ops._rois import (
    add_up,
    bins,
    named_maps,
    one_map,
    one_map_backward,
    roi_kernels,
    scales_of_maps,
    unpooled,
)

__all__ = ["MultiScaleRoIAlignRotated", "RoIAlignRotated", "multiscale_roi_align_rotated", "roi_align_rotated"]

for _name in ("named_maps", "scales_of_maps"):
    torch.fx.wrap(_name)


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


@torch.fx.wrap
def multiscale_roi_align_rotated(features, boxes, output_size, scales, *, sampling_ratio=2, canonical_scale=224,
                                 canonical_level=4):
    """`roi_align_rotated` of each RoI on the pyramid level that its size asks for, rows in the order of the boxes.

    Args:
        features: list of (N, C, H_i, W_i), one a level, finest first, of one dtype.
        boxes: (K, 6) floating, or a list, as in `roi_align_rotated`, in pixels of the image that all levels show.
        output_size: P, or (PH, PW).
        scales: map pixels an image pixel of each level, each half the one before.
        sampling_ratio: as in `roi_align_rotated`.
        canonical_scale, canonical_level: as in `multiscale_roi_align`; the size of a box is sqrt(w * h), whatever its
            angle.

    Returns:
        (K, C, PH, PW), the dtype of the features; channels_last where they all are. Twice differentiable in them.

    Raises:
        TypeError, ValueError, IndexError, BackendError: as in `roi_align_rotated`; or ``features`` and ``scales``
            differ in length.

    Source: Lin et al. 2017, arXiv:1612.03144, equation 1; Ma et al. 2017, arXiv:1703.01086, section IV.
    """
    op = "multiscale_roi_align_rotated"
    features = list(features)
    scales, thresholds = checks.pyramid(op, scales, canonical_scale, canonical_level)
    checks.one_a_level(op, scales, features)
    for i, m in enumerate(features):
        as_map(op, f"features[{i}]", m)
        _check.same_device(op, **{"features[0]": features[0], f"features[{i}]": m})
    checks.agreeing(op, features)
    rois = as_rois(op, boxes, features[0], 5)
    size = _check.pair(op, "output_size", output_size)
    return torch.ops.roikit.multiscale_roi_align_rotated(features, rois, scales, thresholds, *size,
                                                         _check.sampling(op, sampling_ratio))


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


class MultiScaleRoIAlignRotated(torch.nn.Module):
    """`multiscale_roi_align_rotated` on the named maps of a dict; called as `MultiScaleRoIAlign`.

    Input: x, a dict of (N, C, H_i, W_i) maps; boxes, a list with one (L, 5) tensor an image; image_shapes, a list of
    (height, width). A level's scale is its map's size over the largest image's, rounded to a power of two.
    """

    def __init__(self, featmap_names, output_size, sampling_ratio, *, canonical_scale=224, canonical_level=4):
        super().__init__()
        self.featmap_names = list(featmap_names)
        self.output_size, self.sampling_ratio = output_size, sampling_ratio
        self.canonical_scale, self.canonical_level = canonical_scale, canonical_level

    def forward(self, x, boxes, image_shapes):
        return self.pool(named_maps("MultiScaleRoIAlignRotated", x, self.featmap_names), boxes, image_shapes)

    def pool(self, features, boxes, image_shapes):
        """`forward` of a list of maps, finest first."""
        scales = scales_of_maps("MultiScaleRoIAlignRotated", features, image_shapes)
        return multiscale_roi_align_rotated(features, boxes, self.output_size, scales,
                                            sampling_ratio=self.sampling_ratio, canonical_scale=self.canonical_scale,
                                            canonical_level=self.canonical_level)

    def extra_repr(self):
        return (f"featmap_names={self.featmap_names}, output_size={self.output_size}, "
                f"sampling_ratio={self.sampling_ratio}")


def _forward_fake(features, boxes, scales, thresholds, rows, columns, sampling_ratio):
    return bins(features, boxes, rows, columns)


def _forward(features, boxes, scales, thresholds, rows, columns, sampling_ratio):
    output = bins(features, boxes, rows, columns)
    features, boxes = in_format(features, stored_channels_last(features)), boxes.contiguous()
    core = roi_kernels("roi_align_rotated", output, boxes, features[0].shape[0])
    core.roi_align_rotated([view(m) for m in features], view(boxes), scales, thresholds, view(output), sampling_ratio,
                           launch(output))
    return output


def _backward_fake(grad, boxes, images, heights, widths, channels_last, scales, thresholds, sampling_ratio):
    return [unpooled(grad, images, h, w, channels_last) for h, w in zip(heights, widths, strict=True)]


def _backward(grad, boxes, images, heights, widths, channels_last, scales, thresholds, sampling_ratio):
    gradients = [unpooled(grad, images, h, w, channels_last) for h, w in zip(heights, widths, strict=True)]
    grad, boxes, views = in_own_format(grad), boxes.contiguous(), [view(g) for g in gradients]
    add_up(backend(grad, "roi_align_rotated"), "roi_align_rotated_backward", grad, view(grad), view(boxes), scales,
           thresholds, views, sampling_ratio, scratch_for=lambda exact: (views,))
    return gradients


register_linear(
    ("multiscale_roi_align_rotated(Tensor[] features, Tensor boxes, float[] scales, float[] thresholds, "
     "SymInt pooled_height, SymInt pooled_width, int sampling_ratio) -> Tensor", _forward, _forward_fake),
    ("multiscale_roi_align_rotated_backward(Tensor grad, Tensor boxes, SymInt images, SymInt[] heights, "
     "SymInt[] widths, bool channels_last, float[] scales, float[] thresholds, int sampling_ratio) -> Tensor[]",
     _backward, _backward_fake))
register_linear(
    ("roi_align_rotated(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
     "int sampling_ratio) -> Tensor", one_map(_forward), one_map(_forward_fake)),
    ("roi_align_rotated_backward(Tensor grad, Tensor boxes, SymInt images, SymInt height, SymInt width, "
     "bool channels_last, float spatial_scale, int sampling_ratio) -> Tensor",
     one_map_backward(_backward), one_map_backward(_backward_fake)))
