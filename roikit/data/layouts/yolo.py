"""YOLO's text files: a class and fractions of the image, for boxes, oriented boxes and outlines.

    class cx cy w h                     a box
    class x1 y1 x2 y2 x3 y3 x4 y4       the corners of an oriented box, or an outline of four points
    class x1 y1 x2 y2 x3 y3 ...         an outline of three points or more

Source: the documentation of Ultralytics, "Object detection", "Instance segmentation" and "Oriented bounding box" data
sets; darknet's files of boxes are the same.
"""

import math

from roikit.data.layouts.files import finite, lines_of, number_of
from roikit.data.layouts.yolo_names import class_names
from roikit.data.records import shown

__all__ = ["is_yolo", "read_yolo"]

# How far from 0 a fraction may lie: corners outside the image are of use, pixels are not fractions.
_FARTHEST = 2.0
_BOX, _CORNERS = 5, 9  # words of a line


def is_yolo(words):
    """Whether a line seems to be one of YOLO's: numbers alone, fractions all but the first."""
    numbers = [number_of(word) for word in words]
    return len(words) > 1 and None not in numbers and all(abs(v) <= _FARTHEST for v in numbers[1:] if math.isfinite(v))


def read_yolo(folder, pairs):
    """The objects of YOLO's text files.

    A category's id is its class plus 1. Categories are those that `class_names` finds; without, the classes that occur,
    called by their numbers. Where all lines have four points, they may be oriented boxes or outlines: the objects have
    both ``obb`` and ``segmentation`` then.

    Args:
        folder: of the files.
        pairs: (image record, path or None).

    Returns:
        list of categories; list of dicts ``image_id``, ``category_id``, ``iscrowd`` and ``bbox``, or ``segmentation``
        and perhaps ``obb``.

    Raises:
        OSError, ImportError: the file of the names cannot be read, or PyYAML is missing.
        ValueError: a line or the names are malformed, or a class has no name.
    """
    source, names = class_names(folder)
    objects, lengths = [], set()
    for record, path in pairs:
        for line in () if path is None else lines_of(path):
            label, values = _object(line, record["width"], record["height"])
            if names is not None and label not in names:
                raise ValueError(f"{line.place}: its class must be one that {source} names, got {label}")
            lengths.add(len(line.words))
            item = {"image_id": record["id"], "category_id": label + 1, "iscrowd": 0}
            if len(line.words) == _BOX:
                cx, cy, w, h = values
                objects.append({**item, "bbox": [cx - w / 2, cy - h / 2, w, h]})
            else:
                objects.append({**item, "segmentation": [values]})
    if lengths == {_CORNERS}:
        objects = [{**item, "obb": item["segmentation"][0]} for item in objects]
    if names is None:
        names = {item["category_id"] - 1: str(item["category_id"] - 1) for item in objects}
    return [{"id": label + 1, "name": names[label]} for label in sorted(names)], objects


def _object(line, width, height):
    """Class, and coordinates in pixels."""
    words = line.words
    if len(words) != _BOX and (len(words) < 7 or len(words) % 2 == 0):
        raise ValueError(f"{line.place}: it must be a class and fractions of the image: the four of a box, cx cy w h, "
                         f"or x y of three points or more, got {len(words)} words: {shown(' '.join(words))}"
                         + (" (a confidence is of results, not of annotations)" if len(words) == 6 else ""))
    label = number_of(words[0])
    if label is None or not 0 <= label < 2**31 or label != int(label):
        raise ValueError(f"{line.place}: its class must be a whole number from 0, got {shown(words[0])}")
    values = finite(line, words[1:])
    far = next((value for value in values if abs(value) > _FARTHEST), None)
    if far is not None:
        raise ValueError(f"{line.place}: its coordinates must be fractions of the image, not pixels, got {far:g}")
    flags = values[6::3]  # of a file of keypoints: cx cy w h, and x y visibility of each
    if len(values) > 4 and len(values) % 3 == 1 and 2 in flags and {0, 1, 2}.issuperset(flags):
        raise ValueError(f"{line.place}: it seems to be a box and {len(flags)} keypoints with their visibility; "
                         "keypoints are read from COCO's files alone")
    sides = (width, height) * (len(values) // 2)
    return int(label), [value * side for value, side in zip(values, sides, strict=True)]
