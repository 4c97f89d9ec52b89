"""Reads COCO's annotation file: JSON with lists of images, annotations and categories; or what stands in its place.

Everything that reads such a file reads it here, so that the data set, the doctor and the evaluation see the same
ids, flags, boxes and masks. Torch is not needed, and Pillow only where the file does not tell an image's size.
"""

import math
import os
from collections import Counter
from collections.abc import Mapping

import numpy as np

import roikit.masks as rle
from roikit.data.forms import box_numbers, outlines
from roikit.data.image_folder import ImageFolder, placed
from roikit.data.instances import Instance, MalformedField, has_mask, read_box, read_object
from roikit.data.layouts import is_json_file, read_source, with_file_names
from roikit.data.layouts.json_files import read_json
from roikit.data.layouts.strangers import seeming
from roikit.data.named_ids import category_called, with_image_ids
from roikit.data.records import fault_of
from roikit.data.remote import local_path
from roikit.data.segmentation import bitmap_of
from roikit.data.store.reading import LARGE, Forms, read_large
from roikit.data.store.records import Records
from roikit.data.values import number, plain, whole_number

__all__ = ["Instance", "MalformedField", "NoCategories", "has_mask", "load_annotations", "plain", "read_box",
           "read_object", "whole_number"]


# Fields of an annotation in which NaN is nothing.
_NULLABLE = frozenset({"id", "area", "iscrowd", "bbox", "segmentation"})
_BLANK = frozenset({"area", "iscrowd"})  # in these, text without a number is nothing

_FLAGS = {"false": False, "true": True}
# What stands for nothing in a table that was written as text.
_NOTHING = frozenset({"", "nan", "none", "null"})


class NoCategories(ValueError):
    """A file of annotations without categories."""


def load_annotations(annotations, *, categories=True, images=None, taken=None, large=LARGE):
    """The content of an annotation file, in plain values and in COCO's form.

    NumPy's numbers and arrays (and all else that has ``tolist``) become Python's. What has one meaning is taken for it:

    - ids that are whole numbers in another form, 7.0 or "7", become ints; so do an image's height and width;
    - a ``category_id`` that is the name of one category becomes its id, an ``image_id`` that is the file name of one
      image, with or without its ending, its id;
    - ``iscrowd`` becomes 0 or 1: 0 where it is missing or null, and False, 1.0 and "0" are the numbers that they show;
    - ``area`` that is text becomes the number; null, 0 and less, infinity and blank text are taken out, as is a
      ``bbox`` that is null;
    - ``segmentation`` and ``bbox`` become COCO's, as `roikit.data.forms` does it; an array (H, W) of zeros and ones
      becomes an RLE;
    - images and categories that are listed twice alike are listed once;
    - where the folder of the images is told, ``file_name`` becomes the one under which the file is there, as
      `roikit.data.image_folder.ImageFolder` finds it, and a size that is missing is read from the file.

    What has no such meaning stays as it is, for the caller to refuse.

    Args:
        annotations: path or address (see `roikit.data.remote`) of a JSON file, or its content, a mapping, which is not
            changed; or path of a folder or file in another layout, as `roikit.data.layouts.read_source` reads them.
        categories: False where the list of categories is not needed; one that is missing is empty then.
        images: folder of the images, or an `ImageFolder`; None where nothing is to be learnt from it, and, for a
            folder of annotations, for the one beside it.
        taken: Counter that learns what was taken for what it means, in words; None where nobody asks.
        large: bytes of a JSON file from which on its annotations are read in pieces and kept in columns, and these in a
            cache, as `roikit.data.store.reading.read_large` does it; None to have a list in any case.

    Returns:
        dict with the lists ``images``, ``annotations`` and ``categories`` at least; of a large file ``annotations``
        are `roikit.data.store.records.Records`, a sequence of the same records.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, or one of the three lists is missing; or as `read_source`.
        ImportError: a size is missing, and Pillow to read it.
    """
    taken = Counter() if taken is None else taken
    annotations = local_path(annotations)
    folder = images if images is None or isinstance(images, ImageFolder) else ImageFolder(images)
    if not isinstance(annotations, Mapping) and large is not None and is_json_file(annotations):
        found = read_large(annotations, _FORMS, large)
        if found is not None:
            content, counts = found
            _require_lists(content, os.fspath(annotations), categories)
            taken.update(counts)
            return content if folder is None else {**content, "images": placed(content["images"], folder, taken)}
    if isinstance(annotations, Mapping) and isinstance(annotations.get("annotations"), Records):
        _require_lists(annotations, "the annotations", categories)
        content = _read_before(annotations, taken)
        return content if folder is None else {**content, "images": placed(content["images"], folder, taken)}
    if isinstance(annotations, Mapping):
        name, own = "the annotations", False
        try:
            content = with_file_names(plain(_with_encoded_bitmaps(annotations)), taken)
        except RecursionError:
            raise ValueError(f"{name} are nested too deeply") from None
    else:
        name, own = os.fspath(annotations), True
        content = (with_file_names(read_json(annotations), taken) if is_json_file(annotations) else
                   read_source(annotations, None if folder is None else folder.path))
    if not categories and isinstance(content, dict) and content.get("categories") is None:
        content = {**content, "categories": []}
    _require_lists(content, name, categories)
    try:
        objects = [_annotation(record, own, taken) for record in content["annotations"]]
    except RecursionError:
        raise ValueError(f"{name} has coordinates that are nested too deeply") from None
    _count_repeated_ids(objects, taken)
    content = _with_lists({**content, "annotations": objects}, own, taken)
    objects = _with_category_ids(objects, content["categories"], taken)
    objects = with_image_ids(objects, content["images"], taken)
    return {**content, "annotations": objects,
            "images": content["images"] if folder is None else placed(content["images"], folder, taken)}


