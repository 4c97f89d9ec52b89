"""Writes an annotation file anew with all that can be mended in it mended, and says what was done.

Mended is what has one remedy that loses no object: ids, forms, sizes, file names, boxes beside their masks, and the
causes of `roikit.data.causes`. What only the one who annotated can know (which of two categories of one id is meant,
the mask of an object without one) stays, and `roikit.data.inspect_dataset` names it. Torch is not needed.
"""

import json
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from roikit.data.annotations import NoCategories, load_annotations
from roikit.data.causes import boxes_in_place, causes_of, fractional_fields
from roikit.data.findings import counted
from roikit.data.image_folder import ImageFolder
from roikit.data.images import open_image
from roikit.data.instances import has_mask
from roikit.data.mend_objects import mended_objects
from roikit.data.mend_records import (
    categories_from_ids,
    with_number_ids,
    without_missing_files,
    without_strangers,
)
from roikit.data.moved import moved, scaling, unturned
from roikit.data.records import sizes_of
from roikit.data.turned import is_swapped, is_turned

__all__ = ["Mended", "mend_dataset", "write_annotations"]


class Mended(NamedTuple):
    """What `mend_dataset` makes.

    Attributes:
        content: dict, what a COCO file is to hold.
        done: list of sentences, what was done.
    """

    content: dict
    done: list


def mend_dataset(annotations, images):
    """Mend what can be mended in a COCO data set's annotations.

    Args:
        annotations: path of the file, or its content, which is not changed; or what else `load_annotations` takes.
        images: folder of the image files, which are not changed.

    Returns:
        Mended. What is not mended is as it was: inspect the content to know.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not COCO's format, so far that nothing can be mended.
        ImportError: Pillow is missing.
    """
    folder, taken, done = ImageFolder(images), Counter(), []
    try:
        content = load_annotations(annotations, images=folder, taken=taken, large=None)
    except NoCategories:
        content = load_annotations(annotations, images=folder, taken=taken, categories=False, large=None)
        content = categories_from_ids(content, done)
    if taken:
        done.insert(0, "wrote in COCO's form: " + ", ".join(f"{words} ({n})" for words, n in sorted(taken.items())))
    content = without_strangers(with_number_ids(content, done), done)
    content = without_missing_files(content, folder, done)
    content = _without_crowds(content, done)
    content = _in_pixels(content, done)
    for cause in causes_of(content):
        if cause.reading is not None:
            content = boxes_in_place(content, cause.reading)
            done.append(f"took the boxes for {cause.reading} and wrote x y width height")
    content = _on_stored_pixels(content, folder, done)
    content = mended_objects(content, done)
    return Mended({"info": {}, **content}, done)


