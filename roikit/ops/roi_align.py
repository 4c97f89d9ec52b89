"""RoIAlign on tensors, on one map and on a pyramid, twice differentiable in the features.

`roikit.ops._align` registers the means of samples, `roikit.ops._integral` the integral rule, which is differentiable in
the boxes too, `roikit.ops._align_max` the largest samples.
"""

import torch

from roikit import _check
from roikit._check import roi_align as checks
from roikit.ops import _align, _align_max, _integral  # noqa: F401
from roikit.ops._arguments import as_map, as_rois
from roikit.ops._rois import named_maps, scales_of_maps

__all__ = ["MultiScaleRoIAlign", "RoIAlign", "multiscale_roi_align", "roi_align"]

for _name in ("named_maps", "scales_of_maps"):
    torch.fx.wrap(_name)


@torch.fx.wrap
def roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False, *, rule="samples",
              reduce="mean"):
    """Pool each RoI into PH x PW means of bilinear samples, or their maxima.

    Args:
        input: (N, C, H, W) float16, bfloat16, float32 or float64 features, contiguous or channels_last (others are
            copied).
        boxes: (K, 5) floating with the batch index first, x1 y1 x2 y2 in input pixels, or a list with one (L, 4)
            tensor an image; whatever the features' dtype, half is cast to float32.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel, positive.
        sampling_ratio: samples a bin along each axis, at most 2**24; 0 or less: as many as a bin has map pixels,
            rounded up.
        aligned: shift by half a map pixel, and let a RoI be smaller than one map pixel.
        rule: "samples", or "integral": the exact mean of the bilinear surface over each bin, without a sampling_ratio
            and without a smallest RoI (Precise RoI pooling).
        reduce: "mean", or "max": the largest of a bin's samples, the first of equals; one outside the map is 0. Not
            with "integral", and with a sampling_ratio of at most 32768.

    Returns:
        (K, C, PH, PW), the dtype and the memory format of ``input``; 0 for a RoI that is not finite. Twice
        differentiable in ``input``; of a maximum, the winner's four pixels receive the bin's gradient. The boxes have
        no gradient by "samples"; by "integral" they have, once.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, in a sentence.
        IndexError: a batch index is not whole, negative, or at least N. On a GPU only with ROIKIT_DEBUG=1: such a RoI
            otherwise gives 0, and gradient 0.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: He et al. 2017, arXiv:1703.06870, section 3; "integral": Jiang et al. 2018, arXiv:1807.11590, equations 5 to
    7.
    """
    op = "roi_align"
    rois = as_rois(op, boxes, as_map(op, "input", input))
    scale, rows, columns = _check.pooling(op, output_size, spatial_scale)
    kind = checks.rule(op, rule, sampling_ratio, reduce)
    if kind == "integral":
        return torch.ops.roikit.roi_align_integral(input, rois, scale, rows, columns, bool(aligned))
    given = input, rois, scale, rows, columns, _check.sampling(op, sampling_ratio), bool(aligned)
    if kind == "max":
        return torch.ops.roikit.roi_align_max(*given, torch.is_grad_enabled() and input.requires_grad)[0]
    return torch.ops.roikit.roi_align(*given)


