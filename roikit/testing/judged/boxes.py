"""The functions of boxes: their arguments, and what others do."""

import math

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, boxes_of
from roikit.testing.judged._overlap import DIVISION, LOOSE, SIDES, iou_matrix
from roikit.testing.judging import Op, per_dtype
from roikit.testing.variants import combine, rounded_apart, trait

__all__ = ["OPS"]


@st.composite
def box_area(draw, awkward):
    return {"boxes": boxes_of(draw, awkward, draw(DTYPES))}


@st.composite
def box_iou(draw, awkward):
    dtype = draw(DTYPES)
    return {"boxes1": boxes_of(draw, awkward, dtype), "boxes2": boxes_of(draw, awkward, dtype)}


@st.composite
def generalized_box_iou(draw, awkward):
    return draw(box_iou(awkward))


@st.composite
def distance_box_iou(draw, awkward):
    return {**draw(box_iou(awkward)), "eps": draw(st.sampled_from([1e-7, 1e-7, 0.25]))}


@st.composite
def complete_box_iou(draw, awkward):
    return draw(distance_box_iou(awkward))


@st.composite
def box_convert(draw, awkward):
    forms = st.sampled_from(["xyxy", "xywh", "cxcywh"])
    return {"boxes": boxes_of(draw, awkward, draw(DTYPES)), "in_fmt": draw(forms), "out_fmt": draw(forms)}


@st.composite
def clip_boxes_to_image(draw, awkward):
    side = st.integers(0 if awkward else 1, 16)
    return {"boxes": boxes_of(draw, awkward, draw(DTYPES)), "size": (draw(side), draw(side))}


@st.composite
def remove_small_boxes(draw, awkward):
    return {"boxes": boxes_of(draw, awkward, draw(DTYPES)),
            "min_size": draw(st.sampled_from([1.0, 2.0, 4.0, 5.0, 1.25, *([0.0, 1e-3] if awkward else [])]))}


@st.composite
def masks_to_boxes(draw, awkward):
    side = st.integers(0 if awkward else 1, 9)
    masks = draw(some.bitmaps(n=None if awkward else draw(st.integers(1, 3)), size=(draw(side), draw(side)),
                              dtype=draw(st.sampled_from([np.bool_, np.uint8]))))
    if not awkward:  # an empty mask has no box
        masks[:, draw(st.integers(0, masks.shape[1] - 1)), draw(st.integers(0, masks.shape[2] - 1))] = 1
    return {"masks": masks, "inclusive": draw(st.booleans())}


def area_model(case, got, *, plus_one=False, signs="zero"):
    boxes = case["boxes"]
    with np.errstate(all="ignore"):
        sides = boxes[:, 2:] - boxes[:, :2] + boxes.dtype.type(plus_one)
        sides = {"zero": np.where(sides < 0, boxes.dtype.type(0), sides), "kept": sides, "lost": np.abs(sides)}[signs]
        return sides[:, 0] * sides[:, 1]


BOX_AREA = (*combine(area_model, (
    SIDES[0],
    trait("signed-sides", "the sides of a reversed box are multiplied as they are: its area may be negative, or "
          "positive if both are reversed", signs="kept"),
    trait("corners-sorted", "a reversed box has the area of the box with its corners in order", signs="lost"),
)), rounded_apart(reference.box_area))


def box_iou_model(case, got, *, over_first=False, **flags):
    if not over_first:
        return iou_matrix(case["boxes1"], case["boxes2"], **flags)
    a, b = case["boxes1"], case["boxes2"]
    dtype = np.result_type(a, b)
    area = reference.box_area(a.astype(dtype))[:, None]
    with np.errstate(all="ignore"):
        low = np.maximum(a.astype(dtype)[:, None, :2], b[None, :, :2])
        size = np.maximum(np.minimum(a.astype(dtype)[:, None, 2:], b[None, :, 2:]) - low, 0)
        return np.where(area > 0, size[..., 0] * size[..., 1] / area, 0).astype(dtype)


BOX_IOU = (*combine(box_iou_model, (*SIDES, *DIVISION, LOOSE,
                                    trait("over-first", "the intersection is divided by the area of the first box",
                                          alone=True, over_first=True))),
           rounded_apart(reference.box_iou))


