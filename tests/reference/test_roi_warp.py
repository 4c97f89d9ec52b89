"""roi_warp: hand-worked values, laws, awkward input and gradient of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some

MAP = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)
REDUCE = ("max", "mean")


def warp(box, size=1, scale=1.0, features=MAP, reduce="max"):
    return reference.roi_warp(features, np.array([[0, *box]], np.float32), size, scale, reduce=reduce)[0, 0].tolist()


def test_warp_by_hand():
    # Rows 0..1, columns 1..2: 2 pixels, 2 cells a pixel apart: the pixels themselves.
    assert warp([1, 0, 2, 1]) == [[7]] and warp([1, 0, 2, 1], reduce="mean") == [[(1 + 2 + 6 + 7) / 4]]
    # The same in 2 x 2 bins: cells half a pixel apart, at rows 0, 0.5, 1, 1.5 and columns 1, 1.5, 2, 2.5.
    assert warp([1, 0, 2, 1], 2) == [[4, 5], [9, 10]]
    # Rounded first, as roi_pool does: these corners are those of [1, 0, 2, 1].
    assert warp([0.6, -0.4, 2.4, 1.4], 2) == warp([1, 0, 2, 1], 2)


def test_a_cell_outside_is_0_and_takes_part():
    assert warp([-9, -9, -5, -5], features=-1 - MAP) == [[0]]
    assert warp([-2, 0, 1, 0], (1, 1), features=-1 - MAP) == [[0]]  # columns -2 and 0
    output, argmax = reference.roi_warp_with_argmax(-1 - MAP, np.array([[0, -2, 0, 1, 0]], np.float32), 1)
    assert output.item() == 0 and argmax.item() == 0 and argmax.dtype == np.int8


def test_the_first_largest_wins_and_nan_never():
    features = np.array([[[[np.nan, 3, 3], [3, np.nan, 1]]]], np.float32)
    output, argmax = reference.roi_warp_with_argmax(features, np.array([[0, 1, 0, 2, 0]], np.float32), 1)
    assert np.isnan(reference.roi_warp(features, np.array([[0, 0, 0, 1, 1]], np.float32), 1, reduce="mean")).all()
    nothing = reference.roi_warp_with_argmax(np.full_like(features, np.nan), np.array([[0, 0, 0, 2, 1]], np.float32), 1)
    assert argmax.item() in (-1, 0, 1) and [x.item() for x in nothing] == [0, -1]


@given(st.data(), st.sampled_from(REDUCE))
def test_law_values_lie_between_those_of_the_map_and_0(data, reduce):
    features = data.draw(some.feature_maps((2, 2, 5, 6)))
    rois = data.draw(some.rois(2, as_list=False))
    output = reference.roi_warp(features, rois, (2, 3), 0.5, reduce=reduce)
    for k, image in enumerate(rois[:, 0].astype(int)):
        for c, plane in enumerate(features[image]):
            assert (output[k, c] <= max(plane.max(), 0)).all() and (output[k, c] >= min(plane.min(), 0)).all()


@given(st.data(), st.sampled_from(REDUCE))
def test_law_a_nonfinite_box_gives_0_and_no_gradient(data, reduce):
    rois = data.draw(some.rois(1, kinds=("nonfinite",), as_list=False))
    output, argmax = reference.roi_warp_with_argmax(MAP + 1, rois, 2, reduce=reduce)
    assert not output.any() and not reference.roi_warp_backward(np.ones_like(output), argmax, rois, MAP.shape).any()


@pytest.mark.parametrize("reduce", REDUCE)
def test_gradient_is_the_transpose(reduce):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 3, 5, 6))
    rois = np.array([[0, 0, 0, 5, 4], [1, 1, 1, 4, 4], [0, 2, 0, 9, 3.0]])
    output, argmax = reference.roi_warp_with_argmax(features, rois, (2, 3), reduce=reduce)
    grad = rng.standard_normal(output.shape)
    gradient = reference.roi_warp_backward(grad, argmax, rois, features.shape)
    np.testing.assert_allclose((output * grad).sum(), (features * gradient).sum(), rtol=1e-12)


def test_contract():
    with pytest.raises(ValueError, match="roi_warp: reduce must be one of 'max', 'mean', got 'sum'"):
        reference.roi_warp(MAP, np.zeros((1, 5), np.float32), 1, reduce="sum")
    with pytest.raises(IndexError, match=r"roi_warp: boxes must have a whole batch index in \[0, 1\), got"):
        reference.roi_warp(MAP, np.ones((1, 5), np.float32), 1)
