"""Transforms: an image, its boxes and its masks move together, whatever form the masks have."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit.data import CocoDataset, nuclei_mini
from roikit.data import transforms as T
from roikit.data.segmentation import encode

from .bitmaps import as_sample, dense, generator, tight

FLIPS = {"horizontal": T.HorizontalFlip(1), "vertical": T.VerticalFlip(1)}
TURNS = {**FLIPS, "rot90": T.Rotate90((1,)), "rot180": T.Rotate90((2,)), "rot270": T.Rotate90((3,))}
ON_IMAGE = {"horizontal": np.fliplr, "vertical": np.flipud, "rot90": np.rot90,
            "rot180": lambda image: np.rot90(image, 2), "rot270": lambda image: np.rot90(image, 3)}


@st.composite
def samples(draw):
    height, width = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rng = generator(draw(st.integers(0, 2**20)))
    count = draw(st.integers(1, 3))
    bitmaps = (rng.random((count, height, width)) < draw(st.sampled_from([0.05, 0.5, 1.0])))
    bitmaps = bitmaps.astype(np.uint8)
    for bitmap in bitmaps:
        bitmap[rng.integers(height), rng.integers(width)] = 1
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return as_sample(bitmaps, image), bitmaps


def polygon_sample():
    """Two triangles and a quadrangle of integer and of odd coordinates, as one object of two parts and one."""
    masks = [[np.array([3.0, 2, 20, 5, 9, 18]), np.array([30.0, 20, 44, 22, 36, 29])],
             [np.array([10.3, 12.7, 40.1, 11.2, 38.6, 27.9, 12.2, 25.4])]]
    bitmaps = dense(masks, (32, 48))
    return replace(as_sample(bitmaps), masks=masks), bitmaps


@pytest.mark.parametrize("name", TURNS)
@given(samples())
def test_law_motions_move_every_pixel_of_image_and_masks_alike(name, case):
    sample, bitmaps = case
    moved = TURNS[name](sample, generator())
    np.testing.assert_array_equal(moved.image, ON_IMAGE[name](sample.image))
    expected = np.stack([ON_IMAGE[name](bitmap) for bitmap in bitmaps])
    np.testing.assert_array_equal(dense(moved.masks, moved.size), expected)
    np.testing.assert_array_equal(moved.boxes, tight(expected))
    np.testing.assert_array_equal(moved.crowd_boxes, tight(expected)[:1])


@pytest.mark.parametrize("flip", FLIPS.values(), ids=FLIPS)
@given(samples())
def test_law_a_flip_twice_is_the_identity(flip, case):
    sample, _ = case
    again = flip(flip(sample, generator()), generator())
    np.testing.assert_array_equal(again.image, sample.image)
    np.testing.assert_array_equal(again.boxes, sample.boxes)
    assert [encode(mask, *again.size) for mask in again.masks] == sample.masks


@pytest.mark.parametrize("flip", FLIPS.values(), ids=FLIPS)
def test_law_a_flip_twice_is_the_identity_of_polygons(flip):
    sample, _ = polygon_sample()
    again = flip(flip(sample, generator()), generator())
    for rings, wanted in zip(again.masks, sample.masks, strict=True):
        for ring, points in zip(rings, wanted, strict=True):
            np.testing.assert_allclose(ring, points, rtol=0, atol=1e-12)


def test_law_four_quarter_turns_are_the_identity():
    sample, _ = polygon_sample()
    turned = sample
    for _ in range(4):
        turned = T.Rotate90((1,))(turned, generator())
    np.testing.assert_array_equal(turned.image, sample.image)
    np.testing.assert_array_equal(turned.boxes, sample.boxes)
    np.testing.assert_allclose(np.concatenate(turned.masks[1]), np.concatenate(sample.masks[1]),
                               rtol=0, atol=1e-12)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("transform", [*TURNS.values(), T.Resize((48,)), T.Resize((20,)),
                                       T.RandomScaleCrop((32, 48), (1.2, 1.2)),
                                       T.RandomScaleCrop((40, 40), (0.7, 0.7))],
                         ids=[*TURNS, "larger", "smaller", "crop", "pad"])
def test_agreement_of_polygons_with_their_bitmaps(transform):
    polygons, bitmaps = polygon_sample()
    moved = transform(polygons, generator(3))
    from_rle = transform(as_sample(bitmaps), generator(3))
    np.testing.assert_array_equal(moved.labels, from_rle.labels)
    assert all(isinstance(mask, list) for mask in moved.masks)
    for a, b in zip(dense(moved.masks, moved.size), dense(from_rle.masks, moved.size), strict=True):
        assert iou(a, b) > 0.85  # the rasteriser rounds to fifths of a pixel and knows no mirror
    np.testing.assert_allclose(moved.boxes, from_rle.boxes, atol=1.5)


@pytest.mark.parametrize("name", TURNS)
def test_agreement_of_whole_pixel_polygons_is_exact(name):
    sample, _ = polygon_sample()
    masks = [[np.array([3.0, 2, 20, 2, 20, 18, 3, 18])], [np.array([0.0, 0, 48, 0, 48, 32, 0, 32])]]
    bitmaps = dense(masks, (32, 48))
    moved = TURNS[name](replace(sample, masks=masks), generator())
    expected = np.stack([ON_IMAGE[name](bitmap) for bitmap in bitmaps])
    np.testing.assert_array_equal(dense(moved.masks, moved.size), expected)


@given(samples(), st.integers(0, 2**20), st.integers(1, 30), st.integers(1, 30))
def test_law_boxes_and_areas_after_a_crop_are_those_of_the_masks(case, seed, height, width):
    sample, _ = case
    cut = T.RandomScaleCrop((height, width), (0.3, 3.0))(sample, generator(seed))
    assert cut.size == (height, width) and cut.image.dtype == np.uint8
    bitmaps = dense(cut.masks, cut.size)
    assert bitmaps.any(axis=(1, 2)).all()
    np.testing.assert_array_equal(cut.boxes, tight(bitmaps))
    np.testing.assert_array_equal(cut.area, bitmaps.sum(axis=(1, 2)))
    assert len(cut.boxes) == len(cut.labels) == len(cut.masks) == len(cut.area)
    assert (cut.crowd_boxes[:, 2:] > cut.crowd_boxes[:, :2]).all()


def test_law_boxes_after_a_crop_are_those_of_the_polygons():
    sample, _ = polygon_sample()
    for seed in range(30):
        cut = T.RandomScaleCrop((24, 30), (0.5, 2.5))(sample, generator(seed))
        bitmaps = dense(cut.masks, cut.size)
        np.testing.assert_array_equal(cut.boxes, tight(bitmaps))
        np.testing.assert_array_equal(cut.area, bitmaps.sum(axis=(1, 2)))


def test_law_objects_outside_the_window_are_dropped():
    bitmaps = np.zeros((2, 20, 20), np.uint8)
    bitmaps[0, :3, :3] = bitmaps[1, 17:, 17:] = 1
    seen = set()
    for seed in range(60):
        cut = T.RandomScaleCrop((10, 10), (2, 2))(as_sample(bitmaps), generator(seed))
        seen.add(tuple(cut.labels.tolist()))
    assert seen == {(), (1,), (2,)}


def test_law_padding_shows_nothing_of_a_polygon_that_the_border_cut():
    masks = [[np.array([20.0, 5, 60, 5, 60, 25, 20, 25])]]  # reaches 12 pixels over the border
    sample = replace(polygon_sample()[0], masks=masks, boxes=np.array([[20.0, 5, 48, 25]]),
                     labels=np.array([1]), area=np.array([560.0]))
    for seed in range(5):
        padded = T.RandomScaleCrop((64, 96), (1.0, 1.0))(
            replace(sample, image=np.full((32, 48, 3), 255, np.uint8)), generator(seed))
        padded = T.RandomScaleCrop((100, 120), (0.9, 0.9))(padded, generator(seed))
        shown = dense(padded.masks, padded.size)[0].astype(bool)
        assert (padded.image[shown] > 100).mean() > 0.99 and shown.sum() > 500


@given(samples(), st.sampled_from([1, 2, 3]))
def test_law_enlarging_by_a_whole_number_repeats_pixels(case, factor):
    sample, bitmaps = case
    grown = T.Resize((min(sample.size) * factor,))(sample, generator())
    expected = bitmaps.repeat(factor, axis=1).repeat(factor, axis=2)
    np.testing.assert_array_equal(dense(grown.masks, grown.size), expected)
    np.testing.assert_array_equal(grown.boxes, tight(expected))


@given(samples())
def test_law_a_pixel_is_set_when_half_of_it_is_covered(case):
    sample, bitmaps = case
    height, width = sample.size
    if height % 2 or width % 2:
        return
    shrunk = T.Resize((min(height, width) // 2,))(sample, generator())
    blocks = bitmaps.reshape(-1, height // 2, 2, width // 2, 2).sum(axis=(2, 4)) >= 2
    kept = blocks.any(axis=(1, 2))
    np.testing.assert_array_equal(shrunk.labels, sample.labels[kept])
    np.testing.assert_array_equal(dense(shrunk.masks, shrunk.size).astype(bool), blocks[kept])


@pytest.mark.parametrize(("size", "min_sizes", "max_size", "wanted"), [
    ((50, 100), (25,), None, (25, 50)), ((100, 50), (80,), None, (160, 80)),
    ((50, 100), (40,), 60, (30, 60)), ((50, 100), (50,), 100, (50, 100)), ((1, 90), (1,), 30, (1, 30))])
def test_law_resize_reaches_the_shorter_side_unless_the_longer_forbids(size, min_sizes, max_size, wanted):
    bitmaps = np.ones((1, *size), np.uint8)
    resized = T.Resize(min_sizes, max_size)(as_sample(bitmaps), generator())
    assert resized.size == wanted
    assert resized.boxes.tolist() == [[0, 0, wanted[1], wanted[0]]]


def test_law_resize_draws_each_of_its_sizes():
    bitmaps = np.ones((1, 8, 9), np.uint8)
    drawn = {T.Resize((4, 8, 16))(as_sample(bitmaps), generator(seed)).size[0] for seed in range(30)}
    assert drawn == {4, 8, 16}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_law_intensities_mean_the_same_in_every_dtype(dtype):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    levels = np.linspace(0.1, 0.3, 64 * 64 * 3).reshape(64, 64, 3)
    image = (levels * top).astype(dtype)
    sample = replace(as_sample(np.ones((1, 64, 64), np.uint8)), image=image)
    for transform in (T.PerImageNormalize(0, 100), T.BrightnessContrast(), T.Resize((32,)),
                      T.RandomScaleCrop((80, 70), fill=0.5)):
        changed = transform(sample, generator(2)).image
        exact = transform(replace(sample, image=levels.astype(np.float32)), generator(2)).image
        assert changed.dtype == dtype
        np.testing.assert_allclose(changed / top, exact, atol=0.02)


def test_law_normalising_stretches_a_dark_image_to_the_full_range():
    dark = np.random.default_rng(0).integers(3, 40, (64, 64, 3), np.uint8)
    bright = T.PerImageNormalize()(as_sample(np.ones((1, 64, 64), np.uint8), dark)).image
    assert bright.min() == 0 and bright.max() == 255 and 100 < bright.mean() < 155
    np.testing.assert_array_equal(T.PerImageNormalize().image(dark), bright)


def test_law_normalising_keeps_the_order_of_channels():
    image = np.dstack([np.full((8, 8), v, np.uint8) for v in (10, 20, 40)])
    found = T.PerImageNormalize(0, 100).image(image)
    assert found[0, 0].tolist() == [0, 85, 255]


@pytest.mark.parametrize("value", [0, 7, 255])
def test_law_normalising_keeps_a_flat_image_flat(value):
    flat = np.full((16, 16, 3), value, np.uint8)
    flat[3, 3] = max(value - 1, 0)
    found = T.PerImageNormalize().image(flat)
    assert np.ptp(found.astype(int)) <= 40


def test_law_jitter_stays_in_its_bounds():
    image = np.full((2, 2, 3), 102, np.uint8)
    values = [T.BrightnessContrast(0.1, 0.2)(as_sample(np.ones((1, 2, 2), np.uint8), image),
                                             generator(seed)).image[0, 0, 0] for seed in range(200)]
    # 0.4 -> (0.4 - 0.5) * [0.8, 1.2] + 0.5 + [-0.1, 0.1] = 0.28 .. 0.52
    assert 0.28 <= min(values) / 255 < 0.31 and 0.49 < max(values) / 255 <= 0.53


def test_law_the_generator_alone_decides():
    sample = CocoDataset(*nuclei_mini("val")).sample(2)
    chain = T.Compose((T.HorizontalFlip(), T.Rotate90(), T.RandomScaleCrop((64, 64)),
                       T.BrightnessContrast()))
    one, two = chain(sample, generator(5)), chain(sample, generator(5))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.boxes, two.boxes)
    assert not np.array_equal(one.image, chain(sample, generator(6)).image)


def test_law_transforms_leave_their_input_alone():
    sample = CocoDataset(*nuclei_mini("val")).sample(2)
    image, boxes, masks = sample.image.copy(), sample.boxes.copy(), list(sample.masks)
    for transform in (*TURNS.values(), T.RandomScaleCrop((64, 64)), T.BrightnessContrast(),
                      T.PerImageNormalize(), T.Resize((100,))):
        transform(sample, generator(1))
        np.testing.assert_array_equal(sample.image, image)
        np.testing.assert_array_equal(sample.boxes, boxes)
        assert sample.masks == masks


def test_law_an_image_without_objects_passes_through_all():
    empty = np.zeros((0, 12, 16), np.uint8)
    sample = T.Sample(np.zeros((12, 16, 3), np.uint8), np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0),
                      [], np.zeros((0, 4)))
    for transform in (*TURNS.values(), T.Resize((24,)), T.RandomScaleCrop((30, 8)),
                      T.BrightnessContrast(), T.PerImageNormalize()):
        for masks in ([], None):
            changed = transform(replace(sample, masks=masks), generator())
            assert changed.boxes.shape == (0, 4) and changed.masks == masks
            assert T.image_tensor(changed.image).shape == (3, *changed.size)
    assert dense([], (12, 16)).shape == empty.shape


def test_law_boxes_without_masks_are_clipped_and_dropped():
    sample = replace(as_sample(np.ones((1, 20, 20), np.uint8)), masks=None,
                     boxes=np.array([[0.0, 0, 2, 2], [8, 8, 20, 20]]), labels=np.array([1, 2]),
                     area=np.array([4.0, 144]))
    seen = set()
    for seed in range(40):
        cut = T.RandomScaleCrop((10, 10), (2.0, 2.0))(sample, generator(seed))
        seen.add(tuple(cut.labels.tolist()))
        assert (cut.boxes >= 0).all() and (cut.boxes <= 10).all()
        np.testing.assert_allclose(cut.area, np.prod(cut.boxes[:, 2:] - cut.boxes[:, :2], axis=1))
    assert seen == {(1, 2), (2,)}


def test_law_tensors_are_planes_in_the_unit_range():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    tensor = T.image_tensor(image)
    assert tensor.shape == (3, 2, 4) and tensor.is_contiguous()
    np.testing.assert_allclose(tensor[1, 1, 2].item(), image[1, 2, 1] / 255)
    assert T.image_tensor(np.full((1, 1, 3), 255, np.uint8)).tolist() == [[[1.0]]] * 3
    assert T.image_tensor(np.full((1, 1, 3), 65535, np.uint16)).tolist() == [[[1.0]]] * 3
