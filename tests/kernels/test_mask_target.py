"""The compiled mask targets against the reference: every kind of mask, SIMD level and number of threads."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import _polygon, _rle, kernels
from roikit.reference import mask_target as reference
from roikit.testing import simd, simd_levels
from roikit.testing import strategies as some

RULES = ("soft", "binary")


def same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)


def as_rle(bitmaps):
    """COCO RLE dicts of bool (N, H, W)."""
    runs, offsets = _rle.runs_of_bitmaps(bitmaps.astype(np.uint8).transpose(1, 2, 0))
    return [{"size": list(bitmaps.shape[1:]), "counts": text} for text in _rle.strings_from_counts(runs, offsets)]


@st.composite
def cases(draw):
    """Bitmaps, boxes, and which belongs to which; no boxes without masks."""
    masks = draw(some.bitmaps(max_side=14))
    boxes = draw(some.boxes(n=0 if len(masks) == 0 else None, dtype=draw(st.sampled_from([np.float32, np.float64]))))
    matched = [draw(st.integers(0, len(masks) - 1)) for _ in boxes]
    return masks, boxes, np.array(matched, np.int64), draw(st.sampled_from([1, 2, 3, 5, 8]))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("level", simd_levels())
@given(case=cases(), threads=st.sampled_from([1, 2]))
def test_targets_agree_with_the_reference(rule, level, case, threads):
    masks, *rest = case
    with simd(level):
        got = kernels.mask_targets(masks, *rest, rule=rule, threads=threads)
        runs = kernels.mask_targets(as_rle(masks), *rest, rule=rule, threads=threads)
    # The order of the sums is the reference's: not only within its tolerance, but the same bits.
    same(got, reference.mask_targets(masks, *rest, rule=rule))
    same(runs, got)


@given(case=cases(), dtype=st.sampled_from([np.uint8, np.int8, np.uint16, np.int64]),
       value=st.sampled_from([1, 3, 100]))
def test_any_integer_but_zero_is_inside(case, dtype, value):
    masks, *rest = case
    same(kernels.mask_targets((masks * value).astype(dtype), *rest), kernels.mask_targets(masks, *rest))


def ellipses(n, height, width):
    """Bitmaps of ellipses, polygons of the same kind and boxes about them that reach over the borders."""
    rng = np.random.default_rng(n)
    centre, radius = rng.uniform(0, 1, (n, 2)) * (width, height), rng.uniform(8, 90, (n, 2))
    y, x = np.mgrid[:height, :width] + 0.5
    masks = np.stack([((x - c[0]) / r[0]) ** 2 + ((y - c[1]) / r[1]) ** 2 < 1
                      for c, r in zip(centre, radius, strict=True)])
    angle = np.linspace(0, 2 * np.pi, 30, endpoint=False)
    star = 1 - 0.4 * (np.arange(30) % 2)
    outline = np.stack([np.cos(angle) * star, np.sin(angle) * star], 1)
    polygons = [[(c + r * outline).ravel().tolist()] for c, r in zip(centre, radius, strict=True)]
    polygons[0].append((centre[1] + radius[1] * outline).ravel().tolist())
    matched = rng.integers(0, n, 6 * n)
    low, high = (centre - radius)[matched], (centre + radius)[matched]
    boxes = np.concatenate([low, high], 1) + rng.normal(0, 6, (6 * n, 4))
    return masks, polygons, boxes.astype(np.float32), matched


@pytest.mark.parametrize("rule", RULES)
def test_bitmaps_runs_and_polygons_give_the_same_bits_at_every_level_and_thread_count(rule):
    masks, polygons, boxes, matched = ellipses(5, 160, 211)
    drawn = np.stack([_rle.bitmaps_of_runs(runs, np.array([0, len(runs)]), 160, 211)[0].T
                      for runs in (_polygon.counts_from_polygons(p, 160, 211) for p in polygons)])
    expected = reference.mask_targets(masks, boxes, matched, 28, rule=rule)
    of_polygons = reference.mask_targets(drawn, boxes, matched, 28, rule=rule)
    for level in simd_levels():
        for threads in (1, 2, 3):
            with simd(level):
                rest = {"rule": rule, "threads": threads}
                same(kernels.mask_targets(masks, boxes, matched, 28, **rest), expected)
                same(kernels.mask_targets(as_rle(masks), boxes, matched, 28, **rest), expected)
                same(kernels.mask_targets(drawn, boxes, matched, 28, **rest), of_polygons)
                same(kernels.mask_targets(polygons, boxes, matched, 28, image_size=(160, 211), **rest), of_polygons)


def test_masks_of_different_kinds_and_sizes_may_stand_in_one_list():
    masks, polygons, boxes, matched = ellipses(4, 90, 70)
    small = as_rle(np.ones((1, 10, 20), bool))
    mixed = [*polygons[:2], *as_rle(masks)[2:], *small]
    got = kernels.mask_targets(mixed, boxes, matched, 7, image_size=(90, 70))
    listed = matched >= 2
    same(got[listed], kernels.mask_targets(masks, boxes[listed], matched[listed], 7))
    same(kernels.mask_targets(mixed, boxes[:1], [4], 7, image_size=(90, 70)),
         kernels.mask_targets(np.ones((1, 10, 20), bool), boxes[:1], [0], 7))


def test_a_box_far_larger_than_the_mask_costs_what_the_mask_costs():
    boxes = np.array([[-1e9, -1e9, 1e9, 1e9], [-3e38, 0, 3e38, 9], [0, 0, 1e30, 1e30]], np.float32)
    masks, matched = np.ones((1, 20, 30), bool), np.zeros(3, np.int64)
    for rule in RULES:
        same(kernels.mask_targets(masks, boxes, matched, 5, rule=rule),
             reference.mask_targets(masks, boxes, matched, 5, rule=rule))


def test_runs_are_never_decoded_whole():
    # As bytes, these two masks would take 800 MB.
    runs = [{"size": [20_000, 20_000], "counts": counts} for counts in ([10, 399_999_990], [0, 400_000_000])]
    boxes = np.array([[50, 60, 90, 80], [19_000, 100, 19_900, 4_000]], np.float32)
    tracemalloc.start()
    got = kernels.mask_targets(runs, boxes, [0, 1], 14)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(got, 1, rtol=1e-6)
    assert peak < 1e6


def test_polygons_that_no_box_needs_are_not_looked_at():
    masks = [[[0, 0, 8, 0, 8, 8, 0, 8]], ["broken"]]
    got = kernels.mask_targets(masks, np.array([[1, 1, 7, 7]], np.float32), [0], 3, image_size=(10, 10))
    same(got, np.ones((1, 3, 3), np.float32))


def test_views_of_masks_and_boxes_are_taken():
    masks, _, boxes, matched = ellipses(3, 40, 50)
    expected = kernels.mask_targets(masks, boxes, matched, 7)
    for loose in (np.asfortranarray(masks), np.repeat(masks, 2, 2)[:, :, ::2], np.repeat(masks, 2, 1)[:, ::2]):
        same(kernels.mask_targets(loose, np.repeat(boxes, 2, 1)[:, ::2], matched.astype(np.int16), 7), expected)


def test_out_is_filled_and_returned():
    masks, _, boxes, matched = ellipses(3, 40, 50)
    out = np.full((18, 7, 7), 9, np.float32)
    assert kernels.mask_targets(masks, boxes, matched, 7, out=out) is out
    same(out, kernels.mask_targets(masks, boxes, matched, 7))


@pytest.mark.parametrize("masks", [np.zeros((0, 4, 4), bool), np.zeros((2, 0, 5), bool), [], [[], []]])
def test_no_boxes_give_no_targets(masks):
    same(kernels.mask_targets(masks, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 3),
         np.zeros((0, 3, 3), np.float32))


MASKS, BOXES, MATCHED = np.zeros((2, 5, 5), bool), np.ones((3, 4), np.float32), np.array([0, 1, 1])
SQUARE = [0, 0, 4, 0, 4, 4]


@pytest.mark.parametrize("arguments, named, kind, text", [
    ((MASKS[0], BOXES, MATCHED, 3), {}, ValueError, r"masks must have shape \(N, H, W\), got \(5, 5\)"),
    ((MASKS.astype(float), BOXES, MATCHED, 3), {}, TypeError, "masks must be bool, uint8, .* or int64, got float64"),
    (([MASKS[0], MASKS[1]], BOXES, MATCHED, 3), {}, TypeError,
     "masks must be an array, or a list of RLE dicts or of lists of polygons, got a list with ndarray"),
    ((MASKS, BOXES.T.copy(), MATCHED, 3), {}, ValueError, r"boxes must have shape \(N, 4\), got \(4, 3\)"),
    ((MASKS, BOXES, MATCHED[:2], 3), {}, ValueError,
     r"matched must have shape \(3,\), one entry for each row of boxes, got \(2,\)"),
    ((MASKS, BOXES, MATCHED.astype(float), 3), {}, TypeError, "matched must be uint8, .* or int64, got float64"),
    ((MASKS, BOXES, MATCHED + 1, 3), {}, IndexError, r"matched must lie in \[0, 2\), got 2"),
    ((MASKS, BOXES, MATCHED - 1, 3), {}, IndexError, r"matched must lie in \[0, 2\), got -1"),
    (([[SQUARE]], BOXES, MATCHED, 3), {"image_size": (5, 5)}, IndexError, r"matched must lie in \[0, 1\), got 1"),
    (([[SQUARE]], BOXES, MATCHED - 1, 3), {"image_size": (5, 5)}, IndexError, r"matched must lie in \[0, 1\), got -1"),
    (([[SQUARE]] * 2, BOXES, MATCHED, 3), {}, ValueError, "image_size must be given with polygons, got None"),
    (([[SQUARE[:4]]] * 2, BOXES, MATCHED, 3), {"image_size": (5, 5)}, ValueError, "at least 3 points"),
    (([{"size": [5, 5], "counts": [3]}] * 2, BOXES, MATCHED, 3), {}, ValueError, "runs must sum to height"),
    ((MASKS, BOXES, MATCHED, 0), {}, ValueError, "size must be at least 1, got 0"),
    ((MASKS, BOXES, MATCHED, (3, 3)), {}, TypeError, "size must be a whole number, got tuple"),
    ((MASKS, BOXES, MATCHED, 3), {"rule": "hard"}, ValueError, "rule must be one of 'soft', 'binary', got 'hard'"),
    ((MASKS, BOXES, MATCHED, 3), {"out": np.zeros((3, 3, 3))}, ValueError, "out must be a float32 array"),
    ((MASKS, BOXES, MATCHED, 3), {"threads": 0}, ValueError, "threads must be at least 1, got 0"),
])
def test_contract(arguments, named, kind, text):
    with pytest.raises(kind, match=f"mask_targets: .*{text}"):
        kernels.mask_targets(*arguments, **named)
