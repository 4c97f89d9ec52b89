"""The compiled codec of rotated boxes: within the reference's bound of it, the same bits at every SIMD level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.reference.box_codec import TOLERANCE
from roikit.reference.rotated_codec import wrap_degrees
from roikit.testing import strategies as some

from .agreement import everywhere

WEIGHTS = st.sampled_from([(1, 1, 1, 1, 1), (10, 10, 5, 5, 1), (10.0, 20.0, 3.0, 7.0, 2.5)])
DTYPES = st.sampled_from([np.float16, np.float32, np.float64])


def near(mine, theirs):
    """Sides (or their logarithms) within the bound, all else equal."""
    assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
    bound = np.zeros(theirs.reshape(-1, 5).shape)
    bound[:, 2:4] = TOLERANCE[theirs.dtype.name] * np.maximum(np.abs(theirs.reshape(-1, 5)[:, 2:4]),
                                                              np.finfo(theirs.dtype).tiny)
    finite = np.isfinite(theirs)
    np.testing.assert_array_equal(mine[~finite], theirs[~finite])
    assert (np.abs(mine - theirs) <= bound.reshape(theirs.shape))[finite].all()


@given(st.data(), DTYPES, WEIGHTS)
@np.errstate(all="ignore")
def test_encode_agrees_with_the_reference(data, dtype, weights):
    anchors = data.draw(some.rotated_boxes(dtype=np.float64, max_size=80)).astype(dtype)
    boxes = data.draw(some.rotated_boxes(n=len(anchors), dtype=np.float64)).astype(dtype)
    near(everywhere(lambda threads: kernels.encode_boxes_rotated(boxes, anchors, weights, threads=threads)),
         reference.encode_boxes_rotated(boxes, anchors, weights))


@given(st.data(), DTYPES, WEIGHTS, st.integers(1, 5), st.sampled_from([np.log(1000 / 16), 0.5, np.inf]))
@np.errstate(all="ignore")
def test_decode_agrees_with_the_reference(data, dtype, weights, classes, clip):
    anchors = data.draw(some.rotated_boxes(dtype=np.float64, max_size=24)).astype(dtype)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    deltas = (rng.standard_normal((len(anchors), 5 * classes)) * data.draw(st.sampled_from([0.3, 9]))).astype(dtype)
    deltas[rng.random(deltas.shape) < 0.05] = rng.choice([np.nan, np.inf, -np.inf, 0])
    near(everywhere(lambda threads: kernels.decode_boxes_rotated(deltas, anchors, weights, clip=clip, threads=threads)),
         reference.decode_boxes_rotated(deltas, anchors, weights, clip=clip))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_angles_of_every_size_are_wrapped_without_rounding(dtype):
    rng = np.random.default_rng(0)
    angles = np.concatenate([rng.uniform(-1000, 1000, 500), 10 ** rng.uniform(-30, 37, 500) * rng.choice([-1, 1], 500),
                             np.arange(-40, 41) * 90.0, 2.0**20 * np.arange(-3, 4) + 0.25]).astype(dtype)
    angles = np.concatenate([angles, np.nextafter(angles, dtype(np.inf)), np.nextafter(angles, dtype(-np.inf))])
    anchors = np.tile(np.array([0, 0, 1, 1, 0], dtype), (len(angles), 1))
    anchors[:, 4] = angles
    boxes = everywhere(lambda threads: kernels.decode_boxes_rotated(np.zeros_like(anchors), anchors, threads=threads))
    assert boxes[:, 4].tobytes() == wrap_degrees(angles).tobytes()


def test_many_rows_have_the_same_bits_everywhere():
    rng = np.random.default_rng(0)
    anchors = rng.uniform(1, 100, (300_001, 5)).astype(np.float32)
    boxes = everywhere(lambda threads: kernels.decode_boxes_rotated(np.tanh(anchors), anchors, threads=threads))
    deltas = everywhere(lambda threads: kernels.encode_boxes_rotated(boxes, anchors, threads=threads))
    np.testing.assert_allclose(deltas, np.tanh(anchors), atol=1e-4)


POSITIVE = st.floats(2.0**-10, 2.0**10)
FEW = st.lists(POSITIVE, max_size=3)


@given(FEW, FEW, st.lists(st.floats(-400, 400), max_size=3), st.sampled_from([np.float32, np.float64]),
       st.tuples(st.integers(0, 4), st.integers(0, 9)), st.floats(-2, 2))
def test_anchors_agree_with_the_reference(sizes, ratios, angles, dtype, feature_size, offset):
    mine = kernels.cell_anchors_rotated(sizes, ratios, angles, dtype=dtype)
    theirs = reference.cell_anchors_rotated(sizes, ratios, angles, dtype=dtype)
    assert mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()
    grid = everywhere(lambda threads: kernels.grid_anchors(mine, feature_size, (3, 7.5), offset=offset,
                                                           threads=threads))
    expected = reference.grid_anchors(theirs, feature_size, (3, 7.5), offset=offset)
    assert grid.shape == expected.shape and grid.tobytes() == expected.tobytes()


def test_out_is_filled_and_returned():
    boxes, out = np.array([[1, 1, 2, 2, 30]], np.float32), np.ones((1, 5), np.float32)
    assert kernels.encode_boxes_rotated(boxes, boxes, out=out) is out and not out.any()
    assert kernels.decode_boxes_rotated(np.zeros((1, 5), np.float32), boxes, out=out) is out
    np.testing.assert_array_equal(out, boxes)


BOX = np.zeros((2, 5), np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.encode_boxes_rotated(BOX[:, :4], BOX), ValueError,
     r"encode_boxes_rotated: boxes must have shape \(N, 5\), got \(2, 4\)"),
    (lambda: kernels.encode_boxes_rotated(BOX, BOX[:1]), ValueError,
     "encode_boxes_rotated: boxes and anchors must have as many rows, got 2 and 1"),
    (lambda: kernels.encode_boxes_rotated(BOX, BOX, (1, 1, 1, 1)), ValueError,
     "encode_boxes_rotated: weights must have 5 numbers, got 4"),
    (lambda: kernels.decode_boxes_rotated(BOX[:, :4], BOX), ValueError,
     r"decode_boxes_rotated: deltas must have shape \(N, 5 C\), got \(2, 4\)"),
    (lambda: kernels.decode_boxes_rotated(BOX, BOX, clip=float("nan")), ValueError,
     "decode_boxes_rotated: clip must not be NaN"),
    (lambda: kernels.cell_anchors_rotated([32], [0], [0]), ValueError,
     "cell_anchors_rotated: aspect_ratios must be positive and finite, got 0"),
    (lambda: kernels.cell_anchors_rotated([32], [1], 30), TypeError,
     "cell_anchors_rotated: angles must be a sequence of numbers, got int"),
    (lambda: kernels.cell_anchors_rotated([32], [1], [float("inf")]), ValueError,
     "cell_anchors_rotated: angles must be finite, got inf"),
    (lambda: kernels.cell_anchors_rotated([32], [1], [0], dtype=np.float16), TypeError,
     "cell_anchors_rotated: dtype must be float32 or float64, got float16"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
