"""What the RoI ops share: the types in which they compute, where corners and samples lie, the value of a sample.

`roikit.reference.roi_align` and `roikit.reference.roi_pool` state the rules.
"""

from bisect import bisect_left, bisect_right

import numpy as np

from roikit.reference.arguments import as_rois

GRID_LIMIT = 2**24
CORNER_LIMIT = 2**30


def geometry(op, dtype, boxes, images, columns=4):
    """A, batch index int64 (K,) and corners T (K, columns); checks the dtype of the features."""
    if dtype not in (np.float16, np.float32, np.float64):
        raise TypeError(f"{op}: input must be float16, float32 or float64, got {dtype}")
    batch, corners = as_rois(op, boxes, images, columns)
    accumulate = np.result_type(dtype, np.float32)
    return accumulate, batch, corners.astype(np.result_type(accumulate, corners))


def round_half_away(value):
    """C's ``round``. (floor(v + 0.5) is wrong just below one half, where the sum rounds up.)"""
    whole = np.trunc(value)
    return whole + np.sign(value) * (np.abs(value - whole) >= 0.5)


def pixel_of(corner, scale):
    """The pixel to which a finite corner is rounded, limited so that whole numbers cannot overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        return int(np.clip(round_half_away(corner * scale), -CORNER_LIMIT, CORNER_LIMIT))


def sample_axis(low, high, bins, extent, scale, sampling_ratio, aligned):
    """start, step and g, the number of samples a bin, along one axis; g is 0 where the RoI gives 0.

    Args:
        low, high: scalars of type T, the corners.
        bins: P. extent: map pixels. scale: scalar of type T.
    """
    real = low.dtype.type
    with np.errstate(over="ignore", invalid="ignore"):
        off = real(0.5 if aligned else 0)
        start = low * scale - off
        size = (high * scale - off) - start
    if not (np.isfinite(start) and np.isfinite(size)) or extent == 0:
        return real(0), real(0), 0
    if not aligned:
        size = max(size, real(1))
    step = size / real(bins)
    return start, step, sampling_ratio if sampling_ratio > 0 else int(np.clip(np.ceil(step), 0, GRID_LIMIT))


def samples_inside(base, step, grid, extent):
    """(k, position) of those of a bin's samples that lie in [-1, extent]; bisection finds them in a huge grid."""
    real = base.dtype.type

    def position(k):
        with np.errstate(over="ignore"):
            return base + ((real(k) + real(0.5)) * step) / real(grid)

    first, last = 0, grid
    if step > 0:
        first = bisect_left(range(grid), -1, key=position)
        last = bisect_right(range(grid), extent, key=position)
    inside = [(k, position(k)) for k in range(first, last)]
    return [(k, y) for k, y in inside if -1 <= y <= extent]


def taps(y, extent):
    """The two rows of a sample at y inside the map, and their weights."""
    real = y.dtype.type
    y = max(y, real(0))
    row = int(np.floor(y))
    if row >= extent - 1:
        return extent - 1, extent - 1, real(1), real(0)
    return row, row + 1, real(1) - (y - real(row)), y - real(row)


def value_at(plane, down, across):
    """The bilinear value of a sample from the `taps` of its row and of its column, in A; None: outside, which is 0."""
    if down is None or across is None:
        return plane.dtype.type(0)
    y0, y1, b0, b1 = down
    x0, x1, a0, a1 = across
    a0, a1, b0, b1 = (plane.dtype.type(w) for w in (a0, a1, b0, b1))
    with np.errstate(invalid="ignore", over="ignore"):
        return ((plane[y0, x0] * a0 + plane[y0, x1] * a1) * b0
                + (plane[y1, x0] * a0 + plane[y1, x1] * a1) * b1)
