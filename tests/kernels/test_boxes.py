"""The compiled boxes against the reference: the same bits at every SIMD level and number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import simd, simd_levels
from roikit.testing import strategies as some

FORMATS = ("xyxy", "xywh", "cxcywh")
TURNED = ("cxcywhr", "xywhr", "xyxyxyxy")
DTYPES = (np.float16, np.float32, np.float64)
BOUNDS = {"generalized_box_iou": (0, 0), "distance_box_iou": (0, 0), "complete_box_iou": (1e-6, 2e-15)}


def same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", BOUNDS)
def test_relatives_of_iou_agree_with_the_reference(name):
    ours, theirs, bounds = getattr(kernels, name), getattr(reference, name), BOUNDS[name]

    @given(data=st.data(), dtype=st.sampled_from(DTYPES))
    def agreement(data, dtype):
        a, b = data.draw(some.boxes(dtype=dtype)), data.draw(some.boxes(dtype=dtype))
        expected = theirs(a, b)
        for level in simd_levels():
            with simd(level):
                found = ours(a, b)
            assert found.dtype == expected.dtype and found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=0, atol=bounds[expected.dtype == np.float64])

    agreement()


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relatives_of_iou_have_the_same_bits_at_every_level_and_thread_count(name, dtype):
    rng = np.random.default_rng(1)
    corner = rng.random((1700, 2)) * 60
    boxes = np.concatenate([corner, corner + rng.random((1700, 2)) ** 3 * 50], 1).astype(dtype)
    boxes[:500] = boxes[500:1000] * (1 + dtype(1e-6))
    expected = getattr(reference, name)(boxes, boxes[:1333])
    first = getattr(kernels, name)(boxes, boxes[:1333], threads=1)
    np.testing.assert_allclose(first, expected, rtol=0, atol=BOUNDS[name][dtype == np.float64])
    for level in simd_levels():
        for threads in (1, 2, 3):
            with simd(level):
                same(getattr(kernels, name)(boxes, boxes[:1333], threads=threads), first)


@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_box_iou_agrees_with_the_reference(data, dtype):
    a, b = data.draw(some.boxes(dtype=dtype)), data.draw(some.boxes(dtype=dtype))
    expected = reference.box_iou(a, b)
    for level in simd_levels():
        for threads in (1, 2):
            with simd(level):
                same(kernels.box_iou(a, b, threads=threads), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_box_iou_of_many_boxes_has_the_same_bits_at_every_level_and_thread_count(dtype):
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 60, (1700, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 30, (1700, 2))], 1).astype(dtype) / 3
    expected = reference.box_iou(boxes, boxes[:1333])
    for level in simd_levels():
        for threads in (1, 2, 3):
            with simd(level):
                same(kernels.box_iou(boxes, boxes[:1333], threads=threads), expected)


@given(boxes=some.boxes())
def test_law_iou_is_symmetric_and_one_with_itself_unless_degenerate(boxes):
    iou = kernels.box_iou(boxes, boxes)
    same(iou, iou.T.copy())
    assert ((iou >= 0) & (iou <= 1)).all()
    area = kernels.box_area(boxes)
    ordinary = np.isfinite(area) & (area > 0)
    same(np.diag(iou).copy(), ordinary.astype(iou.dtype))


@given(boxes=some.boxes())
def test_areas_agree_with_the_reference(boxes):
    same(kernels.box_area(boxes), reference.box_area(boxes))


@given(boxes=some.boxes(), formats=st.tuples(st.sampled_from(FORMATS), st.sampled_from(FORMATS)))
def test_conversions_agree_with_the_reference(boxes, formats):
    same(kernels.box_convert(boxes, *formats), reference.box_convert(boxes, *formats))


@given(boxes=some.rotated_boxes(), double=st.booleans(), formats=st.tuples(st.sampled_from(TURNED),
                                                                          st.sampled_from(TURNED)))
def test_conversions_of_rotated_boxes_agree_with_the_reference(boxes, double, formats):
    boxes = boxes.astype(np.float64) if double else boxes
    boxes = reference.box_convert(boxes, "cxcywhr", formats[0])
    same(kernels.box_convert(boxes, *formats), reference.box_convert(boxes, *formats))


@given(boxes=some.boxes(), size=st.tuples(st.integers(0, 20), st.integers(0, 20)))
def test_clipping_agrees_with_the_reference(boxes, size):
    same(kernels.clip_boxes_to_image(boxes, size), reference.clip_boxes_to_image(boxes, size))


@given(boxes=some.boxes(), least=st.sampled_from([0, 0.5, 1, 2, 3.3, 8]))
def test_filtering_agrees_with_the_reference(boxes, least):
    same(kernels.remove_small_boxes(boxes, least), reference.remove_small_boxes(boxes, least))


@given(masks=some.bitmaps())
def test_boxes_of_masks_agree_with_the_reference(masks):
    same(kernels.masks_to_boxes(masks), reference.masks_to_boxes(masks))
    same(kernels.masks_to_boxes(masks, inclusive=False), reference.masks_to_boxes(masks, inclusive=False))


def test_out_is_filled_and_returned():
    boxes, out = np.array([[0, 0, 2, 2]], np.float32), np.empty((1, 1), np.float32)
    assert kernels.box_iou(boxes, boxes, out=out) is out and out[0, 0] == 1


def test_non_contiguous_boxes_are_taken():
    boxes = np.arange(48, dtype=np.float32).reshape(6, 8)[:, ::2]
    same(kernels.box_iou(boxes, boxes), reference.box_iou(boxes, boxes))


def test_mixed_dtypes_are_computed_in_the_wider():
    a, b = np.array([[0, 0, 3, 3]], np.float32), np.array([[0, 0, 1, 1]], np.float64)
    same(kernels.box_iou(a, b), reference.box_iou(a, b))


BOX = np.zeros((2, 4), np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.box_iou(BOX.T.copy(), BOX), ValueError,
     r"box_iou: boxes1 must have shape \(N, 4\), got \(4, 2\)\. Did you mean boxes1\.T\?"),
    (lambda: kernels.box_iou(BOX, BOX[0]), ValueError, r"box_iou: boxes2 must have shape \(N, 4\), got \(4,\)"),
    (lambda: kernels.box_iou(BOX.astype(int), BOX), TypeError,
     "box_iou: boxes1 must be float16, bfloat16, float32 or float64, got int64"),
    (lambda: kernels.box_iou(object(), BOX), TypeError, "box_iou: boxes1 must be an array of numbers, got object"),
    (lambda: kernels.box_iou(BOX, BOX, threads=0), ValueError, "box_iou: threads must be at least 1, got 0"),
    (lambda: kernels.box_iou(BOX, BOX, threads=1.5), TypeError, "box_iou: threads must be a whole number, got float"),
    (lambda: kernels.box_iou(BOX, BOX, out=np.empty((2, 3), np.float32)), ValueError,
     r"box_iou: out must be a float32 array of shape \(2, 2\), got float32 \(2, 3\)"),
    (lambda: kernels.box_convert(BOX, "xyxy", "xyhw"), ValueError,
     "box_convert: out_fmt must be one of 'xyxy', 'xywh', 'cxcywh', 'cxcywhr', 'xywhr', 'xyxyxyxy', got 'xyhw'"),
    (lambda: kernels.box_convert(BOX, "xyxy", "cxcywhr"), ValueError,
     r"box_convert: in_fmt and out_fmt must both be upright \(.*\) or both rotated \(.*\), got 'xyxy' and 'cxcywhr'"),
    (lambda: kernels.box_convert(BOX, "xywhr", "cxcywhr"), ValueError, r"boxes must have shape \(N, 5\), got \(2, 4\)"),
    (lambda: kernels.clip_boxes_to_image(BOX, (3,)), TypeError, "clip_boxes_to_image: size must be a whole number"),
    (lambda: kernels.clip_boxes_to_image(BOX, (-1, 3)), ValueError, "clip_boxes_to_image: size must be at least 0"),
    (lambda: kernels.remove_small_boxes(BOX, "3"), TypeError, "remove_small_boxes: min_size must be a number, got str"),
    (lambda: kernels.remove_small_boxes(BOX, float("nan")), ValueError, "remove_small_boxes: min_size must not be NaN"),
    (lambda: kernels.distance_box_iou(BOX, BOX, -1e-7), ValueError,
     "distance_box_iou: eps must be finite and at least 0, got -1e-07"),
    (lambda: kernels.complete_box_iou(BOX, BOX, "small"), TypeError, "complete_box_iou: eps must be a number, got str"),
    (lambda: kernels.masks_to_boxes(BOX), ValueError,
     r"masks_to_boxes: masks must have shape \(N, H, W\), got \(2, 4\)"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
