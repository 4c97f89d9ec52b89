"""Images made of several: what is pasted, what it covers, and windows of four."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit.data import transforms as T
from roikit.data.mixing import CopyPaste, Mosaic, pasted
from roikit.data.rotated import corners_of_boxes

from .bitmaps import as_sample, dense, generator, tight


class Images:
    """Samples by index, as a data set has them; ``asked`` are the indices that were."""

    def __init__(self, *samples):
        self.samples, self.asked = samples, []

    def __len__(self):
        return len(self.samples)

    def sample(self, index):
        self.asked.append(index)
        return self.samples[index]


def drawn(seed, size=(20, 24), count=3, value=None):
    """A sample of rectangles; its pixels are noise, or ``value``."""
    rng = generator(seed)
    bitmaps = np.zeros((count, *size), np.uint8)
    for bitmap in bitmaps:
        y, x = rng.integers(0, size[0] - 6), rng.integers(0, size[1] - 8)
        bitmap[y:y + rng.integers(2, 7), x:x + rng.integers(2, 9)] = 1
    image = rng.integers(0, 256, (*size, 3), np.uint8) if value is None else np.full((*size, 3), value, np.uint8)
    return replace(as_sample(bitmaps, image), semantic=bitmaps.max(0), crowd_boxes=np.zeros((0, 4)))


@given(st.integers(0, 2**20), st.integers(0, 2**20))
def test_law_each_pixel_is_of_the_object_on_top(seed, other_seed):
    sample, other = drawn(seed), replace(drawn(other_seed), crowd_boxes=np.ones((1, 4)))
    result = pasted(sample, other)
    below, above = dense(sample.masks, sample.size), dense(other.masks, other.size)
    cover = above.any(0)
    left = below * ~cover
    expected = np.concatenate([left[left.any((1, 2))], above])
    np.testing.assert_array_equal(dense(result.masks, result.size), expected)
    np.testing.assert_array_equal(result.boxes, tight(expected))
    np.testing.assert_array_equal(result.area, expected.sum((1, 2)))
    np.testing.assert_array_equal(result.labels, [*sample.labels[left.any((1, 2))], *other.labels])
    np.testing.assert_array_equal(result.image, np.where(cover[..., None], other.image, sample.image))
    np.testing.assert_array_equal(result.semantic, np.where(cover, other.semantic, sample.semantic))
    assert not len(result.crowd_boxes)  # the other's is not pasted


def test_contract_what_is_not_touched_stays_and_what_is_covered_is_hidden():
    bitmaps = np.zeros((3, 16, 16), np.uint8)
    bitmaps[0, 1:5, 1:5] = bitmaps[1, 8:12, 8:12] = bitmaps[2, 8:10, 8:10] = 1
    sample = as_sample(bitmaps)
    polygons = [np.array([1.0, 1, 5, 1, 5, 5, 1, 5])]
    sample = replace(sample, boxes=sample.boxes + 0.25, masks=[polygons, *sample.masks[1:]],
                     keypoints=np.array([[[2.0, 2, 2]], [[9.5, 9.5, 2]], [[8, 8, 1]]]))
    cover = np.zeros((1, 16, 16), np.uint8)
    cover[0, 8:11, 8:11] = 1
    other = replace(as_sample(cover, np.full((16, 16, 3), 7, np.uint8)), keypoints=np.array([[[8.0, 8, 2]]]))
    result = pasted(sample, other)
    assert isinstance(result.masks[0], list) and (result.boxes[0] == sample.boxes[0]).all()
    np.testing.assert_array_equal(result.boxes[1], [8, 8, 12, 12])
    assert result.area.tolist() == [16, 7, 9] and result.labels.tolist() == [1, 2, 1]  # the third is wholly covered
    assert result.keypoints[:, 0].tolist() == [[2, 2, 2], [9.5, 9.5, 1], [8, 8, 2]]


def test_law_pasted_objects_are_of_the_other_image_and_change_with_the_generator():
    source = Images(*(drawn(k, size=(12 + k, 30 - k), value=10 * k + 100) for k in range(5)))
    sample, counts = drawn(9, value=0), []
    for seed in range(60):
        source.asked.clear()
        result = CopyPaste(1.0, source)(sample, generator(seed))
        again = CopyPaste(1.0, source)(sample, generator(seed))
        np.testing.assert_array_equal(result.image, again.image)
        assert result.size == sample.size and len(source.asked) == 2
        masks = dense(result.masks, result.size)
        foreign = result.image[..., 0] > 0
        assert set(np.unique(result.image)) <= {0, 100 + 10 * source.asked[0]}
        assert not (foreign & ~masks.any(0)).any()  # each pasted pixel is of an object
        counts.append(len(result.labels))
    assert len(set(counts)) > 3
    assert CopyPaste(0.0, source)(sample, generator()) is sample


def test_contract_the_other_image_is_prepared_first():
    source = Images(drawn(1, value=50))
    result = CopyPaste(1.0, source, T.BrightnessContrast(0, 0))(drawn(2, value=0), generator(3))
    assert set(np.unique(result.image)) == {0, 50}
    flipped = CopyPaste(1.0, source, lambda sample, rng: replace(sample, image=sample.image + np.uint8(9)))
    assert set(np.unique(flipped(drawn(2, value=0), generator(3)).image)) == {0, 59}


def test_contract_another_depth_is_brought_to_this_ones():
    source = Images(replace(drawn(1), image=np.full((20, 24, 3), 65535, np.uint16)))
    result = CopyPaste(1.0, source)(drawn(2, value=0), generator(3))
    assert result.image.dtype == np.uint8 and set(np.unique(result.image)) == {0, 255}


def test_error_boxes_alone():
    source = Images(replace(drawn(1), masks=None))
    with pytest.raises(ValueError, match="CopyPaste: objects must have masks"):
        CopyPaste(1.0, source)(drawn(2), generator())


@given(st.integers(0, 2**20))
def test_law_a_mosaic_is_four_windows(seed):
    source = Images(*(drawn(k, size=(12 + 9 * k, 30 - 5 * k), value=10 * k + 100) for k in range(4)))
    sample = drawn(seed, value=20)
    result = Mosaic(1.0, source)(sample, generator(seed))
    assert result.size == sample.size and len(source.asked) == 3
    values, masks = result.image[..., 0], dense(result.masks, result.size)
    assert {20} < set(np.unique(values)) <= {0, 20, *(10 * k + 100 for k in source.asked)}
    np.testing.assert_array_equal(result.boxes, tight(masks))
    np.testing.assert_array_equal(result.area, masks.sum((1, 2)))
    # Each object lies within one window, and has its pixels in the label map.
    for mask in masks:
        assert len(np.unique(values[mask > 0])) == 1
    assert (result.semantic[masks.any(0)] == 1).all() and not (result.semantic == 1)[~masks.any(0)].any()
    assert values[0, 0] == 20


def test_contract_a_mosaic_of_boxes_alone():
    source = Images(replace(drawn(1), masks=None))
    result = Mosaic(1.0, source)(replace(drawn(2), masks=None), generator(1))
    assert result.masks is None and len(result.boxes) == len(result.labels) == len(result.area)
    assert (result.boxes[:, 2:] > result.boxes[:, :2]).all() and (result.boxes[:, 2] <= 24).all()


def full(seed, size):
    """A sample with everything: polygons and bitmaps, keypoints, rotated boxes, a label map and a crowd."""
    sample = drawn(seed, size)
    rng, count = generator(seed), len(sample.labels)
    x1, y1, x2, y2 = sample.boxes[0]
    masks = [[np.array([x1 - 3, y1, x2, y1, x2, y2])], *sample.masks[1:]]  # it may reach over the border
    points = np.concatenate([rng.uniform(0, 1, (count, 2, 2)) * [size[1], size[0]], rng.integers(1, 3, (count, 2, 1))],
                            -1)
    corners = corners_of_boxes(np.column_stack([rng.uniform(4, 12, (count, 4)), rng.uniform(-90, 90, count)]))
    return replace(sample, masks=masks, keypoints=points, corners=corners, crowd_boxes=np.array([[1.0, 1, 5, 5]]))


@given(st.integers(0, 2**20))
def test_law_all_changes_together_leave_a_sample_whole(seed):
    source = Images(*(full(seed + k, size) for k, size in enumerate([(20, 24), (30, 18), (9, 40)])))
    before = [T.Mosaic(0.5, source), T.RandomScaleCrop((22, 26), (0.6, 1.6)), T.HorizontalFlip(0.5), T.Rotate90(),
              T.RandomRotation(60)]
    change = T.Compose((*before, T.CopyPaste(0.7, source, T.Compose(tuple(before)))))
    result = change(source.samples[0], generator(seed))
    count, (height, width) = len(result.labels), result.size
    masks = dense(result.masks, result.size)
    parts = result.boxes, result.area, result.masks, result.keypoints, result.corners
    assert {len(part) for part in parts} == {count}
    assert masks.any((1, 2)).all()
    np.testing.assert_array_equal(result.boxes, tight(masks))
    np.testing.assert_array_equal(result.area, masks.sum((1, 2)))
    seen = result.keypoints[result.keypoints[..., 2] > 0]
    assert (seen[:, :2] >= -1e-9).all() and (seen[:, :2] <= np.array([width, height]) + 1e-9).all()
    assert result.semantic.shape == result.size and set(np.unique(result.semantic)) <= {0, 1, 255}
    again = change(source.samples[0], generator(seed))
    np.testing.assert_array_equal(result.image, again.image)
