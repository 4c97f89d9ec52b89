"""What the writers share: names of files, masks of objects, the order in which they are painted."""

import csv
from pathlib import Path

import numpy as np

from roikit.data.annotations import has_mask, read_box
from roikit.data.layouts.label_classes import COLUMNS, TABLE
from roikit.data.rotated import corners_of_boxes, has_rotated_box, read_rotated_box
from roikit.data.segmentation import BoxedMask, rasterised, read_segmentation

__all__ = ["add_classes", "box_of", "corners_of", "file_of", "is_crowd", "mask_of_object", "painted"]


def file_of(folder, record, ending):
    """The path of a file of an image in a folder, its folders made."""
    path = Path(folder, record["file_name"]).with_suffix(ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def is_crowd(item):
    """Whether an object is a crowd."""
    return item.get("iscrowd") == 1


def box_of(item, record):
    """x1, y1, x2, y2 of an object: its box, or that around its mask.

    Raises:
        ValueError: it has neither, or one is malformed.
    """
    if item.get("bbox"):
        return read_box(item["bbox"]).tolist()
    if not has_mask(item):
        raise ValueError("an object must have a box or a mask")
    mask = mask_of_object(item, record)
    h, w = mask.bitmap.shape
    return [float(mask.x), float(mask.y), float(mask.x + w), float(mask.y + h)]


def corners_of(item):
    """The corners of an object's rotated box, (4, 2); None where it has none."""
    box = read_rotated_box(item) if has_rotated_box(item) else None
    return None if box is None else corners_of_boxes(box).reshape(4, 2)


def mask_of_object(item, record):
    """The BoxedMask of an object; one without a mask fills the pixels whose middle is in its box."""
    height, width = record["height"], record["width"]
    if has_mask(item):
        return rasterised(read_segmentation(item["segmentation"], height, width), height, width)
    x1, y1, x2, y2 = (int(np.clip(np.floor(v + 0.5), 0, side)) for v, side in
                      zip(box_of(item, record), (width, height) * 2, strict=True))
    return BoxedMask(np.ones((max(y2 - y1, 0), max(x2 - x1, 0)), bool), y1, x1)


def painted(objects, record):
    """An image of numbers, those of smaller objects on top.

    Args:
        objects: (number from 1, object) of each.
        record: of the image.

    Returns:
        (H, W) int64, and the number of objects of which no pixel is seen.
    """
    values = np.zeros((record["height"], record["width"]), np.int64)
    masks = [(number, mask_of_object(item, record)) for number, item in objects]
    for number, mask in sorted(masks, key=lambda pair: -np.count_nonzero(pair[1].bitmap)):
        h, w = mask.bitmap.shape
        values[mask.y:mask.y + h, mask.x:mask.x + w][mask.bitmap] = number
    return values, len(masks) - len(np.unique(values[values > 0]))


def add_classes(folder, rows):
    """Add (file name, value, class) to the table of a folder of masks, which tells the classes that they do not."""
    path = Path(folder, TABLE)
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([*([] if begun else [COLUMNS]), *rows])
