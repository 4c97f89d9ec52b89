"""The compiled anchors against the reference: the same bits at every SIMD level and number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import simd, simd_levels

POSITIVE = st.one_of(st.sampled_from([0.5, 1.0, 2.0, 32, 64]), st.floats(2.0**-10, 2.0**10))
FEW = st.lists(POSITIVE, max_size=5)
DTYPES = st.sampled_from([np.float32, np.float64])


@given(FEW, FEW, st.booleans(), st.sampled_from(["ratio", "size"]), DTYPES)
def test_cell_anchors_agree_with_the_reference(sizes, ratios, rounded, order, dtype):
    mine = kernels.cell_anchors(sizes, ratios, rounded=rounded, order=order, dtype=dtype)
    theirs = reference.cell_anchors(sizes, ratios, rounded=rounded, order=order, dtype=dtype)
    assert mine.dtype == theirs.dtype and mine.tobytes() == theirs.tobytes()


@given(FEW, st.tuples(st.integers(0, 9), st.integers(0, 40)), st.one_of(POSITIVE, st.tuples(POSITIVE, POSITIVE)),
       st.floats(-2, 2), DTYPES)
def test_grid_anchors_agree_with_the_reference(sizes, feature_size, stride, offset, dtype):
    cell = reference.cell_anchors(sizes, [0.7, 1.3, 3.1], dtype=dtype)
    expected = reference.grid_anchors(cell, feature_size, stride, offset=offset)
    for level in simd_levels():
        for threads in (1, 2):
            with simd(level):
                found = kernels.grid_anchors(cell, feature_size, stride, offset=offset, threads=threads)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            assert found.tobytes() == expected.tobytes()


def test_a_large_map_is_the_same_on_two_threads():
    cell = reference.cell_anchors([32, 64, 100.5], [0.5, 1, 2])
    expected = reference.grid_anchors(cell, (400, 300), 4)
    out = np.empty_like(expected)
    for level in simd_levels():
        for threads in (1, 2, 3):
            with simd(level):
                assert kernels.grid_anchors(cell, (400, 300), 4, out=out, threads=threads) is out
            np.testing.assert_array_equal(out, expected)


def test_half_cells_are_cast_to_float32():
    cell = np.array([[-1, -2, 1, 2]], np.float16)
    assert kernels.grid_anchors(cell, (1, 2), 4096.5).tolist() == [[-1, -2, 1, 2], [4095.5, -2, 4097.5, 2]]


CELL = np.zeros((3, 4), np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.cell_anchors([32, 0], [1]), ValueError,
     "cell_anchors: sizes must be positive and finite, got 0"),
    (lambda: kernels.cell_anchors(32, [1]), TypeError, "cell_anchors: sizes must be a sequence of numbers, got int"),
    (lambda: kernels.cell_anchors([32], ["1"]), TypeError, "cell_anchors: aspect_ratios must be a number, got str"),
    (lambda: kernels.cell_anchors([32], [1], order="row"), ValueError,
     "cell_anchors: order must be one of 'ratio', 'size', got 'row'"),
    (lambda: kernels.cell_anchors([32], [1], dtype=np.float16), TypeError,
     "cell_anchors: dtype must be float32 or float64, got float16"),
    (lambda: kernels.grid_anchors(CELL.T, (2, 2), 4), ValueError,
     r"grid_anchors: cell_anchors must have shape \(N, 4\) or \(N, 5\), got \(4, 3\)"),
    (lambda: kernels.grid_anchors(CELL, (2, -1), 4), ValueError,
     "grid_anchors: feature_size must be at least 0, got -1"),
    (lambda: kernels.grid_anchors(CELL, (2, 2), (4, 4, 4)), ValueError,
     r"grid_anchors: stride must be a number or two of them, got \(4, 4, 4\)"),
    (lambda: kernels.grid_anchors(CELL, (2, 2), None), TypeError,
     "grid_anchors: stride must be a number, got NoneType"),
    (lambda: kernels.grid_anchors(CELL, (2, 2), 4, offset=float("nan")), ValueError,
     "grid_anchors: offset must not be NaN"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
