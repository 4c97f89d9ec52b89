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

from roikit.data.annotations import NoCategories, load_annotations
from roikit.data.causes import boxes_in_place, causes_of
from roikit.data.findings import counted
from roikit.data.fractions import FRACTIONAL, box_order, fractional_fields, is_fractional
from roikit.data.image_folder import ImageFolder
from roikit.data.mask_causes import masks_in_place
from roikit.data.mend_objects import mended_objects
from roikit.data.mend_records import (
    categories_from_ids,
    with_number_ids,
    without_missing_files,
    without_strangers,
)
from roikit.data.mend_sizes import moved_or_same, on_stored_pixels
from roikit.data.moved import scaling
from roikit.data.records import of_image, sizes_of
from roikit.data.remote import address_of, require_path
from roikit.errors import naming

__all__ = ["Mended", "mend_dataset", "refuse_device", "with_folder", "write_annotations"]


# Causes that only the one who annotated can undo, and of which many objects are of no use until then.
_UNKNOWN = frozenset({"fractions", "image-ids", "other-boxes", "other-masks", "outside"})


# One cause may hide another, but not for ever.
_ROUNDS = 4
# What is taken as it is and has sentences of its own once it is mended.
_TOLD_LATER = frozenset({"annotation ids missing", "annotation ids repeated", "areas missing", "boxes missing"})


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
    folder, done, mended = ImageFolder(images), [], annotations
    for _ in range(_ROUNDS):
        content, sentences, count = _mended(mended, folder)
        done += sentences
        mended = {"info": {}, **content}
        if count == _size(content):
            break  # else one that was taken out may have hidden what the others are
    return Mended(mended, done)


def _mended(annotations, folder):
    """The content mended, what was done, and the numbers of images and annotations before."""
    taken, done = Counter(), []
    try:
        content = load_annotations(annotations, images=folder, taken=taken, large=None)
    except NoCategories:
        content = load_annotations(annotations, images=folder, taken=taken, categories=False, large=None)
        content = categories_from_ids(content, done)
    count = _size(content)
    forms = [f"{words} ({n})" for words, n in sorted(taken.items()) if words not in _TOLD_LATER]
    if forms:
        done.insert(0, f"wrote in COCO's form: {', '.join(forms)}")
    content = with_number_ids(content, done)
    if not any(cause.kind == "image-ids" for cause in causes_of(content)):
        content = without_strangers(content, done)
    content = without_missing_files(content, folder, done)
    for _ in range(_ROUNDS):
        before = len(done)
        content = on_stored_pixels(_without_causes(content, done), folder, done)
        if len(done) == before:
            break
    if not any(cause.kind in _UNKNOWN for cause in causes_of(content)):
        content = mended_objects(content, done)
    return content, done, count


def _size(content):
    return len(content["images"]), len(content["annotations"])


def _without_causes(content, done):
    """The content with the first of the causes mended that can be; another may show behind it."""
    content = _in_pixels(_without_crowds(content, done), done)
    for cause in causes_of(content):
        if cause.reading is None:
            continue
        if cause.kind == "other-masks":
            done.append(f"wrote the masks in COCO's way: {cause.sentence.partition(':')[0]}")
            return masks_in_place(content, cause.reading)
        done.append(f"took the boxes for {cause.reading} and wrote x y width height")
        return boxes_in_place(content, cause.reading)
    return content


def write_annotations(content, path):
    """Write a COCO file, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(require_path(path))
    refuse_device(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    part = path.with_name(path.name + ".part")
    try:
        with naming(path), open(part, "w", encoding="utf-8") as file:
            json.dump(content, file, default=_ascii)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def with_folder(content, path, folder):
    """A content that says, to be written to ``path``, where its images are: relative to it, or their address."""
    info = content.get("info") if isinstance(content.get("info"), dict) else {}
    place = address_of(folder) or Path(os.path.relpath(folder, Path(path).absolute().parent)).as_posix()
    return {"info": {**info, "images": place},
            **{key: value for key, value in content.items() if key != "info"}}


def refuse_device(path):
    """Refuse a path of a device or a pipe, in whose place a file would be put.

    Raises:
        OSError: it is one.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} must be the name of a file to write, got a {'folder' if path.is_dir() else 'device'}")


def _ascii(value):
    if isinstance(value, bytes):  # the characters of an RLE
        return value.decode("ascii")
    raise TypeError(f"a COCO file cannot hold {type(value).__name__}")


def _without_crowds(content, done):
    causes = {cause.kind for cause in causes_of(content)}
    if "all-crowds" not in causes:
        return content
    done.append(f"set iscrowd to 0 in all {counted(len(content['annotations']), 'annotation')}")
    return {**content, "annotations": [{**a, "iscrowd": 0} if isinstance(a, dict) else a
                                       for a in content["annotations"]]}


def _in_pixels(content, done):
    objects = [a for a in content["annotations"] if isinstance(a, dict)]
    fields = fractional_fields(content["images"], objects)
    order = box_order(objects) if "bbox" in fields else None
    if not fields or order == "":
        return content
    sizes, count = sizes_of(content["images"]), Counter()

    def scaled(annotation):
        size = of_image(sizes, annotation)
        own = () if size is None else tuple(field for field in fields if is_fractional(annotation, field))
        if not own:
            return annotation
        if order and "bbox" in own:
            annotation = boxes_in_place({"annotations": [annotation]}, order)["annotations"][0]
        found = moved_or_same(annotation, scaling((1, 1), *size), own)
        if found is not annotation:
            found.pop("area", None)  # of whatever unit
            count["scaled"] += 1
        return found

    annotations = [scaled(a) for a in content["annotations"]]
    if not count["scaled"]:
        return content
    what = " and ".join(FRACTIONAL[field] for field in fields)
    done.append(f"multiplied the {what} of {counted(count['scaled'], 'object')} by the size of the image"
                + (f" and wrote x y width height for {order}" if order else ""))
    return {**content, "annotations": annotations}
