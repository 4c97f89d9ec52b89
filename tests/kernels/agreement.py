"""What the tests of kernels share: every vector level and number of threads, memory formats, RoIs, the bound."""

import numpy as np
import pytest

from roikit.reference.roi_align import TOLERANCE
from roikit.testing import simd, simd_levels

FORMATS = ("contiguous", "channels_last", "strided")
each_wrong_index = pytest.mark.parametrize("index, text", [(-1, "-1.0"), (2, "2.0"), (0.5, "0.5"), (np.nan, "nan")])


def listed(results):
    return results if isinstance(results, (list, tuple)) else [results]


def everywhere(run, expected=None, *, bits=False, counts=(1, 2)):
    """What run(threads) gives at every SIMD level and with these counts of threads: always the same, and ``expected``.

    ``bits``: the signs of zeros and of NaN, too.
    """
    for level in simd_levels():
        for threads in counts:
            with simd(level):
                found = run(threads)
            expected = found if expected is None else expected
            for mine, theirs in zip(listed(found), listed(expected), strict=True):
                assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
                np.testing.assert_array_equal(mine, theirs, f"{level}, {threads} threads")
                assert not bits or mine.tobytes() == theirs.tobytes(), f"{level}, {threads} threads"
    return expected


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def stored(x, form):
    """The map in one of FORMATS; what lies between the elements of a strided one is 0."""
    if form == "strided":
        wide = np.zeros((*x.shape[:3], 2 * x.shape[3]), x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    return channels_last(x) if form == "channels_last" else x


def within(result, expected, scale):
    """|result - expected| <= TOLERANCE * scale, the bound of RoIAlign and its kin."""
    assert result.dtype == expected.dtype and result.shape == expected.shape
    error = np.abs(result.astype(np.float64) - expected.astype(np.float64))
    assert (error <= TOLERANCE[result.dtype.name] * scale).all(), error.max(initial=0)


def same(found, expected):
    """The same bits."""
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


def some_rois(rng, count):
    """(count, 5): on images 0 and 2, partly outside maps of 80 pixels, some without an area."""
    corner = rng.uniform(-8, 80, (count, 2))
    return np.concatenate([rng.integers(0, 2, (count, 1)) * 2, corner, corner + rng.uniform(-2, 60, (count, 2))], 1)
