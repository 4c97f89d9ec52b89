"""COCO's JSON files and what lies around them: Roboflow's folders, the folder of the images, LVIS' names.

Source: https://cocodataset.org/#format-data; https://www.lvisdataset.org/dataset
"""

import json
import os
import re
from pathlib import Path

from roikit.data.layouts.json_files import beginning, is_coco, read_file
from roikit.data.layouts.layout import Layout, pictures_near
from roikit.data.remote import beside, is_address, local_path

__all__ = ["COCO", "with_file_names"]

_ROBOFLOW = "_annotations.coco.json"
_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
_TOLD = re.compile(rb'^\s*\{\s*"info"\s*:\s*\{[^{}]*"images"\s*:\s*("(?:[^"\\]|\\.)*")')  # by `convert_data`
_OTHER_NAMES = ("filename", "fileName", "path")
_URL = re.compile(rb'"coco_url"\s*:\s*("(?:[^"\\]|\\.)*")')


def _find(path, files):
    """A JSON file, or the one of a folder or of the folder ``annotations`` in it."""
    if not files:
        return path if path.suffix.lower() == ".json" and path.is_file() and is_coco(path) else None
    if (path / _ROBOFLOW).is_file():
        return path / _ROBOFLOW
    for folder in (path, path / "annotations"):
        found = [file for file in files if file.parent == folder and file.suffix.lower() == ".json" and is_coco(file)]
        if len(found) == 1:
            return found[0]
    return None


def _images(annotations):
    path = Path(os.path.abspath(annotations))
    start = beginning(path)
    if (told := _TOLD.search(start)) is not None:
        place = _text(told[1])
        place = local_path(place) if is_address(place) else beside(path, place)
        if place.is_dir():
            return Path(os.path.normpath(place))
    names = [_text(text) for text in _NAME.findall(start)[:50]]
    names += [_of_url(_text(text)) for text in _URL.findall(start)[:50]]
    names = [name.replace("\\", "/") for name in names]
    names += [name.rpartition("/")[2] for name in names]
    part = path.stem.partition("instances_")[2] or path.stem
    short = re.sub(r"[0-9]+$", "", part)
    above = path.parent.parent
    for place in (above / part, above / "images" / part, above / short, above / "images" / short):
        if any(os.path.isfile(place / name) for name in names):
            return place
    try:
        return pictures_near(path.parent, names)
    except FileNotFoundError:
        place = path.parent / "images"
        if place.is_dir():
            return place  # its names are those of another machine, which the reader takes or names
        raise


def _text(quoted):
    """The text of a JSON string in bytes; as it is where it is malformed, which whoever reads the file says."""
    text = quoted.decode(errors="replace")
    try:
        return json.loads(text, strict=False)
    except ValueError:
        return text[1:-1]


def with_file_names(content, taken=None):
    """The content with ``file_name`` put in where records have the name in another field, LVIS' as addresses.

    Args:
        content: of a JSON file, which is not changed.
        taken: Counter that learns how many had another name than an address; None where nobody asks.
    """
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or all(isinstance(r, dict) and r.get("file_name") is not None for r in images):
        return content
    return {**content, "images": [_with_name(record, taken) for record in images]}


def _with_name(record, taken):
    if not isinstance(record, dict) or record.get("file_name") is not None:
        return record
    name = next((record[key] for key in _OTHER_NAMES if isinstance(record.get(key), str)), None)
    if name is not None:
        if taken is not None:
            taken["file names in other fields"] += 1
        return {**record, "file_name": name}
    return {**record, "file_name": _of_url(record["coco_url"])} if isinstance(record.get("coco_url"), str) else record


def _of_url(address):
    """The folder and name that an address ends with, train2017/000000391895.jpg."""
    return "/".join(address.split("/")[-2:])


COCO = Layout("COCO", _find, _images, lambda annotations, images: with_file_names(read_file(annotations)), True)
