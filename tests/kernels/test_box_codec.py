"""The compiled box codec: within the reference's bound of it, and the same bits at every SIMD level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.reference.box_codec import TOLERANCE
from roikit.testing import strategies as some

from .agreement import everywhere

WEIGHTS = st.sampled_from([(1, 1, 1, 1), (10, 10, 5, 5), (10.0, 20.0, 3.0, 7.0)])
DTYPES = st.sampled_from([np.float16, np.float32, np.float64])


def near(mine, theirs, magnitude):
    """Equal where the reference is not finite, else within TOLERANCE of the magnitude (subnormal results: of one)."""
    assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(mine[~finite], theirs[~finite])
    info = np.finfo(theirs.dtype)
    bound = TOLERANCE[theirs.dtype.name] * np.maximum(magnitude, info.tiny)
    assert (np.abs(mine - theirs) <= bound)[finite].all()


@given(st.data(), DTYPES, WEIGHTS)
@np.errstate(all="ignore")
def test_encode_agrees_with_the_reference(data, dtype, weights):
    anchors = data.draw(some.boxes(dtype=dtype, max_size=40))
    boxes = data.draw(some.boxes(n=len(anchors), dtype=dtype))
    mine = everywhere(lambda threads: kernels.encode_boxes(boxes, anchors, weights, threads=threads))
    theirs = reference.encode_boxes(boxes, anchors, weights)
    np.testing.assert_array_equal(mine[:, :2], theirs[:, :2])
    near(mine, theirs, np.abs(theirs))


@given(st.data(), DTYPES, WEIGHTS, st.integers(1, 5), st.sampled_from([np.log(1000 / 16), 0.5, np.inf]))
@np.errstate(all="ignore")
def test_decode_agrees_with_the_reference(data, dtype, weights, classes, clip):
    anchors = data.draw(some.boxes(dtype=dtype, max_size=24, kinds=(*some.ORDINARY, "degenerate", "nonfinite")))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    deltas = (rng.standard_normal((len(anchors), 4 * classes)) * data.draw(st.sampled_from([0.3, 9]))).astype(dtype)
    deltas[rng.random(deltas.shape) < 0.05] = rng.choice([np.nan, np.inf, -np.inf, 0])
    mine = everywhere(lambda threads: kernels.decode_boxes(deltas, anchors, weights, clip=clip, threads=threads))
    theirs = reference.decode_boxes(deltas, anchors, weights, clip=clip)
    corners = np.abs(theirs).reshape(len(anchors), classes, 4)
    magnitude = np.concatenate([corners[..., :2] + corners[..., 2:]] * 2, axis=-1).reshape(theirs.shape)
    near(mine, theirs, magnitude)


def logarithms(x):
    """log(x) as the codec computes it: dw of boxes of width x by anchors of width 1."""
    boxes = np.zeros((len(x), 4), x.dtype)
    boxes[:, 2] = x
    return everywhere(lambda threads: kernels.encode_boxes(
        boxes, np.tile(np.array([0, 0, 1, 1], x.dtype), (len(x), 1)), threads=threads))[:, 2]


def exponentials(x):
    """exp(x): twice x2 of deltas x by an anchor of width 1 around 0."""
    deltas = np.zeros((len(x), 4), x.dtype)
    deltas[:, 2] = x
    return 2 * everywhere(lambda threads: kernels.decode_boxes(
        deltas, np.tile(np.array([-0.5, -0.5, 0.5, 0.5], x.dtype), (len(x), 1)), clip=np.inf, threads=threads))[:, 2]


def units(x, exact):
    """Errors in units in the last place of float32; ``exact`` is float64."""
    return np.abs(x.astype(np.float64) - exact) / np.spacing(np.abs(exact).astype(np.float32)).astype(np.float64)


def test_exp_and_log_of_float32_are_within_one_unit_in_the_last_place():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-86, 88.7, 100_000), rng.uniform(-1, 1, 100_000)]).astype(np.float32)
    assert units(exponentials(x), np.exp(x.astype(np.float64))).max() < 1
    x = np.concatenate([np.exp(rng.uniform(-103, 88, 100_000)), rng.uniform(0.5, 2, 100_000)]).astype(np.float32)
    x = x[(x > 0) & (x != 1)]
    assert units(logarithms(x), np.log(x.astype(np.float64))).max() < 1


def test_exp_and_log_of_float64_are_near_numpys():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-707, 709, 20_000), rng.uniform(-1, 1, 20_000)])
    np.testing.assert_allclose(exponentials(x), np.exp(x), rtol=3 * 2.0**-52)
    x = np.concatenate([np.exp(rng.uniform(-740, 700, 20_000)), rng.uniform(0.5, 2, 20_000)])
    np.testing.assert_allclose(logarithms(x), np.log(x), rtol=3 * 2.0**-52)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_and_log_of_special_numbers(dtype):
    info = np.finfo(dtype)
    x = np.array([0, -0.0, 1, -1, np.nan, -np.nan, info.max, -info.max, info.tiny, info.smallest_subnormal], dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(logarithms(x), np.log(x), rtol=TOLERANCE[np.dtype(dtype).name])
    x = np.array([0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.max, 1000, -1000], dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(exponentials(x), np.exp(x))


def test_many_rows_have_the_same_bits_everywhere():
    rng = np.random.default_rng(0)
    anchors = rng.uniform(0, 100, (600_001, 4)).astype(np.float32)
    anchors[:, 2:] += anchors[:, :2] + 1
    boxes = everywhere(lambda threads: kernels.decode_boxes(np.tanh(anchors), anchors, threads=threads))
    deltas = everywhere(lambda threads: kernels.encode_boxes(boxes, anchors, threads=threads))
    np.testing.assert_allclose(deltas, np.tanh(anchors), atol=1e-4)


def test_out_is_filled_and_returned():
    boxes, out = np.array([[0, 0, 2, 2]], np.float32), np.ones((1, 4), np.float32)
    assert kernels.encode_boxes(boxes, boxes, out=out) is out and not out.any()
    assert kernels.decode_boxes(np.zeros((1, 4), np.float32), boxes, out=out) is out
    np.testing.assert_array_equal(out, boxes)


BOX = np.zeros((2, 4), np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.encode_boxes(BOX[:, :3], BOX), ValueError,
     r"encode_boxes: boxes must have shape \(N, 4\), got \(2, 3\)"),
    (lambda: kernels.encode_boxes(BOX, BOX[:1]), ValueError,
     "encode_boxes: boxes and anchors must have as many rows, got 2 and 1"),
    (lambda: kernels.encode_boxes(BOX, BOX, (1, 1, 1)), ValueError, "encode_boxes: weights must have 4 numbers, got 3"),
    (lambda: kernels.encode_boxes(BOX, BOX, (1, 1, 0, 1)), ValueError,
     "encode_boxes: weights must be positive and finite, got 0"),
    (lambda: kernels.decode_boxes(BOX[:, :3], BOX), ValueError,
     r"decode_boxes: deltas must have shape \(N, 4 C\), got \(2, 3\)"),
    (lambda: kernels.decode_boxes(BOX.astype(int), BOX), TypeError,
     "decode_boxes: deltas must be float16, .* got int64"),
    (lambda: kernels.decode_boxes(BOX, BOX[:1]), ValueError,
     "decode_boxes: deltas and anchors must have as many rows, got 2 and 1"),
    (lambda: kernels.decode_boxes(BOX, BOX, 1), TypeError,
     "decode_boxes: weights must be a sequence of numbers, got int"),
    (lambda: kernels.decode_boxes(BOX, BOX, clip=float("nan")), ValueError, "decode_boxes: clip must not be NaN"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
