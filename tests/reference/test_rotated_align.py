"""roi_align_rotated: hand-worked values and laws of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.roi_align import TOLERANCE
from roikit.reference.rotated_align import bin_weights
from roikit.testing import strategies as some

RAMP = np.arange(64.0).reshape(1, 1, 8, 8)  # y * 8 + x


def test_by_hand():
    # The box covers columns 1 to 5 and rows 2 to 4: bins of 2 x 1 pixels, centres at 1.5 + 2 i and 2 + j.
    box = [[0, 3.0, 3.0, 4.0, 2.0, 0]]
    x, y = np.array([1.5, 3.5]), np.array([2.0, 3.0])
    expected = y[:, None] * 8 + x
    np.testing.assert_allclose(reference.roi_align_rotated(RAMP, np.array(box), 2)[0, 0], expected, rtol=1e-12)


# Bins of one pixel; at 90 degrees the width points up on the screen, so that columns of bins go up, rows to the right.
@pytest.mark.parametrize("degrees, expected", [
    (0, [[18, 19], [26, 27]]), (90, [[26, 18], [27, 19]]), (180, [[27, 26], [19, 18]]), (-90, [[19, 27], [18, 26]]),
    (450, [[26, 18], [27, 19]])])
def test_bins_turn_counter_clockwise(degrees, expected):
    box = np.array([[0, 3.0, 3.0, 2.0, 2.0, degrees]])  # pixels (2, 2) to (3, 3)
    assert reference.roi_align_rotated(RAMP, box, 2)[0, 0].tolist() == expected


BOXES = st.tuples(*[st.integers(0, 40).map(lambda i: i / 4)] * 2, *[st.sampled_from([1.0, 2.0, 4.0, 8.0])] * 2)


def upright(boxes):
    return np.array([[0, x - w / 2, y - h / 2, x + w / 2, y + h / 2] for x, y, w, h in boxes]).reshape(-1, 5)


def turned(boxes, degrees):
    return np.array([[0, *box, degrees] for box in boxes]).reshape(-1, 6)


@given(st.lists(BOXES, max_size=3), some.feature_maps((1, 2, 9, 7), np.float64), st.sampled_from([-1, 1, 2]),
       st.sampled_from([0, 360, -720]))
def test_law_at_angle_0_it_is_roi_align_aligned(boxes, maps, ratio, degrees):
    size = 2, 4  # powers of two, with which both round nothing
    np.testing.assert_allclose(reference.roi_align_rotated(maps, turned(boxes, degrees), size, 0.5, ratio),
                               reference.roi_align(maps, upright(boxes), size, 0.5, ratio, aligned=True), atol=1e-12)


@given(st.lists(BOXES, min_size=1, max_size=3), some.feature_maps((1, 2, 9, 9), np.float64), st.sampled_from([-1, 2]))
def test_law_a_turned_map_gives_the_same_to_a_turned_box(boxes, maps, ratio):
    found = reference.roi_align_rotated(maps, turned(boxes, 30), 3, 1.0, ratio)
    # np.rot90 turns counter-clockwise: the pixel at (x, y) goes to (y, 9 - x).
    quarter = np.rot90(maps, axes=(2, 3)).copy()
    moved = [(y, 9 - x, w, h) for x, y, w, h in boxes]
    again = reference.roi_align_rotated(quarter, turned(moved, 120), 3, 1.0, ratio)
    np.testing.assert_allclose(again, found, atol=1e-9)


@given(st.lists(BOXES, min_size=1, max_size=3), some.feature_maps((1, 1, 9, 9), np.float64),
       st.sampled_from([0, 45, 33.3]))
def test_law_half_a_turn_reverses_the_bins(boxes, maps, degrees):
    one, other = (reference.roi_align_rotated(maps, turned(boxes, degrees + d), (2, 3), 1.0, 2) for d in (0, 180))
    np.testing.assert_allclose(other, one[:, :, ::-1, ::-1], atol=1e-9)


@given(st.lists(BOXES, min_size=1, max_size=3), st.floats(-400, 400))
def test_law_a_constant_map_gives_its_value_to_a_box_inside(boxes, degrees):
    inside = [(x + 20, y + 20, w, h) for x, y, w, h in boxes]
    output = reference.roi_align_rotated(np.full((1, 1, 60, 60), 3.0), turned(inside, degrees), 3)
    np.testing.assert_allclose(output, 3)


def test_a_huge_box_visits_the_samples_on_the_map_alone():
    maps = np.random.default_rng(0).standard_normal((1, 1, 5, 6))
    for size in (1e3, 1e7, 1e20):
        box = np.array([[0, 3.0, 2.0, size, size, 45.0]])
        output = reference.roi_align_rotated(maps, box, 1)
        # Every pixel is sampled about as often; the samples beyond count 0.
        assert np.abs(output * size**2).max() < 40 * (size / min(size, 2**24)) ** 2


@pytest.mark.parametrize("wrong", [
    [np.nan, 2, 3, 3, 0], [2, np.inf, 3, 3, 0], [2, 2, -3, 3, 0], [2, 2, 3, 0, 0], [2, 2, 3, np.nan, 0],
    [2, 2, 3, 3, np.inf], [2, 2, 3, 3, np.nan], [2, 2, 1e31, 3, 0], [-1e31, 2, 3, 3, 0], [2, 2, np.inf, np.inf, 45]])
def test_a_box_without_size_or_number_gives_0(wrong):
    boxes = np.array([[0.0, *wrong]])
    assert not reference.roi_align_rotated(RAMP, boxes, 2, 1.0, 2).any()
    grad = np.ones((1, 1, 2, 2))
    assert not reference.roi_align_rotated_backward(grad, boxes, RAMP.shape, 2, 1.0, 2).any()


@given(st.data(), st.sampled_from([np.float32, np.float64]), st.sampled_from([-1, 1, 3]))
def test_law_backward_is_the_transpose_of_forward(data, dtype, ratio):
    maps = data.draw(some.feature_maps((2, 2, 5, 7), dtype))
    boxes = data.draw(some.rotated_boxes(kinds=("grid", "cluster", "scattered")))
    boxes = np.concatenate([np.arange(len(boxes))[:, None] % 2, boxes], axis=1).astype(dtype)
    output = reference.roi_align_rotated(maps, boxes, (2, 3), 0.5, ratio)
    grad = np.random.default_rng(0).integers(-4, 5, output.shape).astype(dtype)
    gradient = reference.roi_align_rotated_backward(grad, boxes, maps.shape, (2, 3), 0.5, ratio)
    scale = 1 + np.abs(output * grad).sum() + np.abs(maps * gradient).sum()
    assert abs((output * grad).sum() - (maps * gradient).sum()) <= 10 * TOLERANCE[np.dtype(dtype).name] * scale


@given(some.rotated_boxes(kinds=("cluster", "scattered", "thin"), max_size=3), st.sampled_from([-1, 2]))
def test_law_weights_are_those_of_a_mean(boxes, ratio):
    for box in boxes.astype(np.float64):
        for _, _, weights in bin_weights(box, (2, 2), (9, 9), 0.5, ratio):
            assert (weights >= 0).all() and weights.sum() <= 1 + 1e-9


def test_contract_wrong_arguments_say_so():
    with pytest.raises(IndexError, match=r"roi_align_rotated: boxes must have a whole batch index .*, got 1.0"):
        reference.roi_align_rotated(RAMP, np.array([[1.0, 2, 2, 3, 3, 0]]), 2)
    with pytest.raises(ValueError, match=r"roi_align_rotated: boxes must have shape \(K, 6\), got \(1, 5\)"):
        reference.roi_align_rotated(RAMP, np.zeros((1, 5)), 2)
    with pytest.raises(TypeError, match="roi_align_rotated: input must be float16, float32 or float64, got int64"):
        reference.roi_align_rotated(RAMP.astype(int), np.zeros((1, 6)), 2)


def test_the_level_is_that_of_the_area():
    features = [np.full((1, 1, 4, 4), float(i)) for i in range(3)]
    boxes = np.array([[0, 8, 8, w, h, angle] for w, h, angle in
                      [(8, 8, 0), (16, 4, 33), (16, 16, 45), (32, 32, 90), (64, 1, 45), (-3, 90, 0)]], float)
    pooled = reference.multiscale_roi_align_rotated(features, boxes, 1, (0.5, 0.25, 0.125), canonical_scale=8,
                                                    canonical_level=1, sampling_ratio=1)
    assert pooled.ravel().tolist() == [0, 0, 1, 2, 0, 0]


@given(st.data(), st.sampled_from([-1, 2]))
def test_law_a_pyramid_is_roi_align_rotated_on_each_level(data, ratio):
    maps = [data.draw(some.feature_maps((2, 1, side, side), np.float64)) for side in (8, 4)]
    boxes = data.draw(some.rotated_boxes(kinds=("grid", "cluster", "scattered", "degenerate")))
    rois = np.concatenate([np.arange(len(boxes))[:, None] % 2, boxes], axis=1)
    with np.errstate(over="ignore"):
        coarse = np.sqrt(np.maximum(boxes[:, 2], 0) * np.maximum(boxes[:, 3], 0)) >= 8 * 2 ** -1e-6
    rule = {"sampling_ratio": ratio, "canonical_scale": 8, "canonical_level": 2}
    pooled = reference.multiscale_roi_align_rotated(maps, rois, 2, (0.5, 0.25), **rule)
    shapes = [m.shape for m in maps]
    back = reference.multiscale_roi_align_rotated_backward(pooled, rois, shapes, 2, (0.5, 0.25), **rule)
    for i, mine in enumerate((~coarse, coarse)):
        alone = maps[i], rois[mine], 2, 0.5 / (i + 1), ratio
        np.testing.assert_array_equal(pooled[mine], reference.roi_align_rotated(*alone))
        np.testing.assert_array_equal(back[i], reference.roi_align_rotated_backward(
            pooled[mine], rois[mine], shapes[i], *alone[2:]))


def test_contract_levels_without_scales_say_so():
    op = "multiscale_roi_align_rotated"
    with pytest.raises(ValueError, match=f"{op}: scales must have one value a level, got 2 for 1"):
        reference.multiscale_roi_align_rotated([RAMP], np.zeros((0, 6)), 1, (1.0, 0.5))
    with pytest.raises(ValueError, match=f"{op}: scales must name at least one level"):
        reference.multiscale_roi_align_rotated([], np.zeros((0, 6)), 1, ())
