"""Rotated boxes: exact clipping in rationals, hand-worked values and laws of the specification."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference import rotated
from roikit.testing import strategies as some

FINITE = ("grid", "cluster", "scattered", "thin")


def corners(box):
    """The four corners as rationals, from the box's numbers and the specification's cosine and sine."""
    x, y, w, h = (Fraction(float(v)) for v in box[:4])
    s, c = (Fraction(float(v)) for v in rotated.sin_cos_degrees(np.float64(box[4])))
    return [(x + i * w / 2 * c + j * h / 2 * s, y - i * w / 2 * s + j * h / 2 * c)
            for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def area(polygon):
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(polygon, polygon[1:] + polygon[:1], strict=True)) / 2


def clipped(polygon, a, b):
    """The part of a polygon on the left of the line from a to b."""
    def side(p):
        return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])

    out = []
    for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        sp, sq = side(p), side(q)
        if sp >= 0:
            out.append(p)
        if (sp > 0 > sq) or (sp < 0 < sq):
            t = sp / (sp - sq)
            out.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
    return out


def exact_iou(box1, box2):
    """By clipping in rational numbers: no rounding anywhere."""
    if not (box1[2:4] > 0).all() or not (box2[2:4] > 0).all():
        return 0.0  # a box that is empty or reversed, also in both sides, has no area
    first, second = corners(box1), corners(box2)
    shared = second
    for a, b in zip(first, first[1:] + first[:1], strict=True):
        shared = clipped(shared, a, b)
    inter = area(shared) if len(shared) > 2 else Fraction(0)
    union = area(first) + area(second) - inter
    return float(inter / union) if union > 0 else 0.0


def worst_error(boxes1, boxes2):
    got = reference.box_iou_rotated(boxes1, boxes2)
    return max((abs(got[i, j] - exact_iou(a, b)) for i, a in enumerate(boxes1) for j, b in enumerate(boxes2)),
               default=0)


@pytest.mark.parametrize("dtype, most", [(np.float32, 1e-5), (np.float64, 1e-9)])
@pytest.mark.parametrize("noise", [0, 1e-15, 1e-12, 1e-9, 1e-7, 1e-5, 1e-3])
def test_boxes_that_nearly_coincide(noise, dtype, most):
    rng = np.random.default_rng(1)
    for sides in ((30, 20), (20, 20), (1e3, 0.1), (0.01, 300)):
        for degrees in (0, 30, 45, 90, -135, rng.uniform(-180, 180)):
            box = np.array([[300, 200, *sides, degrees]])
            near = (box * (1 + noise * rng.normal(size=(6, 5)))).astype(dtype)
            near[:2, 4] += 180
            near[2, 4] += 360
            assert worst_error(box.astype(dtype), near) <= most


@given(some.rotated_boxes(dtype=np.float64, kinds=FINITE, max_size=4))
def test_error_in_float64_is_within_the_bound(boxes):
    sides = boxes[(boxes[:, 2:4] > 1e-3).all(axis=1)]
    assert worst_error(sides, sides) <= min(1e-9, rotated.bound(sides))


@given(some.rotated_boxes(dtype=np.float32, kinds=FINITE, max_size=4))
def test_error_in_float32(boxes):
    assert worst_error(boxes, boxes) <= 1e-5


def test_aspect_ratios_of_a_million():
    rng = np.random.default_rng(2)
    long = np.array([[0, 0, 1e4, 0.01, 30], [1e-3, 0, 1e4, 0.01, 30 + 1e-7], [0, 0, 0.01, 1e4, 30], [0, 0, 10, 10, 5],
                     [0, 5e-3, 1e4, 0.01, 30]])
    assert worst_error(long, long) <= 1e-9
    away = long + rng.normal(size=long.shape) * 1e-6
    assert worst_error(long, away) <= 1e-9


def test_shapely_agrees():
    shapely = pytest.importorskip("shapely.geometry", reason="shapely is not installed")
    rng = np.random.default_rng(3)
    boxes = np.concatenate([rng.uniform(0, 60, (24, 2)), rng.uniform(5, 50, (24, 2)), rng.uniform(-180, 180, (24, 1))],
                           axis=1)
    shapes = [shapely.Polygon([(float(x), float(y)) for x, y in corners(box)]) for box in boxes]
    theirs = [[a.intersection(b).area / a.union(b).area for b in shapes] for a in shapes]
    np.testing.assert_allclose(reference.box_iou_rotated(boxes, boxes), theirs, atol=1e-9)


def test_sine_and_cosine():
    degrees = np.concatenate([np.random.default_rng(0).uniform(-720, 720, 4000), [1e-300, 45, -45, 135]])
    s, c = rotated.sin_cos_degrees(degrees)
    turned = np.remainder(degrees, 360)
    np.testing.assert_allclose(s, [math.sin(math.radians(d)) for d in turned], rtol=0, atol=1e-15)
    np.testing.assert_allclose(c, [math.cos(math.radians(d)) for d in turned], rtol=0, atol=1e-15)
    np.testing.assert_allclose(s * s + c * c, 1, rtol=0, atol=4e-16)
    s, c = rotated.sin_cos_degrees(90.0 * np.arange(-9, 10))
    assert np.array_equal(s, [-1, 0, 1, 0] * 4 + [-1, 0, 1])
    assert np.array_equal(c, [0, 1, 0, -1] * 4 + [0, 1, 0])
    # Fifteen turns of 24 degrees, reduced without rounding: far from 0 as good as near it.
    far = np.float64(30 + 360 * 2.0**40)
    assert rotated.sin_cos_degrees(far) == rotated.sin_cos_degrees(np.float64(30))


def test_overlap_by_hand():
    boxes = np.array([[0, 0, 4, 2, 0], [0, 0, 4, 2, 90], [0, 0, 2, 4, 0], [2, 0, 4, 2, 180], [0, 0, 2, 2, 45]],
                     np.float64)
    iou = reference.box_iou_rotated(boxes, boxes)
    # A square of side 2 turned by 45 degrees is |x| + |y| <= sqrt(2): the strip |y| <= 1 cuts off two corners.
    cut = 4 - 2 * (math.sqrt(2) - 1) ** 2
    np.testing.assert_allclose(iou[0], [1, 4 / 12, 4 / 12, 4 / 12, cut / (8 + 4 - cut)], rtol=1e-15)
    assert iou[1, 2] == 1


def test_a_positive_angle_turns_counter_clockwise_on_the_screen():
    # Turned by 45 degrees, the width points right and up: to smaller y.
    bar = np.array([[0, 0, 10, 1, 45]], np.float32)
    ends = np.array([[3, -3, 1, 1, 0], [3, 3, 1, 1, 0]], np.float32)
    iou = reference.box_iou_rotated(bar, ends)[0]
    assert iou[0] > 0.05 and iou[1] == 0


@given(some.rotated_boxes(), some.rotated_boxes(dtype=np.float64))
def test_law_symmetric_bit_by_bit_and_between_0_and_1(boxes1, boxes2):
    iou = reference.box_iou_rotated(boxes1, boxes2)
    assert iou.dtype == np.float64 and iou.shape == (len(boxes1), len(boxes2))
    assert np.array_equal(iou, reference.box_iou_rotated(boxes2, boxes1).T)
    assert ((iou >= 0) & (iou <= 1)).all()


@given(some.rotated_boxes(kinds=FINITE), st.integers(-3, 3))
def test_law_whole_and_half_turns_change_little_or_nothing(boxes, turns):
    real = boxes[(boxes[:, 2:4] > 0).all(axis=1)].astype(np.float64)
    real[:, 4] = np.round(real[:, 4] * 64) / 64  # so that the sum is exact
    turned = real.copy()
    turned[:, 4] += 360 * turns
    assert np.array_equal(reference.box_iou_rotated(real, turned), reference.box_iou_rotated(real, real))
    turned[:, 4] += 180
    same = np.diagonal(reference.box_iou_rotated(real, turned))
    np.testing.assert_allclose(same, 1, rtol=0, atol=1e-9)


@given(some.rotated_boxes(kinds=("degenerate", "nonfinite"), copies=False), some.rotated_boxes())
def test_law_a_box_without_area_or_not_finite_overlaps_nothing(boxes, others):
    assert not reference.box_iou_rotated(boxes, others).any()
    assert not reference.box_iou_rotated(others, boxes).any()


def test_boxes_that_touch_or_lie_apart_have_no_overlap():
    boxes = np.array([[0, 0, 4, 2, 0], [4, 0, 4, 2, 0], [0, 2, 4, 2, 180], [9, 0, 2, 2, 45], [3.5, 2.5, 2, 2, 45]])
    iou = reference.box_iou_rotated(boxes[:1], boxes[1:])
    assert not iou.any()


def test_nms_rotated_by_hand():
    boxes = np.array([[0, 0, 4, 2, 0], [0, 0, 4, 2, 180], [0, 0, 4, 2, 90], [np.nan, 0, 4, 2, 0], [20, 0, 4, 2, 0]],
                     np.float32)
    scores = np.array([0.5, 0.9, 0.7, np.nan, 0.6], np.float32)
    assert reference.nms_rotated(boxes, scores, 0.5).tolist() == [1, 2, 4, 3]
    assert reference.nms_rotated(boxes, scores, 0.3).tolist() == [1, 4, 3]  # the cross has IoU 1 / 3
    idxs = np.array([0, 1, 1, 0, -5])
    assert reference.batched_nms_rotated(boxes, scores, idxs, 0.3).tolist() == [1, 4, 0, 3]


def test_contract_wrong_arguments_say_so():
    boxes = np.zeros((3, 5), np.float32)
    with pytest.raises(ValueError, match=r"box_iou_rotated: boxes2 must have shape \(N, 5\), got \(3, 4\)"):
        reference.box_iou_rotated(boxes, boxes[:, :4])
    with pytest.raises(ValueError, match=r"nms_rotated: scores must have shape \(3,\), got \(2,\)"):
        reference.nms_rotated(boxes, np.zeros(2, np.float32), 0.5)
    with pytest.raises(TypeError, match="batched_nms_rotated: idxs must be integers, got float32"):
        reference.batched_nms_rotated(boxes, np.zeros(3, np.float32), np.zeros(3, np.float32), 0.5)
