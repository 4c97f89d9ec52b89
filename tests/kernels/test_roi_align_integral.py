"""The compiled roi_align by the integral rule against the reference; the same bits on all threads and SIMD levels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.reference.roi_align import TOLERANCE
from roikit.testing import simd, simd_levels

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from([np.float16, np.float32, np.float64])


def some_case(seed, dtype, box_dtype, channels=None):
    rng = np.random.default_rng(seed)
    n, k = rng.integers(1, 3), rng.integers(0, 6)
    maps = rng.normal(size=(n, channels or rng.integers(1, 20), *rng.integers(1, 9, 2))).astype(dtype)
    low = rng.uniform(-4, 9, (k, 2))
    boxes = np.concatenate([rng.integers(0, n, (k, 1)), low, low + rng.uniform(-0.5, 12, (k, 2))], 1).astype(box_dtype)
    boxes[:, 1:] = np.where(rng.random((k, 4)) < 0.3, np.round(boxes[:, 1:]), boxes[:, 1:])
    boxes[:, 1:][rng.random((k, 4)) < 0.02] = rng.choice([np.nan, np.inf, -np.inf])
    size = tuple(int(p) for p in rng.integers(1, 4, 2))
    return maps, boxes, (size, float(rng.choice([0.5, 1])), -1, bool(rng.integers(2)))


def last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


@given(SEEDS, DTYPES, DTYPES)
def test_forward_and_gradients_agree_with_the_reference(seed, dtype, box_dtype):
    maps, boxes, rule = some_case(seed, dtype, box_dtype)
    bound = TOLERANCE[np.dtype(dtype).name]
    expected = reference.roi_align(maps, boxes, *rule, rule="integral")
    for x in (maps, last(maps)):
        found = kernels.roi_align(x, boxes, *rule, rule="integral")
        assert found.dtype == dtype
        assert (np.abs(found - expected.astype(np.float64)) <= bound * np.abs(maps).max()).all()
    grad = np.random.default_rng(seed).integers(-8, 9, expected.shape).astype(dtype) / dtype(8)
    found, wanted, spread = (f(g, boxes, maps.shape, *rule, rule="integral") for f, g in (
        (kernels.roi_align_backward, grad), (reference.roi_align_backward, grad),
        (reference.roi_align_backward, np.abs(grad))))
    assert (np.abs(found - wanted.astype(np.float64)) <= bound * (1 + spread.astype(np.float64))).all()


@given(SEEDS, DTYPES, DTYPES)
def test_the_boxes_gradient_agrees_with_the_reference(seed, dtype, box_dtype):
    """Within the rounding of the weights over the bins' length, which divides it."""
    maps, boxes, (size, scale, _, aligned) = some_case(seed, dtype, box_dtype)
    grad = np.random.default_rng(seed).normal(size=(len(boxes), maps.shape[1], *size)).astype(dtype)
    found = kernels.roi_align_boxes_backward(grad, maps, boxes, scale, aligned)
    wanted = reference.roi_align_boxes_backward(grad, maps, boxes, scale, aligned)
    assert found.dtype == wanted.dtype == np.result_type(np.float32, box_dtype)
    with np.errstate(all="ignore"):
        shortest = (boxes[:, 3:] - boxes[:, 1:3]).astype(np.float64).min(1) * scale / max(size)
    unit = 1e-12 if dtype == box_dtype == np.float64 else 2e-5
    for row, wish, length in zip(found, wanted, shortest, strict=True):
        most = np.abs(grad.astype(np.float64)).sum() * np.abs(maps.astype(np.float64)).max()
        if not length > 0:
            assert not row.any() and not wish.any()
        else:
            np.testing.assert_allclose(row, wish, rtol=0, atol=unit * most * (1 + 1 / length))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 16, 37])
def test_no_bit_depends_on_threads_or_simd(dtype, channels):
    maps, boxes, rule = some_case(7, dtype, np.float32, channels)
    grad = np.random.default_rng(1).normal(size=(len(boxes), channels, *rule[0])).astype(dtype)
    seen = set()
    for level in simd_levels():
        for threads in (1, 2, 5):
            for x, g in ((maps, grad), (last(maps), grad), (maps, last(grad))):
                with simd(level):
                    seen.add((kernels.roi_align(x, boxes, *rule, rule="integral", threads=threads).tobytes("C"),
                              kernels.roi_align_backward(g, boxes, x.shape, *rule, rule="integral",
                                                         threads=threads).tobytes(),
                              kernels.roi_align_boxes_backward(g, x, boxes, rule[1], rule[3],
                                                               threads=threads).tobytes()))
    assert len(seen) == 1 and len(boxes) > 1


def test_a_bin_over_the_whole_of_a_large_map():
    maps = np.random.default_rng(0).normal(size=(1, 2, 70, 90))
    boxes = np.array([[0, -1e6, -1e6, 1e6, 1e6], [0, -30, -40, 200, 300.0]])
    np.testing.assert_allclose(kernels.roi_align(maps, boxes, 1, rule="integral")[0, :, 0, 0],
                               maps.sum((0, 2, 3)) / 4e12, rtol=1e-9)
    np.testing.assert_allclose(kernels.roi_align(maps, boxes, 3, rule="integral"),
                               reference.roi_align(maps, boxes, 3, rule="integral"), atol=1e-12)


MAPS, BOXES = np.zeros((2, 3, 8, 8), np.float32), np.zeros((4, 5), np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.roi_align(MAPS, BOXES, 2, 1.0, 2, rule="integral"), ValueError,
     "roi_align: sampling_ratio must be at most 0 with rule='integral', got 2"),
    (lambda: kernels.roi_align(MAPS, BOXES, 2, rule="exact"), ValueError,
     "roi_align: rule must be one of 'samples', 'integral', got 'exact'"),
    (lambda: kernels.roi_align(MAPS, BOXES + 2, 2, rule="integral"), IndexError, "whole batch index in .*, got 2.0"),
    (lambda: kernels.roi_align_boxes_backward(np.zeros((4, 2, 2, 2), np.float32), MAPS, BOXES), ValueError,
     r"grad must have shape \(4, 3, PH, PW\), got \(4, 2, 2, 2\)"),
    (lambda: kernels.roi_align_boxes_backward(np.zeros((4, 3, 2, 2)), MAPS, BOXES), TypeError,
     "grad must have the dtype of input, got float64 and float32"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