def write_annotations(content, path):
    """Write a COCO file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "w", encoding="utf-8") as file:
            json.dump(content, file, default=_ascii)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _ascii(value):
    if isinstance(value, bytes):  # the characters of an RLE
        return value.decode("ascii")
    raise TypeError(f"a COCO file cannot hold {type(value).__name__}")


def _without_crowds(content, done):
    causes = {cause.kind for cause in causes_of(content)}
    if "all-crowds" not in causes:
        return content
    done.append(f"set iscrowd to 0 in all {counted(len(content['annotations']), 'annotation')}")
    return {**content, "annotations": [{**a, "iscrowd": 0} for a in content["annotations"]]}


def _in_pixels(content, done):
    objects = [a for a in content["annotations"] if isinstance(a, dict)]
    fields = fractional_fields(content["images"], objects)
    if not fields:
        return content
    sizes, count = sizes_of(content["images"]), Counter()

    def scaled(annotation):
        size = sizes.get(annotation.get("image_id")) if isinstance(annotation, dict) else None
        if size is None:
            return annotation
        found = _moved(annotation, scaling((1, 1), *size), tuple(fields))
        if found is not annotation:
            found.pop("area", None)  # of whatever unit
            count["scaled"] += 1
        return found

    annotations = [scaled(a) for a in content["annotations"]]
    what = " and ".join({"bbox": "boxes", "segmentation": "polygons"}[field] for field in fields)
    done.append(f"multiplied the {what} of {counted(count['scaled'], 'object')} by the size of the image")
    return {**content, "annotations": annotations}


def _moved(annotation, move, fields=None):
    """The annotation moved; itself where a field is malformed, which stays for the doctor to name."""
    try:
        return moved(annotation, move) if fields is None else moved(annotation, move, fields)
    except (ValueError, TypeError, OverflowError):
        return annotation


def _on_stored_pixels(content, folder, done):
    """The content with images that have the size of their files: turned as EXIF says, or scaled."""
    moves, sizes, other, swapped = {}, {}, {}, {}
    for record in content["images"]:
        if not isinstance(record, dict) or record.get("id") not in sizes_of([record]):
            continue
        try:
            header = open_image(folder.path / record["file_name"])
        except (OSError, ValueError, TypeError, KeyError):
            continue
        if is_turned(header, record):
            moves[record["id"]] = unturned(header)
        elif is_swapped(header, record):
            swapped[record["id"]] = header
            continue
        elif header.orientation == 1 and (header.height, header.width) != (record["height"], record["width"]):
            other[record["id"]] = header
            continue
        else:
            continue
        sizes[record["id"]] = header
    if moves:
        done.append(f"turned the annotations of {counted(len(moves), 'image')} back to the pixels as stored, "
                    "which EXIF has viewers turn")
    scaled = _resized(content, other)
    if scaled:
        done.append(f"scaled the annotations of {counted(len(scaled), 'image')} to the size of the file")
    fitting = {number: header for number, header in swapped.items() if _fits(content, number, header)}
    if fitting:
        done.append(f"swapped width and height of {counted(len(fitting), 'image')}, as the files have them")
    moves, sizes = moves | scaled, sizes | fitting | {number: other[number] for number in scaled}
    if not sizes:
        return content

    def placed(annotation):
        move = moves.get(annotation.get("image_id")) if isinstance(annotation, dict) else None
        if move is None:
            return annotation
        found = _moved(annotation, move)
        if annotation["image_id"] in scaled and found is not annotation:
            found.pop("area", None)
        return found

    return {**content, "annotations": [placed(a) for a in content["annotations"]],
            "images": [{**r, "height": sizes[r["id"]].height, "width": sizes[r["id"]].width}
                       if isinstance(r, dict) and r.get("id") in sizes else r for r in content["images"]]}


def _resized(content, headers):
    """Moves for images that were made smaller after they were annotated, as coordinates beyond their border show.

    Args:
        headers: image id -> Header, of files of another size than the record says.
    """
    sizes, proved, found = sizes_of(content["images"]), False, {}
    for number, header in headers.items():
        height, width = sizes[number]
        y_scale, x_scale = header.height / height, header.width / width
        # A side is whole, so the scales of the two differ by up to half a pixel of it.
        if abs(y_scale - x_scale) * max(height, width) <= 1 and y_scale < 1:
            found[number] = scaling((height, width), y_scale, x_scale)
    for annotation in content["annotations"]:
        number = annotation.get("image_id") if isinstance(annotation, dict) else None
        if number in found and not proved:
            proved = bool((_reach(annotation) > np.array([headers[number].width, headers[number].height]) + 2).any())
    return found if proved else {}


def _fits(content, number, header):
    """Whether all coordinates of an image lie within its file."""
    own = [a for a in content["annotations"] if isinstance(a, dict) and a.get("image_id") == number]
    return all((_reach(a) <= np.array([header.width, header.height]) + 1).all() for a in own) and all(
        list(a["segmentation"].get("size", ())) == [header.height, header.width] for a in own
        if isinstance(a.get("segmentation"), dict))


def _reach(annotation):
    """(2,) the largest x and y of an annotation; 0 where none can be read."""
    try:
        x, y, w, h = np.asarray(annotation.get("bbox") or [0, 0, 0, 0], np.float64)
        reach = [x + w, y + h]
        if has_mask(annotation) and isinstance(annotation["segmentation"], list):
            for ring in annotation["segmentation"]:
                reach = [max(reach[0], *ring[0::2]), max(reach[1], *ring[1::2])]
    except (TypeError, ValueError, OverflowError):
        return np.zeros(2)
    return np.array(reach)
