"""boxes: hand-worked values and laws of the specification."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some

FORMATS = ("xyxy", "xywh", "cxcywh")
F32 = np.float32
RELATIVES = ("generalized_box_iou", "distance_box_iou", "complete_box_iou")


def test_area_by_hand():
    boxes = np.array([[1, 2, 4, 6], [4, 2, 1, 6], [4, 6, 1, 2], [3, 3, 3, 9]], F32)
    assert reference.box_area(boxes).tolist() == [12, 0, 0, 0]  # reversed and empty boxes have none


def test_iou_by_hand():
    a = np.array([[0, 0, 2, 2], [5, 5, 6, 6]], F32)
    b = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2]], F32)
    assert reference.box_iou(a, b).tolist() == [[F32(1) / F32(7), 1, 0], [0, 0, 0]]


def test_convert_by_hand():
    xyxy = np.array([[1, 2, 4, 8]], F32)
    assert reference.box_convert(xyxy, "xyxy", "xywh").tolist() == [[1, 2, 3, 6]]
    assert reference.box_convert(xyxy, "xyxy", "cxcywh").tolist() == [[2.5, 5, 3, 6]]
    assert reference.box_convert(np.array([[2.5, 5, 3, 6]]), "cxcywh", "xywh").tolist() == [[1, 2, 3, 6]]


# A triangle of sides 3, 4, 5, and quarter turns; the width lies along (cos, -sin), the height along (sin, cos).
ANGLE = 53.13010235415598
TURNED = {
    "cxcywhr": [[10, 20, 8, 4, 90], [10, 20, 8, 4, 0], [5.5, 2, 10, 5, ANGLE], [10, 20, 8, 4, 180]],
    "xywhr": [[8, 24, 8, 4, 90], [6, 18, 8, 4, 0], [0.5, 4.5, 10, 5, ANGLE], [14, 22, 8, 4, 180]],
    "xyxyxyxy": [[8, 24, 8, 16, 12, 16, 12, 24], [6, 18, 14, 18, 14, 22, 6, 22],
                 [0.5, 4.5, 6.5, -3.5, 10.5, -0.5, 4.5, 7.5], [14, 22, 6, 22, 6, 18, 14, 18]],
}


@pytest.mark.parametrize("source", TURNED)
@pytest.mark.parametrize("target", TURNED)
def test_rotated_formats_by_hand(source, target):
    """The corner order is top left, top right, bottom right, bottom left, as they lie at angle 0; as torchvision's."""
    got = reference.box_convert(np.array(TURNED[source], np.float64), source, target)
    np.testing.assert_allclose(got, TURNED[target], atol=1e-12)


@given(some.rotated_boxes(dtype=np.float64, kinds=("grid",)), st.sampled_from(tuple(TURNED)))
def test_law_rotated_boxes_come_back_and_corners_are_where_the_overlap_has_them(boxes, middle):
    boxes = np.concatenate([boxes[:, :2], np.abs(boxes[:, 2:4]) + 1, np.fmod(boxes[:, 4:], 180)], axis=1)
    there = reference.box_convert(boxes, "cxcywhr", middle)
    back = reference.box_convert(there, middle, "cxcywhr")
    np.testing.assert_allclose(back[:, :4], boxes[:, :4], atol=1e-9)
    np.testing.assert_allclose(np.cos(np.radians(back[:, 4] - boxes[:, 4])), 1, atol=1e-12)
    corners = reference.box_convert(boxes, "cxcywhr", "xyxyxyxy").reshape(-1, 1, 8)
    around = reference.min_area_boxes(list(corners), dtype=np.float64)
    np.testing.assert_allclose(np.diag(reference.box_iou_rotated(boxes, around)), 1, atol=1e-9)


def test_rotated_formats_of_awkward_boxes():
    nan, inf = float("nan"), float("inf")
    boxes = np.array([[3, 3, 0, 0, 30], [1, 2, 3, 4, nan], [1, 2, 3, 4, inf]], F32)
    assert reference.box_convert(boxes, "cxcywhr", "xyxyxyxy")[0].tolist() == [3] * 8
    assert np.isnan(reference.box_convert(boxes, "cxcywhr", "xyxyxyxy")[1:]).all()
    point = reference.box_convert(np.full((1, 8), 3, F32), "xyxyxyxy", "cxcywhr")
    assert point.tolist() == [[3, 3, 0, 0, 0]]


