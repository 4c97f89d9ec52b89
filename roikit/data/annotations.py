"""Reads COCO's annotation file: JSON with lists of images, annotations and categories; or what stands in its place.

Everything that reads such a file reads it here, so that the data set, the doctor and the evaluation see the same
ids, flags, boxes and masks. Torch is not needed, and Pillow for no file.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from operator import is_
from pathlib import Path
from typing import NamedTuple

import numpy as np

import roikit.masks as rle
from roikit.data.keypoints import read_keypoints
from roikit.data.layouts import is_json_file, read_source, with_file_names
from roikit.data.records import shown
from roikit.data.rotated import read_rotated_box, upright_boxes
from roikit.data.segmentation import bitmap_of, box_and_area, read_segmentation

__all__ = ["Instance", "MalformedField", "has_mask", "load_annotations", "plain", "read_box", "read_json",
           "read_object", "refuse_fractions", "whole_number"]

_LEAVES = frozenset({int, float, str, bool, type(None), bytes})
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,18}(?:\.0*)?\s*")
# How far beyond [0, 1] a fraction of the image may lie by the rounding of the tool that wrote it.
_FRACTION_SLACK = 0.01


class MalformedField(ValueError):
    """A field of an annotation that cannot be read: ``field`` names it, the text says what is wrong."""

    def __init__(self, field, sentence):
        super().__init__(sentence)
        self.field = field


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


def read_json(path):
    """What a JSON file holds, with or without a byte order mark.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON; the text names it.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except RecursionError:
        raise ValueError(f"{os.fspath(path)} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} is not JSON: {error}") from None


def load_annotations(annotations, *, categories=True, images=None):
    """The content of an annotation file, in plain values.

    NumPy's numbers and arrays (and all else that has ``tolist``) become Python's. Ids that are whole numbers in another
    form, 7.0 or "7", become ints; so do an image's height and width. ``iscrowd`` becomes 0 or 1: 0 where it is missing
    or null, and False, 1.0 and "0" are the numbers that they show. ``area`` and ``bbox`` that are null are taken out.
    A ``segmentation`` that is an array (H, W) of zeros and ones becomes an RLE.
    What has no such meaning stays as it is, for the caller to refuse.

    Args:
        annotations: path of a JSON file, or its content, a mapping, which is not changed; or path of a folder or file
            in another layout, as `roikit.data.layouts.read_source` reads them.
        categories: False where the list of categories is not needed; one that is missing is empty then.
        images: folder of the images, which only a folder of annotations needs; None for the one beside it.

    Returns:
        dict with the lists ``images``, ``annotations`` and ``categories`` at least.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, or one of the three lists is missing; or as `read_source`.
    """
    if isinstance(annotations, Mapping):
        name, own = "the annotations", False
        try:
            content = plain(_with_encoded_bitmaps(annotations))
        except RecursionError:
            raise ValueError(f"{name} are nested too deeply") from None
    else:
        name, own = os.fspath(annotations), True
        content = (with_file_names(read_json(annotations)) if is_json_file(annotations) else
                   read_source(annotations, images))
    if not categories and isinstance(content, dict) and content.get("categories") is None:
        content = {**content, "categories": []}
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            raise ValueError(f"{name} must have a list {key!r}, as COCO's instance files do")
    return {**content,
            "images": [_with_whole(record, ("id", "height", "width"), own) for record in content["images"]],
            "categories": [_with_whole(record, ("id",), own) for record in content["categories"]],
            "annotations": [_annotation(record, own) for record in content["annotations"]]}


def _with_encoded_bitmaps(content):
    """The content with RLEs for masks that are arrays, which would read as polygons once they are lists."""
    records = content.get("annotations")
    if not isinstance(records, (list, tuple)):
        return content
    return {**content, "annotations": [_with_encoded_bitmap(record) for record in records]}


def _with_encoded_bitmap(record):
    segmentation = record.get("segmentation") if isinstance(record, Mapping) else None
    if not hasattr(segmentation, "__array__"):
        return record
    bitmap = bitmap_of(segmentation)
    # An array of a single row is a polygon, unless it is one of flags.
    if bitmap is None or len(bitmap) == 1 and "bool" not in str(segmentation.dtype):
        return record
    return {**record, "segmentation": rle.encode(np.asfortranarray(bitmap, np.uint8))}


