"""Folders of label images: one grey value an object, or one PNG file an object.

    images/NAME.png  masks/NAME.png                      one value an object
    images/NAME.png  masks/NAME/1.png  masks/NAME/2.png  one file an object; or masks/NAME_1.png
    NAME/images/NAME.png  NAME/masks/*.png               one file an object, as the 2018 Data Science Bowl has them
    NAME.png  NAME_masks.png                             one value an object, as Cellpose writes them

There is one category, ``object``, unless a table ``objects.csv`` among the masks, with the columns file_name, value and
class, tells others.
"""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np

from roikit.data.image_folder import IMAGE_ENDINGS
from roikit.data.images import read_values
from roikit.data.layouts.content import content_of, listed_by_name, mask_at, places_of
from roikit.data.layouts.label_classes import read_classes
from roikit.data.layouts.layout import Layout, size_in, warn_of

__all__ = ["LABEL_IMAGES", "OBJECT"]

OBJECT = "object"
_IMAGES = ("images", "image", "imgs", "img", "JPEGImages")
_MASKS = ("masks", "mask", "labels", "label", "instances", "gt", "ground_truth", "SegmentationObject", "annotations")
_SUFFIX = re.compile(r"[_-](?:cp_)?(?:mask|masks|label|labels|seg|instances|gt)$", re.I)
_NUMBERED = re.compile(r"[_-](?:mask[_-]?)?[0-9]+$", re.I)

# Values of so few pixels are no objects where at least so many are such.
_SPECK, _SPECKS = 4, 20


def _find(path, files):
    if not any(_is_picture(file) for file in files):
        return None
    if _beside(path) is not None or _bowl(path):
        return path
    return path if any(_image_of(file) is not None for file in files[:500]) else None


def _is_picture(path):
    return path.suffix.lower() in IMAGE_ENDINGS


def _image_of(path):
    """The image that a label image among the images is of, by its name; None of any other file."""
    stem = _SUFFIX.sub("", path.stem)
    if not _is_picture(path) or stem == path.stem:
        return None
    places = (path.with_name(stem + ending) for ending in sorted(IMAGE_ENDINGS))
    return next((place for place in places if place.is_file()), None)


def _beside(path):
    """The folders of images and of label images in a folder, or None."""
    found = [next((path / name for name in names if (path / name).is_dir()), None) for names in (_IMAGES, _MASKS)]
    return None if None in found else tuple(found)


def _bowl(path):
    """The folders of single images in a folder: each has its images and its masks."""
    return [place for place in sorted(path.iterdir()) if place.is_dir() and _beside(place) is not None]


def _images(annotations):
    folders = _beside(Path(annotations))
    return Path(annotations) if folders is None else folders[0]


def _read(annotations, images):
    """What a COCO file would hold of a folder of label images.

    Raises:
        OSError: a file cannot be read.
        ValueError: a label image is of another size than its image, or each has one value beside 0 and several
            regions, which may be one object or several; the text names it.
    """
    records, found, single, passed, unread = [], [], [], Counter(), []
    root, images = Path(annotations), Path(images)
    masks = (_beside(root) or (root, root))[1]
    classes = read_classes(masks)
    for picture, labels, separate in _pairs(root, images):
        if labels is None:
            passed["image without a label image"] += 1
            continue
        size = size_in(picture, unread)
        if size is None:
            continue
        record = {"id": len(records) + 1, "file_name": Path(os.path.relpath(picture, images)).as_posix(), **size}
        records.append(record)
        for path in (*labels, *separate):
            values = _values(path, record)
            if path in separate and values.any():
                values = np.where(values > 0, values.max(), 0)
            name, present = Path(os.path.relpath(path, masks)).as_posix(), list(places_of(values))
            for value, places in present:
                found.append({"image_id": record["id"], "name": classes.get((name, value), OBJECT),
                              "segmentation": mask_at(places, *values.shape)})
            passed["mask without a pixel"] += path in separate and not present
            if path in labels:
                _refuse_edges(path, {value: len(places) for value, places in present})
                single.append((path, len(present), len(present) == 1 and _has_parts(values > 0)))
    _refuse_binary(single)
    warn_of(annotations, passed, unread, records)
    if not records:
        raise ValueError(f"{os.fspath(annotations)} has no label image that is called as an image of {images} is")
    categories, numbers = listed_by_name(sorted({item["name"] for item in found}) or [OBJECT])
    return content_of(records, categories, [{"category_id": numbers[item.pop("name")], **item} for item in found])


