"""YOLO's text files of oriented boxes: ``class x1 y1 x2 y2 x3 y3 x4 y4``, the corners as fractions of the image.

Source: the documentation of Ultralytics, "Oriented bounding box datasets".
"""

import math
import os
from pathlib import Path

from roikit.data.layouts.files import finite, lines_of, number_of
from roikit.data.records import shown

__all__ = ["is_yolo", "read_yolo_obb"]

# How far from 0 a fraction may lie: corners outside the image are of use, pixels are not fractions.
_FARTHEST = 2.0
_NAMES = "data.yaml"
_ABOVE = 3  # the levels of folders above that of the files in which it is looked for


def is_yolo(words):
    """Whether a line seems to be one of YOLO's: numbers alone, fractions all but the first."""
    numbers = [number_of(word) for word in words]
    return None not in numbers and all(abs(v) <= _FARTHEST for v in numbers[1:] if math.isfinite(v))


def read_yolo_obb(folder, pairs):
    """The objects of YOLO's text files.

    A category's id is its class plus 1. Categories are those of ``data.yaml`` in the folder or one of the three above
    it, the nearest; without it, the classes that occur, called by their numbers.

    Args:
        folder: of the files.
        pairs: (image record, path or None).

    Returns:
        list of categories; list of dicts ``image_id``, ``category_id``, ``iscrowd`` and ``obb``.

    Raises:
        OSError, ImportError: ``data.yaml`` cannot be read, or PyYAML is missing.
        ValueError: a line or the names are malformed, or a class has no name.
    """
    source = _names_file(folder)
    names = None if source is None else _names(source)
    objects = []
    for record, path in pairs:
        for line in () if path is None else lines_of(path):
            label, corners = _object(line, record["width"], record["height"])
            if names is not None and label not in names:
                raise ValueError(f"{line.place}: its class must be one that {source} names, got {label}")
            objects.append({"image_id": record["id"], "category_id": label + 1, "iscrowd": 0, "obb": corners})
    if names is None:
        names = {item["category_id"] - 1: str(item["category_id"] - 1) for item in objects}
    return [{"id": label + 1, "name": names[label]} for label in sorted(names)], objects


def _object(line, width, height):
    """Class and corners in pixels."""
    words = line.words
    if len(words) != 9:
        raise ValueError(f"{line.place}: it must be a class and eight fractions of the image, x1 y1 x2 y2 x3 y3 x4 y4, "
                         f"got {len(words)} words: {shown(' '.join(words))}")
    label = number_of(words[0])
    if label is None or not 0 <= label < 2**31 or label != int(label):
        raise ValueError(f"{line.place}: its class must be a whole number from 0, got {shown(words[0])}")
    values = finite(line, words[1:])
    far = next((value for value in values if abs(value) > _FARTHEST), None)
    if far is not None:
        raise ValueError(f"{line.place}: its coordinates must be fractions of the image, not pixels, got {far:g}")
    return int(label), [value * side for value, side in zip(values, (width, height) * 4, strict=True)]


def _names_file(folder):
    place = Path(os.path.abspath(folder))
    return next((path / _NAMES for path in (place, *place.parents[:_ABOVE]) if (path / _NAMES).is_file()), None)


def _names(path):
    """Class -> name, from a list or a mapping ``names``."""
    try:
        import yaml
    except ImportError as error:
        raise ImportError(f"roikit.data needs PyYAML to read {path}: pip install 'roikit[train]'") from error
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(type(label) is int and 0 <= label < 2**31 for label in names):
        raise ValueError(f"{path} must have names, a list or a mapping from classes, whole numbers from 0, got "
                         f"{shown(names)}")
    return {label: str(name) for label, name in names.items()}
