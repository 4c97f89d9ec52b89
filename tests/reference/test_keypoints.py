"""keypoints: hand-worked values and laws of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.keypoints import cubic_weights, resized

BOX = np.array([[10, 20, 18, 24]], np.float32)


def points(*rows):
    return np.array([rows], np.float32)


def test_encode_by_hand():
    target, valid = reference.encode_keypoints(
        points([10, 20, 2], [13.9, 22, 1], [18, 24, 1], [18, 20, 1], [12, 21, 0], [9.9, 21, 2], [12, 24.1, 2]), BOX, 4)
    assert target.tolist() == [[0, 2 * 4 + 1, 15, 3, 0, 0, 0]]
    assert valid.tolist() == [[True, True, True, True, False, False, False]]
    assert (target.dtype, valid.dtype) == (np.int64, np.bool_)


@pytest.mark.parametrize("box", [[3, 3, 3, 9], [9, 3, 3, 9], [0, 0, np.inf, 9], [0, np.nan, 9, 9], [-3e38, 0, 3e38, 9]])
def test_an_empty_reversed_or_infinite_box_has_no_valid_point(box):
    target, valid = reference.encode_keypoints(points([3, 5, 1], [np.nan, 5, 1], [np.inf, 5, 1]),
                                               np.array([box], np.float32), 5)
    assert not valid.any() and not target.any()


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_law_the_centre_of_a_cell_is_in_it(size, seed):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-50, 50, 2)
    box = np.array([[*corner, *(corner + rng.uniform(0.5, 90, 2))]])
    x, y = rng.integers(0, size, 2)
    at = box[0, :2] + (np.array([x, y]) + 0.5) / size * (box[0, 2:] - box[0, :2])
    target, valid = reference.encode_keypoints(np.array([[[*at, 1]]]), box, size)
    assert valid.item() and target.item() == y * size + x


def test_weights_are_those_of_keys():
    np.testing.assert_array_equal(np.stack(cubic_weights(np.array([0.0, 1.0]))).T, [[0, 1, 0, 0], [0, 0, 1, 0]])
    np.testing.assert_array_equal(np.stack(cubic_weights(np.array(0.5))), [-0.09375, 0.59375, 0.59375, -0.09375])
    t = np.linspace(0, 1, 65)
    np.testing.assert_allclose(sum(cubic_weights(t)), 1, atol=1e-15)


@given(st.integers(1, 12), st.integers(1, 40))
def test_law_a_constant_stays_and_the_own_size_is_the_identity(extent, cells):
    np.testing.assert_allclose(resized(np.full(extent, 3.5), cells), 3.5, atol=1e-13)
    values = np.random.default_rng(extent).normal(size=extent)
    np.testing.assert_array_equal(resized(values, extent), values)


def test_decode_at_the_map_s_own_size_finds_its_largest_cell():
    maps = np.zeros((1, 2, 3, 4), np.float32)
    maps[0, 0, 2, 1] = maps[0, 0, 2, 3] = 5
    maps[0, 1, 1] = -1
    xy, scores = reference.decode_keypoints(maps, np.array([[10, 20, 14, 23]], np.float32))
    assert xy.tolist() == [[[11.5, 22.5], [10.5, 20.5]]] and scores.tolist() == [[5, 0]]


def test_a_fraction_of_a_pixel_is_spread_over_the_box():
    xy, _ = reference.decode_keypoints(np.zeros((1, 1, 2, 2)), np.array([[0, 0, 2.5, 0.25]]))
    assert xy.tolist() == [[[0.5 * (2.5 / 3), 0.5]]]  # 3 columns; a side below 1 counts as 1


def test_a_long_side_has_4096_cells():
    maps = np.zeros((1, 1, 1, 4))
    maps[..., 3] = 1
    xy, _ = reference.decode_keypoints(maps, np.array([[0, 0, 1e6, 1]]))
    cell = (xy[0, 0, 0] / (1e6 / 4096)) - 0.5
    assert abs(cell - round(cell)) < 1e-9 and 3072 <= cell < 4096


def test_nan_never_wins():
    maps = np.full((1, 3, 4, 4), np.nan, np.float32)
    maps[0, 0, 3, 3] = 1  # every cell that reads it reads a NaN too
    maps[0, 2] = -np.inf
    xy, scores = reference.decode_keypoints(maps, np.array([[0, 0, 4, 4]], np.float32))
    assert np.isnan(scores[0, :2]).all() and xy[0].tolist() == [[0.5, 0.5]] * 3


@pytest.mark.parametrize("box", [[0, 0, np.inf, 9], [0, np.nan, 9, 9], [-3e38, 0, 3e38, 9], [0, -np.inf, 5, 5]])
def test_a_box_that_is_not_finite_gives_0(box):
    xy, scores = reference.decode_keypoints(np.ones((1, 2, 3, 3), np.float32), np.array([box], np.float32))
    assert not xy.any() and not scores.any()


def test_a_reversed_box_is_a_pixel_at_its_first_corner():
    xy, scores = reference.decode_keypoints(np.full((1, 1, 5, 5), 2.0), np.array([[7, 8, 3, 1.0]]))
    assert xy.tolist() == [[[7.5, 8.5]]] and scores.item() == pytest.approx(2)


def test_contract_says_what_is_wrong():
    with pytest.raises(ValueError, match="size must be from 1"):
        reference.encode_keypoints(points([0, 0, 1]), BOX, 0)
    with pytest.raises(ValueError, match="maps must have shape"):
        reference.decode_keypoints(np.zeros((1, 2, 0, 4)), BOX)
    with pytest.raises(ValueError, match="maps and boxes must have as many rows, got 2 and 1"):
        reference.decode_keypoints(np.zeros((2, 2, 3, 4)), BOX)
