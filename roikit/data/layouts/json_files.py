"""JSON files of annotations: whether one is labelme's or COCO's, found out from its beginning."""

import json
import os
import re

__all__ = ["beginning", "is_coco", "is_labelme", "read_file"]

_READ = 1 << 20  # of bytes: labelme's pictures within the file stand behind the shapes
_SHAPES = re.compile(rb'"shapes"\s*:\s*\[')
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
    return _SHAPES.search(beginning(path)) is not None


def is_coco(path):
    """Whether a JSON file has one of COCO's lists."""
    start = beginning(path)
    return _SHAPES.search(start) is None and _COCO.search(start) is not None


def read_file(path):
    """The mapping that a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON, or no mapping; the text names it.
    """
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read())
    except RecursionError:
        raise ValueError(f"{os.fspath(path)} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{os.fspath(path)} must hold a mapping, got {type(content).__name__}")
    return content
