"""Folders of label images: one grey value an object, or one PNG file an object.

    images/NAME.png  masks/NAME.png                      one value an object
    images/NAME.png  masks/NAME/1.png  masks/NAME/2.png  one file an object; or masks/NAME_1.png
    NAME/images/NAME.png  NAME/masks/*.png               one file an object, as the 2018 Data Science Bowl has them
    NAME.png  NAME_masks.png                             one value an object, as Cellpose writes them

Nothing tells classes: there is one category, ``object``.
"""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np

from roikit.data.image_folder import IMAGE_ENDINGS
from roikit.data.images import open_image, read_values
from roikit.data.layouts.content import content_of, mask_of
from roikit.data.layouts.layout import Layout, warn_of

__all__ = ["LABEL_IMAGES", "OBJECT"]

OBJECT = "object"
_IMAGES = ("images", "image", "imgs", "img", "JPEGImages")
_MASKS = ("masks", "mask", "labels", "label", "instances", "gt", "ground_truth", "SegmentationObject", "annotations")
_SUFFIX = re.compile(r"[_-](?:cp_)?(?:mask|masks|label|labels|seg|instances|gt)$", re.I)
_NUMBERED = re.compile(r"[_-](?:mask[_-]?)?[0-9]+$", re.I)


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
    records, objects, passed = [], [], Counter()
    single = []
    for picture, labels, separate in _pairs(Path(annotations), Path(images)):
        if not labels and not separate:
            passed["image without a label image"] += 1
            continue
        header = open_image(picture)
        record = {"id": len(records) + 1, "file_name": Path(os.path.relpath(picture, images)).as_posix(),
                  "height": header.height, "width": header.width}
        records.append(record)
        masks = [values > 0 for values in map(_reader(record), separate)]
        for path in labels:
            values = _reader(record)(path)
            present = [value for value in np.unique(values) if value]
            masks += [values == value for value in present]
            single.append((path, len(present), masks[-1] if masks else None))
        objects += [{"image_id": record["id"], "category_id": 1, "segmentation": mask_of(mask)} for mask in masks
                    if mask.any()]
        passed["mask without a pixel"] += sum(not mask.any() for mask in masks)
    _refuse_binary(single)
    if not records:
        raise ValueError(f"{os.fspath(annotations)} has no label image that is called as an image of {images} is")
    warn_of(annotations, passed)
    return content_of(records, [{"id": 1, "name": OBJECT}], objects)


def _reader(record):
    """A function that reads a label image of the size that a record has."""
    def read(path):
        values = read_values(path)
        if values.shape != (record["height"], record["width"]):
            raise ValueError(f"{path} must be {record['width']}x{record['height']} as its image is, got "
                             f"{values.shape[1]}x{values.shape[0]}")
        return values

    return read


def _refuse_binary(single):
    """Refuse label images that all have one value where that value lies in several places.

    Args:
        single: (path, number of values, bitmap of the last) of each.
    """
    if any(count > 1 for _, count, _ in single):
        return
    for path, count, bitmap in single:
        if count and _has_parts(bitmap):
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
    """Yields (image, label images of values, label images of one object each)."""
    folders = _beside(root)
    if folders is not None:
        yield from _of_folders(images, folders[1])
        return
    places = _bowl(root)
    for place in places:
        pictures, masks = _beside(place)
        found = _listed(pictures)
        for picture in found:
            yield picture, [], _listed(masks) if len(found) == 1 else [p for p in _listed(masks)
                                                                      if p.stem.startswith(picture.stem)]
    if not places:
        labels = {path: picture for path in _listed(root) if (picture := _image_of(path)) is not None}
        for picture in _listed(root):
            if picture not in labels:
                yield picture, [path for path, image in labels.items() if image == picture], []


def _of_folders(images, masks):
    """The pairs of a folder of images and one of masks."""
    stems = {}
    for path in _listed(masks):
        relative = path.relative_to(masks).with_suffix("").as_posix()
        stems.setdefault(relative, []).append(path)
    pictures = {path.relative_to(images).with_suffix("").as_posix(): path for path in _listed(images)}
    for stem, picture in pictures.items():
        values = [p for name in stems if name == stem or _SUFFIX.sub("", name) == stem for p in stems[name]]
        separate = [p for name in stems if name not in pictures and _NUMBERED.sub("", name) == stem
                    and name != stem for p in stems[name]]
        separate += [p for name in stems if name.startswith(f"{stem}/") and name not in pictures for p in stems[name]]
        yield picture, values, [] if values else separate


def _listed(folder):
    return [path for path in sorted(folder.rglob("*")) if _is_picture(path) and not path.name.startswith(".")]


LABEL_IMAGES = Layout("label images", _find, _images, _read)
