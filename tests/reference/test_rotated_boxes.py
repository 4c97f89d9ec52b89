"""rotated_boxes: hand-worked values and laws of the specification."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference import rle
from roikit.testing import strategies as some

POINTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=3, max_size=9)


def of(*points):
    return reference.min_area_boxes([[[c for p in points for c in p]]], dtype=np.float64)[0]


def corners(box):
    """(4, 2), clockwise on the screen from the corner that is upper left at angle 0."""
    x, y, w, h, degrees = box
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([(x + u * w / 2 * c + v * h / 2 * s, y - u * w / 2 * s + v * h / 2 * c)
                     for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))])


@pytest.mark.parametrize("points, expected", [
    ([(1, 2), (9, 2), (9, 5), (1, 5)], (5, 3.5, 8, 3, 0)),
    ([(1, 2), (4, 2), (4, 12), (1, 12)], (2.5, 7, 10, 3, -90)),      # the long side points up: -90 and not 90
    ([(0, 0), (4, 0), (4, 4), (0, 4)], (2, 2, 4, 4, 0)),
    ([(2, 0), (4, 2), (2, 4), (0, 2)], (2, 2, math.sqrt(8), math.sqrt(8), -45)),   # and not 45
    ([(0, 4), (4, 0), (5, 1), (1, 5)], (2.5, 2.5, math.sqrt(32), math.sqrt(2), 45)),  # rises to the right
    ([(0, 0), (4, 4), (3, 5), (-1, 1)], (1.5, 2.5, math.sqrt(32), math.sqrt(2), -45)),
    ([(3, 4), (3, 4), (3, 4)], (3, 4, 0, 0, 0)),
    ([(0, 0), (6, 0), (3, 0)], (3, 0, 6, 0, 0)),
    ([(0, 0), (0, 6), (0, 3)], (0, 3, 6, 0, -90)),
    ([(0, 3), (3, 0), (1, 2)], (1.5, 1.5, math.sqrt(18), 0, 45)),
])
def test_by_hand(points, expected):
    np.testing.assert_allclose(of(*points), expected, rtol=1e-15, atol=1e-15)


def test_of_equal_areas_the_upright_box_is_taken():
    # Of a right triangle the box on a leg and that on the hypotenuse have twice its area.
    np.testing.assert_allclose(of((0, 0), (4, 0), (0, 3)), (2, 1.5, 4, 3, 0))
    np.testing.assert_allclose(of((0.1, 0), (0.5, 0), (0.1, 0.3)), (0.3, 0.15, 0.4, 0.3, 0))  # rounding decides nothing


def test_an_object_of_several_polygons_and_one_of_none():
    boxes = reference.min_area_boxes([[[0, 0, 1, 0, 0, 1], [9, 2, 9, 3, 8, 3]], []])
    assert boxes[0, 2] * boxes[0, 3] <= 27 and boxes[1].tolist() == [0] * 5 and boxes.dtype == np.float32


def test_pixels_cover_squares():
    mask = np.zeros((3, 6, 7), bool)
    mask[0, 2, 3] = True
    mask[1, 1:3, 2:6] = True
    assert reference.min_area_boxes(mask).tolist() == [[3.5, 2.5, 1, 1, 0], [4, 2, 4, 2, 0], [0] * 5]


@given(POINTS)
def test_law_every_point_is_in_the_box_and_no_turned_box_is_smaller(points):
    x, y, w, h, degrees = of(*points)
    assert w >= h >= 0 and -90 <= degrees < 90 and (w > h or w == 0 or -45 <= degrees < 45)
    p = np.array(points, float)

    def extents(angle):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        u, v = (p[:, 0] - x) * c - (p[:, 1] - y) * s, (p[:, 0] - x) * s + (p[:, 1] - y) * c
        return u, v

    u, v = extents(degrees)
    assert (np.abs(u) <= w / 2 + 1e-9).all() and (np.abs(v) <= h / 2 + 1e-9).all()
    for angle in np.linspace(-90, 90, 61):
        u, v = extents(angle)
        assert (u.max() - u.min()) * (v.max() - v.min()) >= w * h - 1e-9


@given(POINTS, st.randoms())
def test_law_neither_order_nor_points_inside_matter(points, random):
    more = [*points, *points[:2], tuple(np.mean(points, axis=0).round().tolist())]
    random.shuffle(more)
    hull = {tuple(p) for p in points}
    if tuple(more[0]) in hull:
        inside = [p for p in more if p in hull]
        assert of(*inside).tolist() == of(*points).tolist()


@given(some.rotated_boxes(n=3, kinds=("cluster", "scattered", "thin"), dtype=np.float64, copies=False))
def test_law_the_box_of_the_corners_is_the_box(boxes):
    for box in boxes:
        points = corners(box)
        found = of(*points)
        # A corner is rounded at the size of its coordinates, however short a side is.
        np.testing.assert_allclose(sorted(found[2:4]), sorted(box[2:4]), rtol=1e-6, atol=1e-9 * np.abs(points).max())
        np.testing.assert_allclose(found[:2], box[:2], rtol=1e-9, atol=1e-6 * box[2:4].max())


@given(some.bitmaps(dtype=np.uint8))
def test_law_rle_gives_what_its_bitmap_gives(masks):
    runs = [{"size": list(m.shape), "counts": rle.string_from_counts(rle.encode(m))} for m in masks]
    np.testing.assert_array_equal(reference.min_area_boxes(runs), reference.min_area_boxes(masks))


def test_flips_and_rotations_by_hand():
    box = np.array([[3.0, 2, 4, 1, 30]])
    assert reference.flip_boxes_rotated(box, (10, 20)).tolist() == [[17, 2, 4, 1, -30]]
    assert reference.flip_boxes_rotated(box, (10, 20), "vertical").tolist() == [[3, 8, 4, 1, -30]]
    # A quarter counter-clockwise takes what is on the right to the top.
    assert reference.rotate_boxes_rotated(box, 90, (1, 2)).tolist() == [[1, 0, 4, 1, 120]]
    assert reference.rotate_boxes_rotated(box, 170, (3, 2))[0].tolist() == [3, 2, 4, 1, -160]


@given(some.rotated_boxes(kinds=("grid", "cluster"), dtype=np.float64), st.sampled_from(["horizontal", "vertical"]))
def test_law_a_flip_moves_the_corners_as_the_image(boxes, direction):
    for box, flipped in zip(boxes, reference.flip_boxes_rotated(boxes, (30, 40), direction), strict=True):
        moved = corners(box)
        axis = 0 if direction == "horizontal" else 1
        moved[:, axis] = (40, 30)[axis] - moved[:, axis]
        order = [1, 0, 3, 2] if axis == 0 else [3, 2, 1, 0]
        np.testing.assert_allclose(corners(flipped), moved[order], atol=1e-9)


@given(some.soft_masks(n=1, cells=4, dtype=np.float64), st.sampled_from(["horizontal", "vertical"]))
def test_law_a_flipped_mask_in_a_flipped_box_is_the_flipped_image(masks, direction):
    box, axis = np.array([[9.0, 7, 8, 5, 35]]), 2 if direction == "horizontal" else 1
    one = np.flip(reference.paste_masks_rotated(masks, box, (16, 20), threshold=None), axis)
    other = reference.paste_masks_rotated(np.flip(masks, axis), reference.flip_boxes_rotated(box, (16, 20), direction),
                                          (16, 20), threshold=None)
    np.testing.assert_allclose(one, other, atol=1e-9)


@given(some.rotated_boxes(kinds=("grid", "cluster"), dtype=np.float64), st.sampled_from([90, 30, -77.3, 360]))
def test_law_a_rotation_turns_the_corners_about_its_centre(boxes, degrees):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    for box, turned in zip(boxes, reference.rotate_boxes_rotated(boxes, degrees, (5, 6)), strict=True):
        d = corners(box) - (5, 6)
        np.testing.assert_allclose(corners(turned), np.stack([d[:, 0] * c + d[:, 1] * s, d[:, 1] * c - d[:, 0] * s], 1)
                                   + (5, 6), atol=1e-9)


def test_contract_wrong_arguments_say_so():
    with pytest.raises(ValueError, match="min_area_boxes: a polygon must have at least 3 points"):
        reference.min_area_boxes([[[0, 0, 1, 1]]])
    with pytest.raises(ValueError, match="flip_boxes_rotated: direction must be 'horizontal' or 'vertical', got 'up'"):
        reference.flip_boxes_rotated(np.zeros((1, 5)), (4, 4), "up")
    with pytest.raises(ValueError, match=r"rotate_boxes_rotated: boxes must have shape \(N, 5\), got \(1, 4\)"):
        reference.rotate_boxes_rotated(np.zeros((1, 4)), 3, (0, 0))
