"""The compiled keypoint functions against the reference: the same bits at every SIMD level and number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import simd, simd_levels

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from([np.float16, np.float32, np.float64])
KINDS = st.sampled_from(["noise", "ties", "constant", "peaks", "not finite", "huge"])


def same(found, expected, context):
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs, str(context))


def some_maps(rng, kind, shape):
    maps = rng.normal(size=shape)
    if kind == "ties":
        maps = np.round(2 * maps)
    elif kind == "constant":
        maps[:] = rng.choice([0, -0.0, 1, np.nan, np.inf, -np.inf, 1e-45, 6e4])
    elif kind == "peaks":
        maps += 50 * (rng.random(shape) < 2 / (shape[2] * shape[3]))
    elif kind == "not finite":
        maps[rng.random(shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
    elif kind == "huge":
        maps *= 6e4
    return maps


def some_boxes(rng, n, largest):
    corner = rng.uniform(-40, 40, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(-0.2, 1, (n, 2)) * largest], 1)


@given(SEEDS, DTYPES, DTYPES, KINDS, st.sampled_from([1, 4, 30, 120]))
def test_decode_agrees_with_the_reference(seed, dtype, box_dtype, kind, largest):
    rng = np.random.default_rng(seed)
    n, k, height, width = rng.integers(1, 4), rng.integers(1, 4), *rng.integers(1, 24, 2)
    with np.errstate(over="ignore"):
        maps = some_maps(rng, kind, (n, k, height, width)).astype(dtype)
    boxes = some_boxes(rng, n, largest).astype(box_dtype)
    if rng.random() < 0.2:
        boxes[rng.integers(n), rng.integers(4)] = rng.choice([np.nan, np.inf, -np.inf])
    expected = reference.decode_keypoints(maps, boxes)
    for level in simd_levels():
        for threads in (1, 2):
            with simd(level):
                same(kernels.decode_keypoints(maps, boxes, threads=threads), expected, (level, threads))


@pytest.mark.parametrize("kind", ["noise", "ties", "peaks"])
def test_many_maps_on_several_threads(kind):
    rng = np.random.default_rng(1)
    maps, boxes = some_maps(rng, kind, (40, 5, 14, 14)).astype(np.float32), some_boxes(rng, 40, 40).astype(np.float32)
    expected = reference.decode_keypoints(maps, boxes)
    for threads in (1, 3):
        same(kernels.decode_keypoints(maps, boxes, threads=threads), expected, threads)


@pytest.mark.parametrize("scale", [1, 1e30, 1e38, 1e-38, 1e-44])
def test_the_bounds_hold_at_the_ends_of_the_numbers(scale):
    """What is skipped is bounded by sums that may overflow or have no bits left."""
    rng = np.random.default_rng(2)
    with np.errstate(over="ignore"):
        maps = (rng.normal(size=(30, 1, 9, 11)) * scale).astype(np.float32)
    boxes = some_boxes(rng, 30, 50).astype(np.float32)
    same(kernels.decode_keypoints(maps, boxes), reference.decode_keypoints(maps, boxes), scale)


@pytest.mark.parametrize("box", [[0, 0, 1e6, 9], [-1e30, 0, 1e30, 1e30], [0, 0, 4095.5, 3], [0, 0, 4096, 4097]])
def test_a_box_without_bounds_is_read_on_a_grid_that_has_them(box):
    maps = np.random.default_rng(3).normal(size=(1, 1, 3, 8)).astype(np.float32)
    boxes = np.array([box], np.float32)
    same(kernels.decode_keypoints(maps, boxes), reference.decode_keypoints(maps, boxes), box)


@given(SEEDS, DTYPES, DTYPES, st.integers(1, 60))
def test_encode_agrees_with_the_reference(seed, dtype, box_dtype, size):
    rng = np.random.default_rng(seed)
    n, k = rng.integers(0, 5, 2)
    boxes = np.round(some_boxes(rng, n, 50) * 4).astype(box_dtype) / box_dtype(4)
    points = rng.uniform(-40, 90, (n, k, 3))
    points[:, :, :2] = np.where(rng.random((n, k, 1)) < 0.4, boxes[:, None, :2], points[:, :, :2])
    points[:, :, :2] = np.where(rng.random((n, k, 1)) < 0.4, boxes[:, None, 2:], points[:, :, :2])
    points[:, :, 2] = rng.choice([0, 1, 2, -1, np.nan], (n, k))
    points[rng.random((n, k, 3)) < 0.05] = rng.choice([np.nan, np.inf, -np.inf])
    points = points.astype(dtype)
    expected = reference.encode_keypoints(points, boxes, size)
    for threads in (1, 2):
        same(kernels.encode_keypoints(points, boxes, size, threads=threads), expected, threads)


@pytest.mark.parametrize("n, k", [(0, 17), (3, 0), (0, 0)])
def test_nothing_gives_nothing(n, k):
    xy, scores = kernels.decode_keypoints(np.zeros((n, k, 5, 5), np.float16), np.zeros((n, 4), np.float32))
    assert xy.shape == (n, k, 2) and scores.shape == (n, k) and xy.dtype == scores.dtype == np.float32
    target, valid = kernels.encode_keypoints(np.zeros((n, k, 3)), np.zeros((n, 4)), 56)
    assert target.shape == valid.shape == (n, k)


MAPS, BOX = np.zeros((2, 3, 4, 4), np.float32), np.zeros((2, 4), np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.decode_keypoints(MAPS[0], BOX), ValueError,
     r"decode_keypoints: maps must have shape \(N, K, H, W\) with H and W at least 1, got \(3, 4, 4\)"),
    (lambda: kernels.decode_keypoints(MAPS[:, :, :0], BOX), ValueError, r"at least 1, got \(2, 3, 0, 4\)"),
    (lambda: kernels.decode_keypoints(MAPS, BOX[:1]), ValueError,
     "decode_keypoints: maps and boxes must have as many rows, got 2 and 1"),
    (lambda: kernels.decode_keypoints(MAPS.astype(int), BOX), TypeError, "decode_keypoints: maps must be float16"),
    (lambda: kernels.encode_keypoints(MAPS[:, :, :2, 0], BOX, 5), ValueError,
     r"encode_keypoints: keypoints must have shape \(N, K, 3\), got \(2, 3, 2\)"),
    (lambda: kernels.encode_keypoints(MAPS[:, :, :3, 0], BOX, 0), ValueError, "size must be at least 1, got 0"),
    (lambda: kernels.encode_keypoints(MAPS[:, :, :3, 0], BOX, 2**25), ValueError, "size must be at most 16777216"),
    (lambda: kernels.encode_keypoints(MAPS[:, :, :3, 0], BOX, 5.0), TypeError, "size must be a whole number"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
