"""Faults that a whole annotation file has, each with one cause: what the data set and the evaluation refuse it for.

A file of corners, say, gives as many symptoms as it has objects. Each cause is found here, for the data set, the
evaluation and the doctor alike, and told in one sentence with what to do. Torch is not needed.
"""

from typing import NamedTuple

import numpy as np

from roikit import masks as rle
from roikit.data.instances import has_mask, is_line, read_box
from roikit.data.records import crowds_sentence

__all__ = ["Cause", "agreeing", "as_corners", "causes_of", "corners_in_place", "extent",
           "fractional_fields"]

# How far beyond [0, 1] a fraction of the image may lie by the rounding of the tool that wrote it.
_FRACTION_SLACK = 0.01
# How far, in pixels, a box may miss its mask, and at least how much of the two must be common where it misses by more:
# COCO's own boxes are drawn by hand.
_AGREEMENT = 2.0
_AGREEMENT_IOU = 0.7
# One faulty box in so many does not hide what all the others are.
_STRANGERS = 0.05
# The share of boxes that must reach over the border as x y width height, where no mask tells what they are.
_OVERHANGING = 0.25
_MEND = "; `roikit doctor --mend` does it"


class Cause(NamedTuple):
    """A fault of the file.

    Attributes:
        kind: the doctor's kind of finding.
        sentence: what was found and what to do.
        learnable: whether objects can be learnt nevertheless, as `corners_in_place` makes it.
    """

    kind: str
    sentence: str
    learnable: bool = False


def causes_of(content):
    """The causes for which a file is not taken as it is.

    Args:
        content: of `roikit.data.annotations.load_annotations`.

    Returns:
        list of Cause, that of the largest consequence first.
    """
    annotations = [a for a in content["annotations"] if isinstance(a, dict)]
    found = [_fractions(content["images"], annotations), _corners(content["images"], annotations),
             _crowds(annotations), _lines(annotations)]
    return [cause for cause in found if cause is not None]


def _crowds(annotations):
    if not annotations or not all(a.get("iscrowd") == 1 for a in annotations):
        return None
    return Cause("all-crowds", f"every object is marked as a crowd: {crowds_sentence(annotations)}{_MEND}")


def _lines(annotations):
    drawn = [a for a in annotations if has_mask(a)]
    if not drawn or not all(map(is_line, drawn)):
        return None
    return Cause("lines", f"polygons of two points have no area, and all {len(drawn)} are such: they are lines, or "
                 "corners of boxes; leave segmentation out where there are boxes alone, or draw the outlines")


def fractional_fields(images, annotations):
    """Which of ``bbox`` and ``segmentation`` are fractions of the image where COCO has pixels; and of how many objects.

    Args:
        images: image records.
        annotations: annotation records that are dicts.

    Returns:
        dict, field -> number of annotations.
    """
    if all(isinstance(r, dict) and r.get("height") == r.get("width") == 1 for r in images):
        return {}
    found = {"bbox": _all_fractions(map(_box, annotations)), "segmentation": _all_fractions(map(_points, annotations))}
    return {field: count for field, count in found.items() if count}


def _fractions(images, annotations):
    fields = fractional_fields(images, annotations)
    if not fields:
        return None
    field, count = next(iter(fields.items()))
    what = "boxes" if field == "bbox" else "polygons"
    return Cause("fractions", f"coordinates are fractions of the image: all {what} ({count}) lie within [0, 1], where "
                 "COCO has pixels; multiply x and width by the image's width, y and height by its height" + _MEND)


def _all_fractions(arrays):
    """How many arrays there are, all of fractions; 0 where they are not.

    They are fractions when all lie within [0, 1], not all at whole numbers, for a lone object may be the pixel in the
    corner. The first array elsewhere ends the search.
    """
    seen, fraction = 0, False
    for values in arrays:
        if values is None or not np.isfinite(values).all():
            continue
        if values.min() < -_FRACTION_SLACK or values.max() > 1 + _FRACTION_SLACK:
            return 0
        seen, fraction = seen + 1, fraction or bool((values != np.round(values)).any())
    return seen if fraction else 0


def _box(annotation):
    """x1, y1, x2, y2 as an array; None where there is no box that can be read."""
    try:
        return read_box(annotation["bbox"]) if annotation.get("bbox") else None
    except (TypeError, ValueError, KeyError):
        return None


