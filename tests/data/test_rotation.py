"""Turns by any angle: exact masks, boxes of the masks, and everything else at its place."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit.data import transforms as T
from roikit.data.rotated import boxes_of_corners, corners_of_boxes
from roikit.data.rotation import RandomRotation, rotated

from .bitmaps import as_sample, dense, generator, tight


def square(seed=0, side=20):
    """A sample of three objects, an image of their pixels, label map, keypoints and rotated boxes."""
    rng = generator(seed)
    bitmaps = np.zeros((3, side, side), np.uint8)
    for k, bitmap in enumerate(bitmaps):
        y, x = rng.integers(2, side - 8, 2)
        bitmap[y:y + 5, x:x + 3 + k] = 1
    sample = as_sample(bitmaps, rng.integers(0, 256, (side, side, 3), np.uint8))
    points = np.array([[[5.0, 6, 2], [0, 0, 0]]] * 3)
    return replace(sample, keypoints=points, semantic=bitmaps.max(0), corners=corners_of_boxes(
        [[8, 9, 6, 3, 20.0]] * 3))


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_law_quarter_turns_are_those_of_rotate90(turns):
    sample = square(turns)
    one, other = rotated(sample, 90.0 * turns), T.Rotate90((turns,))(sample, generator())
    np.testing.assert_array_equal(dense(one.masks, one.size), dense(other.masks, other.size))
    np.testing.assert_allclose(one.image, other.image, atol=1)
    np.testing.assert_array_equal(one.semantic, other.semantic)
    for name in ("boxes", "area", "keypoints", "corners", "crowd_boxes"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-9, err_msg=name)


@given(st.floats(-180, 180), st.integers(0, 2**20))
def test_law_a_pixel_of_a_mask_is_the_one_that_its_centre_comes_from(degrees, seed):
    sample = square(seed)
    turned = rotated(sample, degrees)
    x, y = np.meshgrid(np.arange(20) + 0.5 - 10, np.arange(20) + 0.5 - 10)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    columns, rows = np.floor(cos * x - sin * y + 10).astype(int), np.floor(sin * x + cos * y + 10).astype(int)
    inside = (columns >= 0) & (columns < 20) & (rows >= 0) & (rows < 20)
    expected = dense(sample.masks, (20, 20))[:, rows.clip(0, 19), columns.clip(0, 19)] * inside
    expected = expected[expected.any((1, 2))]
    np.testing.assert_array_equal(dense(turned.masks, (20, 20)), expected)
    np.testing.assert_array_equal(turned.boxes, tight(expected))
    np.testing.assert_array_equal(turned.area, expected.sum((1, 2)))
    np.testing.assert_array_equal(turned.semantic, np.where(inside, sample.semantic[rows.clip(0, 19),
                                                                                    columns.clip(0, 19)], 255))


@given(st.floats(-180, 180))
def test_law_polygons_turn_as_their_pixels_do(degrees):
    polygon = np.array([20.0, 20, 44, 22, 40, 44, 24, 40])
    sample = T.Sample(np.zeros((64, 64, 3), np.uint8), np.array([[20.0, 20, 44, 44]]), np.array([1]), np.array([400.0]),
                      [[polygon]], np.zeros((0, 4)))
    bitmap = dense(sample.masks, (64, 64))[0]
    by_points, by_pixels = rotated(sample, degrees), rotated(as_sample(bitmap[None]), degrees)
    one, two = dense(by_points.masks, (64, 64))[0], dense(by_pixels.masks, (64, 64))[0]
    assert (one & two).sum() / (one | two).sum() > 0.85  # both are within half a pixel of the outline
    np.testing.assert_array_equal(by_points.boxes, tight(one[None]))
    assert by_points.area[0] == one.sum()


@pytest.mark.parametrize("polygon", [[-10.0, 5, 10, 5, 10, 9, -10, 9]])
def test_case_what_the_border_cut_does_not_come_back(polygon):
    sample = T.Sample(np.zeros((20, 20, 3), np.uint8), np.array([[0.0, 5, 10, 9]]), np.array([1]), np.array([40.0]),
                      [[np.array(polygon)]], np.zeros((0, 4)))
    turned = rotated(sample, 45)
    assert turned.area[0] == pytest.approx(40, abs=4)  # 56 with the part outside that the turn brings in


def test_contract_points_and_rotated_boxes_turn_with_the_pixels():
    image = np.zeros((41, 41, 3), np.uint8)
    image[8:11, 28:31] = 255  # about (29.5, 9.5)
    sample = replace(square(side=41), image=image, keypoints=np.array([[[29.5, 9.5, 2], [1, 1, 2]]] * 3))
    turned = rotated(sample, 30)
    weights = turned.image[..., 0].astype(float)
    y, x = np.indices(weights.shape) + 0.5
    np.testing.assert_allclose(turned.keypoints[0, 0], [np.average(x, weights=weights), np.average(y, weights=weights),
                                                        2], atol=0.05)
    assert (turned.keypoints[:, 1] == 0).all()  # it left the image, and is no longer labelled
    box, = boxes_of_corners(turned.corners[:1])
    assert box[2:] == pytest.approx([6, 3, 50])  # counter-clockwise, as the turn is
    assert (turned.image[0, 0] == 0).all() and turned.semantic[0, 0] == 255


def test_contract_the_angle_is_drawn_from_the_generator_and_bounded():
    sample, seen = square(), set()
    for seed in range(40):
        turned = RandomRotation(10)(sample, generator(seed))
        angle = boxes_of_corners(turned.corners[:1])[0, 4] - 20
        assert abs(angle) <= 10
        seen.add(round(angle, 6))
        np.testing.assert_array_equal(turned.image, RandomRotation(10)(sample, generator(seed)).image)
    assert len(seen) == 40 and min(seen) < -7 and max(seen) > 7


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_contract_any_depth(dtype):
    image = np.full((20, 20, 3), 0.25 if dtype is np.float32 else 12345, dtype)
    turned = rotated(replace(square(), image=image), 33)
    assert turned.image.dtype == dtype and turned.image[10, 10, 0] == image[0, 0, 0]


def test_error_boxes_alone():
    sample = replace(square(), masks=None, corners=None)
    with pytest.raises(ValueError, match="must have masks"):
        rotated(sample, 10)
    assert len(rotated(replace(square(), masks=None), 10).boxes) == 3  # rotated boxes tell enough