def test_clip_by_hand():
    boxes = np.array([[-1, -2, 30, 5], [np.nan, 4, np.inf, -np.inf]], F32)
    clipped = reference.clip_boxes_to_image(boxes, (10, 20))
    np.testing.assert_array_equal(clipped, np.array([[0, 0, 20, 5], [np.nan, 4, 20, 0]], F32))


def test_remove_small_by_hand():
    boxes = np.array([[0, 0, 2, 2], [0, 0, 1, 9], [0, 0, np.nan, 9], [9, 9, 0, 0], [1, 1, 4, 4]], F32)
    assert reference.remove_small_boxes(boxes, 2).tolist() == [0, 4]  # exactly min_size stays


def test_masks_to_boxes_by_hand():
    masks = np.zeros((3, 5, 7), np.uint8)
    masks[0, 1:4, 2:6] = 1
    masks[1, 4, 6] = 255
    assert reference.masks_to_boxes(masks).tolist() == [[2, 1, 5, 3], [6, 4, 6, 4], [0, 0, 0, 0]]


def test_masks_to_boxes_without_the_last_pixel_by_hand():
    masks = np.zeros((3, 5, 7), np.uint8)
    masks[0, 1:4, 2:6] = 1
    masks[1, 4, 6] = 255
    assert reference.masks_to_boxes(masks, inclusive=False).tolist() == [[2, 1, 6, 4], [6, 4, 7, 5], [0, 0, 0, 0]]


def test_relatives_of_iou_by_hand():
    a = np.array([[0, 0, 2, 2]])
    b = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [4, 0, 6, 2], [0, 0, 2, 6]], float)
    np.testing.assert_allclose(reference.generalized_box_iou(a.astype(float), b)[0], [1, 1 / 3, -1 / 3, 1 / 3])
    np.testing.assert_allclose(reference.distance_box_iou(a.astype(float), b, 0)[0],
                               [1, 1 / 3 - 1 / 13, -16 / 40, 1 / 3 - 4 / 40])
    v = 4 / np.pi**2 * (np.arctan(1) - np.arctan(1 / 3)) ** 2
    np.testing.assert_allclose(reference.complete_box_iou(a.astype(float), b, 0)[0],
                               [1, 1 / 3 - 1 / 13, -16 / 40, 1 / 3 - 4 / 40 - v * v / (2 / 3 + v)])


@pytest.mark.parametrize("name", RELATIVES)
def test_law_relatives_of_iou_are_finite_and_at_most_the_iou(name):
    @given(some.boxes(), some.boxes())
    def law(a, b):
        value = getattr(reference, name)(a, b)
        assert np.isfinite(value).all() and (value <= reference.box_iou(a, b)).all()
        assert (value >= (-2 if name == "complete_box_iou" else -1)).all()

    law()


@pytest.mark.parametrize("name", RELATIVES)
def test_law_a_box_that_is_not_finite_has_no_penalty(name):
    @given(some.boxes(kinds=("nonfinite",)), some.boxes(kinds=some.FINITE))
    def law(a, b):
        if name == "generalized_box_iou":  # a side reversed by an infinite corner has length 0 like any reversed side
            a = a[~np.isfinite(reference.box_area(a))]
        assert not getattr(reference, name)(a, b).any()

    law()


@pytest.mark.parametrize("name", RELATIVES)
def test_law_relatives_of_iou_give_1_for_a_box_with_itself(name):
    @given(some.boxes(kinds=("grid",)))
    def law(boxes):
        assert (np.diag(getattr(reference, name)(boxes, boxes)) == 1).all()

    law()


@given(some.boxes(), some.boxes())
def test_law_iou_is_symmetric_and_between_0_and_1(a, b):
    iou = reference.box_iou(a, b)
    assert iou.shape == (len(a), len(b)) and ((iou >= 0) & (iou <= 1)).all()
    np.testing.assert_array_equal(iou, reference.box_iou(b, a).T)


