"""One object: what an annotation of `roikit.data.annotations.load_annotations` says of it, box, area, mask and more."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

import roikit.masks as rle
from roikit.data.keypoints import read_keypoints
from roikit.data.records import shown
from roikit.data.rotated import read_rotated_box, upright_boxes
from roikit.data.segmentation import box_and_area, read_segmentation

__all__ = ["Instance", "MalformedField", "has_mask", "is_line", "is_wrong_area", "read_area", "read_box", "read_object"]


# What to do about a field that cannot be read.
_REMEDIES = {
    "segmentation": "; write polygons of three points or more, x0 y0 x1 y1 ..., or an RLE of the image's size, or take "
                    "the object out",
    "box": "; write x, y, width, height, or leave it out beside a mask",
    "area": "; leave it out, and it is counted",
    "iscrowd": "; write 0 for one object, 1 for a region of many",
}
# An area may be so much larger than its box by the rounding of both.
_WRONG = 1.5


class MalformedField(ValueError):
    """A field of an annotation that cannot be read: ``field`` names it, the text says what is wrong.

    Attributes:
        field: its name.
        remedy: what to do about it, to be put behind the text; may be empty.
    """

    def __init__(self, field, sentence):
        super().__init__(sentence)
        self.field = field
        self.remedy = _REMEDIES.get(field, "")


class Instance(NamedTuple):
    """What `read_object` makes of an annotation.

    Attributes:
        box: (4,) float64, x1 y1 x2 y2 in pixels, inside the image.
        area: float, pixels.
        crowd: bool.
        mask: polygons or a compressed RLE, as `roikit.data.segmentation` has them; None where it was not read.
        keypoints: (K, 3) float64, as `roikit.data.keypoints` has them; None where they were not read.
        rotated: (5,) float64, the rotated box; None where it was not read.
    """

    box: np.ndarray
    area: float
    crowd: bool
    mask: object
    keypoints: np.ndarray | None = None
    rotated: np.ndarray | None = None


def has_mask(annotation):
    """Whether an annotation has a segmentation; [], [[]] and [null] are none."""
    segmentation = annotation.get("segmentation")
    if not segmentation or type(segmentation) is not list:
        return bool(segmentation)
    return any(ring != [] and ring is not None for ring in segmentation)


def is_line(annotation):
    """Whether all polygons of an annotation have one or two points: no area, or another tool's way to write a box."""
    rings = annotation.get("segmentation")
    return (type(rings) is list and bool(rings) and has_mask(annotation)
            and all(type(ring) is list and len(ring) in (0, 2, 4) and all(type(v) in (int, float) for v in ring)
                    for ring in rings))


def read_object(annotation, height, width, *, masks, keypoints=None, rotated=False):
    """The object that an annotation of `load_annotations` describes.

    Args:
        annotation: dict.
        height, width: of its image, pixels.
        masks: True where an object must have a mask; with False, a segmentation is read only where it has
            to stand in for a box or an area that is missing.
        keypoints: how many the object has; None where they are not read.
        rotated: True where an object must have a rotated box, ``rbox``, ``rbbox`` or ``obb``; with False, one is read
            only where it has to stand in for a box that is missing.

    Returns:
        Instance; or a str, the reason why there is nothing to learn or find, such as "without a mask".

    Raises:
        MalformedField (a ValueError): a field is malformed; the sentence does not name the annotation.
    """
    crowd = annotation.get("iscrowd", 0)
    if isinstance(crowd, bool) or crowd not in (0, 1):
        raise MalformedField("iscrowd", f"its iscrowd must be 0 or 1, got {shown(crowd)}")
    area = annotation.get("area")
    if area is not None:
        area = read_area(area)
    box = read_box(annotation["bbox"]) if annotation.get("bbox") else None
    turned = _read_turned(annotation) if rotated or box is None and not has_mask(annotation) else None
    if rotated and turned is None:
        return "without a rotated box"
    if turned is not None and not min(turned[2:4]) > 0:
        return "with a rotated box without area"
    if box is None and turned is not None:
        box = upright_boxes(turned)[0]
        area = turned[2] * turned[3] if area is None else area
    mask = None
    if masks or box is None or area is None:
        if is_line(annotation):
            if masks:
                return "with a polygon of two points"
        elif has_mask(annotation):
            mask = _read_mask(annotation["segmentation"], height, width)
        elif masks:
            return "without a mask"
    if mask is not None and _is_empty(mask, height, width):
        if masks:
            return "with an empty mask"
        mask = None
    if box is None and mask is None:
        return "without a box"
    if box is None:
        box = np.array(box_and_area(mask, height, width)[0])
    x1, y1, x2, y2 = box.tolist()  # floats: a million boxes go through here
    if not (x2 > x1 and y2 > y1 and all(map(math.isfinite, (x1, y1, x2, y2)))):
        return "with a box without area"
    x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if not (x2 > x1 and y2 > y1):
        return "with a box outside the image"
    if area is None:
        area = box_and_area(mask, height, width)[1] if mask is not None else (x2 - x1) * (y2 - y1)
    points = None if keypoints is None else _read_points(annotation.get("keypoints"), keypoints)
    return Instance(np.array([x1, y1, x2, y2], np.float64), float(area), crowd == 1, mask if masks else None, points,
                    turned)


def read_box(bbox):
    """COCO's x, y, width, height as a float64 array x1, y1, x2, y2.

    Raises:
        MalformedField (a ValueError): not four numbers.
    """
    try:
        x, y, w, h = (float(v) for v in bbox)
        if isinstance(bbox, (str, Mapping)):
            raise TypeError
    except (TypeError, ValueError, OverflowError):
        raise MalformedField("box", f"a box must be four numbers, got {shown(bbox)}") from None
    return np.array([x, y, x + w, y + h])


def is_wrong_area(area, box):
    """Whether an area, pixels, cannot be that of an object: it is larger than the box, or less than a pixel of several.

    Args:
        area: float, or (N,) array.
        box: (4,) or (N, 4) x1 y1 x2 y2 inside the image.
    """
    whole = (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])
    return (area > _WRONG * whole + 1) | (area < 1) & (whole > 4)


def read_area(area):
    """An ``area`` as a float.

    Raises:
        MalformedField (a ValueError): no finite number.
    """
    try:
        number = float(area) if type(area) in (int, float) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise MalformedField("area", f"its area must be a finite number, got {shown(area)}")
    return number


def _read_mask(segmentation, height, width):
    try:
        return read_segmentation(segmentation, height, width)
    except ValueError as error:
        raise MalformedField("segmentation", str(error)) from None


def _read_points(values, count):
    try:
        return read_keypoints(values, count)
    except ValueError as error:
        raise MalformedField("keypoints", str(error)) from None


def _read_turned(annotation):
    try:
        return read_rotated_box(annotation)
    except ValueError as error:
        raise MalformedField("rbox", str(error)) from None


def _is_empty(mask, height, width):
    """Whether a mask has no pixel inside the image.

    Rasterising all polygons of a large data set takes minutes, so only those are rasterised that are so
    thin that they may hold no pixel, or that leave the image.
    """
    if isinstance(mask, dict):
        return not rle.area(mask)
    for ring in mask:
        xs, ys = ring[0::2], ring[1::2]
        x1, y1, x2, y2 = xs.min(), ys.min(), xs.max(), ys.max()
        if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height and min(x2 - x1, y2 - y1) >= 2:
            return False
    return not box_and_area(mask, height, width)[1]
