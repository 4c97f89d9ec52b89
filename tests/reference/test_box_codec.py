"""box_codec: hand-worked values, laws and gradients of the specification."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.box_codec import TOLERANCE
from roikit.testing import strategies as some

from .differences import central_difference

WEIGHTS = st.sampled_from([(1, 1, 1, 1), (10, 10, 5, 5), (10.0, 20.0, 3.0, 7.0)])
ANCHOR = np.array([[0, 0, 10, 20]], np.float64)


def test_encode_by_hand():
    # Centres (5, 10) and (8, 7), sizes 10 x 20 and 20 x 10.
    box = np.array([[-2, 2, 18, 12]], np.float64)
    expected = [[3 / 10, -3 / 20, math.log(2), math.log(1 / 2)]]
    np.testing.assert_allclose(reference.encode_boxes(box, ANCHOR), expected, rtol=1e-15)
    weighted = reference.encode_boxes(box, ANCHOR, (10, 10, 5, 5))
    np.testing.assert_allclose(weighted, np.array(expected) * [10, 10, 5, 5], rtol=1e-15)


def test_decode_by_hand():
    deltas = np.array([[0.3, -0.15, math.log(2), math.log(1 / 2), 0, 0, 0, 0]])
    boxes = reference.decode_boxes(deltas, ANCHOR)
    np.testing.assert_allclose(boxes, [[-2, 2, 18, 12, 0, 0, 10, 20]], rtol=1e-14, atol=1e-14)


def test_the_clip_limits_growth_from_above_only():
    deltas = np.array([[0, 0, 99, -99], [0, 0, math.log(1000 / 16), 0]])
    boxes = reference.decode_boxes(deltas, np.repeat(ANCHOR, 2, axis=0))
    np.testing.assert_allclose(boxes[:, 2] - boxes[:, 0], 10 * 62.5)
    assert 0 <= boxes[0, 3] - boxes[0, 1] < 1e-12
    small = reference.decode_boxes(deltas, np.repeat(ANCHOR, 2, axis=0), (1, 1, 2, 1), clip=math.log(3))
    np.testing.assert_allclose(small[:, 2] - small[:, 0], [30, 30])  # 4.1 / 2 is above log(3), too


def test_degenerate_boxes_give_what_ieee_gives():
    boxes = np.array([[0, 0, 0, 5], [4, 0, 0, 5], [0, 0, 8, 5]], np.float32)
    anchors = np.array([[0, 0, 4, 5], [0, 0, 4, 5], [4, 0, 4, 5]], np.float32)
    deltas = reference.encode_boxes(boxes, anchors)
    assert deltas[0, 2] == -np.inf and np.isnan(deltas[1, 2]) and deltas[2, 2] == np.inf
    assert np.isnan(deltas[2, 0]) and (deltas[:, 3] == 0).all() and (deltas[:, 1] == 0).all()
    nan = reference.decode_boxes(np.array([[0, 0, np.nan, 0]], np.float32), anchors[:1])
    assert np.isnan(nan[0, [0, 2]]).all() and nan[0, [1, 3]].tolist() == [0, 5]


@given(st.data(), WEIGHTS, st.sampled_from([np.float32, np.float64]))
def test_law_decode_undoes_encode(data, weights, dtype):
    anchors = data.draw(some.boxes(dtype=dtype, kinds=("grid", "cluster")))
    boxes = data.draw(some.boxes(n=len(anchors), dtype=dtype, kinds=("grid", "cluster")))
    deltas = reference.encode_boxes(boxes, anchors, weights)
    assert deltas.shape == boxes.shape and deltas.dtype == dtype
    back = reference.decode_boxes(deltas, anchors, weights)
    np.testing.assert_allclose(back, boxes, rtol=0, atol=2000 * np.finfo(dtype).eps)


@given(some.boxes(kinds=some.ORDINARY), WEIGHTS)
def test_law_zero_deltas_give_the_anchor(anchors, weights):
    assert np.array_equal(reference.encode_boxes(anchors, anchors, weights),
                          np.zeros_like(anchors)) or (reference.box_area(anchors) == 0).any()
    boxes = reference.decode_boxes(np.zeros_like(anchors), anchors, weights)
    np.testing.assert_allclose(boxes, anchors, rtol=0, atol=64 * np.finfo(np.float32).eps * 2)


@given(st.data(), st.integers(0, 3), WEIGHTS)
def test_law_classes_are_decoded_each_for_itself(data, classes, weights):
    anchors = data.draw(some.boxes(kinds=some.ORDINARY))
    deltas = np.random.default_rng(classes).standard_normal((len(anchors), 4 * (classes + 1))).astype(np.float32)
    boxes = reference.decode_boxes(deltas, anchors, weights)
    assert boxes.shape == deltas.shape
    for c in range(classes + 1):
        mine = slice(4 * c, 4 * c + 4)
        np.testing.assert_array_equal(boxes[:, mine], reference.decode_boxes(deltas[:, mine], anchors, weights))


@given(st.data(), WEIGHTS)
def test_law_float32_lies_within_the_bound_where_the_arithmetic_is_exact(data, weights):
    """Whole-number boxes, and ratios that float32 holds, leave only log and exp to differ."""
    anchors = data.draw(some.boxes(kinds=("grid",))).astype(np.float32)
    anchors[:, 2:] = anchors[:, :2] + 4
    boxes = data.draw(some.boxes(n=len(anchors), kinds=("grid",)))
    single = reference.encode_boxes(boxes, anchors, weights)
    double = reference.encode_boxes(boxes.astype(np.float64), anchors.astype(np.float64), weights)
    assert (np.abs(single - double) <= TOLERANCE["float32"] * np.abs(double)).all()
    deltas = single.copy()
    deltas[:, :2] = 0
    single = reference.decode_boxes(deltas, anchors)
    double = reference.decode_boxes(deltas.astype(np.float64), anchors.astype(np.float64))
    magnitude = np.abs(double) + np.abs(np.roll(double, 2, axis=1))
    assert (np.abs(single - double) <= TOLERANCE["float32"] * magnitude).all()


def cases(classes):
    rng = np.random.default_rng(2)
    corners = rng.uniform(-5, 5, (2, 3, 2))
    boxes, anchors = (np.concatenate([c, c + rng.uniform(1, 6, (3, 2))], axis=1) for c in corners)
    return boxes, anchors, rng.standard_normal((3, 4 * classes)), rng.standard_normal((3, 4 * classes))


def test_gradient_of_encode():
    boxes, anchors, _, grad = cases(1)
    weights = (10, 9, 5, 4)
    analytic = reference.encode_boxes_backward(grad, boxes, anchors, weights)
    for which in (0, 1):
        numeric = central_difference(lambda b, a: reference.encode_boxes(b, a, weights), [boxes, anchors], which, grad)
        np.testing.assert_allclose(analytic[which], numeric, rtol=1e-6, atol=1e-7)


def test_gradient_of_decode():
    _, anchors, deltas, grad = cases(2)
    weights, clip = (2, 3, 0.5, 0.7), 0.9
    assert (deltas.reshape(3, 2, 4)[..., 2] / 0.5 > clip).any()  # some are clipped
    analytic = reference.decode_boxes_backward(grad, deltas, anchors, weights, clip=clip)
    for which in (0, 1):
        numeric = central_difference(lambda d, a: reference.decode_boxes(d, a, weights, clip=clip),
                                     [deltas, anchors], which, grad)
        np.testing.assert_allclose(analytic[which], numeric, rtol=1e-6, atol=1e-7)


def test_gradient_is_zero_where_clamped():
    deltas = np.array([[0.1, 0.1, 5.0, 1.0], [0.1, 0.1, 0.5, np.nan], [0.1, 0.1, 2.0, 0.5]])
    grad, _ = reference.decode_boxes_backward(np.array([[1.0, 2, 3, 5]] * 3), deltas, np.repeat(ANCHOR, 3, axis=0),
                                              clip=2.0)
    assert (grad[:, 2:] == 0).tolist() == [[True, False], [False, True], [False, False]]  # at the clip it passes


def test_contract_wrong_arguments_say_so():
    with pytest.raises(ValueError, match=r"decode_boxes: deltas must have shape \(N, 4C\), got \(1, 6\)"):
        reference.decode_boxes(np.zeros((1, 6)), ANCHOR)
    with pytest.raises(ValueError, match=r"encode_boxes: boxes must have one row an anchor \(1\), got 2"):
        reference.encode_boxes(np.zeros((2, 4)), ANCHOR)
