"""The compiled position-sensitive ops against the reference, at every thread count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import strategies as some

from .agreement import each_wrong_index, some_rois, within

DTYPES = (np.float16, np.float32, np.float64)
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3))
OPS = ("ps_roi_align", "ps_roi_pool")


def close(result, expected, scale, exact):
    if exact:
        np.testing.assert_array_equal(result, expected)
    else:
        within(result, expected, scale)


def check(op, maps, boxes, size, scale, *ratio):
    """Forward and backward, with the same bits on one thread and on several."""
    exact = op == "ps_roi_pool"
    expected = getattr(reference, op)(maps, boxes, size, scale, *ratio)
    grad = np.random.default_rng(0).standard_normal(expected.shape).astype(maps.dtype)
    back = getattr(reference, f"{op}_backward")
    gradient, spread = (back(g, boxes, maps.shape, scale, *ratio) for g in (grad, np.abs(grad)))
    first = None
    for threads in (1, 3):
        output = getattr(kernels, op)(maps, boxes, size, scale, *ratio, threads=threads)
        result = getattr(kernels, f"{op}_backward")(grad, boxes, maps.shape, scale, *ratio, threads=threads)
        close(output, expected, np.abs(maps).max(initial=0), exact)
        close(result, gradient, spread.astype(np.float64) + np.abs(grad).max(initial=0), exact)
        assert first is None or (output.tobytes(), result.tobytes()) == first
        first = output.tobytes(), result.tobytes()


@pytest.mark.parametrize("op", OPS)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), size=SIZES, channels=st.integers(0, 6),
       scale=st.sampled_from([1.0, 0.5, 1 / 3]))
def test_agrees_with_the_reference(op, data, dtype, size, channels, scale):
    side = data.draw(st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9)))
    maps = data.draw(some.feature_maps((side[0], channels * size[0] * size[1], *side[1:]), dtype))
    boxes = data.draw(some.rois(len(maps), dtype=data.draw(st.sampled_from(DTYPES))))
    ratio = (data.draw(st.sampled_from([-1, 1, 2])),) if op == "ps_roi_align" else ()
    check(op, maps, boxes, size, scale, *ratio)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_rois_and_images(op, dtype):
    rng = np.random.default_rng(0)
    maps = (rng.integers(-6, 7, (3, 9 * 2 * 3, 19, 23)) / 4).astype(dtype)
    check(op, maps, some_rois(rng, 40).astype(np.float32), (2, 3), 0.25)


def test_pool_shows_nan_and_infinity():
    maps = np.ones((1, 4, 4, 4), np.float32)
    maps[0, 0, 0, 0], maps[0, 1, 0, 2] = np.nan, np.inf
    output = kernels.ps_roi_pool(maps, np.array([[0, 0, 0, 4, 4]], np.float32), 2)
    np.testing.assert_array_equal(output[0, 0], [[np.nan, np.inf], [1, 1]])


@pytest.mark.parametrize("op", OPS)
def test_out_receives_the_result(op):
    maps = np.random.default_rng(0).standard_normal((1, 8, 9, 9)).astype(np.float32)
    boxes, out = np.array([[0, 1, 2, 7, 8]], np.float32), np.empty((1, 2, 2, 2), np.float32)
    assert getattr(kernels, op)(maps, boxes, 2, out=out) is out
    strided = np.repeat(maps, 2, 3)[..., ::2]
    np.testing.assert_array_equal(getattr(kernels, op)(strided, boxes, 2), out)


@pytest.mark.parametrize("op", OPS)
@each_wrong_index
def test_contract_batch_index(op, index, text):
    boxes, maps = np.zeros((5, 5), np.float32), np.zeros((2, 4, 4, 4), np.float32)
    boxes[3, 0] = index
    text = rf"{op}: boxes must have a whole batch index in \[0, 2\), got {text}$"
    with pytest.raises(IndexError, match=text):
        getattr(kernels, op)(maps, boxes, 2)
    with pytest.raises(IndexError, match=text):
        getattr(kernels, f"{op}_backward")(np.zeros((5, 1, 2, 2), np.float32), boxes, maps.shape)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("arguments, kind, text", [
    ((np.zeros((3, 4, 4)), np.zeros((1, 5)), 2), ValueError, r"input must have shape \(N, C, H, W\), got \(3, 4, 4\)"),
    ((np.zeros((1, 4, 4, 4), int), np.zeros((1, 5)), 2), TypeError, "input must be float16, float32 or float64, got"),
    ((np.zeros((1, 6, 4, 4)), np.zeros((1, 5)), 2), ValueError,
     r"input must have a multiple of 2 \* 2 channels, got 6"),
    ((np.zeros((1, 4, 4, 4)), np.zeros((1, 4)), 2), ValueError, r"boxes must have shape \(N, 5\), got \(1, 4\)"),
    ((np.zeros((1, 4, 4, 4)), np.zeros((1, 5)), 2, 0), ValueError, "spatial_scale must be positive and finite, got 0"),
])
def test_contract(op, arguments, kind, text):
    with pytest.raises(kind, match=f"{op}: {text}"):
        getattr(kernels, op)(*arguments)


@pytest.mark.parametrize("op", OPS)
def test_contract_of_the_gradient(op):
    with pytest.raises(ValueError, match=rf"{op}: grad must have shape \(5, C, PH, PW\) with C \* PH \* PW = 4, got"):
        getattr(kernels, f"{op}_backward")(np.zeros((5, 2, 2, 2)), np.zeros((5, 5)), (1, 4, 6, 6))
