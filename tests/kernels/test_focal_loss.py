"""The compiled focal loss against the reference: the same bits at every SIMD level and number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from roikit import kernels, reference
from roikit.reference.focal_loss import TOLERANCE, terms

from .agreement import everywhere

FLOATS = st.sampled_from([np.float16, np.float32, np.float64])
GAMMAS, ALPHAS = st.sampled_from([0, 0.5, 1, 2, 5.5]), st.sampled_from([0.25, -1, 0, 1])


def bounds(x, t, alpha, gamma):
    """What losses and slopes may be off by."""
    entropy, wrong, factor, p, other, t = (a.astype(np.float64) for a in terms(x, t, alpha, gamma))
    real = np.float32 if x.dtype == np.float16 else x.dtype
    with np.errstate(all="ignore"):
        logs = gamma * np.abs(np.log(np.maximum(wrong, np.finfo(np.float64).tiny)))
        ratio = np.where(wrong > 0, p * other / wrong, 0)
    least, share = float(np.finfo(real).tiny), TOLERANCE[np.dtype(real).name] * (1 + logs)
    turn = (1 - t) * p + t * other + entropy * ratio * gamma * np.abs(1 - 2 * t)
    return share * entropy * factor + least, share * factor * turn + least


def near(found, expected, bound):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert (np.abs(found.astype(np.float64) - expected) <= bound).all()


def check(x, t, alpha, gamma):
    args = x, t, alpha, gamma
    loss_bound, slope_bound = bounds(*args)
    near(everywhere(lambda threads: kernels.sigmoid_focal_loss(*args, threads=threads)),
         reference.sigmoid_focal_loss(*args), loss_bound)
    grad = np.linspace(-1, 2, x.size).reshape(x.shape)
    near(everywhere(lambda threads: kernels.sigmoid_focal_loss_backward(grad, *args, threads=threads)),
         reference.sigmoid_focal_loss_backward(grad, *args), slope_bound * (1 + np.abs(grad)))
    for reduction in ("sum", "mean"):
        total = everywhere(lambda threads, r=reduction: kernels.sigmoid_focal_loss(*args, r, threads=threads))
        expected, count = reference.sigmoid_focal_loss(*args, reduction), max(x.size, 1) if reduction == "mean" else 1
        room = TOLERANCE[expected.dtype.name] * expected
        near(total, expected, (loss_bound.sum() / count + room).astype(np.float64))
        slope = kernels.sigmoid_focal_loss_backward(np.float64(2.0), *args, reduction)
        near(slope, reference.sigmoid_focal_loss_backward(2.0, *args, reduction), slope_bound * 4)


@given(st.data(), FLOATS, ALPHAS, GAMMAS)
def test_agrees_with_the_reference(data, dtype, alpha, gamma):
    wide = st.floats(-120, 120, width=16) if dtype == np.float16 else st.floats(-800, 800, width=32)
    x = data.draw(arrays.arrays(dtype, data.draw(st.integers(0, 40)), elements=wide))
    t = data.draw(arrays.arrays(dtype, x.shape, elements=st.sampled_from([0, 1, 0, 1, 0.25, 0.5])))
    check(x, t, alpha, gamma)


@pytest.mark.parametrize("shape", [(), (1,), (511,), (512,), (513,), (3, 5, 7), (2, 3, 4, 5, 6, 7), (700_001,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_shape(shape, dtype):
    rng = np.random.default_rng(len(shape))
    check(np.asarray(rng.normal(0, 5, shape), dtype), np.asarray(rng.random(shape) < 0.3, dtype), 0.25, 2)


@pytest.mark.parametrize("gamma", [0, 0.5, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_infinite_or_nan(dtype, gamma):
    most = np.finfo(dtype).max
    x = np.tile(np.array([-np.inf, -most, -1e30, 1e30, most, np.inf, np.nan], dtype), 3)
    t = np.repeat(np.array([0, 1, 0.5], dtype), 7)
    loss = everywhere(lambda threads: kernels.sigmoid_focal_loss(x, t, gamma=gamma, threads=threads))
    slope = kernels.sigmoid_focal_loss_backward(np.ones(21), x, t, gamma=gamma)
    np.testing.assert_allclose(loss, reference.sigmoid_focal_loss(x, t, gamma=gamma), rtol=1e-5)
    np.testing.assert_array_equal(np.isnan(slope), np.isnan(x))


def test_strided_arrays_targets_of_any_kind_and_out():
    x, out = np.random.default_rng(0).normal(0, 3, (8, 6)), np.empty((6, 4))
    t = np.arange(48).reshape(8, 6) % 2
    assert kernels.sigmoid_focal_loss(x[::-2].T, t[::-2].T, out=out) is out
    for kind in (bool, np.uint8, np.int64, np.float16):
        np.testing.assert_array_equal(kernels.sigmoid_focal_loss(x[::-2].T, t[::-2].T.astype(kind)), out)
    np.testing.assert_allclose(out, reference.sigmoid_focal_loss(x[::-2].T, t[::-2].T), rtol=1e-12)
    total = np.empty(())
    assert kernels.sigmoid_focal_loss(x, t, reduction="sum", out=total) is total and total > 0


X = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.sigmoid_focal_loss(X, X.T), ValueError,
     r"targets must have the shape of inputs, \(2, 3\), got \(3, 2\)"),
    (lambda: kernels.sigmoid_focal_loss(X.astype(int), X), TypeError, "inputs must be float16, .*, got int64"),
    (lambda: kernels.sigmoid_focal_loss(X, X.astype(complex)), TypeError, "targets must be float16, .* got complex"),
    (lambda: kernels.sigmoid_focal_loss(X, X, 1.5), ValueError, r"alpha must be in \[0, 1\], or -1 for none, got 1.5"),
    (lambda: kernels.sigmoid_focal_loss(X, X, gamma=-1), ValueError, "gamma must be finite and at least 0, got -1"),
    (lambda: kernels.sigmoid_focal_loss(X, X, reduction="max"), ValueError, "reduction must be one of 'none', "),
    (lambda: kernels.sigmoid_focal_loss(X, X, out=X.T), ValueError, r"out must be a float32 array of shape \(2, 3\)"),
    (lambda: kernels.sigmoid_focal_loss_backward(X, X, X, reduction="sum"), ValueError,
     r"grad must have shape \(\), got \(2, 3\)"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=f"sigmoid_focal_loss(_backward)?: {text}"):
        call()