def plain(value):
    """The value with Python's numbers and lists for NumPy's; itself where there is nothing to change."""
    kind = type(value)
    if kind in _LEAVES:
        return value
    if kind is list:
        if _LEAVES.issuperset(map(type, value)):
            return value
        found = [plain(one) for one in value]
        return value if all(map(is_, found, value)) else found
    if kind is dict:
        changed = {key: found for key, one in value.items()
                   if type(one) not in _LEAVES and (found := plain(one)) is not one}
        return {**value, **changed} if changed else value
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, str):  # NumPy's text
        return str(value)
    if hasattr(value, "tolist"):
        found = value.tolist()
        return plain(found) if isinstance(found, list) else found
    return value


def whole_number(value):
    """The int that a value shows, such as 7.0 or "7" does; the value itself where it shows none."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is str and _WHOLE.fullmatch(value):
        return int(value.partition(".")[0])
    return value


def _with_whole(record, fields, own):
    """The record with ints for the fields that show one; a copy where it changes and is not our own."""
    if not isinstance(record, dict):
        return record
    changed = {}
    for field in fields:
        value = record.get(field)
        if type(value) is not int and (whole := whole_number(value)) is not value:
            changed[field] = whole
    if not changed:
        return record
    if own:
        record.update(changed)
        return record
    return {**record, **changed}


def _annotation(record, own):
    try:
        if (type(record["id"]) is int and type(record["image_id"]) is int and type(record["category_id"]) is int
                and type(record["iscrowd"]) is int and record["area"] is not None and record["bbox"] is not None):
            return record
    except (KeyError, TypeError):
        if not isinstance(record, dict):
            return record
    record = record if own else dict(record)
    for field in ("id", "image_id", "category_id"):
        if field in record:
            record[field] = whole_number(record[field])
    record["iscrowd"] = _flag(record.get("iscrowd"))
    for field in ("area", "bbox"):
        if field in record and record[field] is None:
            del record[field]
    return record


def _flag(value):
    """0 or 1, whatever shows it; the value itself where it shows neither."""
    if value is None:
        return 0
    number = int(value) if isinstance(value, bool) else whole_number(value)
    return number if isinstance(number, int) and number in (0, 1) else value


def has_mask(annotation):
    """Whether an annotation has a segmentation; [] and [[]] are none."""
    segmentation = annotation.get("segmentation")
    if not segmentation or type(segmentation) is not list:
        return bool(segmentation)
    return segmentation[0] != [] or any(ring != [] for ring in segmentation)


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
        area = _read_area(area)
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
        if has_mask(annotation):
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


def _read_area(area):
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


def refuse_fractions(content):
    """Refuse boxes and polygons that are fractions of the image where COCO has pixels.

    They are taken for fractions when all lie within [0, 1], not all at whole numbers (a lone object may be the
    pixel in the corner), and an image is larger than a pixel. The first object elsewhere ends the search.

    Args:
        content: of `load_annotations`.

    Raises:
        ValueError: all are fractions.
    """
    if all(_is_one_pixel(image) for image in content["images"]):
        return
    seen, fraction = 0, False
    for annotation in content["annotations"]:
        corners = _corners(annotation)
        if corners is None or not np.isfinite(corners).all():
            continue
        if corners.min() < -_FRACTION_SLACK or corners.max() > 1 + _FRACTION_SLACK:
            return
        seen, fraction = seen + 1, fraction or bool((corners != np.round(corners)).any())
    if fraction:
        raise ValueError(f"all boxes ({seen}) lie within [0, 1]: they seem to be fractions of the image, where COCO "
                         "has pixels; multiply x and width by the image's width, y and height by its height")


def _is_one_pixel(image):
    return isinstance(image, dict) and image.get("height") == image.get("width") == 1


def _corners(annotation):
    """Coordinates that an annotation names, as an array; None where there are none that can be read."""
    if not isinstance(annotation, dict):
        return None
    try:
        if annotation.get("bbox"):
            return read_box(annotation["bbox"])
        if has_mask(annotation) and isinstance(annotation["segmentation"], list):
            return np.concatenate([np.asarray(ring, np.float64) for ring in annotation["segmentation"]])
    except (TypeError, ValueError, OverflowError):
        pass
    return None
