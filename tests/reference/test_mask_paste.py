"""mask_paste: hand-worked values, laws and awkward input of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference import rle
from roikit.testing import strategies as some

NAN, INF = np.nan, np.inf
RULES = st.sampled_from(["continuous", "integer"])


def paste(mask, box, size, **options):
    masks, boxes = np.array([mask], np.float32), np.array([box], np.float32)
    return reference.paste_masks(masks, boxes, size, **options)[0]


def test_continuous_by_hand():
    # Cells of one pixel: the mask itself. Cells of two pixels, in one row: pixel centres lie a
    # quarter and three quarters between cell centres, and fade into the zeros around.
    mask = [[0.25, 0.5], [0.75, 1.0]]
    soft = paste(mask, [1, 1, 3, 3], (4, 4), threshold=None)
    assert soft.tolist() == [[0, 0, 0, 0], [0, 0.25, 0.5, 0], [0, 0.75, 1, 0], [0, 0, 0, 0]]
    soft = paste([[1, 0], [1, 0]], [2, 0, 6, 2], (2, 8), threshold=None)
    assert soft[0].tolist() == [0, 0.25, 0.75, 0.75, 0.25, 0, 0, 0]


def test_integer_by_hand():
    # M = 2 doubles the box about its centre: 2..6 becomes 0..8, nine pixels for four padded cells.
    soft = paste(np.ones((2, 2)), [2, 2, 6, 6], (10, 10), threshold=None, rule="integer")
    assert (soft[:, 9] == 0).all() and (soft[9] == 0).all()
    step = np.float32(4) / np.float32(9)
    u = (np.arange(9, dtype=np.float32) + np.float32(0.5)) * step - np.float32(0.5)
    tent = np.clip(np.minimum(u, 3 - u), 0, 1)  # 0 at the padding, 1 between the two cells
    np.testing.assert_allclose(soft[4, :9], tent * tent[4], rtol=1e-6, atol=1e-7)
    assert soft[4, 4] == 1


def test_integer_truncates_toward_zero():
    soft = paste([[1.0]], [-1.5, 0, 0.5, 1], (2, 3), threshold=None, rule="integer")
    # Grown: x -3.5..2.5 becomes -3..2 (six pixels), y -1..2 (four).
    assert (soft[:, 0] > 0).all() and soft[0, 2] == 0 and soft[1, 1] > 0


def test_the_threshold_is_reached_by_equality():
    mask = [[0.5, np.nextafter(np.float32(0.5), np.float32(0))]]
    assert paste([mask[0], mask[0]], [0, 0, 2, 2], (2, 2)).tolist() == [[True, False]] * 2
    assert paste([[NAN]], [0, 0, 1, 1], (1, 1)).tolist() == [[False]]
    # 0.7 is rounded to float32 before it is compared.
    assert paste([[0.7]], [0, 0, 1, 1], (1, 1), threshold=0.7).tolist() == [[True]]


def test_a_point_box_covers_nothing_or_one_pixel():
    assert not paste([[1.0]], [2, 2, 2, 2], (5, 5)).any()
    assert np.argwhere(paste([[1.0]], [2, 2, 2, 2], (5, 5), rule="integer")).tolist() == [[2, 2]]
    assert not paste([[1.0]], [4, 4, 1, 1], (5, 5)).any()


@given(some.soft_masks(), st.data(), RULES)
def test_law_the_mask_is_the_soft_value_at_the_threshold(masks, data, rule):
    boxes = data.draw(some.boxes(n=len(masks)))
    threshold = data.draw(st.sampled_from([0.125, 0.5, 0.7, 1.0]))
    soft = reference.paste_masks(masks, boxes, (7, 9), threshold=None, rule=rule)
    hard = reference.paste_masks(masks[:, None], boxes, (7, 9), threshold=threshold, rule=rule)
    assert soft.shape == hard.shape == (len(masks), 7, 9) and hard.dtype == bool and soft.dtype == np.float32
    np.testing.assert_array_equal(hard, soft >= np.float32(threshold))
    assert ((soft >= 0) & (soft <= masks.max(initial=0) * np.float32(1 + 1e-6))).all()


@given(st.data(), st.integers(1, 5), st.integers(-6, 8), st.integers(-6, 8))
def test_law_cells_of_one_pixel_copy_the_mask(data, cells, x, y):
    mask = data.draw(some.soft_masks(1, cells))
    image = np.zeros((24, 24), np.float32)
    image[8 + y : 8 + y + cells, 8 + x : 8 + x + cells] = mask[0]
    soft = reference.paste_masks(mask, np.array([[x, y, x + cells, y + cells]], np.float32), (9, 10), threshold=None)
    np.testing.assert_array_equal(soft[0], image[8:17, 8:18])


@given(st.data(), st.sampled_from([1, 2, 4]), RULES, st.integers(1, 6), st.integers(1, 6))
def test_law_moving_the_box_by_whole_pixels_moves_the_picture(data, cells, rule, dx, dy):
    masks = data.draw(some.soft_masks(cells=cells))  # cells for which (M + 2) / M is exact
    boxes = data.draw(some.boxes(n=len(masks), kinds=("grid",)))
    boxes[:, :2] = np.maximum(boxes[:, :2], 8)  # stay positive: truncation changes direction at zero
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    moved = boxes + np.array([dx, dy, dx, dy], np.float32)
    first = reference.paste_masks(masks, boxes, (32, 32), threshold=None, rule=rule)
    second = reference.paste_masks(masks, moved, (32 + dy, 32 + dx), threshold=None, rule=rule)
    np.testing.assert_allclose(second[:, dy:, dx:], first, rtol=0, atol=1e-5)


@given(some.soft_masks(), st.data(), RULES)
def test_law_nonfinite_boxes_and_boxes_outside_give_empty_masks(masks, data, rule):
    boxes = data.draw(some.boxes(n=len(masks), kinds=("nonfinite",)))
    assert not reference.paste_masks(masks, boxes, (6, 6), rule=rule).any()
    far = data.draw(some.boxes(n=len(masks), kinds=("grid",))) + np.float32(100)
    assert not reference.paste_masks(masks, far, (6, 6), threshold=None, rule=rule).any()


@given(st.data(), RULES)
def test_law_half_is_cast_to_float32(data, rule):
    masks = data.draw(some.soft_masks(dtype=np.float16))
    boxes = data.draw(some.boxes(n=len(masks), dtype=np.float16, kinds=some.FINITE))
    half = reference.paste_masks(masks, boxes, (6, 6), threshold=None, rule=rule)
    single = reference.paste_masks(masks.astype(np.float32), boxes.astype(np.float32), (6, 6), threshold=None,
                                   rule=rule)
    assert half.dtype == np.float32
    np.testing.assert_array_equal(half, single)


def test_rle_by_hand():
    # Column-major runs: 5 of nothing, 1 1, a gap of 2 between columns, 1 1, the rest.
    (only,) = reference.paste_masks_rle(np.ones((1, 2, 2), np.float32), np.array([[1, 1, 3, 3]], np.float32), (4, 4))
    assert only["size"] == [4, 4]
    assert rle.counts_from_string(only["counts"], 4, 4).tolist() == [5, 2, 2, 2, 5]
    assert only["counts"] == b"52203"  # from the fourth run on, less the one two before


@given(some.soft_masks(), st.data(), RULES)
def test_law_the_rle_is_that_of_the_bitmap(masks, data, rule):
    boxes = data.draw(some.boxes(n=len(masks)))
    pasted = reference.paste_masks(masks, boxes, (5, 6), threshold=0.25, rule=rule)
    encoded = reference.paste_masks_rle(masks, boxes, (5, 6), threshold=0.25, rule=rule)
    assert len(encoded) == len(masks)
    for mask, one in zip(pasted, encoded, strict=True):
        np.testing.assert_array_equal(rle.decode(rle.counts_from_string(one["counts"], 5, 6), 5, 6), mask)


@pytest.mark.parametrize("rule", ["continuous", "integer"])
def test_empty_masks_and_images_keep_their_shape(rule):
    boxes = np.array([[0, 0, 4, 4]], np.float32)
    for masks, some_boxes, size in ((np.zeros((0, 3, 3)), boxes[:0], (4, 5)), (np.ones((1, 3, 3)), boxes, (0, 5)),
                                    (np.ones((1, 3, 3)), boxes, (4, 0)), (np.ones((1, 0, 0)), boxes, (4, 5))):
        pasted = reference.paste_masks(masks.astype(np.float32), some_boxes, size, rule=rule)
        assert pasted.shape == (len(masks), *size) and not pasted.any()


@pytest.mark.parametrize("rule", ["continuous", "integer"])
def test_huge_boxes_are_finite(rule):
    for side in (1e9, 1e30, 3e38):
        soft = paste(np.ones((4, 4)), [-side, -side, side, side], (3, 3), threshold=None, rule=rule)
        assert np.isfinite(soft).all()


def test_contract_wrong_arguments_say_so():
    mask, box = np.zeros((1, 2, 2)), np.zeros((1, 4))
    with pytest.raises(ValueError, match=r"paste_masks: masks must have shape \(N, M, M\) or .* got \(1, 2, 3\)"):
        reference.paste_masks(np.zeros((1, 2, 3)), box, (4, 4))
    with pytest.raises(ValueError, match=r"paste_masks: boxes must have one row a mask \(1\), got 2"):
        reference.paste_masks(mask, np.zeros((2, 4)), (4, 4))
    with pytest.raises(ValueError, match="paste_masks: rule must be 'continuous' or 'integer', got 'nearest'"):
        reference.paste_masks(mask, box, (4, 4), rule="nearest")
    with pytest.raises(ValueError, match="paste_masks: threshold must be above 0 or None, got 0"):
        reference.paste_masks(mask, box, (4, 4), threshold=0)
    with pytest.raises(ValueError, match="paste_masks_rle: threshold must be above 0, got None"):
        reference.paste_masks_rle(mask, box, (4, 4), threshold=None)
