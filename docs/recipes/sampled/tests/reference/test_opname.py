"""opname: hand-worked values, laws and gradient of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some

MAP = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)


def sample(box, size=1, scale=1.0, features=MAP):
    return reference.opname(features, np.array([[0, *box]], np.float32), size, scale)[0, 0].tolist()


def test_by_hand():
    assert sample([1, 0, 3, 2]) == [[7]]  # row 1, column 2
    assert sample([1, 0, 4, 1]) == [[5]]  # row 0.5, column 2.5
    assert sample([0, 0, 4, 2], (1, 2)) == [[6, 8]]
    assert sample([2, 0, 6, 4], scale=0.5) == [[7]]


def test_outside_is_0_and_near_the_border_its_value():
    assert sample([-9, 0, -5, 2], features=MAP + 1) == [[0]]
    assert sample([-1, -1, 0, 0], features=MAP + 1) == [[1]]
    assert sample([4, 3, 6, 5], features=MAP + 1) == [[20]]


@given(st.data())
def test_law_values_lie_between_those_of_the_map_and_0(data):
    features = data.draw(some.feature_maps((2, 2, 5, 6)))
    rois = data.draw(some.rois(2, as_list=False))
    output = reference.opname(features, rois, (2, 3), 0.5)
    for k, image in enumerate(rois[:, 0].astype(int)):
        for c, plane in enumerate(features[image]):
            assert (output[k, c] <= max(plane.max(), 0)).all() and (output[k, c] >= min(plane.min(), 0)).all()


@given(st.data())
def test_law_a_nonfinite_box_gives_0_and_no_gradient(data):
    rois = data.draw(some.rois(1, kinds=("nonfinite",), as_list=False))
    output = reference.opname(MAP + 1, rois, 2)
    assert not output.any()
    assert not reference.opname_backward(np.ones_like(output), rois, MAP.shape).any()


def test_gradient_is_the_transpose():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 3, 5, 6))
    rois = np.array([[0, 0, 0, 5, 4], [1, 1, 1, 4, 4], [0, 2, 0, 9, 3.0]])
    output = reference.opname(features, rois, (2, 3))
    grad = rng.standard_normal(output.shape)
    gradient = reference.opname_backward(grad, rois, features.shape)
    np.testing.assert_allclose((output * grad).sum(), (features * gradient).sum(), rtol=1e-12)


def test_contract():
    with pytest.raises(IndexError, match=r"opname: boxes must have a whole batch index in \[0, 1"):
        reference.opname(MAP, np.ones((1, 5), np.float32), 1)
