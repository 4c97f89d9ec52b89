"""mask_rotated: hand-worked values, laws and awkward input of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference import rle
from roikit.testing import strategies as some

ANGLES = st.sampled_from([0, 90, -90, 180, 45, 33.3, -120.7, 360])


def upright(boxes):
    half = boxes.dtype.type(0.5)
    return np.concatenate([boxes[:, :2] - half * boxes[:, 2:4], boxes[:, :2] + half * boxes[:, 2:4]], 1)


def test_targets_turn_counter_clockwise():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, 2, 5] = True  # the upper right pixel of the box
    expected = np.zeros((4, 4))
    for degrees, at in ((0, (0, 3)), (90, (3, 3)), (180, (3, 0)), (-90, (0, 0)), (450, (3, 3))):
        target = reference.mask_targets_rotated(mask, np.array([[4.0, 4, 4, 4, degrees]]), np.array([0]), 4)[0]
        expected[:] = 0
        expected[at] = 1
        assert target.tolist() == expected.tolist(), degrees


def test_binary_is_from_one_half_on():
    mask = np.zeros((1, 4, 4), bool)
    mask[0, :, 2:] = True
    boxes = np.array([[2.0, 1, 1, 1, 0], [1.75, 1, 1, 1, 0], [2, 1, 1, 1, 180]])
    soft, binary = (reference.mask_targets_rotated(mask, boxes, np.zeros(3, int), 1, rule=rule).ravel().tolist()
                    for rule in ("soft", "binary"))
    assert soft == [0.5, 0.25, 0.5] and binary == [1, 0, 1]


@given(st.data(), some.bitmaps(), st.integers(1, 4))
def test_law_the_target_is_roi_align_rotated_of_the_mask(data, masks, size):
    boxes = data.draw(some.rotated_boxes(n=None if len(masks) else 0, dtype=np.float64, kinds=("grid", "cluster")))
    matched = np.arange(len(boxes)) % max(len(masks), 1)
    soft = reference.mask_targets_rotated(masks, boxes, matched, size)
    mean = reference.roi_align_rotated(masks[:, None].astype(np.float64), np.concatenate([matched[:, None], boxes], 1),
                                       size)[:, 0]
    # Each of two positions is cut by less than 2^-14 of a pixel, over which a value moves by 1 at the most.
    assert (np.abs(soft - mean) <= 2 * 2.0**-14 + 1e-7).all()
    binary = reference.mask_targets_rotated(masks, boxes, matched, size, rule="binary")
    clear = np.abs(mean - 0.5) > 2 * 2.0**-14
    np.testing.assert_array_equal(binary[clear], mean[clear] >= 0.5)


@given(st.data(), some.bitmaps(n=2, size=(9, 7)), st.sampled_from([1, 2, 4]))
def test_law_at_angle_0_binary_targets_are_those_of_the_upright_box(data, masks, size):
    box = st.tuples(*[st.integers(0, 32).map(lambda i: i / 4)] * 2, *[st.sampled_from([1.0, 2.0, 4.0, 8.0])] * 2)
    boxes = np.array([(*b, data.draw(st.sampled_from([0, 360]))) for b in data.draw(st.lists(box, max_size=3))])
    boxes = boxes.reshape(-1, 5)
    matched = np.arange(len(boxes)) % 2  # all weights are eighths, so that neither rounds
    np.testing.assert_array_equal(
        reference.mask_targets_rotated(masks, boxes, matched, size, rule="binary"),
        reference.mask_targets(masks, upright(boxes), matched, size, rule="binary"))


@given(st.data(), some.bitmaps(dtype=np.uint8))
def test_law_rle_gives_what_its_bitmap_gives(data, masks):
    boxes = data.draw(some.rotated_boxes(n=None if len(masks) else 0, max_size=3))
    matched = np.arange(len(boxes)) % max(len(masks), 1)
    runs = [{"size": list(m.shape), "counts": rle.string_from_counts(rle.encode(m))} for m in masks]
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(reference.mask_targets_rotated(runs, boxes, matched, 3),
                                      reference.mask_targets_rotated(masks, boxes, matched, 3))


@given(some.soft_masks(n=3), some.rotated_boxes(n=3, copies=False), st.sampled_from([None, 0.5, 0.25]),
       st.sampled_from([0, 360, -720]))
@np.errstate(all="ignore")
def test_law_at_angle_0_a_mask_is_pasted_as_into_the_upright_box(masks, boxes, threshold, degrees):
    boxes[:, 4] = degrees
    np.testing.assert_array_equal(reference.paste_masks_rotated(masks, boxes, (11, 9), threshold=threshold),
                                  reference.paste_masks(masks, upright(boxes), (11, 9), threshold=threshold))


def test_pasting_turns_counter_clockwise():
    masks, box = np.zeros((1, 4, 4)), [4.0, 4, 4, 4]
    masks[0, 0, 3] = 1  # the upper right cell
    for degrees, at in ((0, (2, 5)), (90, (2, 2)), (180, (5, 2)), (-90, (5, 5))):
        pasted = reference.paste_masks_rotated(masks, np.array([[*box, degrees]]), (8, 8), threshold=None)[0]
        assert [tuple(i) for i in np.argwhere(pasted == 1)] == [at] and pasted.sum() == 1, degrees


@given(some.soft_masks(n=2, cells=4), ANGLES)
def test_law_half_a_turn_of_box_and_mask_changes_nothing(masks, degrees):
    box = np.array([[6.0, 5, 7, 4, degrees]] * 2)
    turned = box + [0, 0, 0, 0, 180]
    one, other = (reference.paste_masks_rotated(m, b, (11, 13), threshold=None)
                  for m, b in ((masks.astype(float), box), (masks[:, ::-1, ::-1].astype(float), turned)))
    np.testing.assert_allclose(one, other, atol=1e-12)


@given(ANGLES, st.sampled_from([7, 14, 28]))
def test_law_a_full_mask_fills_its_box(degrees, cells):
    box = np.array([[20.0, 22, 18, 9, degrees]])
    area = reference.paste_masks_rotated(np.ones((1, cells, cells)), box, (44, 42)).sum()
    assert abs(area - 18 * 9) <= 2 * (18 + 9)


@pytest.mark.parametrize("wrong", [
    [np.nan, 2, 3, 3, 0], [2, np.inf, 3, 3, 0], [2, 2, -3, 3, 0], [2, 2, 3, 0, 0], [2, 2, 3, np.nan, 0],
    [2, 2, 3, 3, np.inf], [2, 2, 3, 3, np.nan], [2, 2, np.inf, np.inf, 45], [900, 900, 5, 5, 45]])
def test_a_box_without_size_or_number_or_outside_gives_0(wrong):
    boxes = np.array([wrong], float)
    assert not reference.mask_targets_rotated(np.ones((1, 5, 5), bool), boxes, np.array([0]), 3).any()
    assert not reference.paste_masks_rotated(np.ones((1, 3, 3)), boxes, (5, 5), threshold=1e-3).any()
    runs = reference.paste_masks_rotated_rle(np.ones((1, 3, 3)), boxes, (5, 5))
    assert runs == [{"size": [5, 5], "counts": rle.string_from_counts(rle.encode(np.zeros((5, 5), bool)))}]


def test_contract_wrong_arguments_say_so():
    masks, box = np.zeros((1, 3, 3)), np.zeros((1, 5))
    with pytest.raises(ValueError, match=r"paste_masks_rotated: boxes must have shape \(N, 5\), got \(1, 4\)"):
        reference.paste_masks_rotated(masks, box[:, :4], (3, 3))
    with pytest.raises(ValueError, match="paste_masks_rotated: threshold must be above 0 or None, got 0"):
        reference.paste_masks_rotated(masks, box, (3, 3), threshold=0)
    with pytest.raises(ValueError, match="paste_masks_rotated_rle: threshold must be above 0, got None"):
        reference.paste_masks_rotated_rle(masks, box, (3, 3), threshold=None)
    with pytest.raises(IndexError, match=r"mask_targets_rotated: matched must lie in \[0, 1\), got 1"):
        reference.mask_targets_rotated(masks > 0, box, np.array([1]), 2)
    with pytest.raises(ValueError, match="mask_targets_rotated: rule must be 'soft' or 'binary', got 'hard'"):
        reference.mask_targets_rotated(masks > 0, box, np.array([0]), 2, rule="hard")