@given(some.boxes(kinds=("degenerate", "reversed", "nonfinite")), some.boxes())
def test_law_an_empty_reversed_or_nonfinite_box_has_iou_0(a, b):
    assert not reference.box_iou(a, b).any()


@given(some.boxes(kinds=some.ORDINARY))
def test_law_a_box_with_area_has_iou_1_with_itself(boxes):
    diagonal = np.diag(reference.box_iou(boxes, boxes))
    np.testing.assert_array_equal(diagonal, reference.box_area(boxes) > 0)


@given(some.boxes(kinds=("grid",)), some.boxes(kinds=("grid",)))
def test_law_iou_of_whole_number_boxes_is_the_correctly_rounded_quotient(a, b):
    for row, one in zip(reference.box_iou(a, b), a.astype(int).tolist(), strict=True):
        for value, other in zip(row, b.astype(int).tolist(), strict=True):
            pixels = [{(x, y) for x in range(x1, x2) for y in range(y1, y2)}
                      for x1, y1, x2, y2 in (one, other)]
            inter, union = len(pixels[0] & pixels[1]), len(pixels[0] | pixels[1])
            assert value == F32(Fraction(inter, union))


@given(some.boxes(kinds=("grid", "degenerate", "reversed")), st.sampled_from(FORMATS), st.sampled_from(FORMATS))
def test_law_conversion_of_whole_numbers_comes_back(boxes, first, second):
    there = reference.box_convert(boxes, first, second)
    np.testing.assert_array_equal(reference.box_convert(there, second, first), boxes)


@given(some.boxes(kinds=some.FINITE), st.integers(0, 30), st.integers(0, 30))
def test_law_clipped_boxes_lie_in_the_image_and_stay(boxes, height, width):
    clipped = reference.clip_boxes_to_image(boxes, (height, width))
    assert (clipped >= 0).all() and (clipped <= [width, height, width, height]).all()
    np.testing.assert_array_equal(reference.clip_boxes_to_image(clipped, (height, width)), clipped)


@given(some.bitmaps())
def test_law_masks_to_boxes_is_tight(masks):
    for mask, (x1, y1, x2, y2) in zip(masks, reference.masks_to_boxes(masks).astype(int), strict=True):
        assert mask[y1 : y2 + 1, x1 : x2 + 1].sum() == mask.sum()
        if mask.any():
            assert all(edge.any() for edge in (mask[y1], mask[y2], mask[:, x1], mask[:, x2]))
        else:
            assert (x1, y1, x2, y2) == (0, 0, 0, 0)


@given(some.boxes(dtype=np.float16), some.boxes(dtype=np.float64))
def test_law_half_is_cast_to_float32_and_the_wider_dtype_wins(half, double):
    assert reference.box_iou(half, half).dtype == F32
    assert reference.box_iou(half, double).dtype == np.float64
    np.testing.assert_array_equal(reference.box_iou(half, half),
                                  reference.box_iou(half.astype(F32), half.astype(F32)))


def test_contract_wrong_arguments_say_so():
    with pytest.raises(ValueError, match=r"box_area: boxes must have shape \(N, 4\), got \(4, 2\)"):
        reference.box_area(np.zeros((4, 2)))
    with pytest.raises(TypeError, match="box_iou: boxes2 must be float16, float32 or float64, got int64"):
        reference.box_iou(np.zeros((0, 4)), np.zeros((0, 4), np.int64))
    with pytest.raises(ValueError, match="box_convert: in_fmt and out_fmt must both be upright or both rotated"):
        reference.box_convert(np.zeros((0, 4)), "xyxy", "xywhr")
    with pytest.raises(ValueError, match=r"box_convert: boxes must have shape \(N, 8\), got \(0, 5\)"):
        reference.box_convert(np.zeros((0, 5)), "xyxyxyxy", "xywhr")
    with pytest.raises(ValueError, match="box_convert: out_fmt must be .* got 'yxyx'"):
        reference.box_convert(np.zeros((0, 4)), "xyxy", "yxyx")