def _read_before(content, taken):
    """A content whose annotations were read in pieces; its other lists may have been changed since."""
    if any(fault_of(record, what) is not None for what, key in (("image", "images"), ("category", "categories"))
           for record in content[key]):
        others = plain({name: value for name, value in content.items() if name != "annotations"})
        return {**_with_lists(others, False, taken), "annotations": content["annotations"]}
    return content


def _with_lists(content, own, taken):
    """The content with its images and categories in COCO's form."""
    return {**content,
            "categories": _listed_once(content["categories"], ("id",), own, taken, "categories listed twice alike"),
            "images": _listed_once(content["images"], ("id", "height", "width"), own, taken,
                                   "images listed twice alike")}


def _require_lists(content, name, categories):
    if (other := seeming(content)) is not None:
        raise ValueError(f"{name}: {other}")
    for key in ("images", "annotations", "categories"):
        found = content.get(key) if isinstance(content, Mapping) else None
        if key == "categories" and categories and found in (None, []) and isinstance(content, dict):
            used = {whole_number(a.get("category_id")) for a in content["annotations"] if isinstance(a, dict)
                    and isinstance(a.get("category_id"), (int, float, str))}
            if used:
                listed = ", ".join(map(str, sorted(used, key=lambda i: (isinstance(i, str), i))[:10]))
                raise NoCategories(f"{name}: the file lists no categories; ids {listed} are used: add a list "
                                   "'categories' of dicts with id and name, or have `roikit doctor --mend` number them")
        if not isinstance(found, (list, Records)):
            raise ValueError(f"{name} must have a list {key!r}, as COCO's instance files do")


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


def _listed_once(records, whole, own, taken, words):
    """The records with ints for the fields that show one; those that are equal to another one with their id, once."""
    records = [_with_whole(record, whole, own, taken) for record in records]
    first, kept = {}, []
    for record in records:
        number = record.get("id") if isinstance(record, dict) else None
        if type(number) is int and first.setdefault(number, record) is not record and first[number] == record:
            taken[words] += 1
        else:
            kept.append(record)
    return kept


def _with_whole(record, fields, own, taken):
    """The record with ints for the fields that show one; a copy where it changes and is not our own."""
    if not isinstance(record, dict):
        return record
    changed = {}
    for field in fields:
        value = record.get(field)
        if type(value) is not int and (whole := whole_number(value)) is not value:
            changed[field] = whole
            taken["ids as text or floats" if field == "id" else "sizes as text or floats"] += 1
        elif field != "id" and (value != value or type(value) is str and value.strip().lower() in _NOTHING):
            changed[field] = None
    if not changed:
        return record
    if own:
        record.update(changed)
        return record
    return {**record, **changed}


