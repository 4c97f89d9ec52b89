"""RoIWarp: bilinear samples inside a box rounded to whole pixels, and the largest or the mean of each bin.

What it computes. Multi-task network cascades (MNC) crop a map "into a target size by interpolation":
the cell u' of W' reads the map at x + u' / W' * w by the bilinear function max(0, 1 - |.|), and max
pooling follows. Mask R-CNN's ablation says of it that it was "implemented as quantizing RoI just like
RoIPool", which is why it does no better in spite of the interpolation. So here:

T is the dtype of the boxes (half is cast to float32), A the accumulate type: float32 for float16 and
float32 features, float64 for float64. spatial_scale is rounded to T. Per axis, P bins, extent H:

- start = round(c1 * s), end = round(c2 * s), size = max(end - start + 1, 1): the RoI of ``roi_pool``,
  half away from zero, corners limited to +-2**30.
- The target has W' = 2 P cells, two a bin. Cell i is at y = T(start) + T(i) * (T(size) / T(2 P)).
- A cell with y < -1 or y > H is 0. Else RoIAlign's taps: y = y > 0 ? y : 0; low = floor(y); both rows
  are H - 1 and the fraction 0 if low >= H - 1, else rows low, low + 1 with 1 - (y - low), y - low.
- A value, in A: (f[y0, x0] * a0 + f[y0, x1] * a1) * b0 + (f[y1, x0] * a0 + f[y1, x1] * a1) * b1,
  a of the columns and b of the rows, rounded from T to A.
- ``reduce="max"``: rows, then columns, the first value strictly greater than the best so far, which
  starts at -inf; its place in the bin, 0 to 3, is the argmax. None (all NaN) is 0 and argmax -1.
- ``reduce="mean"``: (((v0 + v1) + v2) + v3) * 0.25.
- The result is rounded once to the dtype of the features.

The cells of a RoI with a NaN or infinite coordinate all lie outside: 0, and gradient 0.

Exact: output and argmax. The gradient (to the winner's four pixels, or a quarter to each value's) is
held to TOLERANCE of roi_align, as its sums may have any order.

Source: Dai et al. 2016, arXiv:1512.04412, section 3.2; He et al. 2017, arXiv:1703.06870, section 3
and the ablation of RoIAlign.
"""

import numpy as np

from roikit.reference.arguments import as_rois, pair
from roikit.reference.rois import pixel_of, taps, value_at

__all__ = ["roi_warp", "roi_warp_backward", "roi_warp_with_argmax"]


def cells(low, high, bins, extent, scale):
    """Of each of 2 * bins cells: None where it lies outside, else its two pixels and weights."""
    real = low.dtype.type
    start, end = pixel_of(low, scale), pixel_of(high, scale)
    step = real(max(end - start + 1, 1)) / real(2 * bins)
    places = [real(start) + real(i) * step for i in range(2 * bins)]
    return [taps(y, extent) if -1 <= y <= extent and extent > 0 else None for y in places]


def roi_cells(corners, output_size, shape, spatial_scale):
    """The cells of the rows and of the columns of one RoI; all outside where it is not finite."""
    rows, columns = output_size
    if not np.isfinite(corners).all():
        return [None] * (2 * rows), [None] * (2 * columns)
    x1, y1, x2, y2 = corners
    scale = corners.dtype.type(spatial_scale)
    return cells(y1, y2, rows, shape[0], scale), cells(x1, x2, columns, shape[1], scale)


def each_cell(batch, corners, output_size, shape, spatial_scale):
    """Yields k, image, ph, pw and the four (rows, columns) of every bin."""
    rows, columns = output_size
    for k, roi in enumerate(corners):
        down, across = roi_cells(roi, output_size, shape, spatial_scale)
        for ph, pw in np.ndindex(rows, columns):
            yield k, batch[k], ph, pw, [(down[2 * ph + i], across[2 * pw + j]) for i in (0, 1) for j in (0, 1)]


