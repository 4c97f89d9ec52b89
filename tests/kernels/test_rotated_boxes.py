"""The compiled rotated boxes against the reference: the same bits at every SIMD level and number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import _rle, kernels, reference
from roikit.testing import strategies as some

from .agreement import everywhere, same

COORDINATES = st.one_of(st.integers(0, 12).map(float), st.floats(-50, 50))
POLYGONS = st.lists(st.lists(st.lists(COORDINATES, min_size=6, max_size=16).map(lambda c: c[: len(c) // 2 * 2]),
                             max_size=3), max_size=4)
FLOATS = (np.float32, np.float64)


def encoded(bitmaps):
    """COCO RLE of bool (N, H, W)."""
    runs, offsets = _rle.runs_of_bitmaps(np.ascontiguousarray(bitmaps).view(np.uint8).transpose(1, 2, 0))
    return [{"size": list(bitmaps.shape[1:]), "counts": text} for text in _rle.strings_from_counts(runs, offsets)]


def agree(masks, expected=None):
    if expected is None:
        expected = reference.min_area_boxes(masks, dtype=np.float64)
    everywhere(lambda threads: kernels.min_area_boxes(masks, dtype=np.float64, threads=threads), expected, bits=True)
    same(kernels.min_area_boxes(masks), expected.astype(np.float32))


@given(POLYGONS)
def test_polygons_agree_with_the_reference(polygons):
    agree(polygons)


@given(some.bitmaps(max_side=14))
def test_bitmaps_and_runs_agree_with_the_reference(masks):
    agree(masks)
    agree(encoded(masks), reference.min_area_boxes(masks, dtype=np.float64))


def test_large_masks_and_many_of_them_agree_with_the_reference():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:150, :211]
    masks = np.stack([((x - rng.uniform(0, 211)) * c - (y - rng.uniform(0, 150)) * s) ** 2 / 900
                      + ((x - 100) * s + (y - 70) * c) ** 2 / 90 < 3
                      for c, s in ((np.cos(a), np.sin(a)) for a in rng.uniform(0, 3, 40))])
    agree(masks)
    agree(encoded(masks), reference.min_area_boxes(masks, dtype=np.float64))


def test_polygons_of_many_corners_agree_with_the_reference():
    angle = np.linspace(0, 2 * np.pi, 700, endpoint=False)
    circle = np.stack([100 + 90 * np.cos(angle), 80 + 60 * np.sin(angle)], 1).ravel().tolist()
    agree([[circle], [np.round(circle).tolist()], [circle[:300], circle[900:]]])


def test_kinds_may_be_mixed_and_masks_be_views():
    mask = np.zeros((1, 9, 9), bool)
    mask[0, 2:5, 1:8] = True
    square = [[0, 0, 3, 0, 3, 3, 0, 3]]
    got = kernels.min_area_boxes([square, *encoded(mask), []])
    assert got.tolist() == [[1.5, 1.5, 3, 3, 0], [4.5, 3.5, 7, 3, 0], [0] * 5]
    for loose in (np.asfortranarray(mask), np.repeat(mask, 2, 2)[:, :, ::2], mask.astype(np.int64) * 5):
        same(kernels.min_area_boxes(loose), got[1:2])


@pytest.mark.parametrize("masks", [np.zeros((0, 4, 4), bool), np.zeros((2, 0, 5), bool), np.zeros((2, 5, 0), bool), []])
def test_nothing_gives_nothing(masks):
    same(kernels.min_area_boxes(masks), np.zeros((len(masks), 5), np.float32))


@given(some.rotated_boxes(), st.sampled_from(FLOATS), st.sampled_from(["horizontal", "vertical"]),
       st.floats(-1000, 1000))
@np.errstate(all="ignore")
def test_flips_and_rotations_agree_with_the_reference(boxes, dtype, direction, degrees):
    boxes = boxes.astype(dtype)
    same(kernels.flip_boxes_rotated(boxes, (30, 40), direction),
         reference.flip_boxes_rotated(boxes, (30, 40), direction))
    same(kernels.rotate_boxes_rotated(boxes, degrees, (3.3, 4)),
         reference.rotate_boxes_rotated(boxes, degrees, (3.3, 4)))


BOXES = np.zeros((2, 5), np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.min_area_boxes(np.zeros((4, 4), bool)), ValueError,
     r"min_area_boxes: masks must have shape \(N, H, W\), got \(4, 4\)"),
    (lambda: kernels.min_area_boxes(np.zeros((1, 4, 4))), TypeError, "min_area_boxes: masks must be .* got float64"),
    (lambda: kernels.min_area_boxes([[[0, 0, 1, 1]]]), ValueError,
     "min_area_boxes: a polygon must have at least 3 points, got 2"),
    (lambda: kernels.min_area_boxes([3]), TypeError, "min_area_boxes: masks must be an array, or a list of RLE dicts"),
    (lambda: kernels.min_area_boxes([{"size": [5, 5], "counts": [3]}]), ValueError, "min_area_boxes: .*runs must sum"),
    (lambda: kernels.min_area_boxes([], dtype=np.int32), TypeError, "min_area_boxes: dtype must be float32 or float64"),
    (lambda: kernels.flip_boxes_rotated(BOXES[:, :4], (4, 4)), ValueError,
     r"flip_boxes_rotated: boxes must have shape \(N, 5\), got \(2, 4\)"),
    (lambda: kernels.flip_boxes_rotated(BOXES, (4, 4), "up"), ValueError,
     "flip_boxes_rotated: direction must be one of 'horizontal', 'vertical', got 'up'"),
    (lambda: kernels.rotate_boxes_rotated(BOXES, np.nan, (4, 4)), ValueError,
     "rotate_boxes_rotated: degrees must not be NaN"),
    (lambda: kernels.rotate_boxes_rotated(BOXES, 3, 4), ValueError,
     r"rotate_boxes_rotated: center must be two numbers \(x, y\), got 4"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
