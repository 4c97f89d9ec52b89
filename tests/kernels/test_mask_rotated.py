"""The compiled masks of rotated boxes against the reference: the same bits at every SIMD level and thread count."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import _rle, kernels
from roikit.reference import mask_rotated as reference
from roikit.testing import strategies as some

from .agreement import everywhere, same

DTYPES = (np.float16, np.float32, np.float64)
THRESHOLDS = st.one_of(st.sampled_from([0.5, 0.25, 1 / 3, 0.125, 1.0, 1e-3, 1.5]), st.floats(1e-6, 1))
RULES = ("soft", "binary")


def encoded(bitmaps):
    """COCO RLE of bool (N, H, W)."""
    runs, offsets = _rle.runs_of_bitmaps(np.ascontiguousarray(bitmaps).view(np.uint8).transpose(1, 2, 0))
    return [{"size": list(bitmaps.shape[1:]), "counts": text} for text in _rle.strings_from_counts(runs, offsets)]


@st.composite
def pastes(draw):
    """Masks (N, M, M) of ties or of any value, and boxes, possibly of different dtypes."""
    boxes = draw(some.rotated_boxes(dtype=np.float64, max_size=4))
    with np.errstate(over="ignore"):
        boxes = boxes.astype(draw(st.sampled_from(DTYPES)))
    cells = draw(st.sampled_from([1, 2, 3, 5, 7, 14, 28]))
    masks = draw(some.soft_masks(len(boxes), cells, dtype=draw(st.sampled_from(DTYPES))))
    kind = draw(st.sampled_from(["eighths", "random", "large", "special"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if kind != "eighths":
        masks = (rng.normal(0.5, 0.5, masks.shape) * (1 if kind == "random" else 1e4)).astype(masks.dtype)
    if kind == "special":
        special = rng.choice([np.nan, np.inf, -np.inf], masks.shape)
        masks = np.where(rng.random(masks.shape) < 0.1, special, masks).astype(masks.dtype)
    return masks, boxes


@given(case=pastes(), size=st.tuples(st.integers(0, 24), st.integers(0, 24)), threshold=THRESHOLDS)
@np.errstate(all="ignore")
def test_pasting_agrees_with_the_reference(case, size, threshold):
    everywhere(lambda threads: kernels.paste_masks_rotated(*case, size, threshold=None, threads=threads),
               reference.paste_masks_rotated(*case, size, threshold=None))
    hard = everywhere(lambda threads: kernels.paste_masks_rotated(*case, size, threshold=threshold, threads=threads),
                      reference.paste_masks_rotated(*case, size, threshold=threshold))
    everywhere_runs(*case, size, threshold, encoded(hard))


def everywhere_runs(masks, boxes, size, threshold, expected):
    found = []

    def runs(threads):
        found.append(kernels.paste_masks_rotated_rle(masks, boxes, size, threshold=threshold, threads=threads))
        return np.zeros(0)

    everywhere(runs)
    assert all(one == expected for one in found)


def blobs(n, cells, height, width, dtype=np.float32, seed=0):
    """Soft discs, and boxes at any angle that reach over the image's borders."""
    rng = np.random.default_rng(seed)
    line = np.linspace(-1, 1, cells) if cells > 1 else np.zeros(1)
    radius = np.hypot(*np.meshgrid(line, line)) + 0.05 * rng.normal(size=(n, cells, cells))
    masks = 1 / (1 + np.exp(-10 * (0.8 - radius)))
    sides = rng.uniform(0.02, 0.9, (n, 2)) * (width, height)
    angles = np.where(np.arange(n) % 4 == 0, 90 * rng.integers(-4, 5, n), rng.uniform(-400, 400, n))
    boxes = np.concatenate([rng.uniform(-0.1, 1.1, (n, 2)) * (width, height), sides, angles[:, None]], 1)
    return masks.astype(dtype), boxes.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_masks_have_the_same_bits_at_every_level_and_thread_count(dtype):
    masks, boxes = blobs(24, 28, 301, 407, dtype)
    soft = reference.paste_masks_rotated(masks, boxes, (301, 407), threshold=None)
    counts = (1, 2, 3)
    everywhere(lambda threads: kernels.paste_masks_rotated(masks, boxes, (301, 407), threshold=None, threads=threads),
               soft, counts=counts)
    hard = everywhere(lambda threads: kernels.paste_masks_rotated(masks, boxes, (301, 407), threads=threads),
                      soft >= dtype(0.5), counts=counts)
    everywhere_runs(masks, boxes, (301, 407), 0.5, encoded(hard))


