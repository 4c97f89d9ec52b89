"""RoIAlign on tensors, on one map and on a pyramid, twice differentiable in the features.

`roikit.ops._integral` registers the integral rule, which is differentiable in the boxes too, `roikit.ops._align_max`
the largest samples.
"""

import math

import torch

from roikit import _check, _config, _core
from roikit.ops import _align_max, _integral  # noqa: F401
from roikit.ops._derivatives import linear
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import autocast_boxes, register
from roikit.ops._rois import as_rois, check_images, empty_map, feature_map, in_format, stored_channels_last

__all__ = ["MultiScaleRoIAlign", "RoIAlign", "multiscale_roi_align", "roi_align"]


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
    feature_map(op, "input", input)
    rois = as_rois(op, boxes, input)
    rows, columns = _check.pair(op, "output_size", output_size)
    scale = _check.positive(op, "spatial_scale", spatial_scale)
    kind = _check.align_rule(op, rule, sampling_ratio, reduce)
    if kind == "integral":
        return torch.ops.roikit.roi_align_integral(input, rois, scale, rows, columns, bool(aligned))
    if kind == "max":
        wanted = torch.is_grad_enabled() and input.requires_grad
        return torch.ops.roikit.roi_align_max(input, rois, scale, rows, columns, _check.sampling(op, sampling_ratio),
                                              bool(aligned), wanted)[0]
    return torch.ops.roikit.roi_align(input, rois, scale, rows, columns,
                                      _check.sampling(op, sampling_ratio), bool(aligned))


@torch.fx.wrap
def multiscale_roi_align(features, boxes, output_size, scales, *, sampling_ratio=2, aligned=False,
                         canonical_scale=224, canonical_level=4, reduce="mean"):
    """`roi_align` of each RoI on the pyramid level that its size asks for, rows in the order of the boxes.

    Args:
        features: list of (N, C, H_i, W_i), one a level, finest first, of one dtype.
        boxes: as in `roi_align`, in pixels of the image that all levels show.
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
    scales = [_check.positive(op, f"scales[{i}]", s) for i, s in enumerate(scales)]
    if not scales:
        raise ValueError(f"{op}: scales must name at least one level, got none")
    if len(features) != len(scales):
        raise ValueError(f"{op}: scales must have one value a level, got {len(scales)} for {len(features)}")
    for i, m in enumerate(features):
        feature_map(op, f"features[{i}]", m)
        if m.dtype != features[0].dtype or m.shape[:2] != features[0].shape[:2]:
            raise ValueError(f"{op}: features must agree in dtype, N and C, got {_check.dtype_name(features[0])} "
                             f"{_check.shape_text(features[0])} and, at {i}, {_check.dtype_name(m)} "
                             f"{_check.shape_text(m)}")
        _check.same_device(op, **{"features[0]": features[0], f"features[{i}]": m})
    rois = as_rois(op, boxes, features[0])
    rows, columns = _check.pair(op, "output_size", output_size)
    thresholds = _thresholds(scales, _check.positive(op, "canonical_scale", canonical_scale),
                             _check.whole(op, "canonical_level", canonical_level))
    rule = rows, columns, _check.sampling(op, sampling_ratio), bool(aligned)
    if _check.align_rule(op, "samples", sampling_ratio, reduce) == "max":
        wanted = torch.is_grad_enabled() and any(m.requires_grad for m in features)
        return torch.ops.roikit.multiscale_roi_align_max(features, rois, scales, thresholds, *rule, wanted)[0]
    return torch.ops.roikit.multiscale_roi_align(features, rois, scales, thresholds, *rule)


def _thresholds(scales, canonical_scale, canonical_level):
    """In double, the sizes from which a box is on each level but the first (FPN, equation 1)."""
    lowest = round(-math.log2(scales[0]))
    return [canonical_scale * 2.0 ** (m - canonical_level - 1e-6)
            for m in range(lowest + 1, lowest + len(scales))]


class RoIAlign(torch.nn.Module):
    """`roi_align` with fixed parameters; torchvision's constructor and rule. Input: features (N, C, H, W), boxes."""

    def __init__(self, output_size, spatial_scale, sampling_ratio, aligned=False, *, rule="samples", reduce="mean"):
        super().__init__()
        _check.align_rule("RoIAlign", rule, sampling_ratio, reduce)
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
        _check.align_rule("MultiScaleRoIAlign", "samples", sampling_ratio, reduce)
        self.featmap_names = list(featmap_names)
        self.output_size = output_size
        self.sampling_ratio = sampling_ratio
        self.canonical_scale, self.canonical_level, self.reduce = canonical_scale, canonical_level, reduce

    def forward(self, x, boxes, image_shapes):
        return self.pool(_named_maps(x, self.featmap_names), boxes, image_shapes)

    def pool(self, features, boxes, image_shapes):
        """`forward` of a list of maps, finest first."""
        return multiscale_roi_align(features, boxes, self.output_size, _scales(features, image_shapes),
                                    sampling_ratio=self.sampling_ratio,
                                    canonical_scale=self.canonical_scale,
                                    canonical_level=self.canonical_level, reduce=self.reduce)

    def extra_repr(self):
        return (f"featmap_names={self.featmap_names}, output_size={self.output_size}, "
                f"sampling_ratio={self.sampling_ratio}{_named_reduce(self)}")


