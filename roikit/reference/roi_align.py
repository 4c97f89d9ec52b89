"""RoIAlign: the mean of bilinear samples in each bin of a box, on one map or a pyramid.

Types. A, the accumulate type: float32 for float16 and float32 features, float64 for float64.
T, the geometry type: the wider of A and the dtype of the boxes (half is cast to float32).
spatial_scale is rounded to T. The result is rounded once to the dtype of the features.

Geometry, one axis of one RoI with corners c1, c2; P bins; a map of extent H (or W); all in T, in
this order, without fused multiply-add, because a sample is dropped or kept by it:

- off = 0.5 if aligned else 0; start = c1 * s - off; size = (c2 * s - off) - start; when not
  aligned, size = size > 1 ? size : 1. bin = size / P.
- g = sampling_ratio if that is above 0, else ceil(bin) limited to [0, 2**24]. The limit changes
  nothing for bins of up to 2**24 map pixels; it keeps k exact in float32 and the number of samples
  inside the map small (at most about 2 H + 4 P, rounding included). So a negative or zero bin has
  no samples without a sampling_ratio; with one it is sampled all the same, backwards or in place.
- Sample k of bin p is at y = (start + p * bin) + ((k + 0.5) * bin) / g.
- A sample counts only if y >= -1 and y <= H; outside it is 0, yet the divisor still counts it.
- y = y > 0 ? y : 0; low = floor(y); if low >= H - 1 both rows are H - 1 and the fraction is 0,
  else the rows are low and low + 1 and the fraction is y - low. (1 - fraction) and fraction are
  added to the weights of the two rows.

The value of a bin is (1 / (gh * gw)) * sum over y of Wy[y] * (sum over x of Wx[x] * f[y, x]), 0
where gh or gw is 0. That is the mean over the gh * gw samples: a sample's weight is the product of
its two axes', and so the sums separate. Samples outside contribute nothing, so only those inside
need be visited, whatever g is: for a positive bin they are one contiguous range of k, since y
never falls as k grows.

A RoI gives 0, and gradient 0, if a coordinate is NaN or infinite or start or size overflows; so
does a map with H = 0 or W = 0. A pixel of weight exactly 0 need not be read: whether a NaN there
shows is left open.

rule="integral" (Precise RoI pooling) has no samples: a bin is the integral of the surface over it,
divided by its area, so that it has a gradient with respect to the box. The surface is the sum of
f[i, j] * hat(y - i) * hat(x - j), hat(u) = max(1 - |u|, 0), over the map's pixels. Start and size are
as above but without a minimum, a size that is not above 0 makes the RoI 0; bin p lies between the
edges start + p * bin and start + (p + 1) * bin. The weight of pixel i is the mean of hat(u - i) over
the bin, or hat at its place where rounding leaves it no length (and then no gradient).

reduce="max" takes the largest of a bin's samples in place of their mean (the row "max" of the paper's
ablation). A sample inside the map is, in A, with the weights a of its columns and b of its rows rounded from T,
(f[y0, x0] * a0 + f[y0, x1] * a1) * b0 + (f[y1, x0] * a0 + f[y1, x1] * a1) * b1; a sample outside is 0 and
takes part, as it does in the mean. Rows, then columns of the grid, the first value strictly greater than the
best so far, which starts at -inf. So the first of equals wins; NaN and -inf never do, and a bin without a
winner is 0, as one without samples is. argmax is i * n + j for the winner (i, j) among the samples inside, n
of them in a row, and -1 for one outside or none. The winner's four pixels receive the gradient, those of
weight 0 and one outside nothing. Output and argmax are exact.

Bound. Implementations may add in any order. Against this reference each output element lies within
TOLERANCE[dtype of features] * (the largest |feature| of the RoI's image), each element of the
gradient within TOLERANCE[dtype] * (largest |grad| + roi_align_backward(|grad|)). For float32: with
u = 2**-24, merged weights (8 u each) and a separable sum over r rows and c columns give at most
(8 + r + c) * u on each side, under 1e-5 up to r + c = 76; larger bins stay inside as rounding
errors mostly cancel. For half the final rounding rules: half a unit on each side.

Source: He et al. 2017, arXiv:1703.06870, section 3; edges and defaults as torchvision's.
"""

import math

import numpy as np

from roikit.reference.arguments import as_rois, pair
from roikit.reference.boxes import side
from roikit.reference.roi_align_integral import integral_weights, roi_align_boxes_backward, roi_edges
from roikit.reference.roi_align_max import largest_samples, spread_to_winners
from roikit.reference.rois import geometry, sample_axis, samples_inside, taps

