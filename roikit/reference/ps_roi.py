"""Position-sensitive pooling (R-FCN): each bin of a box has channels of its own.

Bin (ph, pw) of output channel c is the mean of a bin over input channel (c * PH + ph) * PW + pw. So
output element i of a RoI, counted along (C, PH, PW), reads input channel i alone.

A, the accumulate type: float32 for float16 and float32 features, float64 for float64. Each axis
gives every bin pixels with weights and a count; then, in A and in this order, without fused
multiply-add, rows and columns ascending, pixels of weight 0 left out:

    line[y] = sum over x of Wx[x] * f[y, x];   value = (sum over y of Wy[y] * line[y]) / (gy * gx)

0 where a count is 0. The result is rounded once to the dtype of the features. The gradient adds
Wx[x] * (Wy[y] * (grad / (gy * gx))) to pixel (y, x), over the RoIs in order, in A, and rounds once.

``ps_roi_align``: weights and counts are RoIAlign's with aligned=True (roikit.reference.roi_align): the
corners are shifted by half a map pixel, a RoI may be smaller than a pixel, the count is g.

``ps_roi_pool``: T is the dtype of the boxes (half is cast to float32), spatial_scale is rounded to T.
A corner is round(c * spatial_scale), half away from zero, limited to +-2**30. size = max(end - start,
1): the end pixel is not part of the box, unlike in ``roi_pool``. bin = T(size) / T(P); bin p has the
pixels [floor(T(p) * bin) + start, ceil(T(p + 1) * bin) + start), clipped to [0, H - 1): the map's last
row and column are never read. These are torchvision's rules. Weights are 1, the count is how many.

A RoI with a coordinate that is NaN or infinite gives 0 and gradient 0.

Bounds. ``ps_roi_pool`` and its gradient are exact. ``ps_roi_align``: within TOLERANCE of roi_align, in
the same words, since the samples of one pixel may be added in any order.

Source: Dai et al. 2016, arXiv:1605.06409, equation 1.
"""

import numpy as np

from roikit.reference.arguments import as_rois, pair
from roikit.reference.roi_align import axis_weights
from roikit.reference.rois import geometry, pixel_of

__all__ = ["ps_roi_align", "ps_roi_align_backward", "ps_roi_pool", "ps_roi_pool_backward"]


def pixel_weights(low, high, bins, extent, scale):
    """Weight 1 for the pixels of every bin, T (P, extent), and how many they are, (P,)."""
    real = low.dtype.type
    weights = np.zeros((bins, extent), real)
    if np.isfinite(low) and np.isfinite(high):
        start, end = pixel_of(low, scale), pixel_of(high, scale)
        step = real(max(end - start, 1)) / real(bins)
        for p in range(bins):
            first = int(np.floor(real(p) * step)) + start
            last = int(np.ceil(real(p + 1) * step)) + start
            weights[p, max(first, 0) : max(min(last, extent - 1), 0)] = 1
    return weights, weights.sum(1)


def pooled_axes(corners, size, shape, scale):
    """(weights, counts) of the rows and of the columns of one RoI for ``ps_roi_pool``."""
    x1, y1, x2, y2 = corners
    scale = corners.dtype.type(scale)
    return (pixel_weights(y1, y2, size[0], shape[0], scale),
            pixel_weights(x1, x2, size[1], shape[1], scale))


def aligned_axes(corners, size, shape, scale, sampling_ratio):
    """The same for ``ps_roi_align``; every bin of an axis has one count."""
    x1, y1, x2, y2 = corners
    scale = corners.dtype.type(scale)

    def axis(low, high, bins, extent):
        if not (np.isfinite(low) and np.isfinite(high)):
            return np.zeros((bins, extent), corners.dtype), np.zeros(bins)
        weights, count = axis_weights(low, high, bins, extent, scale, sampling_ratio, True)
        return weights, np.full(bins, count)

    return axis(y1, y2, size[0], shape[0]), axis(x1, x2, size[1], shape[1])


def bins_of(op, channels, size, shape, accumulate, corners, axes):
    """Yields k, i, [(y, weight)], [(x, weight)] and the count of every bin that is not empty."""
    if channels % (size[0] * size[1]):
        raise ValueError(f"{op}: input must have a multiple of {size[0]} * {size[1]} channels, got {channels}")
    for k, roi in enumerate(corners):
        (wy, gy), (wx, gx) = axes(roi, size, shape)
        wy, gy, wx, gx = (a.astype(accumulate) for a in (wy, gy, wx, gx))
        for i in range(channels):
            ph, pw = i // size[1] % size[0], i % size[1]
            if gy[ph] * gx[pw] > 0:
                yield (k, i, [(y, wy[ph, y]) for y in np.flatnonzero(wy[ph])],
                       [(x, wx[pw, x]) for x in np.flatnonzero(wx[pw])], gy[ph] * gx[pw])