def _named_reduce(module):
    return "" if module.reduce == "mean" else f", reduce={module.reduce!r}"


@torch.fx.wrap
def _named_maps(x, names):
    if any(name not in x for name in names):
        raise ValueError(f"MultiScaleRoIAlign: x must have the maps {names}, got {list(x)}")
    return [x[name] for name in names]


@torch.fx.wrap
def _scales(features, image_shapes):
    """Map pixels an image pixel of each level, a power of two."""
    if not image_shapes:
        raise ValueError("MultiScaleRoIAlign: image_shapes must not be empty")
    height = max(shape[0] for shape in image_shapes)
    return [2.0 ** round(math.log2(m.shape[-2] / height)) for m in features]


def _forward(features, boxes, scales, thresholds, rows, columns, sampling_ratio, aligned):
    channels_last = stored_channels_last(features)
    features, boxes = in_format(features, channels_last), boxes.contiguous()
    output = empty_map(features[0], (boxes.shape[0], features[0].shape[1], rows, columns), channels_last)
    core = backend(output, "roi_align")
    if core is not _core and _config.debug():
        check_images("roi_align", boxes, features[0].shape[0])
    core.roi_align(
        [view(m) for m in features], view(boxes), scales, thresholds, view(output), sampling_ratio,
        aligned, False, launch(output))
    return output


def _forward_fake(features, boxes, scales, thresholds, rows, columns, sampling_ratio, aligned):
    shape = (boxes.shape[0], features[0].shape[1], rows, columns)
    return empty_map(features[0], shape, stored_channels_last(features))


def _gradients(grad, images, heights, widths, channels_last):
    return [empty_map(grad, (images, grad.shape[1], h, w), channels_last)
            for h, w in zip(heights, widths, strict=True)]


def _backward(grad, boxes, images, heights, widths, channels_last, scales, thresholds, sampling_ratio,
              aligned):
    (grad,), boxes = in_format([grad], stored_channels_last([grad])), boxes.contiguous()
    gradients = _gradients(grad, images, heights, widths, channels_last)
    core, place, views = backend(grad, "roi_align"), {}, [view(g) for g in gradients]
    if core is not _core:
        place["deterministic"] = exact = torch.are_deterministic_algorithms_enabled()
        place["scratch"] = workspace(grad, core.roi_align_backward_workspace(view(grad), views, exact))
    core.roi_align_backward(view(grad), view(boxes), scales, thresholds, views, sampling_ratio, aligned,
                            False, launch(grad, **place))
    return gradients


def _backward_fake(grad, boxes, images, heights, widths, channels_last, scales, thresholds,
                   sampling_ratio, aligned):
    return _gradients(grad, images, heights, widths, channels_last)


def _forward_context(ctx, inputs, output):
    features, boxes, *rule = inputs
    ctx.save_for_backward(boxes)
    ctx.places = (features[0].shape[0], [m.shape[2] for m in features],
                  [m.shape[3] for m in features], stored_channels_last(features))
    ctx.rule = rule