__all__ = ["assign_levels", "multiscale_roi_align", "multiscale_roi_align_backward", "multiscale_roi_align_with_argmax",
           "roi_align", "roi_align_backward", "roi_align_boxes_backward", "roi_align_with_argmax"]

TOLERANCE = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 1e-5, "float64": 1e-13}


def axis_weights(low, high, bins, extent, scale, sampling_ratio, aligned):
    """Merged bilinear weights T (P, extent) of every bin along one axis, not yet divided by the count, and the count g.

    Args: those of ``sample_axis``.
    """
    real = low.dtype.type
    weights = np.zeros((bins, extent), real)
    start, step, grid = sample_axis(low, high, bins, extent, scale, sampling_ratio, aligned)
    for p in range(bins):
        for _, y in samples_inside(start + real(p) * step, step, grid, extent):
            row, next_row, weight, next_weight = taps(y, extent)
            weights[p, row] += weight
            weights[p, next_row] += next_weight
    return weights, grid


def roi_weights(corners, output_size, shape, spatial_scale, sampling_ratio, aligned, accumulate, rule):
    """Weights of one RoI, each axis divided by its count: A (PH, H) and A (PW, W)."""
    if rule == "integral":
        edges = roi_edges(corners, output_size, spatial_scale, aligned)
        if edges is not None:
            return [integral_weights(e, extent).astype(accumulate) for e, extent in zip(edges, shape, strict=True)]
        corners = np.full_like(corners, np.nan)
    rows, columns = pair(output_size)
    height, width = shape
    x1, y1, x2, y2 = corners
    scale = corners.dtype.type(spatial_scale)
    if not np.isfinite(corners).all():
        return np.zeros((rows, height), accumulate), np.zeros((columns, width), accumulate)
    vertical, gh = axis_weights(y1, y2, rows, height, scale, sampling_ratio, aligned)
    horizontal, gw = axis_weights(x1, x2, columns, width, scale, sampling_ratio, aligned)
    vertical, horizontal = vertical / max(gh, 1), horizontal / max(gw, 1)
    return vertical.astype(accumulate), horizontal.astype(accumulate)


def check_rule(op, rule, sampling_ratio, reduce="mean"):
    if rule not in ("samples", "integral"):
        raise ValueError(f"{op}: rule must be one of 'samples', 'integral', got {rule!r}")
    if reduce not in ("mean", "max"):
        raise ValueError(f"{op}: reduce must be one of 'mean', 'max', got {reduce!r}")
    if rule == "integral" and reduce == "max":
        raise ValueError(f"{op}: reduce must be 'mean' with rule='integral', which has no samples, got 'max'")
    if rule == "integral" and sampling_ratio > 0:
        raise ValueError(f"{op}: sampling_ratio must be at most 0 with rule='integral', got {sampling_ratio}")


def support(vertical, horizontal):
    """Each bin's (ph, pw), its touched rows and columns and their weights (rows, columns)."""
    for ph, pw in np.ndindex(len(vertical), len(horizontal)):
        rows, columns = np.flatnonzero(vertical[ph]), np.flatnonzero(horizontal[pw])
        weights = np.outer(vertical[ph, rows], horizontal[pw, columns])
        yield ph, pw, np.ix_(rows, columns), weights


def roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False, *, rule="samples",
              reduce="mean"):
    """Pool each RoI into PH x PW means of bilinear samples, or their maxima. The module states the rule.

    Args:
        input: (N, C, H, W) float16, float32 or float64 features.
        boxes: (K, 5) float with the batch index first, or a list with one (L, 4) array an image.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel.
        sampling_ratio: samples a bin along each axis; 0 or less means ceil(bin), adaptive.
        aligned: shift by half a map pixel, and let a RoI be smaller than one map pixel.
        rule: "samples", or "integral": the surface's mean over the whole bin; no sampling_ratio then.
        reduce: "mean", or "max": the largest of a bin's samples; not with rule="integral".

    Returns:
        (K, C, PH, PW), the dtype of ``input``.

    Raises:
        ValueError: another ``rule`` or ``reduce``, or a combination that has no meaning.
        IndexError: a batch index is not whole, negative, or at least N.
    """
    check_rule("roi_align", rule, sampling_ratio, reduce)
    input = np.asarray(input)
    if reduce == "max":
        return largest_samples(input, boxes, output_size, spatial_scale, sampling_ratio, aligned)[0]
    rows, columns = pair(output_size)
    accumulate, batch, corners = geometry("roi_align", input.dtype, boxes, len(input))
    output = np.zeros((len(corners), input.shape[1], rows, columns), accumulate)
    for k, roi in enumerate(corners):
        image = input[batch[k]].astype(accumulate)
        vertical, horizontal = roi_weights(roi, output_size, input.shape[2:], spatial_scale,
                                           sampling_ratio, aligned, accumulate, rule)
        for ph, pw, pixels, weights in support(vertical, horizontal):
            for c, plane in enumerate(image):
                output[k, c, ph, pw] = (weights * plane[pixels]).sum()
    with np.errstate(over="ignore"):
        return output.astype(input.dtype)