def length(low, high, one=0):
    size = high - low + one
    return np.where(size < 0, low.dtype.type(0), size)


def relative(kind):
    def model(case, got, *, plus_one=False, empty="zero", signed=False, capped=True, squared=True, gate=False,
              factor=True, shape=True, centres=True):
        """IoU less a penalty.

        Args:
            plus_one, empty, signed: as in ``iou_matrix``; where the IoU may be NaN, the penalty may, too.
            capped: the distance's penalty is at most 1.
            squared: distance and diagonal are squared.
            gate: the shape counts only where the IoU is above 0.5.
            factor: the shape has its 4 / pi^2.
            shape, centres: these parts of the complete IoU's penalty are there.
        """
        a, b = case["boxes1"], case["boxes2"]
        dtype = np.result_type(a, b)
        real = dtype.type
        iou = iou_matrix(a, b, plus_one=plus_one, empty=empty, signed=signed)
        a, b = a.astype(dtype)[:, None], b.astype(dtype)[None]
        one = real(plus_one)

        def area(box):
            if signed:
                return (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])
            return length(box[..., 0], box[..., 2], one) * length(box[..., 1], box[..., 3], one)

        with np.errstate(all="ignore"):
            width, height = (length(np.where(a < b, a, b)[..., i], np.where(a > b, a, b)[..., i + 2], one)
                             for i in (0, 1))
            if kind == "generalized":
                inter = [length(np.where(a > b, a, b)[..., i], np.where(a < b, a, b)[..., i + 2], one) for i in (0, 1)]
                union, hull = (area(a) + area(b)) - inter[0] * inter[1], width * height
                loose = hull - union if empty == "nan" else length(union, hull)
                penalty = loose / hull
            else:
                penalty = distance(a, b, width, height, real(case["eps"]), capped, squared) if centres else real(0)
                if kind == "complete" and shape:
                    angles = [np.arctan2(length(c[..., 0], c[..., 2], one).astype(np.float64),
                                         length(c[..., 1], c[..., 3], one).astype(np.float64)).astype(dtype)
                              for c in (a, b)]
                    v = real(4 / math.pi**2 if factor else 1) * (angles[0] - angles[1]) ** 2
                    alpha = v / (((real(1) - iou) + v) + real(case["eps"]))
                    penalty = penalty + np.where(iou > 0.5, alpha * v, 0) if gate else penalty + alpha * v
            return np.where(np.isfinite(penalty) | (empty == "nan"), iou - penalty, iou).astype(dtype)
    return model


def distance(a, b, width, height, eps, capped, squared):
    dx, dy = ((a[..., i] + a[..., i + 2]) * a.dtype.type(0.5) - (b[..., i] + b[..., i + 2]) * a.dtype.type(0.5)
              for i in (0, 1))
    away, diagonal = dx * dx + dy * dy, (width * width + height * height) + eps
    penalty = away / diagonal if squared else np.sqrt(away) / np.sqrt(diagonal)
    return np.where((penalty > 1) & np.isfinite(penalty), a.dtype.type(1), penalty) if capped else penalty


PLUS_ONE = trait("plus-one", "boxes include their last pixel: a side is x2 - x1 + 1", plus_one=True)
UNDEFINED = (
    trait("nan-undefined", "the result of empty, NaN and infinite boxes is NaN where a division says so", empty="nan"),
    trait("nan-undefined-signed-areas", "the result is NaN where a division says so, and reversed boxes have the area "
          "of their sides multiplied as they are (torchvision)", empty="nan", signed=True),
)
UNCAPPED = trait("uncapped", "the penalty of reversed boxes may be above 1", capped=False)
NAN_UNCAPPED = trait("nan-undefined-signed-areas-uncapped", "the result is NaN where a division says so, reversed "
                     "boxes have the area of their sides multiplied as they are, and their penalty may be above 1 "
                     "(torchvision)", empty="nan", signed=True, capped=False)
ROOTS = trait("distance-not-squared", "the distance over the diagonal, not their squares", squared=False)
GENERALIZED_BOX_IOU = (*combine(relative("generalized"), (PLUS_ONE, *UNDEFINED)),
                       rounded_apart(reference.generalized_box_iou))
