"""The compiled deformable convolution against the reference, at every thread count and SIMD level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.reference.deform_conv import TOLERANCE, magnitudes
from roikit.testing import simd, simd_levels
from roikit.testing import strategies as some

DTYPES = (np.float16, np.float32, np.float64)


def close(result, expected, scale):
    assert result.dtype == expected.dtype and result.shape == expected.shape
    error = np.abs(result.astype(np.float64) - expected)
    assert (error <= TOLERANCE[result.dtype.name] * scale).all(), error.max(initial=0)


def check(case):
    """Forward and backward, with the same bits on one thread and on several."""
    expected = reference.deform_conv2d(*case)
    grad = (np.random.default_rng(0).integers(-8, 9, expected.shape) / 4).astype(expected.dtype)
    scale, scales = magnitudes(grad, *case)
    wanted, first = reference.deform_conv2d_backward(grad, *case), None
    for threads in (1, 3):
        output = kernels.deform_conv2d(*case, threads=threads)
        gradients = kernels.deform_conv2d_backward(grad, *case, threads=threads)
        close(output, expected, scale)
        for result, want, most in zip(gradients, wanted, scales, strict=True):
            assert (result is None) == (want is None)
            if want is not None:
                close(result, want, most)
        bits = [a.tobytes() for a in (output, *gradients) if a is not None]
        assert first is None or bits == first
        first = bits


@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_agrees_with_the_reference(data, dtype):
    check(data.draw(some.deform_convolutions(dtype)))


def large(dtype, channels, outputs, groups, shared, images=2, size=(9, 23), seed=0):
    """Several tiles of places, of channels and of outputs."""
    rng = np.random.default_rng(seed)

    def quarters(*shape):
        return (rng.integers(-8, 9, shape) / 4).astype(dtype)

    return (quarters(images, channels, *size), 3 * quarters(images, 18 * shared, *size),
            quarters(outputs, channels // groups, 3, 3), quarters(outputs), (1, 1), (1, 1), (1, 1),
            quarters(images, 9 * shared, *size))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels, outputs, groups, shared", [
    (40, 35, 1, 1),     # blocks of 32 and 8 channels, of 32 and 3 outputs
    (96, 12, 2, 3),     # blocks that two groups of the weights share
    (48, 48, 48, 2),    # one channel a group
    (37, 37, 37, 1),
    (6, 18, 6, 1),      # and three outputs
    (300, 2, 1, 1),     # more channels than are sampled at a time
    (288, 6, 6, 1),     # some whole groups at a time
])
def test_many_channels_and_places(dtype, channels, outputs, groups, shared):
    check(large(dtype, channels, outputs, groups, shared))


@pytest.mark.parametrize("dtype", DTYPES)
def test_levels_and_threads_have_the_same_bits(dtype):
    case = large(dtype, 72, 70, 2, 1)
    case = (np.random.default_rng(1).standard_normal(case[0].shape).astype(dtype), *case[1:])
    grad = np.random.default_rng(2).standard_normal((2, 70, 9, 23)).astype(dtype)
    first = None
    for level in simd_levels():
        for threads in (1, 2, 5):
            with simd(level):
                results = (kernels.deform_conv2d(*case, threads=threads),
                           *kernels.deform_conv2d_backward(grad, *case, threads=threads))
            bits = [a.tobytes() for a in results]
            assert first is None or bits == first, (level, threads)
            first = bits


def test_nan_stays_in_its_group():
    case = large(np.float32, 8, 8, 4, 1)
    expected = kernels.deform_conv2d(*case)
    case[0][:, 2:4] = np.nan
    output = kernels.deform_conv2d(*case)
    assert np.isnan(output[:, 2:4]).any()
    np.testing.assert_array_equal(output[:, [0, 1, 4, 5, 6, 7]], expected[:, [0, 1, 4, 5, 6, 7]])
    grad = np.ones_like(output)
    wanted = kernels.deform_conv2d_backward(grad, *large(np.float32, 8, 8, 4, 1))
    grad[:, 2:4] = np.inf
    of_input, _, of_weight, *_ = kernels.deform_conv2d_backward(grad, *large(np.float32, 8, 8, 4, 1))
    np.testing.assert_array_equal(of_input[:, [0, 1, 4, 5, 6, 7]], wanted[0][:, [0, 1, 4, 5, 6, 7]])
    np.testing.assert_array_equal(of_weight[[0, 1, 4, 5, 6, 7]], wanted[2][[0, 1, 4, 5, 6, 7]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_layout_gives_the_same_result(dtype):
    case = large(dtype, 24, 10, 1, 2)
    expected, out = kernels.deform_conv2d(*case), np.empty((2, 10, 9, 23), dtype)
    grad = np.random.default_rng(2).standard_normal(expected.shape).astype(dtype)
    wanted = kernels.deform_conv2d_backward(grad, *case)
    last, strided = case[0].transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2), np.repeat(case[0], 2, 3)[..., ::2]
    for other in (last, strided):
        output = kernels.deform_conv2d(other, *case[1:])
        np.testing.assert_array_equal(output, expected)
        assert output.transpose(0, 2, 3, 1).flags.c_contiguous == (other is last)
        assert kernels.deform_conv2d(other, *case[1:], out=out) is out
        np.testing.assert_array_equal(out, expected)
        turned = grad.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
        for result, want in zip(kernels.deform_conv2d_backward(turned, other, *case[1:]), wanted, strict=True):
            np.testing.assert_array_equal(result, want)


def test_a_map_without_pixels_gives_the_bias():
    input, offset, weight = np.zeros((1, 2, 0, 3)), np.zeros((1, 18, 1, 3)), np.ones((2, 2, 3, 3))
    output = kernels.deform_conv2d(input, offset, weight, np.array([1.0, 2.0]), padding=(2, 1), stride=(2, 1))
    np.testing.assert_array_equal(output, np.broadcast_to([[[1]], [[2]]], (1, 2, 1, 3)))
    gradients = kernels.deform_conv2d_backward(output, input, offset, weight, padding=(2, 1), stride=(2, 1))
    assert gradients[0].shape == input.shape and not gradients[1].any() and not gradients[2].any()


INPUT, OFFSET, WEIGHT = np.zeros((1, 4, 5, 6)), np.zeros((1, 18, 3, 4)), np.zeros((6, 2, 3, 3))


@pytest.mark.parametrize("arguments, kind, text", [
    ((INPUT[0], OFFSET, WEIGHT), ValueError, r"input must have shape \(N, C, H, W\), got \(4, 5, 6\)"),
    ((INPUT.astype(int), OFFSET, WEIGHT), TypeError, "input must be float16, float32 or float64, got"),
    ((INPUT, OFFSET.astype(np.float32), WEIGHT), TypeError, "offset must be float64, got float32"),
    ((INPUT, OFFSET, WEIGHT[0]), ValueError, r"weight must have shape \(O, C / groups, KH, KW\), got \(2, 3, 3\)"),
    ((INPUT, OFFSET, WEIGHT[:, :0]), ValueError, r"weight must have shape .* got \(6, 0, 3, 3\)"),
    ((INPUT[:, :3], OFFSET, WEIGHT), ValueError, r"weight must have shape .* for input \(1, 3, 5, 6\), got"),
    ((INPUT, OFFSET, WEIGHT[:5]), ValueError, "weight must have a multiple of 2 outputs, one share a group, got 5"),
    ((INPUT, OFFSET, WEIGHT, np.zeros(4)), ValueError, r"bias must have shape \(6,\), one entry for each row of"),
    ((INPUT, OFFSET[:, :17], WEIGHT), ValueError, r"offset must have shape \(1, 2 \* DG \* 9, 3, 4\) with DG dividing"),
    ((INPUT, np.zeros((1, 54, 3, 4)), WEIGHT), ValueError, "offset must have shape .* dividing 4 channels, got"),
    ((INPUT, OFFSET[..., :3], WEIGHT), ValueError, r"offset must have shape .* got \(1, 18, 3, 3\)"),
    ((INPUT, OFFSET, WEIGHT, None, 0), ValueError, "stride must be at least 1, got 0"),
    ((INPUT, OFFSET, WEIGHT, None, 1, -1), ValueError, "padding must be at least 0, got -1"),
    ((INPUT, OFFSET, WEIGHT, None, 1, 0, 1.5), TypeError, "dilation must be a whole number or two of them, got 1.5"),
    ((INPUT, OFFSET, WEIGHT, None, 1, 0, 3), ValueError, r"input \(1, 4, 5, 6\) is too small for a kernel of 3 x 3"),
    ((INPUT, OFFSET, WEIGHT, None, 1, 0, 1, np.zeros((1, 18, 3, 4))), ValueError,
     r"mask must have shape \(1, 9, 3, 4\), got \(1, 18, 3, 4\)"),
])
def test_contract(arguments, kind, text):
    with pytest.raises(kind, match=f"deform_conv2d: {text}"):
        kernels.deform_conv2d(*arguments)


def test_contract_of_the_gradient():
    text = r"deform_conv2d_backward: grad must have shape \(1, 6, 3, 4\), got \(1, 6, 4, 4\)"
    with pytest.raises(ValueError, match=text):
        kernels.deform_conv2d_backward(np.zeros((1, 6, 4, 4)), INPUT, OFFSET, WEIGHT)
