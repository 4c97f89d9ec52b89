"""sigmoid_focal_loss: hand-worked values and laws of the specification."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from roikit import reference
from roikit.reference import sigmoid_focal_loss as focal


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 3.5])
@pytest.mark.parametrize("alpha", [0.25, -1, 0, 1])
def test_it_is_the_papers_formula(alpha, gamma):
    for x in (-7.5, -1, 0, 0.25, 3, 20):
        for t in (0, 1):
            p = 1 / (1 + math.exp(-x if t else x))
            weight = 1 if alpha < 0 else alpha if t else 1 - alpha
            found = focal(np.array([float(x)]), np.array([t]), alpha, gamma)[0]
            assert found == pytest.approx(-weight * (1 - p) ** gamma * math.log(p), rel=1e-6, abs=1e-15)


def test_by_hand():
    x, t = np.zeros((2, 2), np.float32), np.array([[0, 1], [1, 0.5]], np.float32)
    np.testing.assert_allclose(focal(x, t, -1, 0), np.full((2, 2), math.log(2)), rtol=1e-6)
    np.testing.assert_allclose(focal(x, t), math.log(2) / 4 * np.array([[0.75, 0.25], [0.25, 0.5]]), rtol=1e-6)
    assert focal(x, t, reduction="sum") == pytest.approx(4 * focal(x, t, reduction="mean"))
    assert focal(x[:0], t[:0], reduction="mean") == 0 and focal(x[:0], t[:0]).shape == (0, 2)
    slope = reference.sigmoid_focal_loss_backward(np.float32(3), x, t, -1, 0, "sum")
    np.testing.assert_allclose(slope, 3 * np.array([[0.5, -0.5], [-0.5, 0]]), rtol=1e-6)


def test_half_is_cast():
    x = np.array([-3, 1, 60000], np.float16)
    found = focal(x, np.array([0, 1, 1]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, focal(x.astype(np.float32), np.array([0, 1, 1])))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("gamma", [0, 0.5, 2, 3])
def test_the_largest_logits_give_no_nan(dtype, gamma):
    most = np.finfo(dtype).max
    x = np.tile(np.array([-np.inf, -most, -most / 2, most / 2, most, np.inf], dtype), 3)
    t = np.repeat(np.array([0, 1, 0.5], dtype), 6)
    loss, slope = focal(x, t, gamma=gamma), reference.sigmoid_focal_loss_backward(np.ones(18, dtype), x, t, gamma=gamma)
    assert np.isfinite(loss).all() and np.isfinite(slope).all()
    assert not loss[:3].any() and not slope[:3].any() and not loss[9:12].any() and not slope[9:12].any()
    assert slope[3:6].all() and slope[6:9].all()


@given(arrays.arrays(np.float64, 4, elements=st.floats(-30, 30)), st.sampled_from([0, 0.5, 1, 2, 3.3]),
       st.sampled_from([0.25, -1, 0.9]))
def test_law_the_gradient_is_the_slope(x, gamma, alpha):
    t, step = np.array([0, 1, 0.3, 0.5]), 1e-6
    slope = reference.sigmoid_focal_loss_backward(np.ones(4), x, t, alpha, gamma)
    rise = focal(x + step, t, alpha, gamma) - focal(x - step, t, alpha, gamma)
    np.testing.assert_allclose(rise / (2 * step), slope, rtol=1e-6, atol=1e-7)


@given(arrays.arrays(np.float64, 4, elements=st.floats(-50, 50)), st.sampled_from([0, 1, 2]))
def test_law_turning_logit_and_target_around_swaps_the_weights(x, gamma):
    t = np.array([0, 1, 0.25, 0.75])
    np.testing.assert_allclose(focal(x, t, 0.25, gamma), focal(-x, 1 - t, 0.75, gamma), rtol=1e-12)
