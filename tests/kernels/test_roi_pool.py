"""The compiled RoIPool against the reference: the same bits, argmax included, at every level, thread count, format."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import simd, simd_levels
from roikit.testing import strategies as some

from .agreement import FORMATS, each_wrong_index, same, stored

DTYPES = (np.float16, np.float32, np.float64)
SIZES = st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 4), st.integers(1, 4)))
SCALES = st.sampled_from([1.0, 0.5, 0.25, 1 / 3])


def check(maps, boxes, *rule, forms=FORMATS, grad_seed=0):
    """Forward and backward, at every level, thread count and format."""
    output, argmax = reference.roi_pool_with_argmax(maps, boxes, *rule)
    grad = np.random.default_rng(grad_seed).standard_normal(output.shape).astype(maps.dtype)
    gradient = reference.roi_pool_backward(grad, argmax, boxes, maps.shape)
    for level in simd_levels():
        for threads in (1, 2):
            for form in forms:
                with simd(level):
                    values, places = kernels.roi_pool_with_argmax(stored(maps, form), boxes, *rule, threads=threads)
                    back = kernels.roi_pool_backward(stored(grad, form), places, boxes, maps.shape, threads=threads)
                same(values, output)
                same(places, argmax)
                same(back, gradient)


@given(data=st.data(), dtype=st.sampled_from(DTYPES), size=SIZES, scale=SCALES, nan=st.booleans())
def test_agrees_with_the_reference(data, dtype, size, scale, nan):
    maps = data.draw(some.feature_maps(dtype=dtype, nan=nan))
    boxes = data.draw(some.rois(len(maps), dtype=data.draw(st.sampled_from(DTYPES))))
    check(maps, boxes, size, scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [15, 16, 37])
def test_many_rois_and_channels_give_the_references_bits(dtype, channels):
    rng = np.random.default_rng(0)
    maps = (rng.integers(-6, 7, (2, channels, 19, 23)) / 4).astype(dtype)
    maps[rng.random(maps.shape) < 0.05] = np.nan
    corner = rng.uniform(-8, 80, (12, 2))
    boxes = np.concatenate([rng.integers(0, 2, (12, 1)), corner, corner + rng.uniform(-2, 60, (12, 2))], 1)
    check(maps, boxes.astype(np.float32), (3, 4), 0.25)


@pytest.mark.parametrize("dtype", DTYPES)
def test_planes_of_which_few_fit_the_cache_give_the_references_bits(dtype):
    rng = np.random.default_rng(1)
    maps = (rng.integers(-9, 10, (1, 5, 200, 210)) / 8).astype(dtype)
    corner = rng.uniform(-8, 190, (8, 2))
    boxes = np.concatenate([np.zeros((8, 1)), corner, corner + rng.uniform(0, 40, (8, 2))], 1)
    check(maps, boxes.astype(np.float32), (3, 4), 1.0)


@given(data=st.data(), size=SIZES)
def test_law_each_value_stands_where_argmax_says(data, size):
    maps = data.draw(some.feature_maps(shape=(2, 2, 6, 7)))
    boxes = data.draw(some.rois(2, as_list=False))
    output, argmax = kernels.roi_pool_with_argmax(maps, boxes, size)
    planes = maps.reshape(2, 2, -1)[boxes[:, 0].astype(int)]
    for k, c in np.ndindex(output.shape[:2]):
        at = argmax[k, c]
        np.testing.assert_array_equal(output[k, c], np.where(at >= 0, planes[k, c][at], 0))


def test_law_the_first_maximum_wins_and_nan_never_does():
    maps = np.zeros((1, 3, 4, 4), np.float32)
    maps[0, 0, 1, 2] = maps[0, 0, 2, 1] = 5
    maps[0, 1] = np.nan
    maps[0, 1, 3, 3] = -7
    maps[0, 2] = np.nan
    for form in FORMATS:
        output, argmax = kernels.roi_pool_with_argmax(stored(maps, form), np.array([[0, 0, 0, 3, 3]], np.float32), 1)
        assert output.ravel().tolist() == [5, -7, 0] and argmax.ravel().tolist() == [6, 15, -1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(4))
def test_law_a_box_that_is_not_finite_gives_zero_and_no_argmax(value, place):
    boxes = np.array([[0, 1, 1, 3, 3]], np.float32)
    boxes[0, 1 + place] = value
    output, argmax = kernels.roi_pool_with_argmax(np.ones((1, 17, 5, 5), np.float32), boxes, 2)
    assert not output.any() and (argmax == -1).all()


def test_corners_round_half_away_from_zero():
    maps = np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6)
    boxes = np.array([[0, 0.5, 0.5, 2.5, 2.5], [0, 0.49999997, 0.49999997, 2.4999998, 2.4999998]], np.float32)
    assert kernels.roi_pool(maps, boxes, 1).ravel().tolist() == [3 * 6 + 3, 2 * 6 + 2]


@pytest.mark.parametrize("shape, count", [((0, 3, 4, 4), 0), ((2, 0, 4, 4), 2), ((2, 3, 0, 4), 2), ((2, 3, 4, 0), 2),
                                          ((2, 3, 4, 4), 0), ((1, 1, 1, 1), 3)])
def test_empty_and_tiny(shape, count):
    boxes = np.tile(np.array([[0, 0, 0, 1, 1]], np.float32), (count, 1))
    check(np.ones(shape, np.float32), boxes, 2)


def test_out_receives_the_result():
    maps = np.random.default_rng(0).standard_normal((1, 17, 9, 9)).astype(np.float32)
    boxes, out = np.array([[0, 1, 2, 7, 8]], np.float32), np.empty((1, 17, 2, 2), np.float32)
    for form in FORMATS:
        assert kernels.roi_pool(stored(maps, form), boxes, 2, out=out) is out
        same(out, reference.roi_pool(maps, boxes, 2))


MAPS = np.zeros((2, 3, 4, 4), np.float32)
ROIS = np.zeros((5, 5), np.float32)
BINS = np.zeros((5, 3, 2, 2), np.float32)


@each_wrong_index
def test_contract_batch_index(index, text):
    boxes = ROIS.copy()
    boxes[3, 0] = index
    with pytest.raises(IndexError, match=rf"roi_pool: boxes must have a whole batch index in \[0, 2\), got {text}$"):
        kernels.roi_pool(MAPS, boxes, 2)
    with pytest.raises(IndexError, match="roi_pool_backward: boxes must have a whole batch index"):
        kernels.roi_pool_backward(BINS, BINS.astype(np.int32), boxes, MAPS.shape)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.roi_pool(MAPS[0], ROIS, 2), ValueError,
     r"roi_pool: input must have shape \(N, C, H, W\), got \(3, 4, 4\)"),
    (lambda: kernels.roi_pool(MAPS.astype(int), ROIS, 2), TypeError,
     "roi_pool: input must be float16, float32 or float64, got int64"),
    (lambda: kernels.roi_pool(MAPS, ROIS[:, :4], 2), ValueError,
     r"roi_pool: boxes must have shape \(N, 5\), got \(5, 4\)"),
    (lambda: kernels.roi_pool(MAPS, ROIS, 0), ValueError, "roi_pool: output_size must be at least 1, got 0"),
    (lambda: kernels.roi_pool(MAPS, ROIS, 2, -1), ValueError,
     "roi_pool: spatial_scale must be positive and finite, got -1"),
    (lambda: kernels.roi_pool(np.broadcast_to(MAPS[:1, :1, :1, :1], (1, 1, 2**16, 2**16)), ROIS, 2), ValueError,
     r"roi_pool: input must have H \* W < 2\*\*31, got \(1, 1, 65536, 65536\)"),
    (lambda: kernels.roi_pool_backward(BINS, BINS, ROIS, MAPS.shape), TypeError,
     "roi_pool_backward: argmax must be int32, got float32"),
    (lambda: kernels.roi_pool_backward(BINS[:4], BINS.astype(np.int32), ROIS, MAPS.shape), ValueError,
     r"roi_pool_backward: grad and argmax must have shape \(5, 3, PH, PW\), got \(4, 3, 2, 2\) and \(5, 3, 2, 2\)"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