def forward(op, input, batch, corners, output_size, accumulate, axes):
    size = pair(output_size)
    channels = input.shape[1]
    output = np.zeros((len(corners), channels), accumulate)
    for k, i, rows, columns, count in bins_of(op, channels, size, input.shape[2:], accumulate, corners, axes):
        plane = input[batch[k], i].astype(accumulate)
        with np.errstate(invalid="ignore", over="ignore"):
            total = accumulate.type(0)
            for y, down in rows:
                line = accumulate.type(0)
                for x, across in columns:
                    line += across * plane[y, x]
                total += down * line
            output[k, i] = total / count
    with np.errstate(over="ignore"):
        return output.reshape(len(corners), channels // (size[0] * size[1]), *size).astype(input.dtype)


def backward(op, grad, batch, corners, input_shape, accumulate, axes):
    result = np.zeros(input_shape, accumulate)
    values = grad.reshape(len(grad), input_shape[1]).astype(accumulate)
    for k, i, rows, columns, count in bins_of(op, input_shape[1], grad.shape[2:], input_shape[2:], accumulate,
                                              corners, axes):
        share = values[k, i] / count
        for y, down in rows:
            for x, across in columns:
                result[batch[k], i, y, x] += across * (down * share)
    with np.errstate(over="ignore"):
        return result.astype(grad.dtype)


def ps_roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    """Means of bilinear samples, each bin from its own channels. The module states the rule.

    Args:
        input: (N, C * PH * PW, H, W) float16, float32 or float64 features.
        boxes: (K, 5) float with the batch index first, or a list with one (L, 4) array an image.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel.
        sampling_ratio: samples a bin along each axis; 0 or less means ceil(bin), adaptive.

    Returns:
        (K, C, PH, PW), the dtype of ``input``.

    Raises:
        ValueError: the channels are no multiple of PH * PW.
        IndexError: a batch index is not whole, negative, or at least N.
    """
    input = np.asarray(input)
    accumulate, batch, corners = geometry("ps_roi_align", input.dtype, boxes, len(input))
    return forward("ps_roi_align", input, batch, corners, output_size, accumulate,
                   lambda *roi: aligned_axes(*roi, spatial_scale, sampling_ratio))


def ps_roi_align_backward(grad, boxes, input_shape, spatial_scale=1.0, sampling_ratio=-1):
    """Gradient of ``ps_roi_align`` with respect to its input; the boxes have none.

    Args:
        grad: (K, C, PH, PW), the gradient of the output; its dtype is that of the features.
        boxes, spatial_scale, sampling_ratio: as given to the forward pass.
        input_shape: (N, C * PH * PW, H, W).

    Returns:
        (N, C * PH * PW, H, W), the dtype of ``grad``.
    """
    grad = np.asarray(grad)
    accumulate, batch, corners = geometry("ps_roi_align", grad.dtype, boxes, input_shape[0])
    return backward("ps_roi_align", grad, batch, corners, input_shape, accumulate,
                    lambda *roi: aligned_axes(*roi, spatial_scale, sampling_ratio))


def ps_roi_pool(input, boxes, output_size, spatial_scale=1.0):
    """Means over the pixels of each bin, each bin from its own channels. The module states the rule.

    Args:
        input, boxes, output_size, spatial_scale: as in `ps_roi_align`.

    Returns:
        (K, C, PH, PW), the dtype of ``input``.

    Raises:
        ValueError, IndexError: as in `ps_roi_align`.
    """
    input = np.asarray(input)
    batch, corners = as_rois("ps_roi_pool", boxes, len(input))
    return forward("ps_roi_pool", input, batch, corners, output_size, np.result_type(input, np.float32),
                   lambda *roi: pooled_axes(*roi, spatial_scale))


def ps_roi_pool_backward(grad, boxes, input_shape, spatial_scale=1.0):
    """Gradient of ``ps_roi_pool`` with respect to its input.

    Args:
        grad, boxes, input_shape, spatial_scale: as in `ps_roi_align_backward`.

    Returns:
        (N, C * PH * PW, H, W), the dtype of ``grad``.
    """
    grad = np.asarray(grad)
    batch, corners = as_rois("ps_roi_pool", boxes, input_shape[0])
    return backward("ps_roi_pool", grad, batch, corners, input_shape, np.result_type(grad, np.float32),
                    lambda *roi: pooled_axes(*roi, spatial_scale))
