"""YOLO's layout: ``labels/NAME.txt`` with a class and fractions of the image, ``images/NAME``, and ``data.yaml``.

An object with a mask is its outline, one polygon; holes and parts are joined over bridges without area. One without is
its oriented box, where it has one, or else its box. Fractions of outlines have as many digits as it takes for masks to
come back pixel by pixel. YOLO knows no crowds: they are left out and counted.
"""

import json
from pathlib import Path

import numpy as np

from roikit.data.annotations import has_mask
from roikit.data.outlines import one_ring
from roikit.data.writers.files import box_of, corners_of, file_of, is_crowd

__all__ = ["AS_READ", "BY_NAME", "IMAGES", "close", "write_image"]

IMAGES, BY_NAME = "images", False
AS_READ = str


def write_image(folder, record, objects, categories):
    """Write the text file of an image."""
    classes = {c["id"]: k for k, c in enumerate(categories)}
    lines, lost = [], {"crowd": 0, "object without a pixel": 0}
    sides = record["width"], record["height"]
    for item in objects:
        if is_crowd(item):
            lost["crowd"] += 1
            continue
        if has_mask(item):
            ring = one_ring(item["segmentation"], record["height"], record["width"])
            if ring is None:
                lost["object without a pixel"] += 1
                continue
            values = _fractions(ring, np.array(sides, np.float64)).reshape(-1).tolist()
        elif (corners := corners_of(item)) is not None:
            values = (corners / sides).reshape(-1).tolist()
        else:
            x1, y1, x2, y2 = box_of(item, record)
            values = [(x1 + x2) / 2 / sides[0], (y1 + y2) / 2 / sides[1], (x2 - x1) / sides[0], (y2 - y1) / sides[1]]
        lines.append(" ".join([str(classes[item["category_id"]]), *map(repr, values)]) + "\n")
    file_of(Path(folder, "labels"), record, ".txt").write_text("".join(lines))
    return lost


def _fractions(ring, sides):
    """Fractions that times the sides are coordinates which rasterise as the ring's do.

    The rasteriser rounds to fifths of a pixel, where a last bit may decide; of the nearest fractions one is right.
    """
    found, wanted = ring / sides, _fifths(ring)
    for near in (np.nextafter(found, -np.inf), np.nextafter(found, np.inf)):
        found = np.where((_fifths(found * sides) != wanted) & (_fifths(near * sides) == wanted), near, found)
    return found


def _fifths(coordinates):
    return np.trunc(5 * coordinates + 0.5)


def close(folder, records, categories):
    """Write ``data.yaml``, whose one part is all images."""
    names = "".join(f"  {k}: {json.dumps(c['name'])}\n" for k, c in enumerate(categories))
    text = f"path: .\ntrain: images\nval: images\nnames:{'' if names else ' {}'}\n{names}"
    Path(folder, "data.yaml").write_text(text, encoding="utf-8")
