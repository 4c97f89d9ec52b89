"""opname: hand-worked values and laws of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some


def test_by_hand():
    boxes = np.array([[0, 0, 4, 8], [2, 1, 3, 2], [4, 4, 0, 0]], np.float32)
    assert reference.opname(boxes).tolist() == [[2, 4], [2.5, 1.5], [2, 2]]
    assert reference.opname(boxes[:1], 4).tolist() == [[0.5, 1]]
    assert reference.opname(boxes[:0]).shape == (0, 2)


def test_the_stride_is_rounded_to_the_dtype_of_the_boxes():
    boxes = np.array([[0, 0, 2, 2]])
    for dtype in (np.float32, np.float64):
        assert reference.opname(boxes.astype(dtype), 0.1)[0, 0] == dtype(1) / dtype(0.1)


def test_half_is_cast_and_nan_stays_in_its_axis():
    found = reference.opname(np.array([[np.nan, 0, 1, 2], [0, -np.inf, 2, np.inf]], np.float16))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([[np.nan, 1], [1, np.nan]], np.float32))


@given(some.boxes(kinds=("grid", "cluster", "reversed")), st.sampled_from([1, 2, 8]))
def test_law_a_centre_lies_between_the_corners(boxes, stride):
    centres = reference.opname(boxes, stride) * stride
    low, high = (f(boxes[:, :2], boxes[:, 2:]) for f in (np.minimum, np.maximum))
    assert (low <= centres).all() and (centres <= high).all()


def test_contract():
    with pytest.raises(ValueError, match=r"opname: boxes must have shape \(N, 4\), got \(3,\)"):
        reference.opname(np.zeros(3, np.float32))
