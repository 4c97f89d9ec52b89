"""labelme's folders: a JSON file of shapes for each image.

Source: https://github.com/wkentaro/labelme, its `label_file.py` and the examples of instance segmentation.
"""

import base64
import io
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np

from roikit.data.image_folder import IMAGE_ENDINGS
from roikit.data.images import read_values
from roikit.data.layouts.content import content_of, join_regions, listed_by_name, mask_of, ring_of
from roikit.data.layouts.json_files import is_labelme, read_file
from roikit.data.layouts.layout import Layout, size_in, warn_of
from roikit.data.records import shown

__all__ = ["LABELME"]

_CIRCLE = 64  # points of the outline of a circle
_IGNORED = ("__ignore__", "_background_")  # labels that labelme's own tools take for none


def _find(path, files):
    first = [file for file in files if file.suffix.lower() == ".json"][:3]
    return path if any(is_labelme(file) for file in first) else None


def _files(folder):
    """labelme's files in a folder and those in it.

    Raises:
        ValueError: a JSON file is called as the image beside it is, and has no shapes.
    """
    found = []
    for path in sorted(Path(folder).rglob("*.json")):
        if is_labelme(path):
            found.append(path)
        elif any(path.with_suffix(ending).is_file() for ending in IMAGE_ENDINGS):
            read_file(path)  # says what is wrong with one that was cut off
            raise ValueError(f"{path} must have shapes, as labelme's files do; it is called as the image beside it is")
    return found


def _images(annotations):
    """The folder that holds all images: that of the JSON files, or the nearest above that has theirs in it."""
    found, holds = [], False
    for path in _files(annotations):
        content = read_file(path)
        holds |= bool(content.get("imageData"))
        if (picture := _picture(path, content, None)) is not None:
            found.append(picture.parent)
    if not found:
        hint = ("; the JSON files hold them (imageData), and labelme_export_json takes them out" if holds else "")
        raise FileNotFoundError(f"the images of {os.fspath(annotations)} are not beside its JSON files; name their "
                                f"folder{hint}")
    return Path(os.path.commonpath([os.path.abspath(folder) for folder in found]))


def _picture(path, content, images, root=None):
    """The image of a JSON file: where it says, beside it, or in a folder of images; None where it is in none.

    Files of several folders may call their images alike: the place in a folder of ``images`` that the file has in
    ``root``, the folder of all files, counts before any other.
    """
    name = content.get("imagePath")
    named = name.replace("\\", "/") if isinstance(name, str) else ""
    last = named.rpartition("/")[2]
    places = [path.parent / named, path.parent / last, path.parent / "images" / last,
              path.parent.parent / "images" / last]
    folders = [path.parent]
    if images is not None:
        parts = Path(os.path.relpath(path.parent, root)).parts
        own = [Path(images, *parts[first:]) for first in range(len(parts) + 1)]
        said = [places[0]] if Path(os.path.abspath(places[0])).is_relative_to(os.path.abspath(images)) else []
        places = [*said, *(folder / named for folder in own), *(folder / last for folder in own), *places]
        folders = [*own, *folders]
    places += [folder / (path.stem + ending) for folder in folders for ending in sorted(IMAGE_ENDINGS)]
    return next((place for place in places if place.name and place.is_file()), None)


def _read(annotations, images):
    """What a COCO file would hold of labelme's files.

    Shapes of one ``group_id`` and label are one object. Categories are the labels that occur, sorted, with ids from 1.
    Polygons, rectangles, circles and masks are objects, crowds with the flag ``crowd``; points and lines are counted in
    a warning.

    Raises:
        OSError: a file cannot be read, or an image whose size it does not tell is not there.
        ValueError: a file is malformed; the text names it.
    """
    records, found, passed, unread = [], [], Counter(), []
    for path in _files(annotations):
        content = read_file(path)
        picture = _picture(path, content, images, annotations)
        if picture is not None:
            name = Path(os.path.relpath(picture, images)).as_posix()
            size = _size(content) or size_in(picture, unread)
            if size is None:
                continue
        else:  # the doctor names what is missing
            name = str(content.get("imagePath") or "").replace("\\", "/").rpartition("/")[2]
            size = _size(content)
            if not name or size is None:
                raise FileNotFoundError(f"{path}: its image {content.get('imagePath')} is neither beside it nor in "
                                        f"{images}, and the file does not say its size")
        record = {"id": len(records) + 1, "file_name": name, **size}
        records.append(record)
        found += _objects(path, content, record, passed)
    warn_of(annotations, passed, unread, records)
    categories, numbers = listed_by_name(sorted({item["name"] for item in found}))
    objects = [{"category_id": numbers[item.pop("name")], **item} for item in found]
    return content_of(records, categories, objects)


