"""Folders of annotations in other layouts than COCO's file, read into what such a file holds.

Each layout has a file of its own, whose reader is given the folder and, of each image, the record and the file of its
annotations or None; it gives the categories, and of each object its image, category and corners. What all have in
common is here and in `files`: which layout a folder is in, its images, ids, and boxes around corners. Torch is not
needed; Pillow is, for the sizes of the images.
"""

import os

import numpy as np

from roikit.data.layouts.dota import is_dota, read_dota
from roikit.data.layouts.files import first_line, images_beside, pair_with_images, text_files
from roikit.data.layouts.yolo_obb import is_yolo, read_yolo_obb
from roikit.data.records import shown
from roikit.kernels import min_area_boxes

__all__ = ["is_annotation_folder", "read_folder"]


def is_annotation_folder(path):
    """Whether a path is a folder that `read_folder` is for, and not one of label maps beside some text file."""
    files = text_files(path) if os.path.isdir(path) else {}
    if not files:
        return False
    if not any(name.lower().endswith(".png") for _, _, names in os.walk(path) for name in names):
        return True
    line = first_line(files.values())
    return line is not None and (is_yolo(line.words) or is_dota(line.words))


def read_folder(folder, images=None):
    """What a COCO file would hold of a folder of DOTA's text files, or of YOLO's for oriented boxes.

    The first line of all with content tells which: one of numbers alone, the second and all after it fractions, is
    YOLO's. Image ids are 1, 2, ... in the order of the images' paths, annotation ids in that of the lines.

    Args:
        folder: of the text files, each called as its image is; those in folders of it are read, too.
        images: folder of the images; None for the one whose path has ``images`` for the part ``labels`` or
            ``labelTxt`` of ``folder``. All its images are listed, also those without a text file.

    Returns:
        dict ``images``, ``categories`` and ``annotations``. An annotation has ``obb``, the four corners as they are
        in the file, in pixels; ``bbox`` around them, and ``area``, that of the smallest rectangle around them.

    Raises:
        OSError: a file or the header of an image cannot be read, or there is no folder of images.
        ValueError: a line is malformed, or a text file has no image; the text names the file.
        ImportError: Pillow is missing, or PyYAML where there is a ``data.yaml``.
    """
    files = text_files(folder)
    if not files:
        raise ValueError(f"{os.fspath(folder)} must be a COCO file, or a folder with text files of annotations (DOTA's "
                         "or YOLO's oriented boxes), and it has none")
    line = first_line(files.values())
    if line is not None and not is_yolo(line.words) and not is_dota(line.words):
        raise ValueError(f"{line.place}: it must be DOTA's x1 y1 x2 y2 x3 y3 x4 y4 category difficult, or YOLO's class "
                         f"x1 y1 x2 y2 x3 y3 x4 y4, got {shown(' '.join(line.words))}")
    read = read_yolo_obb if line is None or is_yolo(line.words) else read_dota
    pairs = pair_with_images(files, images_beside(folder) if images is None else images)
    categories, objects = read(folder, pairs)
    corners = np.array([item.pop("obb") for item in objects], np.float64).reshape(-1, 4, 2)
    low, high = corners.min(1), corners.max(1)
    rectangles = min_area_boxes([[ring.reshape(-1)] for ring in corners], dtype=np.float64)
    boxes, areas = np.concatenate([low, high - low], 1).tolist(), (rectangles[:, 2] * rectangles[:, 3]).tolist()
    annotations = [{"id": number, **item, "bbox": box, "area": area, "obb": ring} for number, (item, box, area, ring)
                   in enumerate(zip(objects, boxes, areas, corners.reshape(-1, 8).tolist(), strict=True), start=1)]
    return {"images": [record for record, _ in pairs], "categories": categories, "annotations": annotations}
