"""Laws of the polygon specification."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from roikit.reference import polygon


def test_law_a_box_of_whole_pixels_covers_its_pixels():
    mask = polygon.rasterize([[1, 2, 1, 5, 4, 5, 4, 2]], 6, 6)
    expected = np.zeros((6, 6), np.uint8)
    expected[2:5, 1:4] = 1
    np.testing.assert_array_equal(mask, expected)


@given(st.lists(st.floats(-20, 30), min_size=6, max_size=6), st.integers(0, 9), st.integers(0, 9))
def test_law_the_union_is_of_the_parts(points, height, width):
    other = [0, 0, 0, 4, 4, 4, 4, 0]
    parts = [polygon.rasterize([p], height, width) for p in (points, other)]
    both = polygon.rasterize([points, other], height, width)
    np.testing.assert_array_equal(both, parts[0] | parts[1])


@given(st.lists(st.integers(0, 60), min_size=8, max_size=8), st.integers(0, 3))
def test_law_the_first_point_does_not_matter_inside_the_image(points, turn):
    turned = np.roll(points, 2 * turn)
    np.testing.assert_array_equal(polygon.rasterize([points], 15, 15),
                                  polygon.rasterize([turned], 15, 15))


def test_law_nothing_is_drawn_without_polygons_or_pixels():
    assert polygon.rasterize([], 3, 4).sum() == 0
    assert polygon.rasterize([[0, 0, 5, 0, 5, 5]], 0, 4).shape == (0, 4)
    assert polygon.counts_from_polygons([[0, 0, 5, 0, 5, 5]], 4, 0).tolist() == [0]