def roi_align_with_argmax(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
    """``roi_align`` with reduce="max", and which of a bin's samples won.

    Args:
        input, boxes, output_size, spatial_scale, sampling_ratio, aligned: as in `roi_align`.

    Returns:
        output (K, C, PH, PW), argmax int32 (K, C, PH, PW).
    """
    return largest_samples(np.asarray(input), boxes, output_size, spatial_scale, sampling_ratio, aligned)


def roi_align_backward(grad, boxes, input_shape, output_size, spatial_scale=1.0,
                       sampling_ratio=-1, aligned=False, *, rule="samples", argmax=None):
    """Gradient of ``roi_align`` with respect to its input.

    Args:
        grad: (K, C, PH, PW), the gradient of the output; its dtype is that of the features.
        boxes, output_size, spatial_scale, sampling_ratio, aligned, rule: as given to the forward pass.
        input_shape: (N, C, H, W).
        argmax: from ``roi_align_with_argmax``: the gradient with reduce="max"; None: of the mean.

    Returns:
        (N, C, H, W), the dtype of ``grad``: each bin's gradient times the weight of each pixel,
        added in A and rounded once.
    """
    check_rule("roi_align", rule, sampling_ratio, "mean" if argmax is None else "max")
    grad = np.asarray(grad)
    if argmax is not None:
        return spread_to_winners(grad, argmax, boxes, input_shape, output_size, spatial_scale, sampling_ratio, aligned)
    accumulate, batch, corners = geometry("roi_align", grad.dtype, boxes, input_shape[0])
    result = np.zeros(input_shape, accumulate)
    for k, roi in enumerate(corners):
        vertical, horizontal = roi_weights(roi, output_size, input_shape[2:], spatial_scale,
                                           sampling_ratio, aligned, accumulate, rule)
        for ph, pw, pixels, weights in support(vertical, horizontal):
            for c, plane in enumerate(result[batch[k]]):
                plane[pixels] += weights * accumulate.type(grad[k, c, ph, pw])
    with np.errstate(over="ignore"):
        return result.astype(grad.dtype)


def assign_levels(boxes, scales, canonical_scale=224, canonical_level=4):
    """The pyramid level of each box, by its size (FPN, eq. 1, with a guard at powers of two).

    Args:
        boxes: (K, 4) float, input pixels.
        scales: map pixels an input pixel of each level, finest first, each half the one before.
            The i-th is level k_min + i, with k_min = round(-log2(scales[0])).
        canonical_scale, canonical_level: a box of canonical_scale ** 2 pixels is on
            canonical_level.

    Returns:
        int64 (K,) in [0, len(scales)), the place in ``scales``: how many of the thresholds
        canonical_scale * 2 ** (m - canonical_level - 1e-6), m = k_min + 1 ... k_min + len(scales)
        - 1, computed in double, are at most sqrt(side(x1, x2) * side(y1, y2)), computed in float32
        from corners rounded to float32 (and compared in double). A box whose size is NaN is on
        level 0, one whose size is infinite on the last.

    Source: Lin et al. 2017, arXiv:1612.03144, section 4.2; k_min as torchvision's.
    """
    boxes = np.asarray(boxes).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        sides = side(boxes[:, 0], boxes[:, 2]), side(boxes[:, 1], boxes[:, 3])
    return levels_of_sides(*sides, scales, canonical_scale, canonical_level)


def levels_of_sides(width, height, scales, canonical_scale, canonical_level):
    """The level of boxes of these sides, float32 (K,), as ``assign_levels`` says."""
    lowest = round(-math.log2(scales[0]))
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.sqrt(width * height)
    levels = np.zeros(len(size), np.int64)
    for m in range(lowest + 1, lowest + len(scales)):
        levels += size.astype(np.float64) >= canonical_scale * 2.0 ** (m - canonical_level - 1e-6)
    return levels


def pyramid_rois(op, boxes, scales, images, canonical_scale, canonical_level):
    """RoIs as (K, 5) and the level of each; ``boxes`` is (K, 5) or a list."""
    if len(scales) == 0:
        raise ValueError(f"{op}: scales must name at least one level, got none")
    batch, corners = as_rois(op, boxes, images)
    rois = np.concatenate([batch[:, None].astype(corners.dtype), corners], axis=1)
    return rois, assign_levels(corners, scales, canonical_scale, canonical_level)


def multiscale_roi_align(features, boxes, output_size, scales, *, sampling_ratio=2, aligned=False,
                         canonical_scale=224, canonical_level=4, reduce="mean"):
    """``roi_align`` of each RoI on the level that ``assign_levels`` gives it.

    Args:
        features: list of (N, C, H_i, W_i), one a level, finest first, of one dtype.
        boxes: (K, 5) float with the batch index first, or a list with one (L, 4) array an image; in
            input pixels.
        output_size: P, or (PH, PW).
        scales: one spatial scale a level; see ``assign_levels``.
        sampling_ratio, aligned, reduce: as in `roi_align`.
        canonical_scale, canonical_level: as in `assign_levels`.

    Returns:
        (K, C, PH, PW), rows in the order of the boxes.

    Raises:
        ValueError: no level, or ``features`` and ``scales`` differ in length; another ``reduce``.
        IndexError: as in ``roi_align``.
    """
    op = "multiscale_roi_align"
    check_rule(op, "samples", sampling_ratio, reduce)
    rois, levels = feature_rois(op, features, boxes, scales, canonical_scale, canonical_level)
    parts = [roi_align(features[levels[k]], rois[k : k + 1], output_size, scales[levels[k]],
                       sampling_ratio, aligned, reduce=reduce) for k in range(len(rois))]
    nothing = roi_align(features[0], rois[:0], output_size)  # gives no rows their shape
    return np.concatenate([nothing, *parts])


def feature_rois(op, features, boxes, scales, canonical_scale, canonical_level):
    if len(features) != len(scales):
        raise ValueError(
            f"{op}: scales must have one value a level, got {len(scales)} for {len(features)}")
    return pyramid_rois(op, boxes, scales, len(features[0]) if len(features) else 0, canonical_scale, canonical_level)


def multiscale_roi_align_with_argmax(features, boxes, output_size, scales, *, sampling_ratio=2, aligned=False,
                                     canonical_scale=224, canonical_level=4):
    """``multiscale_roi_align`` with reduce="max", and which of a bin's samples won.

    Args:
        features, boxes, output_size, scales, sampling_ratio, aligned, canonical_scale, canonical_level: as in
            `multiscale_roi_align`.

    Returns:
        output (K, C, PH, PW), argmax int32 (K, C, PH, PW).
    """
    rois, levels = feature_rois("multiscale_roi_align", features, boxes, scales, canonical_scale, canonical_level)
    parts = [roi_align_with_argmax(features[0], rois[:0], output_size)]
    parts += [roi_align_with_argmax(features[levels[k]], rois[k : k + 1], output_size, scales[levels[k]],
                                    sampling_ratio, aligned) for k in range(len(rois))]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def multiscale_roi_align_backward(grad, boxes, input_shapes, output_size, scales, *,
                                  sampling_ratio=2, aligned=False, canonical_scale=224,
                                  canonical_level=4, argmax=None):
    """Gradients of ``multiscale_roi_align`` with respect to each level's features.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        boxes, output_size, scales, sampling_ratio, aligned, canonical_scale, canonical_level: as given to the forward
            pass.
        input_shapes: list of (N, C, H_i, W_i).
        argmax: from ``multiscale_roi_align_with_argmax``: the gradient with reduce="max"; None: of the mean.

    Returns:
        list of (N, C, H_i, W_i), the dtype of ``grad``; zeros on a level without RoIs.
    """
    op = "multiscale_roi_align"
    rois, levels = pyramid_rois(op, boxes, scales, input_shapes[0][0], canonical_scale,
                                canonical_level)
    return [roi_align_backward(grad[levels == i], rois[levels == i], shape, output_size, scales[i],
                               sampling_ratio, aligned, argmax=None if argmax is None else argmax[levels == i])
            for i, shape in enumerate(input_shapes)]
