"""Reads COCO's annotation file: JSON with lists of images, annotations and categories."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

__all__ = ["load_annotations", "read_box"]


def load_annotations(annotations):
    """The content of an annotation file.

    Args:
        annotations: path of a JSON file, or its content, a mapping.

    Returns:
        mapping with the lists ``images``, ``annotations`` and ``categories`` at least.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, or one of the three lists is missing.
    """
    if isinstance(annotations, Mapping):
        name, content = "the annotations", annotations
    else:
        name = os.fspath(annotations)
        try:
            content = json.loads(Path(annotations).read_bytes())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{name} is not JSON: {error}") from None
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, Mapping) or not isinstance(content.get(key), list):
            raise ValueError(f"{name} must have a list {key!r}, as COCO's instance files do")
    return content


def read_box(bbox):
    """COCO's x, y, width, height as a float64 array x1, y1, x2, y2.

    Raises:
        ValueError: not four numbers.
    """
    try:
        x, y, w, h = (float(v) for v in bbox)
    except (TypeError, ValueError):
        raise ValueError(f"a box must be four numbers, got {str(bbox)[:60]}") from None
    return np.array([x, y, x + w, y + h])