def _values(path, record):
    """A label image, which must be of the size that its image has."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise ValueError(f"{path} is a JPEG file, which changes values near edges, so that objects appear that are "
                         "none: write label images as PNG or TIFF")
    values = read_values(path)
    if values.shape != (record["height"], record["width"]):
        raise ValueError(f"{path} must be {record['width']}x{record['height']} as its image is, got "
                         f"{values.shape[1]}x{values.shape[0]}")
    return values


def _refuse_edges(path, sizes):
    """Refuse a label image most of whose values are of a few pixels, as the soft edges of a painting program are.

    Args:
        sizes: value -> number of its pixels. Values 1, 2, ... without a gap are objects that were counted.
    """
    specks = sum(size <= _SPECK for size in sizes.values())
    if specks >= _SPECKS and specks >= len(sizes) / 2 and max(sizes) > len(sizes):
        raise ValueError(f"{path}: {specks} of its {len(sizes)} values are of {_SPECK} pixels or fewer, as soft edges "
                         "are that a painting program or a change of size makes: write label images with hard edges")


def _refuse_binary(single):
    """Refuse label images that all have one value where that value lies in several places.

    Args:
        single: (path, number of values, whether the only one lies in several places) of each.
    """
    if any(count > 1 for _, count, _ in single):
        return
    for path, _, has_parts in single:
        if has_parts:
            raise ValueError(f"{path} has one value beside 0 in several places, and so has no other label image more: "
                             "one value is one object here; give each object a value of its own, as "
                             "skimage.measure.label or scipy.ndimage.label do")


def _has_parts(bitmap):
    """Whether what is set in a bitmap is in several places, told by an empty row or column between."""
    for axis in (0, 1):
        filled = np.flatnonzero(bitmap.any(axis))
        if len(filled) and filled[-1] - filled[0] + 1 > len(filled):
            return True
    return False


def _pairs(root, images):
    """Yields (image, label images of values, label images of one object each), the second None without any."""
    folders = _beside(root)
    if folders is not None:
        yield from _of_folders(images, folders[1])
        return
    places = _bowl(root)
    for place in places:
        pictures, masks = _beside(place)
        found = _listed(pictures)
        for picture in found:
            yield picture, [], [path for path in _listed(masks) if len(found) == 1 or
                                path.stem.startswith(picture.stem)]
    if not places:
        found, labels = _listed(root), {}
        for path in found:
            if (picture := _image_of(path)) is not None:
                labels.setdefault(picture, []).append(path)
        masks = {path for paths in labels.values() for path in paths}
        yield from ((picture, labels.get(picture), []) for picture in found if picture not in masks)


def _of_folders(images, masks):
    """The pairs of a folder of images and one of masks."""
    labels = {}
    for path in _listed(masks):
        labels.setdefault(path.relative_to(masks).with_suffix("").as_posix(), []).append(path)
    pictures = {path.relative_to(images).with_suffix("").as_posix(): path for path in _listed(images)}
    wholes, parts = {}, {}
    for name, paths in labels.items():
        above = name.rpartition("/")[0]
        whole = next((stem for stem in (name, _SUFFIX.sub("", name)) if stem in pictures), None)
        part = next((stem for stem in (_NUMBERED.sub("", name), above) if stem in pictures), None)
        if whole is not None:
            wholes.setdefault(whole, []).extend(paths)
        elif part is not None:
            parts.setdefault(part, []).extend(paths)
    for stem, picture in pictures.items():
        described = stem in wholes or stem in parts or (masks / stem).is_dir()
        separate = [] if stem in wholes else parts.get(stem, [])
        yield picture, wholes.get(stem, []) if described else None, separate


def _listed(folder):
    return [path for path in sorted(folder.rglob("*")) if _is_picture(path) and not path.name.startswith(".")]


LABEL_IMAGES = Layout("label images", _find, _images, _read)
