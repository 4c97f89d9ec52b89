"""A field of all annotations at once: out of the columns of a large file, or else from one record after the other."""

import numpy as np

from roikit.data.records import usable_id
from roikit.data.store.columns import AREA, BOX, CATEGORY, CROWD, IMAGE
from roikit.data.store.records import Records
from roikit.trainer.shapes import box_rows

__all__ = ["boxes_and_areas", "chosen", "crowds_of", "numbers_of", "to_check"]

_MOST_AREA = 1e308  # pixels; beyond are faults, which are told of each
_BITS = {"image_id": IMAGE, "category_id": CATEGORY}


def to_check(annotations):
    """(place, annotation) of those whose ids or crowd flag may not be what they must be."""
    return annotations.untold(IMAGE | CATEGORY | CROWD) if isinstance(annotations, Records) else enumerate(annotations)


def chosen(annotations, rows):
    """The annotations at these places, an array in ascending order."""
    if len(rows) == len(annotations):
        return annotations
    if isinstance(annotations, Records):
        return annotations.of_rows(annotations.places[rows])
    return [annotations[k] for k in rows]


def numbers_of(annotations, field, numbers):
    """(N,) int64, 0 where the field, ``image_id`` or ``category_id``, holds no listed id.

    Args:
        annotations: list of dicts, or `Records`.
        numbers: id -> number, in ascending order of the ids that are whole numbers.
    """
    if isinstance(annotations, Records):
        ids = np.array([i for i in numbers if usable_id(i)], np.int64)
        known = np.array([numbers[i] for i in ids.tolist()], np.int64)
        column = annotations.column(field)
        found = np.zeros(len(column), np.int64)
        if len(ids):
            place = np.minimum(np.searchsorted(ids, column), len(ids) - 1)
            found = np.where((ids[place] == column) & annotations.told(_BITS[field]), known[place], 0)
        for place, annotation in annotations.untold(_BITS[field]):
            found[place] = _number_of(annotation, field, numbers)
        return found
    try:
        found = [numbers.get(a.get(field), 0) for a in annotations]
    except TypeError:  # an id that is a list
        found = [_number_of(a, field, numbers) for a in annotations]
    return np.array(found, np.int64).reshape(-1)


def _number_of(annotation, field, numbers):
    number = annotation.get(field)
    return numbers.get(number, 0) if isinstance(number, (int, str)) else 0


def crowds_of(annotations):
    """(N,) bool, of annotations that have ``iscrowd``."""
    if not isinstance(annotations, Records):
        return np.array([a["iscrowd"] for a in annotations], bool).reshape(-1)
    found = annotations.column("iscrowd").astype(bool)
    for place, annotation in annotations.untold(CROWD):
        found[place] = annotation["iscrowd"]
    return found


def boxes_and_areas(annotations):
    """Boxes (N, 4) and areas (N,), float64, and (N,) bool, of which annotations both are finite numbers."""
    if isinstance(annotations, Records):
        boxes, areas = annotations.column("bbox").copy(), annotations.column("area").copy()
        usual = annotations.told(BOX | AREA) & np.isfinite(boxes).all(1)
        return boxes, areas, usual & (areas > 0) & (areas < _MOST_AREA)
    boxes, usual = box_rows([a.get("bbox") for a in annotations])
    areas = [a.get("area") for a in annotations]
    stated = np.array([type(area) in (int, float) and 0 < area < _MOST_AREA for area in areas], bool).reshape(-1)
    areas = np.array([area if ok else 0.0 for area, ok in zip(areas, stated, strict=True)], np.float64).reshape(-1)
    return boxes, areas, usual & stated
