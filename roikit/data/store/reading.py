"""A large annotation file as it is read: its columns from the cache, or from the file, piece by piece."""

import gc
import json
import os
import re
import stat
from collections import Counter
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from roikit.data.store.cache import open_cache, source_of, write_cache
from roikit.data.store.columns import Builder, joined
from roikit.data.store.pieces import pieces_of, read_text
from roikit.data.store.records import Records
from roikit.data.store.told import judged

__all__ = ["LARGE", "Forms", "read_large", "without_collection"]

# Bytes of a file from which on it is kept in columns: smaller ones are read at once, and nothing is put beside them.
LARGE = 16 << 20
_LONG = re.compile(rb"[0-9]{19}")  # whole numbers of which orjson may not keep all digits
_LISTS = ("images", "categories", "annotations")


class Forms(NamedTuple):
    """What `roikit.data.annotations` makes of the lists of a file.

    Attributes:
        annotation: function of a record and a Counter of what was taken, that gives the record.
        lists: function of the content but for its annotations and of the Counter, that gives the content.
        called: function of the list of categories, that gives a function from a name to an id or None.
    """

    annotation: object
    lists: object
    called: object


def read_large(path, forms, large=LARGE):
    """The content of a large file, from its cache if that is of the file as it is; else the cache is made.

    The environment variable `ROIKIT_CACHE`, set to ``off``, has no cache looked for and none made.

    Args:
        path: of the annotation file.
        forms: Forms.
        large: the least size in bytes.

    Returns:
        (content, taken): a dict whose ``annotations`` are `Records`, and a Counter; None where the file is smaller, or
        is not to be read so, because it has a fault or its lists are not in COCO's form: whoever reads it as a whole
        is told why.

    Raises:
        OSError: the file cannot be read.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode) or found.st_size < max(large, 1):
        return None
    cached = os.environ.get("ROIKIT_CACHE") != "off"
    arrays = open_cache(path) if cached else None
    if arrays is None:
        with without_collection():
            source = source_of(path) if cached else None
            try:
                parts, told = _read(path, forms)
            except (ValueError, RecursionError):
                return None
            arrays = write_cache(path, source, parts, told) if cached else None
            if arrays is None:
                arrays = {name: joined(some) for name, some in parts.items()}
            else:
                told = arrays.told
    else:
        told = arrays.told
    with without_collection():
        content = {name: (json.loads if name in told["long"] else read_text)(arrays[f"list {name}"].tobytes())
                   for name in told["lists"]}
    return {**content, "annotations": Records(arrays)}, Counter(told["taken"])


def _read(path, forms):
    """The columns, as lists of parts, and what is to be told with them."""
    taken, content, seen = Counter(), {}, False
    builder = Builder(lambda record: forms.annotation(record, taken))
    for key, value, again in pieces_of(path):
        if key == "annotations":
            if again is None and value != []:
                raise ValueError("annotations must be a list of objects")
            builder.add(value, again)
            seen = True
        elif again is None:
            content[key] = value
        else:
            floats = any(type(v) is float for record in value if isinstance(record, dict) for v in record.values())
            content.setdefault(key, []).extend(again() if floats else value)
    if not seen or not all(content.get(name) and isinstance(content[name], list) for name in _LISTS[:2]):
        raise ValueError("there must be images, categories and annotations")
    if builder.has_image_names():
        raise ValueError("an image_id must be a number")
    content = forms.lists(content, taken)
    if repeated := builder.repeated_ids():
        taken["annotation ids repeated"] += repeated
    if named := builder.name_categories(forms.called(content["categories"])):
        taken["category names for ids"] += named
    found = judged(builder.pieces(), content["images"], content["categories"])
    parts = {**builder.finish(), **found}
    for name, value in content.items():
        parts[f"list {name}"] = [np.frombuffer(json.dumps(value).encode(), np.uint8)]
    long = [name for name in content if _LONG.search(parts[f"list {name}"][0].data)]
    return parts, {"taken": dict(taken), "lists": list(content), "long": long}


@contextmanager
def without_collection():
    """Python's search for cycles is off: there are none in JSON, and each search goes through a million objects."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
