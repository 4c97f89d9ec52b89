"""The value of a map at the centre of each bin of a box: one bilinear sample a bin.

T is the dtype of the boxes, half being cast to float32; A, in which values are computed, is float32 for float16 and
float32 features, float64 for float64. spatial_scale is rounded to T. Per axis, P bins, extent H:

- start = low * s, size = high * s - start, and bin p is sampled at y = start + ((T(p) + 0.5) * size) / T(P).
- A sample with y < -1 or y > H, or with a y that is NaN, is 0. Else it has RoIAlign's two rows and weights
  (`roikit.reference.rois.taps`), rounded from T to A.
- A value is (f[y0, x0] * a0 + f[y0, x1] * a1) * b0 + (f[y1, x0] * a0 + f[y1, x1] * a1) * b1, a of the columns and b of
  the rows, rounded once to the dtype of the features.
- The gradient adds (b * a) * grad to each of the four pixels, in A, over boxes, rows and columns of bins, rows and
  columns of pixels in this order; weights of 0 are left out, and the sums are rounded once.

Exact: values and gradient.

Source: this project's own.
"""

import numpy as np

from roikit.reference.arguments import as_rois, pair
from roikit.reference.rois import taps, value_at

__all__ = ["opname", "opname_backward"]


def axis(low, high, bins, extent, scale):
    """The two pixels and weights of each bin's sample along one axis; None outside of the map."""
    real = low.dtype.type
    with np.errstate(all="ignore"):
        start = low * scale
        size = high * scale - start
        places = [start + ((real(p) + real(0.5)) * size) / real(bins) for p in range(bins)]
    return [taps(y, extent) if extent > 0 and -1 <= y <= extent else None for y in places]


def each_bin(batch, corners, size, shape, spatial_scale):
    """Yields k, image, ph, pw and the taps of the rows and of the columns of every bin."""
    for k, (x1, y1, x2, y2) in enumerate(corners):
        with np.errstate(over="ignore"):
            scale = corners.dtype.type(spatial_scale)
        down, across = axis(y1, y2, size[0], shape[0], scale), axis(x1, x2, size[1], shape[1], scale)
        for ph, pw in np.ndindex(*size):
            yield k, batch[k], ph, pw, down[ph], across[pw]


def opname(input, boxes, output_size, spatial_scale=1.0):
    """One bilinear sample at the centre of each bin. The module states the rule.

    Args:
        input: (N, C, H, W) float16, float32 or float64 features.
        boxes: (K, 5) float with the batch index first, or a list with one (L, 4) array an image.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel.

    Returns:
        (K, C, PH, PW), the dtype of ``input``.

    Raises:
        IndexError: a batch index is not whole, negative, or at least N.
    """
    input, size = np.asarray(input), pair(output_size)
    batch, corners = as_rois("opname", boxes, len(input))
    wide = input.astype(np.result_type(input, np.float32))
    output = np.zeros((len(corners), input.shape[1], *size), wide.dtype)
    for k, image, ph, pw, down, across in each_bin(batch, corners, size, input.shape[2:], spatial_scale):
        for c, plane in enumerate(wide[image]):
            output[k, c, ph, pw] = value_at(plane, down, across)
    with np.errstate(over="ignore"):
        return output.astype(input.dtype)


def opname_backward(grad, boxes, input_shape, spatial_scale=1.0):
    """Gradient of ``opname`` with respect to its input; the boxes have none.

    Args:
        grad: (K, C, PH, PW), the gradient of the output; its dtype is that of the features.
        boxes, spatial_scale: as given to the forward pass.
        input_shape: (N, C, H, W).

    Returns:
        (N, C, H, W), the dtype of ``grad``.
    """
    grad = np.asarray(grad)
    batch, corners = as_rois("opname", boxes, input_shape[0])
    result = np.zeros(input_shape, np.result_type(grad, np.float32))
    real = result.dtype.type
    for k, image, ph, pw, down, across in each_bin(batch, corners, grad.shape[2:], input_shape[2:], spatial_scale):
        if down is None or across is None:
            continue
        for c, plane in enumerate(result[image]):
            for y, b in zip(down[:2], down[2:], strict=True):
                for x, a in zip(across[:2], across[2:], strict=True):
                    if (weight := real(b) * real(a)) != 0:
                        plane[y, x] += weight * real(grad[k, c, ph, pw])
    with np.errstate(over="ignore"):
        return result.astype(grad.dtype)
