"""Faults that a whole annotation file has, each with one cause: what the data set and the evaluation refuse it for.

A file of corners, say, gives as many symptoms as it has objects. Each cause is found here, for the data set, the
evaluation and the doctor alike, and told in one sentence with what to do. Torch is not needed.
"""

import math
from typing import NamedTuple

import numpy as np

from roikit import masks as rle
from roikit.data.instances import has_mask, is_line, read_box
from roikit.data.records import crowds_sentence
from roikit.data.store.records import Records

__all__ = ["Cause", "agreeing", "agreeing_boxes", "boxes_in_place", "causes_of", "extent", "fractional_fields"]

# How far beyond [0, 1] a fraction of the image may lie by the rounding of the tool that wrote it.
_FRACTION_SLACK = 0.01
# How far, in pixels, a box may miss its mask, and at least how much of the two must be common where it misses by more:
# COCO's own boxes are drawn by hand.
_AGREEMENT = 2.0
_AGREEMENT_IOU = 0.7
# One faulty box in so many does not hide what all the others are.
_STRANGERS = 0.05
_MOST_STRANGERS = 1000  # of a large file, for each takes time
# The share of boxes that must reach over the border as x y width height, where no mask tells what they are.
_OVERHANGING = 0.25
_KIND = "other-boxes"
_CORNERS = "x1 y1 x2 y2"
# What tools write in place of COCO's x y width height, and what it is in corners.
_READINGS = {
    _CORNERS: lambda a, b, c, d: (a, b, c, d),
    "centre x, centre y, width, height": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
    "y x height width": lambda a, b, c, d: (b, a, b + d, a + c),
    "y1 x1 y2 x2": lambda a, b, c, d: (b, a, d, c),
}
_MEND = "; `roikit doctor --mend` does it"


class Cause(NamedTuple):
    """A fault of the file.

    Attributes:
        kind: the doctor's kind of finding.
        sentence: what was found and what to do.
        reading: of boxes, what they are in place of x y width height; None for other causes.
        learnable: whether objects can be learnt nevertheless, as `boxes_in_place` makes it.
    """

    kind: str
    sentence: str
    reading: str | None = None
    learnable: bool = False


def causes_of(content):
    """The causes for which a file is not taken as it is.

    Args:
        content: of `roikit.data.annotations.load_annotations`.

    Returns:
        list of Cause, that of the largest consequence first.
    """
    annotations = content["annotations"]
    annotations = annotations.dicts if isinstance(annotations, Records) else [
        a for a in annotations if isinstance(a, dict)]
    found = [_fractions(content["images"], annotations), _boxes(content["images"], annotations),
             _crowds(annotations), _lines(annotations)]
    return [cause for cause in found if cause is not None]


def _crowds(annotations):
    if not annotations or not all(a.get("iscrowd") == 1 for a in annotations):
        return None
    return Cause("all-crowds", f"every object is marked as a crowd: {crowds_sentence(annotations)}{_MEND}")


def _lines(annotations):
    count = 0
    for annotation in annotations:  # of most files, until the first
        if has_mask(annotation):
            if not is_line(annotation):
                return None
            count += 1
    if not count:
        return None
    return Cause("lines", f"polygons of two points have no area, and all {count} are such: they are lines, or "
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
    box, other = box.tolist(), other.tolist()  # floats: a million boxes go through here
    if max(abs(a - b) for a, b in zip(box, other, strict=True)) <= _AGREEMENT:
        return True
    w = min(box[2], other[2]) - max(box[0], other[0])
    h = min(box[3], other[3]) - max(box[1], other[1])
    if w <= 0 or h <= 0:
        return False
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return w * h / (sum(areas) - w * h) >= _AGREEMENT_IOU


def agreeing_boxes(boxes, others):
    """`agreeing` of each of (N, 4) boxes with another one, as (N,) bool."""
    near = np.abs(boxes - others).max(1) <= _AGREEMENT
    common = (np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])).clip(0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1)
    return near | (common > 0) & (common >= _AGREEMENT_IOU * (areas - common))


def _read_as(annotation, reading):
    """A ``bbox`` in one of the `_READINGS` as an array x1, y1, x2, y2; None where it cannot be that."""
    try:
        a, b, c, d = (float(v) for v in annotation["bbox"])
    except (TypeError, ValueError, KeyError, OverflowError):
        return None
    box = _READINGS[reading](a, b, c, d)
    return np.array(box) if all(map(math.isfinite, box)) and box[2] > box[0] and box[3] > box[1] else None


def boxes_in_place(content, reading):
    """A content whose boxes are in one of the other readings, with COCO's x, y, width, height in their places."""
    mended = []
    for annotation in content["annotations"]:
        box = _read_as(annotation, reading) if isinstance(annotation, dict) else None
        if box is not None:
            x1, y1, x2, y2 = box.tolist()
            annotation = {**annotation, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        mended.append(annotation)
    return {**content, "annotations": mended}


def _boxes(images, annotations):
    if isinstance(annotations, Records):
        boxed = annotations.where(annotations.boxed)
        drawn = boxed.where(boxed.drawn)
    else:
        boxed = [a for a in annotations if a.get("bbox")]
        drawn = [a for a in boxed if has_mask(a)]
    return _shown_by_masks(drawn) if drawn else _shown_by_borders(images, boxed)


def _shown_by_masks(annotations):
    """The cause where the masks show that the boxes are in another reading."""
    allowed = min(_STRANGERS * len(annotations), _MOST_STRANGERS)
    proved, strangers = dict.fromkeys(_READINGS, 0), dict.fromkeys(_READINGS, 0)
    for annotation in annotations:
        box, around = _box(annotation), extent(annotation)
        if box is None or around is None:
            continue
        fits = agreeing(box, around)
        for reading in list(proved):
            found = _read_as(annotation, reading)
            if found is not None and agreeing(found, around):
                proved[reading] += not fits  # at the origin two readings are the same
            else:
                strangers[reading] += 1
                if strangers[reading] > allowed:
                    del proved[reading]
        if not proved:
            return None
    reading = max(proved, key=proved.get)
    if not proved[reading]:
        return None
    return Cause(_KIND, f"the boxes are {reading}, not x y width height, as the masks of {proved[reading]} objects "
                 f"show: write x y width height{_MEND}", reading, learnable=True)


def _shown_by_borders(images, annotations):
    """The cause where boxes are corners, for else they would reach over the borders of their images."""
    sizes = {r["id"]: (r.get("width"), r.get("height")) for r in images
             if isinstance(r, dict) and isinstance(r.get("id"), (int, str))}
    seen, over = 0, 0
    for annotation in annotations:
        box, image = _box(annotation), annotation.get("image_id")
        size = sizes.get(image) if isinstance(image, (int, str)) else None
        if box is None or size is None or not all(type(side) is int for side in size):
            continue
        corners = _read_as(annotation, _CORNERS)
        if corners is None or corners.min() < -_AGREEMENT or (corners[2:] > np.add(size, _AGREEMENT)).any():
            return None
        seen += 1
        over += bool((box[2:] > np.add(size, _AGREEMENT)).any())
    if not seen or over < _OVERHANGING * seen:
        return None
    return Cause(_KIND, f"the boxes are {_CORNERS}, not x y width height: all {seen} lie within their images if they "
                 f"are corners, and {over} reach over the border otherwise; write x2 - x1 and y2 - y1 for the last "
                 f"two{_MEND}", _CORNERS)
