"""mask_target: hand-worked values, laws and awkward input of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference import polygon, rle
from roikit.reference.mask_target import TOLERANCE
from roikit.testing import strategies as some

RULES = st.sampled_from(["soft", "binary"])


def test_soft_by_hand():
    mask = np.zeros((1, 4, 4), np.uint8)
    mask[0, 1:3, 1:3] = 1
    # Not aligned, samples fall half a pixel down and right: bin (0, 0) of box 0..4 averages the
    # samples at 0.5 and 1.5, of which the weights on rows 1, 2 are 0.5 and 1; bin 1 those at 2.5, 3.5.
    target = reference.mask_targets(mask, np.array([[0, 0, 4, 4]], np.float32), np.array([0]), 2)
    assert target.tolist() == [[[0.5625, 0.1875], [0.1875, 0.0625]]] and target.dtype == np.float32


def test_binary_by_hand():
    mask = np.zeros((1, 4, 4), bool)
    mask[0, :, 2:] = True
    boxes = np.array([[0, 0, 4, 4], [1, 0, 3, 2], [1.5, 0, 2.5, 1], [1.25, 0, 2.25, 1]], np.float32)
    target = reference.mask_targets(mask, boxes, np.zeros(4, int), 1, rule="binary")
    assert target.ravel().tolist() == [1, 1, 1, 0]  # exactly one half is inside


def test_masks_are_not_mixed():
    masks = np.zeros((2, 3, 3), np.uint8)
    masks[1] = 255  # anything that is not 0 is inside
    targets = reference.mask_targets(masks, np.array([[0, 0, 2, 2]] * 3, np.float32), np.array([1, 0, 1]), 2)
    assert [t.tolist() for t in targets] == [[[1, 1], [1, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]]


@given(st.data(), some.bitmaps(), st.integers(1, 4), RULES)
def test_law_the_target_is_roi_align_of_the_mask(data, masks, size, rule):
    boxes = data.draw(some.boxes(n=None if len(masks) else 0, kinds=some.FINITE))
    matched = np.array([data.draw(st.integers(0, len(masks) - 1)) for _ in boxes], np.int64)
    targets = reference.mask_targets(masks, boxes, matched, size, rule=rule)
    rois = np.concatenate([matched[:, None].astype(np.float32), boxes], axis=1)
    mean = reference.roi_align(masks[:, None].astype(np.float32), rois, size, aligned=rule == "binary")[:, 0]
    assert targets.shape == (len(boxes), size, size) and targets.dtype == np.float32
    if rule == "soft":
        assert (np.abs(targets - mean) <= TOLERANCE).all()
    else:
        clear = np.abs(mean - 0.5) > TOLERANCE
        np.testing.assert_array_equal(targets[clear], mean[clear] >= 0.5)


def as_rle(mask, form):
    counts = rle.encode(mask)
    text = rle.string_from_counts(counts)
    return {"size": list(mask.shape), "counts": {"runs": counts.tolist(), "bytes": text, "str": text.decode()}[form]}


@given(st.data(), some.bitmaps(dtype=np.uint8), st.sampled_from(["runs", "bytes", "str"]), RULES)
def test_law_rle_gives_what_its_bitmap_gives(data, masks, form, rule):
    boxes = data.draw(some.boxes(n=None if len(masks) else 0))
    matched = np.array([data.draw(st.integers(0, len(masks) - 1)) for _ in boxes], np.int64)
    np.testing.assert_array_equal(
        reference.mask_targets([as_rle(mask, form) for mask in masks], boxes, matched, 3, rule=rule),
        reference.mask_targets(masks, boxes, matched, 3, rule=rule))


@given(st.data(), RULES)
def test_law_polygons_give_what_their_bitmap_gives(data, rule):
    corners = data.draw(st.lists(st.integers(0, 40).map(lambda i: i / 4), min_size=6, max_size=10))
    objects = [[corners[: len(corners) // 2 * 2], [1.0, 1.0, 5.0, 1.0, 5.0, 4.0]], []]
    boxes = data.draw(some.boxes(kinds=some.FINITE))
    matched = np.array([data.draw(st.integers(0, 1)) for _ in boxes], np.int64)
    bitmaps = np.stack([polygon.rasterize(one, 9, 11) for one in objects])
    np.testing.assert_array_equal(
        reference.mask_targets(objects, boxes, matched, 3, rule=rule, image_size=(9, 11)),
        reference.mask_targets(bitmaps, boxes, matched, 3, rule=rule))


@given(st.data(), RULES)
def test_law_a_nonfinite_box_gives_0(data, rule):
    boxes = data.draw(some.boxes(kinds=("nonfinite",)))
    matched = np.zeros(len(boxes), np.int64)
    assert not reference.mask_targets(np.ones((1, 5, 5), bool), boxes, matched, 3, rule=rule).any()


def test_no_masks_and_no_boxes():
    nothing = reference.mask_targets(np.zeros((0, 4, 4), bool), np.zeros((0, 4)), np.zeros(0, int), 28)
    assert nothing.shape == (0, 28, 28) and nothing.dtype == np.float32
    empty = reference.mask_targets(np.zeros((1, 0, 4), bool), np.ones((1, 4)), np.zeros(1, int), 2)
    assert empty.tolist() == [[[0, 0], [0, 0]]]


def test_contract_wrong_arguments_say_so():
    masks, boxes = np.zeros((1, 4, 4), bool), np.zeros((1, 4))
    with pytest.raises(IndexError, match=r"mask_targets: matched must lie in \[0, 1\), got 1"):
        reference.mask_targets(masks, boxes, np.array([1]), 2)
    with pytest.raises(IndexError, match=r"mask_targets: matched must lie in \[0, 1\), got -1"):
        reference.mask_targets(masks, boxes, np.array([-1]), 2)
    with pytest.raises(TypeError, match="mask_targets: matched must be integers, got float64"):
        reference.mask_targets(masks, boxes, np.array([0.0]), 2)
    with pytest.raises(TypeError, match="mask_targets: masks must be bool or integer, got float64"):
        reference.mask_targets(masks.astype(float), boxes, np.array([0]), 2)
    with pytest.raises(ValueError, match="mask_targets: rule must be 'soft' or 'binary', got 'hard'"):
        reference.mask_targets(masks, boxes, np.array([0]), 2, rule="hard")
    with pytest.raises(ValueError, match="mask_targets: image_size must be given with polygons, got None"):
        reference.mask_targets([[[0, 0, 1, 0, 1, 1]]], boxes, np.array([0]), 2)
    with pytest.raises(ValueError, match=r"runs of masks must sum to height \* width"):
        reference.mask_targets([{"size": [2, 2], "counts": [3]}], boxes, np.array([0]), 2)