def roi_warp_with_argmax(input, boxes, output_size, spatial_scale=1.0, *, reduce="max"):
    """``roi_warp`` and which of a bin's samples won.

    Args:
        input, boxes, output_size, spatial_scale, reduce: as in `roi_warp`.

    Returns:
        output (K, C, PH, PW), argmax int8 (K, C, PH, PW), or (0, C, PH, PW) for the mean.
    """
    if reduce not in ("max", "mean"):
        raise ValueError(f"roi_warp: reduce must be one of 'max', 'mean', got {reduce!r}")
    input = np.asarray(input)
    size = pair(output_size)
    batch, corners = as_rois("roi_warp", boxes, len(input))
    wide = input.astype(np.result_type(input, np.float32))
    output = np.zeros((len(corners), input.shape[1], *size), wide.dtype)
    argmax = np.full(output.shape if reduce == "max" else (0, *output.shape[1:]), -1, np.int8)
    for k, image, ph, pw, cell_taps in each_cell(batch, corners, size, input.shape[2:], spatial_scale):
        for c, plane in enumerate(wide[image]):
            values = [value_at(plane, *tap) for tap in cell_taps]
            if reduce == "mean":
                with np.errstate(invalid="ignore", over="ignore"):
                    total = ((values[0] + values[1]) + values[2]) + values[3]
                    output[k, c, ph, pw] = total * wide.dtype.type(0.25)
                continue
            best = -np.inf
            for i, value in enumerate(values):
                if value > best:
                    best = output[k, c, ph, pw] = value
                    argmax[k, c, ph, pw] = i
    with np.errstate(over="ignore"):
        return output.astype(input.dtype), argmax


def roi_warp(input, boxes, output_size, spatial_scale=1.0, *, reduce="max"):
    """Bilinear samples in each RoI rounded to whole pixels, reduced to PH x PW. The module states the rule.

    Args:
        input: (N, C, H, W) float16, float32 or float64 features.
        boxes: (K, 5) float with the batch index first, or a list with one (L, 4) array an image.
        output_size: P, or (PH, PW).
        spatial_scale: map pixels an input pixel.
        reduce: "max" or "mean" of a bin's four samples.

    Returns:
        (K, C, PH, PW), the dtype of ``input``.

    Raises:
        ValueError: another ``reduce``.
        IndexError: a batch index is not whole, negative, or at least N.
    """
    return roi_warp_with_argmax(input, boxes, output_size, spatial_scale, reduce=reduce)[0]


def roi_warp_backward(grad, argmax, boxes, input_shape, spatial_scale=1.0):
    """Gradient of ``roi_warp`` with respect to its input; the boxes have none.

    Args:
        grad: (K, C, PH, PW), the gradient of the output; its dtype is that of the features.
        argmax: int8 (K, C, PH, PW) from ``roi_warp_with_argmax``; one of no rows means the mean.
        boxes, spatial_scale: as given to the forward pass.
        input_shape: (N, C, H, W).

    Returns:
        (N, C, H, W), the dtype of ``grad``.
    """
    grad = np.asarray(grad)
    batch, corners = as_rois("roi_warp", boxes, input_shape[0])
    result = np.zeros(input_shape, np.result_type(grad, np.float32))
    real, mean = result.dtype.type, len(argmax) != len(grad)
    for k, image, ph, pw, cell_taps in each_cell(batch, corners, grad.shape[2:], input_shape[2:], spatial_scale):
        for c, plane in enumerate(result[image]):
            for i, (down, across) in enumerate(cell_taps):
                if down is None or across is None or not (mean or argmax[k, c, ph, pw] == i):
                    continue
                share = real(0.25 if mean else 1) * real(grad[k, c, ph, pw])
                for y, b in zip(down[:2], down[2:], strict=True):
                    for x, a in zip(across[:2], across[2:], strict=True):
                        plane[y, x] += (real(b) * real(a)) * share
    with np.errstate(over="ignore"):
        return result.astype(grad.dtype)