def _size(content):
    """Height and width as labelme saw the image: turned, where EXIF has viewers turn it; None where it told none.

    Another size than the file's is for the reader of all layouts to judge.
    """
    size = {"height": content.get("imageHeight"), "width": content.get("imageWidth")}
    return size if all(type(side) is int and side > 0 for side in size.values()) else None


def _objects(path, content, record, passed):
    """The shapes of a file as objects, those of a group joined."""
    shapes = content.get("shapes")
    if not isinstance(shapes, list):
        raise ValueError(f"{path}: its shapes must be a list, got {shown(shapes)}")
    groups, alone = {}, []
    for number, shape in enumerate(shapes, start=1):
        place = f"{path}, shape {number}"
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), (str, int)):
            raise ValueError(f"{place}: it must have a label, got {shown(shape)}")
        name = str(shape["label"])
        made = None if name in _IGNORED else _region(shape, record, place)
        if made is None:
            passed[f"{shape.get('shape_type') or 'polygon'} without area or of no class"] += 1
            continue
        flags = shape.get("flags")
        crowd = isinstance(flags, dict) and flags.get("crowd") is True
        item = {"image_id": record["id"], "name": name, "iscrowd": int(crowd), **made}
        group = shape.get("group_id")
        if group is None:
            alone.append(item)
        elif (name, group) in groups:
            join_regions(groups[name, group], item, record)
        else:
            groups[name, group] = item
            alone.append(item)
    return alone


def _region(shape, record, place):
    """``segmentation`` or ``bbox`` of a shape; None where it is no region."""
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    if not isinstance(points, list):
        raise ValueError(f"{place}: its points must be a list of pairs, got {shown(points)}")
    ring = ring_of(points, place)
    if kind in ("polygon", "rotation"):
        turned = {"obb": ring} if kind == "rotation" and len(ring) == 8 else {}  # X-AnyLabeling's oriented boxes
        return {"segmentation": [ring], **turned} if len(ring) >= 6 else None
    if kind == "rectangle" and len(ring) >= 4:  # two corners, or X-AnyLabeling's four
        left, top = min(ring[0::2]), min(ring[1::2])
        return {"bbox": [left, top, max(ring[0::2]) - left, max(ring[1::2]) - top]}
    if len(ring) != 4:
        return None
    x1, y1, x2, y2 = ring
    if kind == "circle":
        radius = math.hypot(x2 - x1, y2 - y1)
        angles = np.arange(_CIRCLE) * (2 * math.pi / _CIRCLE)
        return {"segmentation": [np.stack([x1 + radius * np.cos(angles), y1 + radius * np.sin(angles)], 1)
                                 .reshape(-1).tolist()]} if radius > 0 else None
    return {"segmentation": _bitmap(shape, ring, record, place)} if kind == "mask" else None


def _bitmap(shape, corners, record, place):
    """The RLE of a shape "mask": a PNG in base64 whose first pixel is at the first corner."""
    try:
        values = read_values(io.BytesIO(base64.b64decode(shape["mask"], validate=True)))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(f"{place}: its mask must be a PNG image in base64: {error}") from None
    x, y = round(min(corners[0::2])), round(min(corners[1::2]))
    whole = np.zeros((record["height"], record["width"]), bool)
    top, left = max(y, 0), max(x, 0)
    part = values[top - y:, left - x:][:whole.shape[0] - top, :whole.shape[1] - left]
    if part.size:
        whole[top:top + part.shape[0], left:left + part.shape[1]] = part > 0
    return mask_of(whole)


LABELME = Layout("labelme", _find, _images, _read, True)
