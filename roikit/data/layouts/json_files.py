"""JSON files of annotations: whether one is labelme's or COCO's, found out from its beginning."""

import json
import os
import re

from roikit.data.layouts.strangers import not_json, refuse_repeated_list

__all__ = ["beginning", "is_coco", "is_labelme", "read_file", "read_json"]

_READ = 1 << 20  # of bytes: labelme's pictures within the file stand behind the shapes, or before them
_SHAPES = re.compile(rb'"shapes"\s*:\s*\[')
_SEGMENTS = re.compile(rb'"segments_info"\s*:')
_COCO = re.compile(rb'"(?:images|annotations)"\s*:\s*\[')


def beginning(path):
    """The first million bytes of a file; none of one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(_READ)
    except OSError:
        return b""


def is_labelme(path):
    """Whether a JSON file has the shapes of labelme."""
    return any(_SHAPES.search(part) for part in (beginning(path), _end(path)))


def is_coco(path):
    """Whether a JSON file has one of COCO's lists, and objects, not segments of a panoptic file."""
    parts = (beginning(path), _end(path))
    return (any(_COCO.search(part) for part in parts)
            and not any(pattern.search(part) for pattern in (_SHAPES, _SEGMENTS) for part in parts))


def _end(path):
    """The last million bytes of a file that is longer."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            length = file.tell()
            file.seek(max(length - _READ, 0))
            return file.read() if length > _READ else b""
    except OSError:
        return b""


def read_json(path):
    """What a JSON file holds, with or without a byte order mark.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or has a list of annotations twice; the text names it.
    """
    with open(path, "rb") as file:
        data = file.read()
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError(f"{os.fspath(path)} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} {not_json(data, error)}") from None
    refuse_repeated_list(data, os.fspath(path))
    return content


def read_file(path):
    """The mapping that a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or no mapping; the text names it.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{os.fspath(path)} must hold a mapping, got {type(content).__name__}")
    return content
