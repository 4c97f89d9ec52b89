"""What the doctor finds wrong with the rotated boxes of an annotation file."""

import math
from itertools import combinations

import numpy as np

from roikit.data.annotations import MalformedField, read_box
from roikit.data.rotated import has_rotated_box, read_rotated_box, rotated_field, upright_boxes

__all__ = ["rotated_findings"]

# How far, in pixels, a centre may lie over the border unreported, as in the doctor's other checks.
_BORDER = 1.0
# The box around a disc has half the area of the box around a square that stands on its corner and holds the disc; of
# the ellipses it is the worst. What overlaps less is around something else.
_AGREEMENT_IOU = 0.4
# A side so many times the other shows its direction.
_LONG = 1.5


def rotated_findings(annotations, images):
    """Look at the fields ``rbox``, ``rbbox`` and ``obb`` of annotations.

    Args:
        annotations: (subject, record) of sound annotations of listed images.
        images: image id -> record, None for one that is faulty.

    Yields:
        (kind, severity, subject, sentence) of each finding; none where no annotation has such a field.
    """
    if not any(has_rotated_box(record) for _, record in annotations):
        return
    angles, long = [], 0
    for subject, record in annotations:
        if not has_rotated_box(record):
            if not record["iscrowd"]:
                yield ("missing-rbox", "warning", subject, "it has no rotated box while others do, so a detector of "
                       "rotated boxes leaves it out")
            continue
        try:
            (field, values), box = rotated_field(record), read_rotated_box(record)
        except ValueError as error:
            yield "malformed-rbox", "error", subject, str(error)
            continue
        if len(values) == 5:
            angles.append(abs(box[4]))
            long += bool(max(box[2:4]) >= _LONG * min(box[2:4]) and box[4] != 0)
        if not min(box[2:4]) > 0:
            yield ("degenerate-rbox", "warning", subject, f"the corners of its {field} {values.tolist()} have no "
                   "area, so a detector of rotated boxes leaves it out")
            continue
        if len(values) == 8 and _crosses(values.reshape(4, 2)):
            yield ("crossing-rbox", "warning", subject, f"the corners of its {field} {values.tolist()} are not in "
                   "order around it, for two sides cross; the smallest rectangle around all four is taken")
        image = images[record["image_id"]]
        if image is not None:
            yield from _placed(subject, record, field, box, image["height"], image["width"])
    if long and max(angles) <= math.pi / 2:
        yield ("radians", "warning", "the file", f"all angles ({len(angles)}) lie within pi / 2 of 0, those of {long} "
               "long boxes among them: they seem to be radians, where roikit has degrees")


def _placed(subject, record, field, box, height, width):
    """Findings of a rotated box within its image, and beside the upright box."""
    around, size = upright_boxes(box)[0], [width, height]
    if (around[2:] <= 0).any() or (around[:2] >= size).any():
        yield ("rbox-outside", "warning", subject,
               f"its {field} {_shown(box)} is outside the {width}x{height} image")
    elif (over := max(-box[:2].min(), (box[:2] - size).max())) > _BORDER:
        yield ("rbox-over-border", "warning", subject, f"the centre of its {field} {_shown(box)} lies {over:g} pixels "
               f"over the border of the {width}x{height} image, and so does most of it")
    try:
        upright = read_box(record["bbox"]) if record.get("bbox") else None
    except MalformedField:
        return  # which the doctor names
    if upright is None or not (upright[2:] > upright[:2]).all():
        return
    limits = np.array([size, size]).reshape(4)
    if not _agree(np.clip(around, 0, limits), np.clip(upright, 0, limits)):
        yield ("box-rbox-disagreement", "warning", subject, f"its box {upright.tolist()} (x1, y1, x2, y2) and its "
               f"{field}, around which {np.round(around, 2).tolist()} lies, are not of the same object")


def _shown(box):
    return f"{np.round(box, 2).tolist()} (cx, cy, w, h, degrees)"


def _agree(one, other):
    shared = np.prod(np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None))
    both = sum(np.prod(box[2:] - box[:2]) for box in (one, other)) - shared
    return not both > 0 or shared / both >= _AGREEMENT_IOU


def _crosses(corners):
    """Whether two sides of a quadrilateral cross, that have no corner in common."""
    def turn(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    sides = [(corners[k], corners[(k + 1) % 4]) for k in range(4)]
    return any(turn(a, b, c) * turn(a, b, d) < 0 and turn(c, d, a) * turn(c, d, b) < 0
               for (a, b), (c, d) in combinations(sides, 2))