@pytest.mark.parametrize("cells", range(1, 29))
def test_runs_are_those_of_the_image_for_every_size_of_mask(cells):
    masks, boxes = blobs(4, cells, 90, 70, seed=cells)
    hard = kernels.paste_masks_rotated(masks, boxes, (90, 70))
    same(hard, reference.paste_masks_rotated(masks, boxes, (90, 70)))
    assert kernels.paste_masks_rotated_rle(masks, boxes, (90, 70)) == encoded(hard)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_at_angle_0_the_bits_are_those_of_the_upright_box(dtype):
    masks, boxes = blobs(30, 28, 200, 300, dtype, seed=5)
    boxes[:, 4] = 0
    half = dtype(0.5)
    corners = np.concatenate([boxes[:, :2] - half * boxes[:, 2:4], boxes[:, :2] + half * boxes[:, 2:4]], 1)
    for threshold in (None, 0.5, 0.3):
        same(kernels.paste_masks_rotated(masks, boxes, (200, 300), threshold=threshold),
             kernels.paste_masks(masks, corners, (200, 300), threshold=threshold))
    assert (kernels.paste_masks_rotated_rle(masks, boxes, (200, 300))
            == kernels.paste_masks_rle(masks, corners, (200, 300)))


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 133.7])
def test_flat_masks_on_the_threshold_take_the_same_decision_as_runs(degrees):
    # Rounding moves the pixels of a flat mask to either side of its value.
    masks, boxes = np.full((1, 5, 5), 0.7, np.float32), np.array([[48.7, 44.7, 96.8, 88.5, degrees]], np.float32)
    hard = kernels.paste_masks_rotated(masks, boxes, (90, 99), threshold=0.7)
    same(hard, reference.paste_masks_rotated(masks, boxes, (90, 99), threshold=0.7))
    assert hard.any() and not hard[0, 40:50, 40:50].all()
    assert kernels.paste_masks_rotated_rle(masks, boxes, (90, 99), threshold=0.7) == encoded(hard)


@pytest.mark.parametrize("degrees", [0, 45, 90, 200])
def test_a_box_far_larger_than_the_image_costs_what_the_image_costs(degrees):
    masks, boxes = np.ones((1, 28, 28), np.float32), np.array([[3, 5, 2e9, 2e9, degrees]], np.float32)
    same(kernels.paste_masks_rotated(masks, boxes, (40, 30)), np.ones((1, 40, 30), bool))
    assert kernels.paste_masks_rotated_rle(masks, boxes, (40, 30)) == encoded(np.ones((1, 40, 30), bool))


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 4, 4), (2, 0, 0), (0, 1, 4, 4), (2, 1, 4, 4)])
@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0), (5, 5)])
def test_empty_inputs_give_empty_results(shape, size):
    masks, boxes = np.zeros(shape, np.float32), np.ones((shape[0], 5), np.float32)
    out = kernels.paste_masks_rotated(masks, boxes, size)
    same(out, np.zeros((shape[0], *size), bool))
    assert kernels.paste_masks_rotated_rle(masks, boxes, size) == encoded(out)


def test_out_is_filled_and_returned():
    masks, boxes = blobs(3, 7, 20, 30)
    for threshold, dtype in ((0.5, bool), (None, np.float32)):
        out = np.ones((3, 20, 30), dtype)
        assert kernels.paste_masks_rotated(masks, boxes, (20, 30), threshold=threshold, out=out) is out
        same(out, kernels.paste_masks_rotated(masks, boxes, (20, 30), threshold=threshold))


@st.composite
def crops(draw):
    """Bitmaps, boxes, and which belongs to which; no boxes without masks."""
    masks = draw(some.bitmaps(max_side=14))
    boxes = draw(some.rotated_boxes(n=0 if len(masks) == 0 else None,
                                    dtype=draw(st.sampled_from([np.float32, np.float64])), max_size=5))
    matched = [draw(st.integers(0, len(masks) - 1)) for _ in boxes]
    return masks, boxes, np.array(matched, np.int64), draw(st.sampled_from([1, 2, 3, 5, 8]))


