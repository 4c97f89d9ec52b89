"""Folders of text files, each called as its image is: DOTA's and YOLO's; and lists of images with such files."""

import os
from pathlib import Path

import numpy as np

from roikit.data.image_folder import IMAGE_ENDINGS
from roikit.data.layouts.content import content_of
from roikit.data.layouts.dota import is_dota, read_dota
from roikit.data.layouts.files import first_line, images_beside, lines_of, pair_with_images, text_files
from roikit.data.layouts.layout import Layout, files_below, size_in, warn_of
from roikit.data.layouts.yolo import is_yolo, read_yolo
from roikit.data.records import shown
from roikit.kernels import min_area_boxes

__all__ = ["TEXT"]

_LABELS = ("labels", "labelTxt")


def _find(path, files):
    """A folder of text files, its folder ``labels`` beside ``images``, or a list of images."""
    if not files:
        return path if path.suffix.lower() == ".txt" and _is_list(path) else None
    for name in _LABELS:
        if (path / name).is_dir() and (path / "images").is_dir() and text_files(path / name):
            return path / name
    line = first_line(_annotations(path).values())
    return path if line is not None and (is_yolo(line.words) or is_dota(line.words)) else None


def _annotations(folder):
    """The text files of a folder; those that are called as an image is, where images lie among them."""
    files = text_files(folder)
    return _beside(folder, files) or files


def _beside(folder, files):
    """Those of some text files that lie beside an image of their name."""
    pictures = {path.with_suffix("") for path in files_below(folder) if path.suffix.lower() in IMAGE_ENDINGS}
    return {stem: path for stem, path in files.items() if path.with_suffix("") in pictures}


def _is_list(path):
    line = first_line([path])
    return line is not None and Path(line.words[-1]).suffix.lower() in IMAGE_ENDINGS


def _images(annotations):
    if os.path.isfile(annotations):
        return Path(os.path.abspath(annotations)).parent
    try:
        return images_beside(annotations)
    except FileNotFoundError:
        if _beside(annotations, text_files(annotations)):
            return Path(annotations)
        raise


def _read(annotations, images):
    """What a COCO file would hold of a folder of DOTA's text files, or of YOLO's.

    The first line of all with content tells which: one of numbers alone, the second and all after it fractions, is
    YOLO's. Image ids are 1, 2, ... in the order of the images' paths, annotation ids in that of the lines.

    Args:
        annotations: folder of the text files, those in folders of it, too; or a list of the images.
        images: folder of the images. All its images are listed, also those without a text file.

    Returns:
        dict ``images``, ``categories`` and ``annotations``. An annotation of an oriented box has ``obb``, the four
        corners as they are in the file, in pixels; ``bbox`` around them, and ``area``, that of the smallest rectangle
        around them.

    Raises:
        OSError: a file or the header of an image cannot be read.
        ValueError: a line is malformed, or a text file has no image; the text names the file.
        ImportError: Pillow is missing, or PyYAML where there is a ``data.yaml``.
    """
    listed = _listed(Path(annotations), Path(images)) if os.path.isfile(annotations) else None
    files = _annotations(annotations) if listed is None else None
    line = first_line([path for _, path in listed if path is not None] if files is None else files.values())
    if line is not None and not is_yolo(line.words) and not is_dota(line.words):
        raise ValueError(f"{line.place}: it must be DOTA's x1 y1 x2 y2 x3 y3 x4 y4 category difficult, or YOLO's class "
                         "and fractions of the image, class cx cy w h or class x1 y1 x2 y2 x3 y3 ..., got "
                         f"{shown(' '.join(line.words))}")
    pairs = pair_with_images(files, images) if listed is None else listed
    read = read_yolo if line is None or is_yolo(line.words) else read_dota
    categories, objects = read(annotations, pairs)
    content = content_of([record for record, _ in pairs], categories, [_without_corners(item) for item in objects])
    return {**content, "annotations": _with_corners(content["annotations"], objects)}


def _without_corners(item):
    """An object whose measures are not those of its corners."""
    item = {key: value for key, value in item.items() if key != "obb"}
    return item if "bbox" in item or "segmentation" in item else {**item, "bbox": [0, 0, 0, 0]}


def _with_corners(annotations, objects):
    """Boxes and areas of the rotated boxes that some objects have."""
    corners = np.array([item["obb"] for item in objects if "obb" in item], np.float64).reshape(-1, 4, 2)
    low, high = corners.min(1), corners.max(1)
    rectangles = min_area_boxes([[ring.reshape(-1)] for ring in corners], dtype=np.float64)
    measured = zip(np.concatenate([low, high - low], 1).tolist(), (rectangles[:, 2] * rectangles[:, 3]).tolist(),
                   corners.reshape(-1, 8).tolist(), strict=True)
    return [{**annotation, **dict(zip(("bbox", "area", "obb"), next(measured), strict=True))} if "obb" in item else
            annotation for annotation, item in zip(annotations, objects, strict=True)]


def _listed(path, images):
    """The images that a text file lists, and their text files: `labels` for `images` in the path, or beside them."""
    pairs, unread = [], []
    for number, line in enumerate(lines_of(path), start=1):
        picture = _below(images, " ".join(line.words))
        if picture is None:
            raise FileNotFoundError(f"{line.place}: there is no image {' '.join(line.words)} below {images}")
        size = size_in(picture, unread)
        if size is not None:
            name = Path(os.path.relpath(picture, images)).as_posix()
            pairs.append(({"id": number, "file_name": name, **size}, _label_file(picture)))
    warn_of(path, {}, unread, pairs)
    return pairs


def _below(folder, name):
    """The file of a folder that a path of another place names: the longest end of it that is there; or None."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return next((path for first in range(len(parts)) if (path := Path(folder, *parts[first:])).is_file()), None)


def _label_file(picture):
    parts = list(picture.parts)
    places = [k for k, part in enumerate(parts[:-1]) if part == "images"]
    beside = [picture.with_suffix(".txt")]
    if places:
        parts[places[-1]] = "labels"
        beside.insert(0, Path(*parts).with_suffix(".txt"))
    return next((path for path in beside if path.is_file()), None)


TEXT = Layout("text files of YOLO or DOTA", _find, _images, _read)
