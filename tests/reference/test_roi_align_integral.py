"""roi_align with rule="integral": hand-worked values, quadrature, and laws of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference

SEEDS = st.integers(0, 2**32 - 1)


def integral(maps, boxes, size, scale=1.0, aligned=False):
    return reference.roi_align(maps, boxes, size, scale, -1, aligned, rule="integral")


def some_case(seed, shape=(2, 2, 6, 7), n=4):
    rng = np.random.default_rng(seed)
    low = rng.uniform(-3, 7, (n, 2))
    boxes = np.concatenate([rng.integers(0, shape[0], (n, 1)), low, low + rng.uniform(0.05, 9, (n, 2))], 1)
    return rng.normal(size=shape), boxes


def mean_hats(start, end, bins, extent):
    """(bins, extent): the mean of every pixel's hat over each bin, by the midpoint rule on 2,000 pieces.

    The bilinear surface is the sum of its pixels times a hat along y times a hat along x, 0 outside; so is its mean.
    """
    at = start + (np.arange(bins * 2000) + 0.5) / (bins * 2000) * (end - start)
    return np.maximum(1 - np.abs(at[:, None] - np.arange(extent)), 0).reshape(bins, 2000, extent).mean(1)


@given(SEEDS, st.booleans())
def test_it_is_the_mean_of_the_surface(seed, aligned):
    """Against the midpoint rule, which is exact to second order."""
    maps, boxes = some_case(seed)
    found = integral(maps, boxes, (2, 3), 0.5, aligned)
    for k, (image, *corners) in enumerate(boxes):
        x1, y1, x2, y2 = np.array(corners) * 0.5 - (0.5 if aligned else 0)
        rows, columns = mean_hats(y1, y2, 2, maps.shape[2]), mean_hats(x1, x2, 3, maps.shape[3])
        np.testing.assert_allclose(found[k], rows @ maps[int(image)] @ columns.T, atol=1e-5)


def test_by_hand():
    plane = np.arange(12.0).reshape(1, 1, 3, 4)
    # Inside the map the surface is 4 y + x, whose mean is its value at the bin's centre.
    np.testing.assert_allclose(integral(plane, [np.array([[0.3, 0.4, 2.3, 1.8]])], 1).item(), 4 * 1.1 + 1.3)
    # A bin of one whole pixel [i - 1/2, i + 1/2]: 1/8, 3/4, 1/8 of three pixels.
    line = np.array([[[[1.0, 10, 100]]]])
    np.testing.assert_allclose(integral(line, [np.array([[0.5, -0.5, 1.5, 0.5]])], 1).item(), 0.75 * 161 / 8)
    # Far outside: nothing. Across the border: the surface falls to 0 within a pixel.
    assert integral(line, [np.array([[5.0, 0, 9, 1]])], 2).tolist() == [[[[0, 0], [0, 0]]]]
    np.testing.assert_allclose(integral(np.ones((1, 1, 1, 1)), [np.array([[-1.0, -1, 1, 1]])], 1).item(), 0.25)


@given(SEEDS, st.floats(-3, 3))
def test_law_a_constant_map_has_its_value_inside(seed, value):
    low = np.random.default_rng(seed).uniform(0, 3, 2)
    boxes = np.concatenate([low, low + np.random.default_rng(seed + 1).uniform(0.01, 2, 2)])[None]
    np.testing.assert_allclose(integral(np.full((1, 1, 6, 6), value), [boxes], 3), value, rtol=1e-12, atol=1e-12)


@given(SEEDS)
def test_law_linear_in_the_features(seed):
    maps, boxes = some_case(seed)
    other = maps[::-1, :, ::-1]
    np.testing.assert_allclose(integral(2 * maps - 3 * other, boxes, 3),
                               2 * integral(maps, boxes, 3) - 3 * integral(other, boxes, 3), atol=1e-12)


@given(SEEDS)
def test_law_bins_add_up_to_the_box(seed):
    maps, boxes = some_case(seed)
    np.testing.assert_allclose(integral(maps, boxes, (2, 3)).mean((2, 3)), integral(maps, boxes, 1)[..., 0, 0],
                               atol=1e-12)


@given(SEEDS)
def test_law_many_samples_come_near(seed):
    maps, boxes = some_case(seed)
    boxes[:, 1:3] = np.abs(boxes[:, 1:3]) % 2  # samples repeat the border's pixels, the surface falls to 0
    boxes[:, 3:] = boxes[:, 1:3] + 2.5
    np.testing.assert_allclose(integral(maps, boxes, 2), reference.roi_align(maps, boxes, 2, 1.0, 400), atol=1e-4)


@given(SEEDS, st.booleans())
def test_the_gradient_is_that_of_the_boxes(seed, aligned):
    """Against central differences, which are off by the step times a jump of the second derivative."""
    maps, boxes = some_case(seed, n=2)
    boxes[:, 3:] += 1
    grad = np.random.default_rng(seed).normal(size=(2, 2, 2, 3))
    found, step = reference.roi_align_boxes_backward(grad, maps, boxes, 0.5, aligned), 1e-5
    for k, i in np.ndindex(2, 4):
        moved = [boxes.copy(), boxes.copy()]
        moved[0][k, 1 + i] -= step
        moved[1][k, 1 + i] += step
        less, more = ((integral(maps, b, (2, 3), 0.5, aligned) * grad).sum() for b in moved)
        np.testing.assert_allclose(found[k, 1 + i], (more - less) / (2 * step), atol=2e-3)
    assert not found[:, 0].any()


AWKWARD = [[3, 3, 1, 5], [3, 3, 5, 1], [3, 3, 1, 1], [2, 2, 2, 5], [np.nan, 0, 4, 4], [0, 0, np.inf, 4],
           [-1e308, 0, 1e308, 4]]


@pytest.mark.parametrize("box", AWKWARD)
def test_an_empty_reversed_or_infinite_box_gives_0(box):
    maps, boxes = np.ones((1, 2, 5, 5)), [np.array([box], np.float64)]
    assert not integral(maps, boxes, 2).any()
    assert not reference.roi_align_backward(np.ones((1, 2, 2, 2)), boxes, maps.shape, 2, rule="integral").any()
    assert not reference.roi_align_boxes_backward(np.ones((1, 2, 2, 2)), maps, boxes).any()


def test_a_bin_without_length_has_the_value_at_its_place():
    line = np.arange(2048.0, dtype=np.float32).reshape(1, 1, 1, -1)
    boxes = [np.array([[1024.5, -0.25, np.nextafter(np.float32(1024.5), np.float32(2000)), 0.25]], np.float32)]
    np.testing.assert_allclose(integral(line, boxes, (1, 4)) / 0.875, 1024.5, rtol=1e-6)


def test_contract():
    maps, boxes = np.ones((1, 1, 4, 4)), [np.ones((0, 4))]
    with pytest.raises(ValueError, match="sampling_ratio must be at most 0 with rule='integral', got 2"):
        reference.roi_align(maps, boxes, 2, 1.0, 2, rule="integral")
    with pytest.raises(ValueError, match="rule must be one of 'samples', 'integral', got 'exact'"):
        reference.roi_align(maps, boxes, 2, rule="exact")
