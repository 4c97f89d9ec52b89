"""Where the samples of a RoI lie along one axis. `roikit.reference.roi_align` states the rule."""

from bisect import bisect_left, bisect_right

import numpy as np

from roikit.reference.boxes import as_rois

GRID_LIMIT = 2**24


def geometry(op, dtype, boxes, images):
    """A, batch index int64 (K,) and corners T (K, 4); checks the dtype of the features."""
    if dtype not in (np.float16, np.float32, np.float64):
        raise TypeError(f"{op}: input must be float16, float32 or float64, got {dtype}")
    batch, corners = as_rois(op, boxes, images)
    accumulate = np.result_type(dtype, np.float32)
    return accumulate, batch, corners.astype(np.result_type(accumulate, corners))


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
