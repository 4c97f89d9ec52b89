"""The codec of rotated boxes and their anchors: hand-worked values, laws and gradients of the specification."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.rotated_codec import wrap_degrees
from roikit.testing import strategies as some

from .differences import central_difference

WEIGHTS = st.sampled_from([(1, 1, 1, 1, 1), (10, 10, 5, 5, 1), (10.0, 20.0, 3.0, 7.0, 2.5)])
ANCHOR = np.array([[5, 10, 10, 20, 30]], np.float64)


def test_encode_by_hand():
    box = np.array([[8, 7, 20, 10, 75], [5, 10, 10, 20, -140]], np.float64)
    expected = [[3 / 10, -3 / 20, math.log(2), math.log(1 / 2), math.pi / 4],
                [0, 0, 0, 0, -math.pi * 170 / 180]]
    anchors = np.repeat(ANCHOR, 2, axis=0)
    np.testing.assert_allclose(reference.encode_boxes_rotated(box, anchors), expected, rtol=1e-15)
    weighted = reference.encode_boxes_rotated(box, anchors, (10, 10, 5, 5, 2))
    np.testing.assert_allclose(weighted, np.array(expected) * [10, 10, 5, 5, 2], rtol=1e-15)


def test_decode_by_hand():
    deltas = np.array([[0.3, -0.15, math.log(2), math.log(1 / 2), math.pi / 4, 0, 0, 99, -99, math.pi]])
    boxes = reference.decode_boxes_rotated(deltas, ANCHOR)
    np.testing.assert_allclose(boxes, [[8, 7, 20, 10, 75, 5, 10, 625, 0, -150]], rtol=1e-14, atol=1e-14)


def test_wrap_by_hand():
    given = np.array([0, 179, 180, -180, 181, -181, 540, 539, -540, 360, -360, 720.5, -0.0, 1e6, 3e38], np.float32)
    found = wrap_degrees(given)
    expected = [0, 179, -180, -180, -179, 179, -180, 179, -180, 0, 0, 0.5, 0, -80]
    assert found[:-1].tolist() == expected and not np.signbit(found[found == 0]).any()
    assert np.isnan(wrap_degrees(np.array([np.nan, np.inf, -np.inf]))).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_law_wrap_loses_whole_turns_and_nothing_else(dtype, data):
    width = np.dtype(dtype).itemsize * 8
    given = data.draw(st.one_of(st.floats(allow_nan=False, allow_infinity=False, width=width),
                                st.floats(-1000, 1000, width=width)))
    found = wrap_degrees(np.array([given], dtype))
    assert found.dtype == dtype and -180 <= found[0] < 180
    assert (Fraction(given) - Fraction(float(found[0]))) % 360 == 0


@given(st.data(), WEIGHTS, st.sampled_from([np.float32, np.float64]))
def test_law_decode_undoes_encode(data, weights, dtype):
    anchors = data.draw(some.rotated_boxes(dtype=dtype, kinds=("grid", "cluster")))
    boxes = data.draw(some.rotated_boxes(n=len(anchors), dtype=dtype, kinds=("grid", "cluster")))
    deltas = reference.encode_boxes_rotated(boxes, anchors, weights)
    assert deltas.shape == boxes.shape and deltas.dtype == dtype
    sided = (np.minimum(boxes, anchors)[:, 2:4] > 0).all(axis=1)
    back = reference.decode_boxes_rotated(deltas, anchors, weights, clip=np.inf)[sided]
    near = 4000 * np.finfo(dtype).eps * (1 + np.abs(boxes[sided]).max(initial=0) + np.abs(anchors).max(initial=0))
    np.testing.assert_allclose(back[:, :4], boxes[sided, :4], rtol=0, atol=near)
    turn = wrap_degrees(back[:, 4] - boxes[sided, 4])
    assert (np.abs(turn) <= near).all()


@given(st.data(), WEIGHTS)
def test_law_at_angle_0_it_is_the_codec_of_upright_boxes(data, weights):
    anchors = data.draw(some.boxes(dtype=np.float64, kinds=("grid",)))
    anchors[:, 2:] = anchors[:, :2] + 4
    boxes = data.draw(some.boxes(n=len(anchors), dtype=np.float64, kinds=("grid",)))

    def turned(b):
        return np.concatenate([reference.box_convert(b, "xyxy", "cxcywh"), np.full((len(b), 1), 30.0)], axis=1)

    mine = reference.encode_boxes_rotated(turned(boxes), turned(anchors), weights)
    np.testing.assert_array_equal(mine[:, :4], reference.encode_boxes(boxes, anchors, weights[:4]))
    assert (mine[:, 4] == 0).all()


@given(st.data(), st.integers(0, 3), WEIGHTS)
def test_law_classes_are_decoded_each_for_itself(data, classes, weights):
    anchors = data.draw(some.rotated_boxes())
    deltas = np.random.default_rng(classes).standard_normal((len(anchors), 5 * (classes + 1))).astype(np.float32)
    boxes = reference.decode_boxes_rotated(deltas, anchors, weights)
    for c in range(classes + 1):
        mine = slice(5 * c, 5 * c + 5)
        np.testing.assert_array_equal(boxes[:, mine],
                                      reference.decode_boxes_rotated(deltas[:, mine], anchors, weights))


def test_degenerate_boxes_give_what_ieee_gives():
    boxes = np.array([[0, 0, 0, 5, 0], [0, 0, -4, 5, np.inf]], np.float32)
    deltas = reference.encode_boxes_rotated(boxes, np.array([[0, 0, 4, 5, 0]] * 2, np.float32))
    assert deltas[0, 2] == -np.inf and np.isnan(deltas[1, [2, 4]]).all() and (deltas[:, [0, 1, 3]] == 0).all()


def test_gradients():
    rng = np.random.default_rng(2)
    boxes, anchors = rng.uniform(1, 6, (2, 3, 5))
    boxes[1, 4] += 720  # far from where wrap jumps
    deltas, grad = rng.standard_normal((2, 3, 10))
    weights, clip = (2, 3, 0.5, 0.7, 1.5), 0.9
    assert (deltas.reshape(3, 2, 5)[..., 2] / 0.5 > clip).any()  # some are clipped
    encode = reference.encode_boxes_rotated_backward(grad[:, :5], boxes, anchors, weights)
    decode = reference.decode_boxes_rotated_backward(grad, deltas, anchors, weights, clip=clip)
    for which in (0, 1):
        numeric = central_difference(lambda b, a: reference.encode_boxes_rotated(b, a, weights), [boxes, anchors],
                                     which, grad[:, :5])
        np.testing.assert_allclose(encode[which], numeric, rtol=1e-6, atol=1e-7)
        numeric = central_difference(lambda d, a: reference.decode_boxes_rotated(d, a, weights, clip=clip),
                                     [deltas, anchors], which, grad)
        np.testing.assert_allclose(decode[which], numeric, rtol=1e-6, atol=1e-6)


def test_cell_by_hand():
    cell = reference.cell_anchors_rotated([32, 64], [0.25, 1], [-30, 45])
    assert cell.dtype == np.float32 and cell.tolist() == [
        [0, 0, 64, 16, -30], [0, 0, 64, 16, 45], [0, 0, 32, 32, -30], [0, 0, 32, 32, 45],
        [0, 0, 128, 32, -30], [0, 0, 128, 32, 45], [0, 0, 64, 64, -30], [0, 0, 64, 64, 45]]
    assert reference.cell_anchors_rotated([32], [1], []).shape == (0, 5)


def test_grid_moves_the_centres_alone():
    cell = reference.cell_anchors_rotated([4, 8], [2], [30])
    grid = reference.grid_anchors(cell, (2, 3), (10, 20), offset=0.5).reshape(2, 3, 2, 5)
    np.testing.assert_array_equal(grid[..., 2:], np.broadcast_to(cell[:, 2:], (2, 3, 2, 3)))
    assert grid[1, 2].tolist()[0][:2] == [50, 15] and (grid[..., 0, :2] == grid[..., 1, :2]).all()


def test_contract_wrong_arguments_say_so():
    with pytest.raises(ValueError, match=r"decode_boxes_rotated: deltas must have shape \(N, 5C\), got \(1, 6\)"):
        reference.decode_boxes_rotated(np.zeros((1, 6)), ANCHOR)
    with pytest.raises(ValueError, match=r"encode_boxes_rotated: boxes must have one row an anchor \(1\), got 2"):
        reference.encode_boxes_rotated(np.zeros((2, 5)), ANCHOR)
