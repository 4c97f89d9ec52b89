"""Annotations in other layouts than COCO's file, read into what such a file holds.

Each layout has a file of its own, which says whether a path is in it, where the images are, and reads it; see
`roikit.data.layouts.layout`. What all have in common is here: which layout a path is in. Torch is not needed; Pillow
is, for the sizes of the images.
"""

import os
from pathlib import Path
from typing import NamedTuple

from roikit.data.findings import counted
from roikit.data.image_folder import IMAGE_ENDINGS
from roikit.data.layouts.coco_files import COCO, with_file_names
from roikit.data.layouts.cvat import CVAT
from roikit.data.layouts.files import text_files
from roikit.data.layouts.json_files import is_coco, read_json
from roikit.data.layouts.label_images import LABEL_IMAGES
from roikit.data.layouts.labelme import LABELME
from roikit.data.layouts.layout import files_below
from roikit.data.layouts.parts import parts_of
from roikit.data.layouts.strangers import seeming
from roikit.data.layouts.text import TEXT
from roikit.data.layouts.voc import VOC
from roikit.data.remote import local_path

__all__ = ["LAYOUTS", "Source", "find_source", "is_annotation_folder", "is_json_file", "layout_of", "parts_of",
           "read_source", "with_file_names"]

LAYOUTS = (COCO, CVAT, VOC, LABELME, TEXT, LABEL_IMAGES)  # in the order in which they are tried
_KNOWN = ("COCO's JSON file, YOLO's or DOTA's text files, Pascal VOC, labelme, CVAT's annotations.xml, or label images "
          "beside images")


class Source(NamedTuple):
    """Where a data set's annotations and images are.

    Attributes:
        layout: its name.
        annotations: what `load_annotations` takes.
        images: folder of the images.
    """

    layout: str
    annotations: Path
    images: Path


def _layout_of(path):
    """(layout, what it reads) of a path, or None."""
    path = Path(path)
    files = files_below(path) if path.is_dir() else ()
    for layout in LAYOUTS:
        if (found := layout.find(path, files)) is not None:
            return layout, found
    if path.is_dir() and text_files(path) and not any(file.suffix.lower() == ".png" for file in files):
        return TEXT, path  # whose reader says what is wrong with its lines
    return None


def layout_of(path):
    """The layout that a path is in, and what it reads: (Layout, path).

    Raises:
        FileNotFoundError: there is no such path.
        ValueError: no layout is known.
    """
    path = local_path(path)
    found = _layout_of(path)
    if found is None:
        if not os.path.exists(path):
            raise FileNotFoundError(f"there is no file or folder {os.fspath(path)}")
        if os.path.isfile(path):
            with open(path, "rb"):  # one that cannot be opened is named so
                pass
        if os.path.isfile(path) and Path(path).suffix.lower() == ".json" and (other := seeming(read_json(path))):
            raise ValueError(f"{os.fspath(path)}: {other}")
        files = [os.path.relpath(file, path) for file in files_below(path)
                 if file.suffix.lower() == ".json" and is_coco(file)]
        if len(files) == 1:
            raise ValueError(f"{os.fspath(path)} is in no layout that is read, and has {files[0]} in it: name that")
        pictures = [file.suffix.lower() in IMAGE_ENDINGS for file in files_below(path)]
        raise ValueError(f"{os.fspath(path)} is in no layout that is read"
                         + (f", for it has {counted(len(pictures), 'picture')} and no annotations"
                            if pictures and all(pictures) else "")
                         + f": it must be {_KNOWN}, or a folder of these"
                         + (f"; of several COCO files one must be named: {', '.join(files[:5])}" if files else ""))
    return found


def find_source(path):
    """Which layout a file or folder is in, and where its images are.

    Args:
        path: of annotations, or of a folder that has annotations and images.

    Returns:
        Source.

    Raises:
        FileNotFoundError: there is no such path, or its images are not where they are looked for.
        OSError: a file cannot be read.
        ValueError: it is in no layout that is known, or has parts, of which one must be named.
    """
    path = local_path(path)
    parts = parts_of(path)
    paths = list(dict.fromkeys(one for some in parts.values() for one in some))
    if len(paths) > 1:
        raise ValueError(f"{os.fspath(path)} has the parts {', '.join(parts)}; name one of "
                         f"{', '.join(map(os.fspath, paths))}")
    path = paths[0] if paths else path
    layout, annotations = layout_of(path)
    return Source(layout.name, annotations, layout.images(annotations))


def is_annotation_folder(path):
    """Whether a path is a folder that `read_source` is for, and not one of label maps beside some text file."""
    return os.path.isdir(path) and _layout_of(path) is not None


def is_json_file(path):
    """Whether a path is read as COCO's JSON file: it is no folder, and no file of another layout by its ending."""
    return not os.path.isdir(path) and Path(path).suffix.lower() not in (".txt", ".xml")


def read_source(annotations, images=None):
    """What a COCO file would hold of annotations in another layout.

    Args:
        annotations: a folder, or a file of a layout other than COCO's.
        images: folder of the images; None for the one that belongs to the annotations. File names are relative to it.

    Returns:
        dict ``images``, ``categories`` and ``annotations``.

    Raises:
        OSError: a file cannot be read, or there is no folder of images.
        ValueError: no layout is known, or a file is malformed; the text names it.
        ImportError: Pillow is missing, or PyYAML where there is a ``data.yaml``.
    """
    layout, found = layout_of(annotations)
    return layout.read(found, layout.images(found) if images is None else images)