@torch.fx.wrap
def multiscale_roi_align(features, boxes, output_size, scales, *, sampling_ratio=2, aligned=False,
                         canonical_scale=224, canonical_level=4, reduce="mean"):
    """`roi_align` of each RoI on the pyramid level that its size asks for, rows in the order of the boxes.

    Args:
        features: list of (N, C, H_i, W_i), one a level, finest first, of one dtype.
        boxes: (K, 5) floating, or a list, as in `roi_align`, in pixels of the image that all levels show.
        output_size: P, or (PH, PW).
        scales: map pixels an image pixel of each level, each half the one before.
        sampling_ratio, aligned, reduce: as in `roi_align`.
        canonical_scale, canonical_level: a box of canonical_scale ** 2 pixels is on level canonical_level, the level
            of ``scales[0]`` being -log2 of it.

    Returns:
        (K, C, PH, PW), the dtype of the features; channels_last where they all are. Twice differentiable in them.

    Raises:
        TypeError, ValueError, IndexError, BackendError: as in `roi_align`; or ``features`` and ``scales`` differ in
            length.

    Source: Lin et al. 2017, arXiv:1612.03144, equation 1.
    """
    op = "multiscale_roi_align"
    features = list(features)
    scales, thresholds = checks.pyramid(op, scales, canonical_scale, canonical_level)
    checks.one_a_level(op, scales, features)
    for i, m in enumerate(features):
        as_map(op, f"features[{i}]", m)
        _check.same_device(op, **{"features[0]": features[0], f"features[{i}]": m})
    checks.agreeing(op, features)
    rois = as_rois(op, boxes, features[0])
    rows, columns = _check.pair(op, "output_size", output_size)
    rule = scales, thresholds, rows, columns, _check.sampling(op, sampling_ratio), bool(aligned)
    if checks.rule(op, "samples", sampling_ratio, reduce) == "max":
        wanted = torch.is_grad_enabled() and any(m.requires_grad for m in features)
        return torch.ops.roikit.multiscale_roi_align_max(features, rois, *rule, wanted)[0]
    return torch.ops.roikit.multiscale_roi_align(features, rois, *rule)


class RoIAlign(torch.nn.Module):
    """`roi_align` with fixed parameters; torchvision's constructor and rule. Input: features (N, C, H, W), boxes."""

    def __init__(self, output_size, spatial_scale, sampling_ratio, aligned=False, *, rule="samples", reduce="mean"):
        super().__init__()
        checks.rule("RoIAlign", rule, sampling_ratio, reduce)
        self.output_size, self.spatial_scale = output_size, spatial_scale
        self.sampling_ratio, self.aligned, self.rule, self.reduce = sampling_ratio, aligned, rule, reduce

    def forward(self, input, rois):
        return roi_align(input, rois, self.output_size, self.spatial_scale, self.sampling_ratio,
                         self.aligned, rule=self.rule, reduce=self.reduce)

    def extra_repr(self):
        rule = "" if self.rule == "samples" else f", rule={self.rule!r}"
        return (f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
                f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}{rule}{_named_reduce(self)}")


class MultiScaleRoIAlign(torch.nn.Module):
    """`multiscale_roi_align` on the named maps of a dict; torchvision's constructor and call.

    Input: x, a dict of (N, C, H_i, W_i) maps; boxes, a list with one (L, 4) tensor an image; image_shapes, a list of
    (height, width). A level's scale is its map's size over the largest image's, rounded to a power of two.
    """

    def __init__(self, featmap_names, output_size, sampling_ratio, *, canonical_scale=224,
                 canonical_level=4, reduce="mean"):
        super().__init__()
        checks.rule("MultiScaleRoIAlign", "samples", sampling_ratio, reduce)
        self.featmap_names = list(featmap_names)
        self.output_size = output_size
        self.sampling_ratio = sampling_ratio
        self.canonical_scale, self.canonical_level, self.reduce = canonical_scale, canonical_level, reduce

    def forward(self, x, boxes, image_shapes):
        return self.pool(named_maps("MultiScaleRoIAlign", x, self.featmap_names), boxes, image_shapes)

    def pool(self, features, boxes, image_shapes):
        """`forward` of a list of maps, finest first."""
        scales = scales_of_maps("MultiScaleRoIAlign", features, image_shapes)
        return multiscale_roi_align(features, boxes, self.output_size, scales, sampling_ratio=self.sampling_ratio,
                                    canonical_scale=self.canonical_scale, canonical_level=self.canonical_level,
                                    reduce=self.reduce)

    def extra_repr(self):
        return (f"featmap_names={self.featmap_names}, output_size={self.output_size}, "
                f"sampling_ratio={self.sampling_ratio}{_named_reduce(self)}")


def _named_reduce(module):
    return "" if module.reduce == "mean" else f", reduce={module.reduce!r}"
