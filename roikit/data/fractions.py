"""Coordinates that are fractions of the image where COCO has pixels: which fields are such, and in which order."""

from itertools import chain

import numpy as np

__all__ = ["FRACTIONAL", "box_order", "fractional_fields", "is_fractional"]

# What each field that may be fractions is called.
FRACTIONAL = {"bbox": "boxes", "segmentation": "polygons"}
# How far beyond [0, 1] a fraction of the image may lie by the rounding of the tool that wrote it.
_SLACK = 0.01
# One object in so many may be in pixels, or wrong: of files of at least so many, and of not more than so many objects.
_STRANGERS, _FEW, _MOST = 0.05, 10, 1000


def fractional_fields(images, annotations):
    """Which of ``bbox`` and ``segmentation`` are fractions of the image; and of how many objects.

    Args:
        images: image records.
        annotations: annotation records that are dicts.

    Returns:
        dict, field -> number of annotations.
    """
    if all(isinstance(r, dict) and r.get("height") == r.get("width") == 1 for r in images):
        return {}
    found = {field: _count(annotations, field) for field in FRACTIONAL}
    return {field: count for field, count in found.items() if count}


def is_fractional(annotation, field):
    """Whether all coordinates of a field lie within [0, 1]."""
    values = _values(annotation, field)
    return values is not None and _within(values)


def box_order(annotations):
    """What fractional boxes are in place of x y width height, where they would reach over the border as such.

    Args:
        annotations: annotation records whose boxes are fractions, all but few.

    Returns:
        None for x y width height; "x1 y1 x2 y2"; "centre x, centre y, width, height"; "" where they are none of these.
    """
    boxes = np.array([values for a in annotations if (values := _values(a, "bbox")) is not None and _within(values)])
    if not len(boxes):
        return None
    first, last = boxes[:, :2], boxes[:, 2:]
    if _all(first + last <= 1 + _SLACK):
        return None
    if _all(last >= first):
        return "x1 y1 x2 y2"
    return "centre x, centre y, width, height" if _all(
        (first - last / 2 >= -_SLACK) & (first + last / 2 <= 1 + _SLACK)) else ""


def _all(flags):
    """Whether all rows of flags are set, but for the few that may be wrong."""
    return np.count_nonzero(~flags.all(1)) <= _allowed(len(flags))


def _allowed(count):
    return 0 if count < _FEW else min(max(1, int(_STRANGERS * count)), _MOST)


def _count(annotations, field):
    """How many annotations have a field of fractions; 0 where not all but few have.

    They are fractions when all lie within [0, 1], not all at whole numbers, for a lone object may be the pixel in the
    corner. A few elsewhere end the search.
    """
    seen, strangers, fraction, allowed = 0, 0, False, _allowed(len(annotations))
    for annotation in annotations:
        values = _values(annotation, field)
        if values is None:
            continue
        if not _within(values):
            strangers += 1
            if strangers > allowed:
                return 0
            continue
        seen, fraction = seen + 1, fraction or bool((values != np.round(values)).any())
    return seen if fraction and strangers <= _allowed(seen + strangers) else 0


def _within(values):
    return -_SLACK <= values.min() and values.max() <= 1 + _SLACK


def _values(annotation, field):
    """The coordinates of a field as an array; None where there are none that can be read."""
    value = annotation.get(field)
    if type(value) is not list or not value:
        return None
    try:
        if field == "segmentation":
            value = list(chain.from_iterable(ring for ring in value if ring))
        values = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    usable = values.ndim == 1 and values.size and (values.size == 4 if field == "bbox" else not values.size % 2)
    return values if usable and np.isfinite(values).all() else None