def _points(annotation):
    """The coordinates of all polygons as an array; None where there are none that can be read."""
    segmentation = annotation.get("segmentation")
    if type(segmentation) is not list or not has_mask(annotation):
        return None
    try:
        points = np.concatenate([np.asarray(ring, np.float64).reshape(-1) for ring in segmentation])
    except (TypeError, ValueError, OverflowError):
        return None
    return points if points.size and not points.size % 2 else None


def extent(annotation):
    """(4,) float64 x1, y1, x2, y2 around an annotation's mask; None where it has none that can be read."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        try:
            if isinstance(segmentation["counts"], list):
                segmentation = rle.frPyObjects(segmentation, *segmentation["size"])
            x, y, w, h = rle.toBbox(segmentation).tolist()
        except (TypeError, ValueError, KeyError, OverflowError):
            return None
        return np.array([x, y, x + w, y + h]) if w and h else None
    points = _points(annotation)
    if points is None or not np.isfinite(points).all():
        return None
    return np.array([points[0::2].min(), points[1::2].min(), points[0::2].max(), points[1::2].max()])


def agreeing(box, other):
    """Whether two boxes are the same but for the freedom that hand-made annotations take."""
    if np.abs(box - other).max() <= _AGREEMENT:
        return True
    w = min(box[2], other[2]) - max(box[0], other[0])
    h = min(box[3], other[3]) - max(box[1], other[1])
    if w <= 0 or h <= 0:
        return False
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return w * h / (sum(areas) - w * h) >= _AGREEMENT_IOU


def as_corners(annotation):
    """A ``bbox`` taken for x1, y1, x2, y2, as an array; None where it cannot be that."""
    box = _box(annotation)
    if box is None or not np.isfinite(box).all():
        return None
    corners = np.array([box[0], box[1], box[2] - box[0], box[3] - box[1]])
    return corners if corners[2] > corners[0] and corners[3] > corners[1] else None


def corners_in_place(content):
    """A content whose boxes are corners, as their masks show, with COCO's x, y, width, height in their places."""
    mended = []
    for annotation in content["annotations"]:
        corners = as_corners(annotation)
        if corners is not None:
            x1, y1, x2, y2 = corners.tolist()
            annotation = {**annotation, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        mended.append(annotation)
    return {**content, "annotations": mended}


def _corners(images, annotations):
    allowed = _STRANGERS * len(annotations)
    proved, strangers, drawn = 0, 0, False
    for annotation in annotations:
        if not has_mask(annotation):
            continue
        box, around = _box(annotation), extent(annotation)
        if box is None or around is None:
            continue
        drawn, corners = True, as_corners(annotation)
        fits = agreeing(box, around)
        if corners is not None and agreeing(corners, around):
            proved += not fits  # at the origin both readings are the same
        else:
            strangers += 1
            if strangers > allowed:
                return None
    if drawn:
        if not proved:
            return None
        return Cause("corner-boxes", f"the boxes are x1 y1 x2 y2, not x y width height, as the masks of {proved} "
                     f"objects show: write x2 - x1 and y2 - y1 for the last two{_MEND}", learnable=True)
    sizes = {r["id"]: (r.get("width"), r.get("height")) for r in images
             if isinstance(r, dict) and isinstance(r.get("id"), (int, str))}
    seen, over = 0, 0
    for annotation in annotations:
        box, image = _box(annotation), annotation.get("image_id")
        size = sizes.get(image) if isinstance(image, (int, str)) else None
        if box is None or size is None or not all(type(side) is int for side in size):
            continue
        corners = as_corners(annotation)
        if corners is None or corners.min() < -_AGREEMENT or (corners[2:] > np.add(size, _AGREEMENT)).any():
            return None
        seen += 1
        over += bool((box[2:] > np.add(size, _AGREEMENT)).any())
    if not seen or over < _OVERHANGING * seen:
        return None
    return Cause("corner-boxes", f"the boxes are x1 y1 x2 y2, not x y width height: all {seen} lie within their "
                 f"images if they are corners, and {over} reach over the border otherwise; write x2 - x1 and "
                 f"y2 - y1 for the last two{_MEND}")
