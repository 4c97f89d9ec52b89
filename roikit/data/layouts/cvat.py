"""CVAT's XML file, "CVAT for images": boxes, polygons, ellipses and masks of all images.

Source: CVAT's documentation, "CVAT for images 1.1".
"""

import math
import os
from collections import Counter
from pathlib import Path

import numpy as np

from roikit.data.layouts.content import content_of, join_regions, listed_by_name, mask_of, ring_of
from roikit.data.layouts.layout import Layout, pictures_near, warn_of
from roikit.data.layouts.xml import first_tag, number_in, parsed
from roikit.data.records import shown

__all__ = ["CVAT"]

_ELLIPSE = 64  # points of the outline of an ellipse
_SIDES = ("xtl", "ytl", "xbr", "ybr")


def _find(path, files):
    found = [path] if path.is_file() else [file for file in files if file.name == "annotations.xml"]
    return next((file for file in found if file.suffix.lower() == ".xml" and first_tag(file) == "annotations"), None)


def _images(annotations):
    names = [image.get("name", "") for image in _root(annotations).iterfind("image")]
    return pictures_near(Path(annotations).parent, names)


def _root(path):
    root = parsed(path, "annotations")
    if root.find("track") is not None:
        raise ValueError(f"{os.fspath(path)} is CVAT's format for video, with tracks; export the task as "
                         '"CVAT for images"')
    return root


def _read(annotations, images):
    """What a COCO file would hold of CVAT's XML file.

    Shapes of one group and label are one object; in CVAT's own COCO files they are, too. Categories are the labels of
    the task in their order, then those that only occur. A box that is turned has its corners as ``obb``. Points and
    lines are counted in a warning.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is malformed, or of a video; the text names it.
    """
    root = _root(annotations)
    records, found, passed = [], [], Counter()
    for number, image in enumerate(root.iterfind("image"), start=1):
        place = f"{os.fspath(annotations)}, image {image.get('name') or number}"
        size = [number_in(dict(image.attrib), side, place) for side in ("height", "width")]
        if image.get("name") is None or not all(side >= 1 and side.is_integer() for side in size):
            raise ValueError(f"{place}: it must have a name, and a width and height of whole numbers from 1, got "
                             f"{shown(dict(image.attrib))}")
        record = {"id": number, "file_name": image.get("name").replace("\\", "/"), "height": int(size[0]),
                  "width": int(size[1])}
        records.append(record)
        found += _objects(image, record, place, passed)
    warn_of(annotations, passed)
    names = [name.text.strip() for labels in root.iter("labels") for name in labels.iterfind("label/name") if name.text]
    categories, numbers = listed_by_name([*names, *sorted({item["name"] for item in found})])
    objects = [{"category_id": numbers[item.pop("name")], **item} for item in found]
    return content_of(records, categories, objects)


def _objects(image, record, place, passed):
    groups, alone = {}, []
    for number, shape in enumerate(image, start=1):
        where = f"{place}, shape {number}"
        if shape.tag == "tag":
            continue  # a label of the whole image
        region = _region(shape, record, where)
        if region is None:
            passed[shape.tag] += 1
            continue
        item = {"image_id": record["id"], "name": shape.get("label") or "object", **region}
        group = item["name"], shape.get("group_id", "0")
        before = groups.get(group) if group[1] not in ("", "0") else None
        if before is not None:
            join_regions(before, item, record)
            continue
        groups.setdefault(group, item)
        alone.append(item)
    return alone


def _region(shape, record, place):
    """``bbox``, ``segmentation`` or ``obb`` of a shape; None where it is no region."""
    values = dict(shape.attrib)
    if shape.tag == "polygon":
        points = [pair.split(",") for pair in values.get("points", "").split(";") if pair.strip()]
        ring = ring_of(points, place)
        return {"segmentation": [ring]} if len(ring) >= 6 else None
    if shape.tag == "box":
        x1, y1, x2, y2 = (number_in(values, side, place) for side in _SIDES)
        x1, x2, y1, y2 = *sorted((x1, x2)), *sorted((y1, y2))
        angle = _angle(values, place)
        if not angle:
            return {"bbox": [x1, y1, x2 - x1, y2 - y1]}
        corners = _turned(np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]), angle)
        low, high = corners.min(0), corners.max(0)
        return {"bbox": [*low.tolist(), *(high - low).tolist()], "obb": corners.reshape(-1).tolist()}
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (number_in(values, name, place) for name in ("cx", "cy", "rx", "ry"))
        angles = np.arange(_ELLIPSE) * (2 * math.pi / _ELLIPSE)
        ring = np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles)], 1)
        return {"segmentation": [_turned(ring, _angle(values, place)).reshape(-1).tolist()]}
    return {"segmentation": _bitmap(values, record, place)} if shape.tag == "mask" else None


def _angle(values, place):
    return number_in(values, "rotation", place) if values.get("rotation") else 0.0


def _turned(points, degrees):
    """Points turned clockwise, as a picture shows it, about the middle of the box around them."""
    centre, turn = (points.min(0) + points.max(0)) / 2, math.radians(degrees)
    x, y = (points - centre).T
    return centre + np.stack([x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], 1)


def _bitmap(values, record, place):
    """The RLE of a mask, whose runs go along the rows of its box, the first of zeros."""
    left, top, width, height = (int(number_in(values, name, place)) for name in ("left", "top", "width", "height"))
    try:
        runs = [int(run) for run in values.get("rle", "").split(",")]
    except ValueError:
        raise ValueError(f"{place}: rle must be whole numbers with commas between, got {shown(values.get('rle'))}"
                         ) from None
    if min(runs) < 0 or min(width, height) < 1 or sum(runs) != width * height or left < 0 or top < 0 or (
            left + width > record["width"] or top + height > record["height"]):
        raise ValueError(f"{place}: its runs must fill {width}x{height} pixels inside the image")
    whole = np.zeros((record["height"], record["width"]), bool)
    bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    whole[top:top + height, left:left + width] = bits.reshape(height, width)
    return mask_of(whole)


CVAT = Layout("CVAT for images", _find, _images, _read, True)