DISTANCE_BOX_IOU = (*combine(relative("distance"), (PLUS_ONE, *UNDEFINED, UNCAPPED, NAN_UNCAPPED, ROOTS)),
                    rounded_apart(reference.distance_box_iou))
COMPLETE_BOX_IOU = (*combine(relative("complete"), (
    PLUS_ONE, *UNDEFINED, UNCAPPED, NAN_UNCAPPED, ROOTS,
    trait("shape-above-half", "the shape counts only where the IoU is above 0.5", gate=True),
    trait("shape-without-factor", "the shape's term lacks its 4 / pi^2", factor=False),
    trait("no-shape", "the shape does not count: the distance IoU", shape=False),
    trait("no-distance", "the distance does not count", centres=False),
)), rounded_apart(reference.complete_box_iou))


def convert_model(case, got, *, plus=0, clamped=False, floored=False, corner=False):
    boxes, source, target = case["boxes"], case["in_fmt"], case["out_fmt"]
    if source == target:
        return boxes.copy()
    half = boxes.dtype.type(0.5)
    first, second = boxes[:, :2], boxes[:, 2:]
    with np.errstate(all="ignore"):
        if source != "xyxy":
            size = second
            first = first if source == "xywh" or corner else first - half * size
            second = first + size - boxes.dtype.type(plus)
            if source == "cxcywh" and not plus and not corner:
                second = boxes[:, :2] + half * size
        if target != "xyxy":
            size = second - first + boxes.dtype.type(plus)
            size = np.where(size < 0, boxes.dtype.type(0), size) if clamped else size
            centre = (first + second) / boxes.dtype.type(2)
            centre = np.floor(centre) if floored else centre
            first, second = (first if target == "xywh" or corner else centre), size
    return np.concatenate([first, second], axis=1)


BOX_CONVERT = (*combine(convert_model, (
    trait("plus-one", "boxes include their last pixel: a side is x2 - x1 + 1", plus=1),
    trait("sides-at-least-0", "the sides of a reversed box become 0", clamped=True),
    trait("centre-floored", "a centre is rounded down to whole pixels", floored=True),
    trait("centre-is-corner", "cxcywh is read and written as xywh", corner=True),
)), rounded_apart(reference.box_convert))


def clip_model(case, got, *, last=0, swapped=False, nan="kept", sides="both"):
    height, width = reversed(case["size"]) if swapped else case["size"]
    out = case["boxes"].copy()
    for i, limit in enumerate((width, height, width, height)):
        column = out[:, i]
        if sides == "both" or i < 2:
            column[column < 0] = 0
        if sides == "both" or i >= 2:
            column[column > limit - last] = limit - last
        if nan == "zero":
            column[np.isnan(column)] = 0
        elif nan == "limit":
            column[np.isnan(column)] = limit - last
    return out


CLIP_BOXES_TO_IMAGE = combine(clip_model, (
    trait("last-pixel", "corners are moved into [0, W - 1] x [0, H - 1]", last=1),
    trait("size-wh", "size is taken as (W, H)", swapped=True),
    trait("nan-to-zero", "a NaN coordinate becomes 0", nan="zero"),
    trait("nan-to-limit", "a NaN coordinate becomes the image's side", nan="limit"),
    trait("one-side-each", "x1 and y1 are limited from below only, x2 and y2 from above only", sides="one"),
))


def small_model(case, got, *, strict=False, plus=0, rule="both", mask=False):
    boxes = case["boxes"]
    least = boxes.dtype.type(case["min_size"])
    with np.errstate(all="ignore"):
        sides = boxes[:, 2:] - boxes[:, :2] + boxes.dtype.type(plus)
        reached = sides > least if strict else sides >= least
        if rule == "area":
            area = np.maximum(sides, 0).prod(axis=1)
            kept = area > least * least if strict else area >= least * least
        else:
            kept = reached.any(axis=1) if rule == "either" else reached.all(axis=1)
    return kept if mask else np.flatnonzero(kept).astype(np.int64)


