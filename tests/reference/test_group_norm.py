"""group_norm: hand-worked values and laws of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit.reference.group_norm import group_norm, group_norm_backward

ONE = np.ones(4)


def drawn(seed, shape=(2, 4, 3, 5)):
    rng = np.random.default_rng(seed)
    return (rng.normal(3, 2, shape), rng.normal(1, 1, shape[1]), rng.normal(0, 1, shape[1]), rng.normal(0, 1, shape),
            rng.normal(0, 1, shape))


def test_by_hand():
    x = np.array([1.0, 3, 5, 7, 2, 2, 2, 2]).reshape(1, 4, 1, 2)
    found = group_norm(x, 2, np.array([1.0, 2, 1, 1]), np.array([0.0, 0, 0, 9]), 4)
    np.testing.assert_allclose(found.ravel(), [-1, -1 / 3, 2 / 3, 2, 0, 0, 9, 9], rtol=1e-12)
    onto = np.full(x.shape, 0.5)
    found = group_norm(x, 2, np.array([1.0, 2, 1, 1]), np.array([0.0, 0, 0, 9]), 4, onto, True)
    np.testing.assert_allclose(found.ravel(), [0, 1 / 6, 7 / 6, 2.5, 0.5, 0.5, 9.5, 9.5], rtol=1e-12)


def test_a_group_of_one_value_is_its_bias():
    x = np.arange(8.0).reshape(2, 4, 1, 1)
    np.testing.assert_array_equal(group_norm(x, 4, ONE, np.arange(4.0)), np.arange(4.0)[None, :, None, None] + 0 * x)


@given(st.integers(0, 1000), st.sampled_from([1, 2, 4]))
def test_law_scale_and_shift_of_a_group_do_not_matter(seed, groups):
    x, weight, bias, onto, _ = drawn(seed)
    np.testing.assert_allclose(group_norm(5 * x + 7, groups, weight, bias, 25e-5, onto),
                               group_norm(x, groups, weight, bias, 1e-5, onto), rtol=1e-9, atol=1e-9)


@given(st.integers(0, 1000), st.sampled_from([1, 2, 4]), st.booleans(), st.booleans())
def test_law_the_gradients_are_the_slopes(seed, groups, added, relu):
    x, weight, bias, onto, grad = drawn(seed)
    leaves, step = [x, weight, bias, onto], 1e-6

    def total(x, weight, bias, onto):
        return (grad * group_norm(x, groups, weight, bias, 1e-3, onto if added else None, relu)).sum()

    near_zero = np.abs(group_norm(x, groups, weight, bias, 1e-3, onto if added else None)) < 1e-3
    if relu:
        grad = np.where(near_zero, 0, grad)
    found = group_norm_backward(grad, x, groups, weight, bias, 1e-3, onto if added else None, relu)
    rng = np.random.default_rng(seed)
    for place in range(4 if added else 3):
        way = rng.normal(0, 1, leaves[place].shape)
        up, down = (total(*(leaf + sign * step * way if at == place else leaf for at, leaf in enumerate(leaves)))
                    for sign in (1, -1))
        assert (up - down) / (2 * step) == pytest.approx((found[place] * way).sum(), rel=1e-5, abs=1e-6)
