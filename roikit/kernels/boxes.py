"""Boxes on NumPy arrays: areas, formats, clipping, overlap. The compiled face of roikit.reference.boxes."""

import numpy as np

from roikit import _check, _core
from roikit._check.boxes import ROTATED, formats
from roikit.kernels._arguments import as_array, as_boxes, wider
from roikit.kernels._launch import launch, result, view
from roikit.kernels._rotated_formats import from_own_corner, to_own_corner

__all__ = ["box_area", "box_convert", "box_iou", "clip_boxes_to_image", "complete_box_iou", "distance_box_iou",
           "generalized_box_iou", "masks_to_boxes", "remove_small_boxes"]

# NaN, infinite and huge boxes have defined answers; NumPy need not warn of them.
quiet = np.errstate(invalid="ignore", over="ignore")


@quiet
def box_area(boxes):
    """The areas of boxes: `roikit.ops.box_area` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy.

    Returns:
        (N,) float32 or float64; 0 for a reversed side, NaN stays NaN.

    Raises: TypeError or ValueError where boxes is not a floating (N, 4) array.
    """
    boxes = as_boxes("box_area", "boxes", boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    sides = np.where(sides < 0, sides.dtype.type(0), sides)
    return sides[:, 0] * sides[:, 1]


@quiet
def box_convert(boxes, in_fmt, out_fmt):
    """Boxes from one format to another: `roikit.ops.box_convert` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64; (N, 5) or (N, 8) of rotated formats.
        in_fmt, out_fmt: both of "xyxy", "xywh", "cxcywh", or both of "cxcywhr", "xywhr", "xyxyxyxy".

    Returns:
        (N, 4), (N, 5) or (N, 8) float32 or float64, always new memory.

    Raises: TypeError or ValueError where boxes is not a floating array of these columns; a format is unknown; one is
        upright and one rotated.
    """
    boxes = as_boxes("box_convert", "boxes", boxes, formats("box_convert", in_fmt, out_fmt))
    if in_fmt == out_fmt:
        return boxes.copy()
    if in_fmt in ROTATED:
        return from_own_corner(to_own_corner(boxes, in_fmt), out_fmt)
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
    """Boxes moved into an image: `roikit.ops.clip_boxes_to_image` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy.
        size: (H, W).

    Returns:
        (N, 4) float32 or float64.

    Raises: TypeError or ValueError where boxes is not a floating (N, 4) array; size is not two numbers of at least 0.
    """
    boxes = as_boxes("clip_boxes_to_image", "boxes", boxes)
    height, width = _check.pair("clip_boxes_to_image", "size", tuple(size), 0)
    limit = np.array([width, height, width, height], boxes.dtype)
    return np.minimum(np.maximum(boxes, 0), limit)


@quiet
def remove_small_boxes(boxes, min_size):
    """The boxes that are not small: `roikit.ops.remove_small_boxes` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy.
        min_size: the least width and height, pixels.

    Returns:
        (K,) int64, ascending indices.

    Raises: TypeError or ValueError where boxes is not a floating (N, 4) array; min_size is not a number.
    """
    boxes = as_boxes("remove_small_boxes", "boxes", boxes)
    least = _check.number("remove_small_boxes", "min_size", min_size)
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.flatnonzero((sides >= boxes.dtype.type(least)).all(axis=1))


def masks_to_boxes(masks, *, inclusive=True):
    """The tight boxes of masks: `roikit.ops.masks_to_boxes` for arrays.

    Args:
        masks: (N, H, W) of any dtype; not 0 is inside.
        inclusive: x2 and y2 are the last pixel's index; False: one more.

    Returns:
        (N, 4) float32; zeros for an empty mask.

    Raises: TypeError or ValueError where masks is not a (N, H, W) array.
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
    """Intersection over union of every pair of boxes: `roikit.ops.box_iou` for arrays.

    Args:
        boxes1: (N, 4) float16, float32 or float64, xyxy.
        boxes2: (M, 4), likewise.
        out: (N, M), for the result.
        threads: how many may work.

    Returns:
        (N, M) float32 or float64 in [0, 1].

    Raises: TypeError or ValueError for a wrong kind or shape.
    """
    return _every_pair("box_iou", boxes1, boxes2, (), out, threads)


def generalized_box_iou(boxes1, boxes2, *, out=None, threads=None):
    """IoU less the share of the enclosing box that neither covers: `roikit.ops.generalized_box_iou` for arrays.

    Args:
        boxes1: (N, 4), as in `box_iou`.
        boxes2, out, threads: as in `box_iou`.

    Returns:
        (N, M) float32 or float64 in [-1, 1].

    Raises: TypeError or ValueError as `box_iou`.
    """
    return _every_pair("generalized_box_iou", boxes1, boxes2, (), out, threads)


def distance_box_iou(boxes1, boxes2, eps=1e-7, *, out=None, threads=None):
    """IoU less the distance of the centres: `roikit.ops.distance_box_iou` for arrays.

    Args:
        boxes1, boxes2, out, threads: as in `box_iou`.
        eps: at least 0, added to the squared diagonal.

    Returns:
        (N, M) float32 or float64 in [-1, 1].

    Raises: TypeError or ValueError as `box_iou`; eps is not a finite number of at least 0.
    """
    eps = _check.number_from("distance_box_iou", "eps", eps, 0)
    return _every_pair("distance_box_iou", boxes1, boxes2, (eps,), out, threads)


def complete_box_iou(boxes1, boxes2, eps=1e-7, *, out=None, threads=None):
    """The distance IoU less a penalty for different aspect ratios: `roikit.ops.complete_box_iou` for arrays.

    Args:
        boxes1, boxes2, out, threads: as in `box_iou`.
        eps: as in `distance_box_iou`; also added to the denominator of alpha.

    Returns:
        (N, M) float32 or float64 in [-2, 1], off by at most 1e-6 or 2e-15.

    Raises: TypeError or ValueError as `distance_box_iou`.
    """
    eps = _check.number_from("complete_box_iou", "eps", eps, 0)
    return _every_pair("complete_box_iou", boxes1, boxes2, (eps,), out, threads)


def _every_pair(op, boxes1, boxes2, more, out, threads):
    a, b = wider(as_boxes(op, "boxes1", boxes1), as_boxes(op, "boxes2", boxes2))
    out = result(op, out, (len(a), len(b)), a.dtype)
    getattr(_core, op)(view(a), view(b), *more, view(out), launch(op, threads))
    return out