@pytest.mark.parametrize("rule", RULES)
@given(case=crops())
@np.errstate(all="ignore")
def test_targets_agree_with_the_reference(rule, case):
    expected = reference.mask_targets_rotated(*case, rule=rule)
    for masks in (case[0], encoded(case[0])):
        everywhere(lambda threads, masks=masks: kernels.mask_targets_rotated(masks, *case[1:], rule=rule,
                                                                             threads=threads), expected)


def shapes(n, height, width):
    """Bitmaps: full, noise, stripes, and discs."""
    rng = np.random.default_rng(n)
    y, x = np.mgrid[:height, :width]
    masks = [np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width)) < rng.uniform(3, height) for _ in range(n)]
    masks[0] |= True
    masks[1] = rng.random((height, width)) < 0.5
    masks[2] = x % 3 == 1
    return np.array(masks)


@pytest.mark.parametrize("size", [1, 7, 28])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boxes_of_every_size_agree_at_every_level_and_thread_count(size, dtype):
    masks = shapes(5, 130, 171)
    rng = np.random.default_rng(size)
    boxes = np.concatenate([rng.uniform(-20, 190, (30, 2)), np.exp(rng.uniform(-1, 6, (30, 2))),
                            rng.choice([0, 90, 45, -77.7, 201.3], (30, 1))], 1).astype(dtype)
    matched = np.arange(30) % 5
    for rule in RULES:
        expected = reference.mask_targets_rotated(masks, boxes, matched, size, rule=rule)
        for form in (masks, encoded(masks)):
            everywhere(lambda threads, form=form, rule=rule: kernels.mask_targets_rotated(
                form, boxes, matched, size, rule=rule, threads=threads), expected, counts=(1, 3))


@pytest.mark.parametrize("degrees", [0, 30, 90])
def test_huge_boxes_agree_with_the_reference(degrees):
    boxes = np.array([[15, 10, w, h, degrees] for w, h in ((1e4, 1e5), (1e7, 40), (2e7, 2e7), (1e20, 30), (9, 1e6))])
    matched = np.arange(5) % 3
    for dtype in (np.float32, np.float64):
        expected = reference.mask_targets_rotated(shapes(3, 40, 50), boxes.astype(dtype), matched, 2)
        for form in (shapes(3, 40, 50), encoded(shapes(3, 40, 50))):
            same(kernels.mask_targets_rotated(form, boxes.astype(dtype), matched, 2), expected)


def test_a_patch_that_is_split_gives_the_same():
    """More pixels under a box than are brought into bits at a time."""
    height, width = 5000, 6000
    runs = [{"size": [height, width], "counts": [7 * height + 11, 20 * height + 5, height, 400 * height - 3,
                                                 (width - 428) * height - 13]}]
    boxes = np.array([[3000, 2500, 5600, 4400, degrees] for degrees in (0, 20, 90)], np.float32)
    got = kernels.mask_targets_rotated(runs, boxes, [0] * 3, 2)
    bitmap = _rle.bitmaps_of_runs(np.array(runs[0]["counts"], np.uint32), np.array([0, 5]), height, width)[0].T
    small = kernels.roi_align_rotated(bitmap[None, None].astype(np.float32),
                                      np.concatenate([np.zeros((3, 1)), boxes], 1), 2)[:, 0]
    np.testing.assert_allclose(got, small, atol=3e-4)
    same(kernels.mask_targets_rotated(np.ascontiguousarray(bitmap)[None], boxes, [0] * 3, 2), got)


def test_runs_are_never_decoded_whole():
    # As bytes, these two masks would take 800 MB.
    runs = [{"size": [20_000, 20_000], "counts": counts} for counts in ([10, 399_999_990], [0, 400_000_000])]
    boxes = np.array([[70, 70, 40, 20, 30], [19_450, 2_000, 900, 600, 77]], np.float32)
    tracemalloc.start()
    got = kernels.mask_targets_rotated(runs, boxes, [0, 1], 14)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (got == 1).all() and peak < 1e6