REMOVE_SMALL_BOXES = combine(small_model, (
    trait("strict-size", "a side must be above min_size: > instead of >=", strict=True),
    trait("plus-one", "boxes include their last pixel: a side is x2 - x1 + 1", plus=1),
    trait("either-side", "one side that reaches min_size is enough", rule="either"),
    trait("area", "the area must reach min_size squared, not each side min_size", rule="area"),
    trait("mask", "a bool for each box is returned, not indices", mask=True),
))


def masks_model(case, got, *, last=None, order=(0, 1, 2, 3), sizes=False, empty="zeros"):
    last = {None: not case["inclusive"], "flipped": case["inclusive"], "inclusive": False, "exclusive": True}[last]
    masks = case["masks"]
    boxes = np.zeros((len(masks), 4), np.float32)
    for n, mask in enumerate(masks):
        y, x = np.nonzero(mask)
        if len(y):
            low, high = (x.min(), y.min()), (x.max() + last, y.max() + last)
            boxes[n] = *low, *([h - c for c, h in zip(low, high, strict=True)] if sizes else high)
        elif empty == "minus":
            boxes[n] = -1
        elif empty == "image":
            boxes[n] = 0, 0, mask.shape[1] - (not last), mask.shape[0] - (not last)
    boxes = boxes[:, list(order)]
    if empty == "dropped":
        return boxes[masks.any(axis=(1, 2))]
    return boxes


MASKS_TO_BOXES = combine(masks_model, (
    trait("inclusive", "x2 and y2 are the last pixel's index, whatever is asked (torchvision)", needs="inclusive",
          last="inclusive"),
    trait("exclusive", "x2 and y2 are the last pixel's index plus one, whatever is asked (detectron2, COCO)",
          last="exclusive"),
    trait("inclusive-flipped", "the flag is reversed", needs="inclusive", last="flipped"),
    trait("yx-order", "boxes are y1, x1, y2, x2", order=(1, 0, 3, 2)),
    trait("xywh", "boxes are a corner and a size", sizes=True),
    trait("empty-minus-one", "an empty mask has the box -1 -1 -1 -1", empty="minus"),
    trait("empty-is-image", "an empty mask has the whole image as its box", empty="image"),
    trait("empty-dropped", "an empty mask has no row", empty="dropped"),
))


OPS = (
    Op("box_area", reference.box_area, "sides are x2 - x1; a reversed box has area 0", BOX_AREA, 1, arguments=box_area),
    Op("box_iou", reference.box_iou, "sides are x2 - x1; a reversed box has area 0; the IoU of empty, NaN and infinite "
       "boxes is 0", BOX_IOU, 2, arguments=box_iou),
    Op("generalized_box_iou", reference.generalized_box_iou, "the IoU less the share of the enclosing box that is in "
       "neither; a penalty that is not finite counts as 0", GENERALIZED_BOX_IOU, 2, arguments=generalized_box_iou),
    Op("distance_box_iou", reference.distance_box_iou, "the IoU less the squared distance of the centres over the "
       "squared diagonal of the enclosing box plus eps; a penalty that is not finite counts as 0",
       DISTANCE_BOX_IOU, 3, arguments=distance_box_iou),
    Op("complete_box_iou", reference.complete_box_iou, "the distance IoU less alpha * v, alpha = v / (1 - IoU + v + "
       "eps); a penalty that is not finite counts as 0", COMPLETE_BOX_IOU, 3, per_dtype(1e-6, 2e-15),
       arguments=complete_box_iou),
    Op("box_convert", reference.box_convert, "sides are x2 - x1, also negative ones; a centre is (x1 + x2) / 2",
       BOX_CONVERT, 3, arguments=box_convert),
    Op("clip_boxes_to_image", reference.clip_boxes_to_image, "x into [0, W], y into [0, H]; size is (H, W); NaN stays "
       "NaN", CLIP_BOXES_TO_IMAGE, 2, arguments=clip_boxes_to_image),
    Op("remove_small_boxes", reference.remove_small_boxes, "both sides must reach min_size (>=); indices, ascending",
       REMOVE_SMALL_BOXES, 2, arguments=remove_small_boxes),
    Op("masks_to_boxes", reference.masks_to_boxes, "x2 and y2 are the last pixel's index, plus one unless inclusive; "
       "an empty mask gives zeros", MASKS_TO_BOXES, 1, arguments=masks_to_boxes),
)
