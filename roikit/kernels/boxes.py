"""Boxes on NumPy arrays: areas, formats, clipping, overlap. The compiled face of roikit.reference.boxes."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import as_array, as_boxes, launch, result, view

__all__ = ["box_area", "box_convert", "box_iou", "clip_boxes_to_image", "complete_box_iou", "distance_box_iou",
           "generalized_box_iou", "masks_to_boxes", "remove_small_boxes"]

FORMATS = ("xyxy", "xywh", "cxcywh")

# NaN, infinite and huge boxes have defined answers; NumPy need not warn of them.
quiet = np.errstate(invalid="ignore", over="ignore")


def _sides(boxes):
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.where(sides < 0, sides.dtype.type(0), sides)


@quiet
def box_area(boxes):
    """The areas (N,) of boxes (N, 4) xyxy; a reversed side counts as 0, NaN stays NaN.

    Raises:
        TypeError, ValueError: boxes is not a floating (N, 4) array.
    """
    sides = _sides(as_boxes("box_area", "boxes", boxes))
    return sides[:, 0] * sides[:, 1]


@quiet
def box_convert(boxes, in_fmt, out_fmt):
    """Boxes (N, 4) from one format to another: "xyxy", "xywh" (corner and size), "cxcywh" (centre and size).

    Raises:
        TypeError, ValueError: boxes is not a floating (N, 4) array; a format is unknown.
    """
    boxes = as_boxes("box_convert", "boxes", boxes)
    _check.choice("box_convert", "in_fmt", in_fmt, FORMATS)
    _check.choice("box_convert", "out_fmt", out_fmt, FORMATS)
    if in_fmt == out_fmt:
        return boxes.copy()
    half = boxes.dtype.type(0.5)
    first, second = boxes[:, :2], boxes[:, 2:]
    if in_fmt == "xywh":
        first, second = first, first + second
    elif in_fmt == "cxcywh":
        first, second = first - half * second, first + half * second
    if out_fmt == "xywh":
        second = second - first
    elif out_fmt == "cxcywh":
        first, second = (first + second) * half, second - first
    return np.concatenate([first, second], axis=1)


def clip_boxes_to_image(boxes, size):
    """Boxes (N, 4) xyxy with x moved into [0, W] and y into [0, H]; ``size`` is (H, W). NaN stays NaN.

    Raises:
        TypeError, ValueError: boxes is not a floating (N, 4) array; size is not two numbers of at least 0.
    """
    boxes = as_boxes("clip_boxes_to_image", "boxes", boxes)
    height, width = _check.pair("clip_boxes_to_image", "size", tuple(size), 0)
    limit = np.array([width, height, width, height], boxes.dtype)
    return np.minimum(np.maximum(boxes, 0), limit)


@quiet
def remove_small_boxes(boxes, min_size):
    """Indices (K,) int64 of the boxes (N, 4) whose width and height are both at least ``min_size``.

    Raises:
        TypeError, ValueError: boxes is not a floating (N, 4) array; min_size is not a number.
    """
    boxes = as_boxes("remove_small_boxes", "boxes", boxes)
    least = _check.number("remove_small_boxes", "min_size", min_size)
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.flatnonzero((sides >= boxes.dtype.type(least)).all(axis=1))


def masks_to_boxes(masks, *, inclusive=True):
    """The tight boxes (N, 4) float32 of masks (N, H, W): first and last pixel index on each axis.

    ``inclusive`` is torchvision's way: a mask of one pixel gives a box without area. Without it, x2 and y2 are one
    more, so that the box covers the pixels, as in detectron2 and COCO. An empty mask gives zeros either way.

    Raises:
        TypeError, ValueError: masks is not a (N, H, W) array.
    """
    masks = as_array("masks_to_boxes", "masks", masks)
    _check.rank("masks_to_boxes", "masks", masks, ("N", "H", "W"))
    out = np.zeros((len(masks), 4), np.float32)
    if masks.size == 0:
        return out
    for axis, first in ((1, 0), (2, 1)):  # columns that hold a pixel give x, rows give y
        hit = (masks != 0).any(axis=axis)
        out[:, first] = hit.argmax(axis=1)
        end = hit.shape[1] - bool(inclusive)
        out[:, first + 2] = np.where(hit.any(axis=1), end - hit[:, ::-1].argmax(axis=1), 0)
    return out


def box_iou(boxes1, boxes2, *, out=None, threads=None):
    """Intersection over union of every pair of boxes.

    Args:
        boxes1: (N, 4) float16, float32 or float64, xyxy in pixels; half is cast to float32.
        boxes2: (M, 4), likewise; the two are computed in the wider dtype.
        out: (N, M) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (N, M) float32 or float64 in [0, 1]; 0 where a box is empty, reversed or not finite.

    Raises:
        TypeError, ValueError: a wrong kind or shape, in a sentence.

    Source: Everingham et al., IJCV 2010, section 4.2, with half-open boxes.
    """
    return _every_pair("box_iou", boxes1, boxes2, (), out, threads)


def generalized_box_iou(boxes1, boxes2, *, out=None, threads=None):
    """IoU less the share of the smallest enclosing box that neither box covers, for every pair.

    Args, errors: as box_iou.

    Returns:
        (N, M) float32 or float64 in [-1, 1]; 0 where a box is not finite, and for two equal points.

    Source: Rezatofighi et al., CVPR 2019, algorithm 1.
    """
    return _every_pair("generalized_box_iou", boxes1, boxes2, (), out, threads)


def distance_box_iou(boxes1, boxes2, eps=1e-7, *, out=None, threads=None):
    """IoU less the squared distance of the centres over the squared diagonal of the enclosing box, for every pair.

    Args, errors: as box_iou; eps, at least 0, is added to the squared diagonal.

    Returns:
        (N, M) float32 or float64 in [-1, 1]; 0 where a box is not finite.

    Source: Zheng et al., AAAI 2020, equation 7.
    """
    eps = _check.number_from("distance_box_iou", "eps", eps, 0)
    return _every_pair("distance_box_iou", boxes1, boxes2, (eps,), out, threads)


def complete_box_iou(boxes1, boxes2, eps=1e-7, *, out=None, threads=None):
    """The distance IoU less a penalty for different aspect ratios, for every pair.

    Args, errors: as distance_box_iou; eps is also added to the denominator of alpha.

    Returns:
        (N, M) float32 or float64 in [-2, 1], off by at most 1e-6 or 2e-15; 0 where a box is not finite.

    Source: Zheng et al., AAAI 2020, equations 9 to 12.
    """
    eps = _check.number_from("complete_box_iou", "eps", eps, 0)
    return _every_pair("complete_box_iou", boxes1, boxes2, (eps,), out, threads)


def _every_pair(op, boxes1, boxes2, more, out, threads):
    a, b = as_boxes(op, "boxes1", boxes1), as_boxes(op, "boxes2", boxes2)
    dtype = np.result_type(a, b)
    a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
    out = result(op, out, (len(a), len(b)), dtype)
    getattr(_core, op)(view(a), view(b), *more, view(out), launch(op, threads))
    return out