def _forward_backward(ctx, grad):
    scales, thresholds, _, _, sampling_ratio, aligned = ctx.rule
    gradients = torch.ops.roikit.multiscale_roi_align_backward(
        grad, ctx.saved_tensors[0], *ctx.places, scales, thresholds, sampling_ratio, aligned)
    return gradients, None, None, None, None, None, None, None


def _backward_context(ctx, inputs, output):
    grad, boxes, _, _, _, _, *ctx.rule = inputs
    ctx.size = grad.shape[2:]
    ctx.save_for_backward(boxes)


def _backward_backward(ctx, grads):
    """The op is linear in the features: its backward's backward is the op itself."""
    scales, thresholds, *rule = ctx.rule
    again = torch.ops.roikit.multiscale_roi_align(list(grads), ctx.saved_tensors[0], scales, thresholds,
                                                  *ctx.size, *rule)
    return again, None, None, None, None, None, None, None, None, None


register("multiscale_roi_align(Tensor[] features, Tensor boxes, float[] scales, float[] thresholds, "
         "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
         _forward, _forward_fake, backward=_forward_backward, setup_context=_forward_context,
         tangents={"features": linear})
register("multiscale_roi_align_backward(Tensor grad, Tensor boxes, SymInt images, SymInt[] heights, "
         "SymInt[] widths, bool channels_last, float[] scales, float[] thresholds, int sampling_ratio, "
         "bool aligned) -> Tensor[]",
         _backward, _backward_fake, backward=_backward_backward, setup_context=_backward_context,
         tangents={"grad": linear})


def _single(input, boxes, spatial_scale, rows, columns, sampling_ratio, aligned):
    return _forward([input], boxes, [spatial_scale], [], rows, columns, sampling_ratio, aligned)


def _single_fake(input, boxes, spatial_scale, rows, columns, sampling_ratio, aligned):
    return _forward_fake([input], boxes, [spatial_scale], [], rows, columns, sampling_ratio, aligned)


def _single_backward(grad, boxes, images, height, width, channels_last, spatial_scale, sampling_ratio,
                     aligned):
    return _backward(grad, boxes, images, [height], [width], channels_last, [spatial_scale], [],
                     sampling_ratio, aligned)[0]


def _single_backward_fake(grad, boxes, images, height, width, channels_last, spatial_scale,
                          sampling_ratio, aligned):
    return _gradients(grad, images, [height], [width], channels_last)[0]


def _single_context(ctx, inputs, output):
    input, boxes, *ctx.rule = inputs
    ctx.save_for_backward(boxes)
    ctx.place = (input.shape[0], input.shape[2], input.shape[3], stored_channels_last([input]))


def _single_forward_backward(ctx, grad):
    spatial_scale, _, _, sampling_ratio, aligned = ctx.rule
    gradient = torch.ops.roikit.roi_align_backward(grad, ctx.saved_tensors[0], *ctx.place, spatial_scale,
                                                   sampling_ratio, aligned)
    return gradient, None, None, None, None, None, None


def _single_backward_context(ctx, inputs, output):
    grad, boxes, _, _, _, _, *ctx.rule = inputs
    ctx.size = grad.shape[2:]
    ctx.save_for_backward(boxes)


def _single_backward_backward(ctx, grad):
    spatial_scale, *rule = ctx.rule
    again = torch.ops.roikit.roi_align(grad, ctx.saved_tensors[0], spatial_scale, *ctx.size, *rule)
    return again, None, None, None, None, None, None, None, None


register("roi_align(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, "
         "SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor",
         _single, _single_fake, backward=_single_forward_backward, setup_context=_single_context,
         tangents={"input": linear})
register("roi_align_backward(Tensor grad, Tensor boxes, SymInt images, SymInt height, SymInt width, "
         "bool channels_last, float spatial_scale, int sampling_ratio, bool aligned) -> Tensor",
         _single_backward, _single_backward_fake, backward=_single_backward_backward,
         setup_context=_single_backward_context, tangents={"grad": linear})
autocast_boxes("roi_align")
autocast_boxes("multiscale_roi_align")
