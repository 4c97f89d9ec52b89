"""Laws of the run-length specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit.reference import rle


@st.composite
def bitmaps(draw):
    height, width = draw(st.integers(0, 7)), draw(st.integers(0, 7))
    pixels = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    return np.array(pixels, np.uint8).reshape(height, width)


@given(bitmaps())
def test_law_decode_undoes_encode(mask):
    counts = rle.encode(mask)
    np.testing.assert_array_equal(rle.decode(counts, *mask.shape), mask)
    assert counts.sum() == mask.size and (counts[1:] > 0).all()


@given(bitmaps())
def test_law_the_string_keeps_the_runs(mask):
    counts = rle.encode(mask)
    text = rle.string_from_counts(counts)
    assert all(48 <= character <= 111 for character in text)
    np.testing.assert_array_equal(rle.counts_from_string(text, *mask.shape), counts)


def test_law_runs_are_column_major_and_begin_with_background():
    assert rle.encode(np.array([[0, 1], [0, 1], [1, 0]])).tolist() == [2, 3, 1]
    assert rle.encode(np.array([[1, 0]])).tolist() == [0, 1, 1]
    assert rle.encode(np.zeros((0, 4))).tolist() == [0]


def test_law_strings_as_published():
    # The differences begin at the fourth run: 5 - 3 = 2, and 1 - 40 = -39.
    assert rle.string_from_counts([40, 3, 1, 5]) == b"X1312"
    assert rle.string_from_counts([3, 40, 1, 1]) == b"3X11iN"


@pytest.mark.parametrize("text, rule", [
    (b"0/", "characters 48..111"), (b"0p", "characters 48..111"), (b"P", "whole numbers"),
    (b"PPPPPPP0", "at most 7"), (b"O", "not be negative"), (b"7", "must sum"), (b"5", "must sum"),
])
def test_contract_broken_strings_name_the_rule(text, rule):
    with pytest.raises(ValueError, match=rule):
        rle.counts_from_string(text, 2, 3)


@given(bitmaps())
def test_law_measures_of_a_mask_with_itself(mask):
    counts, (height, width) = rle.encode(mask), mask.shape
    assert rle.area(counts, height, width) == mask.sum()
    assert rle.iou(counts, counts, height, width) == (1.0 if mask.any() else 0.0)
    for intersect in (False, True):
        same = rle.merge([counts, counts], height, width, intersect)
        np.testing.assert_array_equal(same, counts)
    x, y, w, h = (int(side) for side in rle.to_bbox(counts, height, width))
    assert mask[y:y + h, x:x + w].sum() == mask.sum()
