"""The compiled RoIWarp against the reference: the same bits of output and argmax at any vector level, on any number of
threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import simd, simd_levels
from roikit.testing import strategies as some

from .agreement import each_wrong_index, some_rois, within

DTYPES = (np.float16, np.float32, np.float64)
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3))
REDUCE = ("max", "mean")


def check(maps, boxes, *rule, reduce):
    output, argmax = reference.roi_warp_with_argmax(maps, boxes, *rule, reduce=reduce)
    grad = np.random.default_rng(0).standard_normal(output.shape).astype(maps.dtype)
    gradient, spread = (reference.roi_warp_backward(g, argmax, boxes, maps.shape, *rule[1:])
                        for g in (grad, np.abs(grad)))
    first = None
    for level in simd_levels():
        for threads in (1, 3):
            with simd(level):
                values, places = kernels.roi_warp_with_argmax(maps, boxes, *rule, reduce=reduce, threads=threads)
                back = kernels.roi_warp_backward(grad, places, boxes, maps.shape, *rule[1:], threads=threads)
            assert values.dtype == output.dtype and places.dtype == np.int8
            np.testing.assert_array_equal(values, output)
            np.testing.assert_array_equal(np.signbit(values) & (values == 0), np.signbit(output) & (output == 0))
            np.testing.assert_array_equal(places, argmax)
            within(back, gradient, spread.astype(np.float64) + np.abs(grad).max(initial=0))
            assert first is None or back.tobytes() == first
            first = back.tobytes()


@given(data=st.data(), dtype=st.sampled_from(DTYPES), size=SIZES, scale=st.sampled_from([1.0, 0.5, 1 / 3]),
       reduce=st.sampled_from(REDUCE), nan=st.booleans())
def test_agrees_with_the_reference(data, dtype, size, scale, reduce, nan):
    maps = data.draw(some.feature_maps(dtype=dtype, nan=nan))
    boxes = data.draw(some.rois(len(maps), dtype=data.draw(st.sampled_from(DTYPES))))
    check(maps, boxes, size, scale, reduce=reduce)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduce", REDUCE)
@pytest.mark.parametrize("channels", [5, 21])
def test_many_rois_and_images(dtype, reduce, channels):
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((3, channels, 19, 23)).astype(dtype)
    maps[rng.random(maps.shape) < 0.05] = -0.0
    check(maps, some_rois(rng, 20).astype(np.float32), (2, 3), 0.25, reduce=reduce)


def test_out_receives_the_result():
    maps = np.random.default_rng(0).standard_normal((1, 3, 9, 9)).astype(np.float32)
    boxes, out = np.array([[0, 1, 2, 7, 8]], np.float32), np.empty((1, 3, 2, 2), np.float32)
    assert kernels.roi_warp(maps, boxes, 2, out=out) is out
    np.testing.assert_array_equal(kernels.roi_warp(np.repeat(maps, 2, 3)[..., ::2], boxes, 2), out)


MAPS, ROIS, BINS = np.zeros((2, 3, 4, 4), np.float32), np.zeros((5, 5), np.float32), np.zeros((5, 3, 2, 2), np.float32)


@each_wrong_index
def test_contract_batch_index(index, text):
    boxes = ROIS.copy()
    boxes[3, 0] = index
    text = rf"roi_warp: boxes must have a whole batch index in \[0, 2\), got {text}$"
    with pytest.raises(IndexError, match=text):
        kernels.roi_warp(MAPS, boxes, 2)
    with pytest.raises(IndexError, match=text):
        kernels.roi_warp_backward(BINS, BINS.astype(np.int8), boxes, MAPS.shape)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.roi_warp(MAPS[0], ROIS, 2), ValueError, r"roi_warp: input must have shape \(N, C, H, W\), got"),
    (lambda: kernels.roi_warp(MAPS.astype(int), ROIS, 2), TypeError, "roi_warp: input must be float16, float32 or"),
    (lambda: kernels.roi_warp(MAPS, ROIS, 0), ValueError, "roi_warp: output_size must be at least 1, got 0"),
    (lambda: kernels.roi_warp(MAPS, ROIS, 2, reduce="sum"), ValueError,
     "roi_warp: reduce must be one of 'max', 'mean', got 'sum'"),
    (lambda: kernels.roi_warp_backward(BINS, BINS, ROIS, MAPS.shape), TypeError,
     "roi_warp_backward: argmax must be int8, got float32"),
    (lambda: kernels.roi_warp_backward(BINS[:4], BINS.astype(np.int8), ROIS, MAPS.shape), ValueError,
     r"roi_warp_backward: grad must have shape \(5, 3, PH, PW\) and argmax the same or no rows, got \(4, 3, 2, 2\)"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
