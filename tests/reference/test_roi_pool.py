"""roi_pool: hand-worked values, laws, awkward input and gradient of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.rois import round_half_away
from roikit.testing import strategies as some

NAN, INF = np.nan, np.inf
MAP = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)


def pool(box, size=1, scale=1.0, features=MAP):
    return reference.roi_pool(features, np.array([[0, *box]], np.float32), size, scale)[0, 0].tolist()


def test_pool_by_hand():
    # Both end corners belong to the box: rows 0..1 and columns 1..3.
    assert pool([1, 0, 3, 1]) == [[8]]
    # Columns 1..3 in two bins of 1.5: [1, 3) and [2, 4) overlap; rows 0..1 in two bins of 1.
    assert pool([1, 0, 3, 1], 2) == [[2, 3], [7, 8]]
    assert pool([1, 0, 3, 1], (1, 3)) == [[6, 7, 8]]


def test_corners_round_half_away_from_zero():
    assert pool([0.5, 0, 0.5, 0]) == [[1]]  # half to even would give column 0
    assert pool([2.5, 0, 2.5, 0]) == [[3]]
    assert pool([5, 0, 5, 0], scale=0.5) == [[3]]
    below = np.nextafter(np.float32(0.5), np.float32(0))
    values = np.array([-2.5, -0.5, -below, below, 0.5, 1.5, 8388609], np.float32)
    assert round_half_away(values).tolist() == [-3, -1, 0, 0, 1, 2, 8388609]


def test_a_bin_outside_the_map_is_0_without_a_winner():
    output, argmax = reference.roi_pool_with_argmax(-1 - MAP, np.array([[0, -4, 0, 1, 0]], np.float32), (1, 3))
    assert output[0, 0].tolist() == [[0, 0, -1]] and argmax[0, 0].tolist() == [[-1, -1, 0]]
    assert argmax.dtype == np.int32


def test_the_first_maximum_wins_and_nan_never():
    features = np.array([[[[NAN, 3, 3], [3, NAN, -INF]]]], np.float32)
    output, argmax = reference.roi_pool_with_argmax(features, np.array([[0, 0, 0, 2, 1]], np.float32), 1)
    assert (output.item(), argmax.item()) == (3, 1)
    for box in ([0, 1, 1, 1, 1], [0, 2, 1, 2, 1]):  # only NaN, only -inf
        output, argmax = reference.roi_pool_with_argmax(features, np.array([box], np.float32), 1)
        assert (output.item(), argmax.item()) == (0, -1)


@given(st.data(), some.feature_maps(nan=True))
def test_law_each_value_is_the_one_at_its_argmax_or_0(data, features):
    rois = data.draw(some.rois(len(features), as_list=False))
    output, argmax = reference.roi_pool_with_argmax(features, rois, (2, 3), 0.5)
    assert output.shape == argmax.shape == (len(rois), features.shape[1], 2, 3)
    assert output.dtype == features.dtype
    for k, c, ph, pw in np.ndindex(output.shape):
        at, plane = argmax[k, c, ph, pw], features[int(rois[k, 0]), c].ravel()
        assert output[k, c, ph, pw] == (plane[at] if at >= 0 else 0)


@given(st.data(), some.feature_maps(), st.integers(1, 3))
def test_law_the_bins_of_a_box_in_the_map_hold_its_maximum(data, features, size):
    rois = data.draw(some.rois(len(features), kinds=("grid",), as_list=False))
    output = reference.roi_pool(features, rois, size)
    for k, (image, x1, y1, x2, y2) in enumerate(rois.astype(int)):
        inside = features[image, :, max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1]
        expected = inside.max((1, 2), initial=-INF)
        if x1 >= 0 and y1 >= 0 and x2 < features.shape[3] and y2 < features.shape[2]:
            assert output[k].max((1, 2)).tolist() == expected.tolist()


@given(st.data())
def test_law_a_nonfinite_box_gives_0_and_no_gradient(data):
    rois = data.draw(some.rois(1, kinds=("nonfinite",), as_list=False))
    output, argmax = reference.roi_pool_with_argmax(MAP + 1, rois, 2)
    assert not output.any() and (argmax == -1).all()
    assert not reference.roi_pool_backward(np.ones_like(output), argmax, rois, MAP.shape).any()


@given(st.data())
def test_law_a_list_is_its_concatenation_with_indices(data):
    features = data.draw(some.feature_maps((2, 1, 5, 5)))
    boxes = data.draw(some.rois(2, as_list=True))
    index = np.repeat([0, 1], [len(part) for part in boxes])[:, None]
    rois = np.concatenate([index, np.concatenate(boxes)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(reference.roi_pool(features, boxes, 2), reference.roi_pool(features, rois, 2))


def test_huge_boxes_are_finite_work():
    assert pool([-1e9, -1e9, 1e9, 1e9], 1) == [[19]]
    assert pool([-3e38, -3e38, 3e38, 3e38], 1) == [[19]]


@pytest.mark.parametrize("index", [-1, 1, 0.5, 1e6, NAN, INF])
def test_contract_a_batch_index_without_an_image_says_so(index):
    with pytest.raises(IndexError, match=r"roi_pool: boxes must have a whole batch index in \[0, 1\), got"):
        reference.roi_pool(MAP, np.array([[index, 0, 0, 1, 1]], np.float32), 1)


def test_gradient_of_features():
    rng = np.random.default_rng(0)
    features = rng.permutation(2 * 2 * 5 * 6).reshape(2, 2, 5, 6).astype(np.float64)
    rois = np.array([[0, 0, 0, 5, 4], [1, 1, 1, 4, 4], [0, 2, 0, 9, 3.0]])
    _, argmax = reference.roi_pool_with_argmax(features, rois, (2, 2))
    grad = rng.standard_normal(argmax.shape)
    analytic = reference.roi_pool_backward(grad, argmax, rois, features.shape)
    numeric = np.zeros_like(features)
    for i in np.ndindex(features.shape):
        step = np.zeros_like(features)
        step[i] = 0.25  # less than the distance of any two features, so no winner changes
        change = reference.roi_pool(features + step, rois, 2) - reference.roi_pool(features - step, rois, 2)
        numeric[i] = (grad * change).sum() / 0.5
    np.testing.assert_allclose(analytic, numeric, rtol=1e-9, atol=1e-9)


def test_half_gradients_are_added_in_float32():
    grad = np.full((3, 1, 1, 1), 1024.5, np.float16)
    rois = np.zeros((3, 5), np.float32)
    total = reference.roi_pool_backward(grad, np.zeros((3, 1, 1, 1), np.int32), rois, (1, 1, 1, 1))
    assert total.dtype == np.float16 and total.item() == np.float16(3 * float(grad[0, 0, 0, 0]))