def _annotation(record, own, taken):
    try:
        segmentation, box = record.get("segmentation"), record["bbox"]
        outline, outline_words = (segmentation, ()) if segmentation is None else outlines(segmentation, box)
        numbers, box_words = (box, ()) if box is None else box_numbers(box)
        if (not outline_words and not box_words and type(record["id"]) is int and type(record["image_id"]) is int
                and type(record["category_id"]) is int and type(record["iscrowd"]) is int
                and type(area := record["area"]) in (int, float) and 0 < area < math.inf and box is not None):
            return record
    except (KeyError, TypeError, AttributeError):
        if not isinstance(record, dict):
            return record
        box = record.get("bbox")
        outline, outline_words = outlines(record.get("segmentation"), box)
        numbers, box_words = box_numbers(box)
    record = record if own else dict(record)
    for field, value in record.items():
        if type(value) is float and value != value and field in _NULLABLE:  # pandas has NaN for nothing
            record[field] = None
            taken["NaN for nothing"] += 1
        elif type(value) is str and field in _BLANK and value.strip().lower() in _NOTHING:
            record[field] = None
            taken["text for nothing"] += 1
    taken.update(outline_words + box_words)
    if outline_words:
        record["segmentation"] = outline
    if box_words:
        record["bbox"] = numbers
    for field in ("id", "image_id", "category_id"):
        value = record.get(field)
        if type(value) is not int and (whole := whole_number(value)) is not value:
            record[field] = whole
            taken["ids as text or floats"] += 1
    if record.get("id") is None:
        taken["annotation ids missing"] += 1
    elif type(record["id"]) is not int:
        taken["annotation ids that are no numbers"] += 1
    _learn_flag(record, taken)
    _learn_area(record, taken)
    if record.get("bbox") is None and record.pop("bbox", 0) is None:
        taken["boxes missing"] += 1
    return record


def _learn_flag(record, taken):
    value = record.get("iscrowd")
    record["iscrowd"] = _flag(value)
    if value is None:
        taken["iscrowd missing"] += 1
    elif type(record["iscrowd"]) is int and type(value) is not int:
        taken["iscrowd in another form"] += 1


def _learn_area(record, taken):
    area = record.get("area")
    if type(area) is str and (shown_number := number(area)) is not None:
        area = record["area"] = shown_number
        taken["areas as text"] += 1
    if area is None or type(area) in (int, float) and (area <= 0 or area == math.inf):
        record.pop("area", None)
        taken["areas missing"] += 1


def _with_category_ids(records, categories, taken):
    """The annotation records with the ids of categories that they call by their names."""
    def is_named(record):
        return isinstance(record, dict) and type(record.get("category_id")) is str

    if not any(map(is_named, records)):
        return records
    called, found = category_called(categories), []
    for record in records:
        number = called(record["category_id"]) if is_named(record) else None
        if number is not None:
            record = {**record, "category_id": number}
            taken["category names for ids"] += 1
        found.append(record)
    return found


def _count_repeated_ids(records, taken):
    ids = [number for record in records if isinstance(record, dict) and type(number := record.get("id")) is int]
    if (repeated := len(ids) - len(set(ids))) > 0:
        taken["annotation ids repeated"] += repeated


def _flag(value):
    """0 or 1, whatever shows it; the value itself where it shows neither."""
    if value is None:
        return 0
    value = _FLAGS.get(value.strip().lower(), value) if isinstance(value, str) else value
    number = int(value) if isinstance(value, bool) else whole_number(value)
    return number if isinstance(number, int) and number in (0, 1) else value


# What the reader of large files makes of each record and each list.
_FORMS = Forms(annotation=lambda record, taken: _annotation(record, True, taken),
               lists=lambda content, taken: _with_lists(with_file_names(content, taken), True, taken),
               called=category_called)
