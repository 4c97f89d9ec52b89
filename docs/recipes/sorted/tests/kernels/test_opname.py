"""The compiled opname against the reference: the same boxes at every SIMD level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import strategies as some

from ..crowds import candidates
from .agreement import everywhere

FLOATS = st.sampled_from([np.float16, np.float32, np.float64])


@given(st.data(), FLOATS, FLOATS, st.sampled_from([0.0, 0.5, 1.0, 2.5, 1e-60, 1e30]))
def test_agrees_with_the_reference(data, dtype, score_dtype, distance):
    boxes = data.draw(some.boxes(dtype=dtype, max_size=24))
    scores = data.draw(some.scores(len(boxes), score_dtype))
    expected = reference.opname(boxes, scores, distance)
    everywhere(lambda threads: kernels.opname(boxes, scores, distance, threads=threads), expected)


@pytest.mark.parametrize("n", [0, 1, 15, 17, 400])
def test_any_number_of_boxes(n):
    for seed, dtype in enumerate((np.float32, np.float64)):
        boxes, scores, _ = candidates(n, n + seed, dtype)
        expected = reference.opname(boxes, scores, 3)
        everywhere(lambda threads, b=boxes, s=scores: kernels.opname(b, s, 3, threads=threads), expected)


def test_strided_and_reversed_arrays_are_read_as_they_are():
    boxes, scores, _ = candidates(100, 1)
    found = kernels.opname(np.repeat(boxes, 2, axis=0)[::2], scores[::-1], 3)
    np.testing.assert_array_equal(found, reference.opname(boxes, scores[::-1].copy(), 3))


BOX, SCORE = np.zeros((2, 4), np.float32), np.zeros(2, np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.opname(BOX.T, SCORE, 1), ValueError, r"boxes must have shape \(N, 4\), got \(4,"),
    (lambda: kernels.opname(BOX, SCORE[:1], 1), ValueError, r"scores must have shape \(2,\), one entry"),
    (lambda: kernels.opname(BOX, SCORE, -1), ValueError, "distance must be finite and at least 0, got"),
    (lambda: kernels.opname(BOX, SCORE, np.nan), ValueError, "distance must not be NaN"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=f"opname: {text}"):
        call()
