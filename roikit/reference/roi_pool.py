"""RoIPool: the largest feature of each bin of a box rounded to whole pixels. The result is exact.

The Caffe rule, as torchvision has it. T is the dtype of the boxes (half is cast to float32);
spatial_scale is rounded to T.

- Corner: round(c * spatial_scale) in T, half away from zero (C's ``round``), limited to +-2**30 so
  that whole numbers cannot overflow, then an integer.
- Size of an axis: max(end - start + 1, 1). bin = T(size) / T(P).
- Bin p covers [floor(T(p) * bin) + start, ceil(T(p + 1) * bin) + start), clipped to the map; bins
  may overlap.
- Winner: rows, then columns, ascending; a pixel wins by being strictly greater than the best so
  far, which starts at -inf. So the first maximum wins, and NaN and -inf never do. A bin without a
  winner gives 0 and argmax -1.
- A RoI with a NaN or infinite coordinate gives 0 and argmax -1.

Source: Girshick 2015, arXiv:1504.08083, section 2.1.
"""

import numpy as np

from roikit.reference.arguments import as_rois, pair
from roikit.reference.rois import pixel_of

__all__ = ["roi_pool", "roi_pool_backward", "roi_pool_with_argmax"]


def bin_edges(low, high, bins, extent, scale):
    """Clipped [start, end) of every bin along one axis: two int64 arrays (bins,)."""
    real = low.dtype.type
    start, end = pixel_of(low, scale), pixel_of(high, scale)
    step = real(max(end - start + 1, 1)) / real(bins)
    first = [int(np.floor(real(p) * step)) + start for p in range(bins)]
    last = [int(np.ceil(real(p + 1) * step)) + start for p in range(bins)]
    return np.clip(first, 0, extent), np.clip(last, 0, extent)


def roi_pool_with_argmax(input, boxes, output_size, spatial_scale=1.0):
    """``roi_pool`` and where each maximum stands.

    Args:
        input, boxes, output_size, spatial_scale: as in `roi_pool`.

    Returns:
        output (K, C, PH, PW), argmax int32 (K, C, PH, PW): y * W + x in the RoI's image and
        channel, or -1.
    """
    input = np.asarray(input)
    images, channels, height, width = input.shape
    rows, columns = pair(output_size)
    batch, corners = as_rois("roi_pool", boxes, images)
    scale = corners.dtype.type(spatial_scale)
    output = np.zeros((len(corners), channels, rows, columns), input.dtype)
    argmax = np.full(output.shape, -1, np.int32)
    for k, (x1, y1, x2, y2) in enumerate(corners):
        if not np.isfinite(corners[k]).all():
            continue
        top, bottom = bin_edges(y1, y2, rows, height, scale)
        left, right = bin_edges(x1, x2, columns, width, scale)
        for c, ph, pw in np.ndindex(channels, rows, columns):
            best = -np.inf
            for y in range(top[ph], bottom[ph]):
                for x in range(left[pw], right[pw]):
                    if input[batch[k], c, y, x] > best:
                        best = output[k, c, ph, pw] = input[batch[k], c, y, x]
                        argmax[k, c, ph, pw] = y * width + x
    return output, argmax


def roi_pool(input, boxes, output_size, spatial_scale=1.0):
    """Pool each RoI into PH x PW maxima.

    Args:
        input: (N, C, H, W) float16, float32 or float64 features.
        boxes: (K, 5) float with the batch index first, or a list with one (L, 4) array an image.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel.

    Returns:
        (K, C, PH, PW), the dtype of ``input``, each value one of the map's or 0.

    Raises:
        IndexError: a batch index is not whole, negative, or at least N.
    """
    return roi_pool_with_argmax(input, boxes, output_size, spatial_scale)[0]


def roi_pool_backward(grad, argmax, boxes, input_shape):
    """Gradient of ``roi_pool`` with respect to its input: each winner receives its bin's gradient.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        argmax: int32 (K, C, PH, PW) from ``roi_pool_with_argmax``.
        boxes: as given to the forward pass; only the images of the RoIs are read.
        input_shape: (N, C, H, W).

    Returns:
        (N, C, H, W), the dtype of ``grad``. A pixel that won several bins adds their gradients in
        the order of k, ph, pw, starting from 0; half is added in float32 and rounded once.
    """
    grad = np.asarray(grad)
    images, channels, height, width = input_shape
    batch, _ = as_rois("roi_pool", boxes, images)
    planes = np.zeros((images, channels, height * width), np.result_type(grad, np.float32))
    for k, ph, pw in np.ndindex(grad.shape[0], *grad.shape[2:]):
        for c in range(channels):
            if argmax[k, c, ph, pw] >= 0:
                planes[batch[k], c, argmax[k, c, ph, pw]] += grad[k, c, ph, pw]
    return planes.reshape(input_shape).astype(grad.dtype)
