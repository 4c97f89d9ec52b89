"""RoIAlign's reduce="max": the largest sample of a bin, the first of equals.

`roikit.reference.roi_align` states the rule.
"""

import numpy as np

from roikit.reference.arguments import pair
from roikit.reference.rois import geometry, sample_axis, samples_inside, taps, value_at


def axis_bins(low, high, bins, extent, scale, sampling_ratio, aligned):
    """Of each bin the k of its samples inside the map, their taps, and the number g of all; args of ``sample_axis``."""
    start, step, grid = sample_axis(low, high, bins, extent, scale, sampling_ratio, aligned)
    found = []
    for p in range(bins):
        inside = samples_inside(start + low.dtype.type(p) * step, step, grid, extent)
        found.append(([k for k, _ in inside], [taps(y, extent) for _, y in inside], grid))
    return found


def roi_bins(corners, output_size, shape, spatial_scale, sampling_ratio, aligned):
    """The ``axis_bins`` of the rows and of the columns of one RoI; none has a sample where it is not finite."""
    rows, columns = pair(output_size)
    if not np.isfinite(corners).all():
        return [([], [], 0)] * rows, [([], [], 0)] * columns
    x1, y1, x2, y2 = corners
    scale = corners.dtype.type(spatial_scale)
    return (axis_bins(y1, y2, rows, shape[0], scale, sampling_ratio, aligned),
            axis_bins(x1, x2, columns, shape[1], scale, sampling_ratio, aligned))


def first_outside(rows, gh, columns, gw):
    """(k of the row, k of the column) of the first sample of a grid that is not inside the map, or None.

    Args:
        rows, columns: the k of the rows and columns of those inside, each a run of successive numbers.
    """
    if gh == 0 or gw == 0:
        return None
    if 0 not in rows or 0 not in columns:
        return 0, 0
    if len(columns) < gw:
        return 0, len(columns)
    return (len(rows), 0) if len(rows) < gh else None


def bin_samples(plane, vertical, horizontal):
    """(value, argmax) of a bin's samples in order; of those outside the first, which stands for them all."""
    (rows, down, gh), (columns, across, gw) = vertical, horizontal
    found = [((ky, kx), value_at(plane, down[i], across[j]), i * len(columns) + j)
             for i, ky in enumerate(rows) for j, kx in enumerate(columns)]
    outside = first_outside(rows, gh, columns, gw)
    if outside is not None:
        found.append((outside, plane.dtype.type(0), -1))
    return [(value, argmax) for _, value, argmax in sorted(found, key=lambda sample: sample[0])]


def largest_samples(input, boxes, output_size, spatial_scale, sampling_ratio, aligned):
    """Output and argmax of ``roi_align_with_argmax``."""
    rows, columns = pair(output_size)
    accumulate, batch, corners = geometry("roi_align", input.dtype, boxes, len(input))
    output = np.zeros((len(corners), input.shape[1], rows, columns), accumulate)
    argmax = np.full(output.shape, -1, np.int32)
    for k, roi in enumerate(corners):
        image = input[batch[k]].astype(accumulate)
        vertical, horizontal = roi_bins(roi, output_size, input.shape[2:], spatial_scale, sampling_ratio, aligned)
        for c, ph, pw in np.ndindex(output.shape[1:]):
            best = -np.inf
            for value, place in bin_samples(image[c], vertical[ph], horizontal[pw]):
                if value > best:
                    best = output[k, c, ph, pw] = value
                    argmax[k, c, ph, pw] = place
    with np.errstate(over="ignore"):
        return output.astype(input.dtype), argmax


def spread_to_winners(grad, argmax, boxes, input_shape, output_size, spatial_scale, sampling_ratio, aligned):
    """The gradient of ``roi_align`` with reduce="max": to the four pixels of each winner; added in A, rounded once."""
    accumulate, batch, corners = geometry("roi_align", grad.dtype, boxes, input_shape[0])
    result = np.zeros(input_shape, accumulate)
    for k, roi in enumerate(corners):
        vertical, horizontal = roi_bins(roi, output_size, input_shape[2:], spatial_scale, sampling_ratio, aligned)
        for c, ph, pw in np.ndindex(grad.shape[1:]):
            place, (_, down, _), (_, across, _) = argmax[k, c, ph, pw], vertical[ph], horizontal[pw]
            if not 0 <= place < len(down) * len(across):
                continue
            y0, y1, b0, b1 = down[place // len(across)]
            x0, x1, a0, a1 = across[place % len(across)]
            for y, b in ((y0, b0), (y1, b1)):
                for x, a in ((x0, a0), (x1, a1)):
                    weight = accumulate.type(b) * accumulate.type(a)
                    if weight != 0:
                        result[batch[k], c, y, x] += weight * accumulate.type(grad[k, c, ph, pw])
    with np.errstate(over="ignore"):
        return result.astype(grad.dtype)