def test_views_of_masks_and_boxes_are_taken():
    masks = shapes(3, 40, 50)
    boxes = np.array([[20, 20, 30, 15, 40], [5, 5, 20, 30, -80]], np.float32)
    expected = kernels.mask_targets_rotated(masks, boxes, [0, 1], 7)
    for loose in (np.asfortranarray(masks), np.repeat(masks, 2, 2)[:, :, ::2], np.repeat(masks, 2, 1)[:, ::2],
                  masks.astype(np.int64) * 7):
        wide = np.repeat(boxes, 2, 1)[:, ::2]
        same(kernels.mask_targets_rotated(loose, wide, np.array([0, 1], np.int16), 7), expected)


def test_polygons_give_what_their_bitmap_gives():
    polygon, boxes = [3, 2, 7, 2, 7, 8, 3, 8], np.array([[5, 5, 7, 4, 33]], np.float32)
    bitmap = np.zeros((1, 12, 10), bool)
    bitmap[:, 2:8, 3:7] = True
    got = kernels.mask_targets_rotated([[polygon]], boxes, [0], 4, image_size=(12, 10))
    same(got, kernels.mask_targets_rotated(bitmap, boxes, [0], 4))
    assert got.any()


@pytest.mark.parametrize("masks", [np.zeros((0, 4, 4), bool), np.zeros((2, 0, 5), bool), [], [[], []]])
def test_no_boxes_give_no_targets(masks):
    same(kernels.mask_targets_rotated(masks, np.zeros((0, 5), np.float32), np.zeros(0, np.int64), 3),
         np.zeros((0, 3, 3), np.float32))


MASKS, BITMAPS, BOXES = np.zeros((2, 3, 3), np.float32), np.zeros((2, 5, 5), bool), np.zeros((2, 5), np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.paste_masks_rotated(MASKS[0], BOXES, (4, 4)), ValueError,
     r"paste_masks_rotated: masks must have shape \(N, M, M\) or \(N, 1, M, M\), got \(3, 3\)"),
    (lambda: kernels.paste_masks_rotated(MASKS, BOXES[:, :4], (4, 4)), ValueError,
     r"paste_masks_rotated: boxes must have shape \(N, 5\), got \(2, 4\)"),
    (lambda: kernels.paste_masks_rotated(MASKS, BOXES[:1], (4, 4)), ValueError,
     r"paste_masks_rotated: boxes must have one row a mask \(2\), got 1"),
    (lambda: kernels.paste_masks_rotated(MASKS, BOXES, (4, 4), threshold=0), ValueError,
     "paste_masks_rotated: threshold must be above 0, got 0"),
    (lambda: kernels.paste_masks_rotated(MASKS, BOXES, (4, 4), out=np.zeros((2, 4, 4))), ValueError,
     r"paste_masks_rotated: out must be a bool array of shape \(2, 4, 4\), got float64"),
    (lambda: kernels.paste_masks_rotated_rle(MASKS, BOXES, (4, 4), threshold=None), TypeError,
     "paste_masks_rotated_rle: threshold must be a number, got NoneType"),
    (lambda: kernels.paste_masks_rotated_rle(MASKS, BOXES, (65536, 65536)), ValueError,
     r"paste_masks_rotated_rle: height \* width must be below 2\^32, got 65536 \* 65536"),
    (lambda: kernels.mask_targets_rotated(BITMAPS, BOXES[:, :4], [0, 1], 3), ValueError,
     r"mask_targets_rotated: boxes must have shape \(N, 5\), got \(2, 4\)"),
    (lambda: kernels.mask_targets_rotated(BITMAPS, BOXES, [0, 2], 3), IndexError,
     r"mask_targets_rotated: matched must lie in \[0, 2\), got 2"),
    (lambda: kernels.mask_targets_rotated([[[0, 0, 4, 0, 4, 4]]] * 2, BOXES, [0, 1], 3), ValueError,
     "mask_targets_rotated: image_size must be given with polygons, got None"),
    (lambda: kernels.mask_targets_rotated([{"size": [5, 5], "counts": [3]}] * 2, BOXES, [0, 1], 3), ValueError,
     "mask_targets_rotated: .*runs must sum to height"),
    (lambda: kernels.mask_targets_rotated(BITMAPS, BOXES, [0, 1], 3, rule="hard"), ValueError,
     "mask_targets_rotated: rule must be one of 'soft', 'binary', got 'hard'"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
