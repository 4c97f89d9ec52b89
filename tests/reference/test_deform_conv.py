"""Laws that hold for the specification of deformable convolution whatever implements it."""

import numpy as np
import pytest
from hypothesis import given

from roikit.reference import deform_conv2d, deform_conv2d_backward
from roikit.testing import strategies as some


def arrays(shape=(2, 4, 7, 6), outputs=6, kernel=(3, 2), groups=1, shared=1, places=(5, 5), seed=0):
    """Input, offset, weight, bias, mask, at positions away from whole numbers."""
    rng = np.random.default_rng(seed)
    taps = kernel[0] * kernel[1]
    offset = rng.integers(-2, 3, (shape[0], 2 * shared * taps, *places)) + rng.uniform(0.1, 0.9, (*places,))
    return (rng.standard_normal(shape), offset, rng.standard_normal((outputs, shape[1] // groups, *kernel)),
            rng.standard_normal(outputs), rng.uniform(0.1, 2, (shape[0], shared * taps, *places)))


def dense(input, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """A convolution by its definition."""
    (outputs, share, kh, kw), images = weight.shape, len(input)
    input = np.pad(input, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    size = [(n - d * (k - 1) - 1) // s + 1
            for n, k, s, d in zip(input.shape[2:], (kh, kw), stride, dilation, strict=True)]
    result = np.zeros((images, outputs, *size))
    for o, y, x, ky, kx in np.ndindex(outputs, *size, kh, kw):
        first = o // (outputs // groups) * share
        pixel = input[:, first : first + share, y * stride[0] + ky * dilation[0], x * stride[1] + kx * dilation[1]]
        result[:, o, y, x] += pixel @ weight[o, :, ky, kx]
    return result


@pytest.mark.parametrize("stride, padding, dilation, groups", [
    ((1, 1), (0, 0), (1, 1), 1), ((2, 1), (1, 2), (1, 2), 2), ((3, 2), (2, 0), (2, 1), 1)])
def test_without_offsets_it_is_a_convolution(stride, padding, dilation, groups):
    input, _, weight, bias, _ = arrays(groups=groups)
    expected = dense(input, weight, stride, padding, dilation, groups)
    offset = np.zeros((2, 2 * 6, *expected.shape[2:]))
    output = deform_conv2d(input, offset, weight, bias, stride, padding, dilation)
    np.testing.assert_allclose(output, expected + bias[:, None, None], atol=1e-13)
    mask = np.ones((2, 6, *expected.shape[2:]))
    np.testing.assert_array_equal(deform_conv2d(input, offset, weight, bias, stride, padding, dilation, mask), output)


def test_whole_offsets_shift_the_map():
    input, offset, weight, bias, mask = arrays()
    offset[:, 0::2], offset[:, 1::2] = 1, -2
    moved = np.zeros_like(input)
    moved[:, :, :-1, 2:] = input[:, :, 1:, :-2]
    np.testing.assert_allclose(deform_conv2d(input, offset, weight, bias, mask=mask),
                               deform_conv2d(moved, 0 * offset, weight, bias, mask=mask), atol=1e-13)


def test_offsets_are_y_first_and_one_pair_a_tap():
    input = np.arange(25.0).reshape(1, 1, 5, 5)
    weight, offset = np.zeros((1, 1, 3, 3)), np.zeros((1, 18, 3, 3))
    weight[0, 0, 1, 2] = 1
    offset[0, 2 * 5], offset[0, 2 * 5 + 1] = 0.5, -0.25
    expected = input[:, :, 1:4, 2:5] + 0.5 * 5 - 0.25
    expected[0, 0, :, 2] = input[0, 0, 1:4, 4] + 0.5 * 5 - 0.25
    np.testing.assert_allclose(deform_conv2d(input, offset, weight), expected)


def test_groups_are_convolutions_side_by_side():
    input, offset, weight, bias, mask = arrays((2, 12, 7, 6), 6, groups=2, shared=3)
    output = deform_conv2d(input, offset, weight, bias, mask=mask)
    for group in range(2):
        alone = np.zeros((3, 12, 3, 2))  # the same group, as a kernel over all channels
        alone[:, 6 * group : 6 * group + 6] = weight[3 * group : 3 * group + 3]
        part = deform_conv2d(input, offset, alone, bias[3 * group : 3 * group + 3], mask=mask)
        np.testing.assert_allclose(output[:, 3 * group : 3 * group + 3], part, atol=1e-13)
    shared = deform_conv2d(input, np.tile(offset[:, :12], (1, 3, 1, 1)), weight, bias, mask=np.tile(mask[:, :6],
                                                                                               (1, 3, 1, 1)))
    np.testing.assert_allclose(shared, deform_conv2d(input, offset[:, :12], weight, bias, mask=mask[:, :6]), atol=1e-13)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -6.0, 9.0])
def test_a_sample_beyond_the_map_is_0_and_has_no_gradient(value):
    input, offset, weight, bias, mask = arrays()
    offset[:, 4] = value
    without = weight.copy()
    without[:, :, 1, 0] = 0  # tap 2
    np.testing.assert_allclose(deform_conv2d(input, offset, weight, bias, mask=mask),
                               deform_conv2d(input, np.where(offset == value, 0, np.nan_to_num(offset)), without, bias,
                                             mask=mask), atol=1e-13)
    _, of_offset, of_weight, _, of_mask = deform_conv2d_backward(np.ones((2, 6, 5, 5)), input, offset, weight, bias,
                                                                 mask=mask)
    assert not of_offset[:, 4:6].any() and not of_mask[:, 2].any() and not of_weight[:, :, 1, 0].any()


def test_the_border_fades_over_one_pixel():
    input, weight = np.ones((1, 1, 3, 3)), np.ones((1, 1, 1, 1))
    values = [deform_conv2d(input, np.full((1, 2, 3, 3), 0.0) + [[[[y]], [[0]]]], weight)[0, 0, 0, 1]
              for y in (-1, -0.75, -0.25, 0, 2, 2.5, 3)]
    np.testing.assert_allclose(values, [0, 0.25, 0.75, 1, 1, 0.5, 0])


def test_the_derivative_at_a_whole_position_is_the_right_one():
    input = np.array([0.0, 1, 5, 2]).reshape(1, 1, 1, 4)
    offset = np.zeros((1, 2, 1, 4))
    gradient = deform_conv2d_backward(np.ones((1, 1, 1, 4)), input, offset, np.ones((1, 1, 1, 1)))[1]
    np.testing.assert_array_equal(gradient[0, 1, 0], [1, 4, -3, -2])


@pytest.mark.parametrize("which, groups, shared", [(which, *pair) for which in range(5)
                                                   for pair in ((1, 1), (2, 2))])
def test_gradients_are_those_of_finite_differences(which, groups, shared):
    given = arrays(groups=groups, shared=shared)
    grad = np.random.default_rng(1).standard_normal((2, 6, 5, 5))
    gradient = deform_conv2d_backward(grad, *given[:4], mask=given[4])[which]
    rng, step = np.random.default_rng(2), 1e-6
    for _ in range(6):
        at = tuple(rng.integers(n) for n in given[which].shape)
        sides = []
        for sign in (1, -1):
            moved = [a.copy() for a in given]
            moved[which][at] += sign * step
            sides.append((grad * deform_conv2d(*moved[:4], mask=moved[4])).sum())
        np.testing.assert_allclose(gradient[at], (sides[0] - sides[1]) / (2 * step), rtol=1e-5, atol=1e-6)


@given(case=some.deform_convolutions(np.float64))
def test_the_gradient_of_what_is_linear_is_its_transpose(case):
    output = deform_conv2d(*case)
    grad = np.random.default_rng(0).standard_normal(output.shape)
    of_input, _, of_weight, of_bias, _ = deform_conv2d_backward(grad, *case)
    bare = (grad * (output - (0 if case[3] is None else case[3][:, None, None]))).sum()
    np.testing.assert_allclose((of_input * case[0]).sum(), bare, atol=1e-10)
    np.testing.assert_allclose((of_weight * case[2]).sum(), bare, atol=1e-10)
    assert (of_bias is None) == (case[3] is None)
