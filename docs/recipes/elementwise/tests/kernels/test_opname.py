"""The compiled opname against the reference: the same bits at every SIMD level and number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import strategies as some

from .agreement import everywhere

FLOATS = st.sampled_from([np.float16, np.float32, np.float64])


@given(st.data(), FLOATS, st.sampled_from([1, 4.0, 0.3, 1e-60, 1e60]))
def test_agrees_with_the_reference(data, dtype, stride):
    boxes = data.draw(some.boxes(dtype=dtype, max_size=24))
    expected = reference.opname(boxes, stride)
    everywhere(lambda threads: kernels.opname(boxes, stride, threads=threads), expected)


@pytest.mark.parametrize("n", [0, 1, 15, 17, 1025])
def test_any_number_of_boxes(n):
    boxes = np.random.default_rng(n).uniform(-9, 9, (n, 4)).astype(np.float32)
    expected = reference.opname(boxes, 3)
    everywhere(lambda threads: kernels.opname(boxes, 3, threads=threads), expected, bits=True)


def test_strided_arrays_are_read_and_out_is_filled():
    boxes, out = np.random.default_rng(0).uniform(0, 9, (8, 4)), np.empty((4, 2))
    assert kernels.opname(boxes[::-2], out=out) is out
    np.testing.assert_array_equal(out, reference.opname(boxes[::-2]))


BOX = np.zeros((2, 4), np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.opname(BOX.T), ValueError, r"boxes must have shape \(N, 4\), got \(4, 2\)"),
    (lambda: kernels.opname(BOX.astype(int)), TypeError, "boxes must be float16, .*, got int64"),
    (lambda: kernels.opname(BOX, 0), ValueError, "stride must be positive and finite, got 0"),
    (lambda: kernels.opname(BOX, out=BOX), ValueError, r"out must be a float32 array of shape \(2, 2\)"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=f"opname: {text}"):
        call()
