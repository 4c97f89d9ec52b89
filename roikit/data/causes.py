"""Faults that a whole annotation file has, each with one cause: what the data set and the evaluation refuse it for.

A file of corners, say, gives as many symptoms as it has objects. Each cause is found here, for the data set, the
evaluation and the doctor alike, and told in one sentence with what to do. Torch is not needed.
"""

import math
from typing import NamedTuple

import numpy as np

from roikit.data.fractions import FRACTIONAL, box_order, fractional_fields
from roikit.data.instances import has_mask, is_line, read_box
from roikit.data.mask_causes import extent, looked_at, mask_cause, outside_sentence, sampled
from roikit.data.records import crowds_sentence, of_image, shown, sizes_of, usable_id
from roikit.data.store.columns import CATEGORY, IMAGE
from roikit.data.store.records import Records

__all__ = ["Cause", "agreeing", "agreeing_boxes", "as_corners", "boxes_in_place", "causes_of"]

# How far, in pixels, a box may miss its mask, and at least how much of the two must be common where it misses by more:
# COCO's own boxes are drawn by hand.
_AGREEMENT = 2.0
_AGREEMENT_IOU = 0.7
# One faulty box in so many does not hide what all the others are.
_STRANGERS = 0.05
_MOST_STRANGERS = 1000  # of a large file, for each takes time
_FEW = 10  # of fewer boxes, and none of which a mask tells what it is, all must be alike
# The share of boxes that must reach over the border as x y width height, where no mask tells what they are.
_OVERHANGING = 0.25
_KIND = "other-boxes"
_CORNERS, _EXCHANGED = "x1 y1 x2 y2", "y x height width"
# What tools write in place of COCO's x y width height, and what it is in corners.
_READINGS = {
    _CORNERS: lambda a, b, c, d: (a, b, c, d),
    "centre x, centre y, width, height": lambda a, b, c, d: (a - c / 2, b - d / 2, a + c / 2, b + d / 2),
    _EXCHANGED: lambda a, b, c, d: (b, a, b + d, a + c),
    "y1 x1 y2 x2": lambda a, b, c, d: (b, a, d, c),
    "x y height width": lambda a, b, c, d: (a, b, a + d, b + c),
    "y x width height": lambda a, b, c, d: (b, a, b + c, a + d),
    "x1 x2 y1 y2": lambda a, b, c, d: (a, c, b, d),
}
_MEND = "; `roikit doctor --mend` does it"
_FEWEST_IMAGES = 2  # of one image nothing is concluded from its id


class Cause(NamedTuple):
    """A fault of the file.

    Attributes:
        kind: the doctor's kind of finding.
        sentence: what was found and what to do.
        reading: of boxes, what they are in place of x y width height; of masks, what
            `roikit.data.mask_causes.masks_in_place` takes; None for other causes.
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
    found = [_fractions(content["images"], annotations), _boxes(content["images"], annotations), _lines(annotations)]
    if not any(found):  # else it would be the same cause again
        chosen = looked_at(content["images"], annotations)
        found.append(_masks(chosen) or _outside(chosen))
    found += [_image_ids(content["images"], annotations), _categories(content["categories"], annotations),
              _crowds(annotations)]
    return [cause for cause in found if cause is not None]


def _masks(chosen):
    cause = mask_cause(chosen)
    return None if cause is None else Cause("other-masks", cause.sentence, cause.reading)


def _outside(chosen):
    sentence = outside_sentence(chosen)
    return None if sentence is None else Cause("outside", sentence)


def _image_ids(images, annotations):
    """The cause where all annotations may be those of the image before or behind the one that they name."""
    listed = [number for r in images if isinstance(r, dict) and type(number := r.get("id")) is int]
    used = (annotations.column("image_id")[annotations.told(IMAGE)] if isinstance(annotations, Records) else
            np.array([number for a in annotations if usable_id(number := a.get("image_id"))], np.int64))
    if not listed or not len(used) or used.min() >= min(listed) and used.max() <= max(listed):
        return None  # at once, for there may be a million of them
    listed, used = set(listed), set(np.unique(used).tolist())
    if len(used) < _FEWEST_IMAGES:
        return None
    for step, words in ((1, "add 1 to"), (-1, "take 1 from")):
        if {number + step for number in used} <= listed:
            return Cause("image-ids", f"annotations have image ids {min(used)} to {max(used)}, images {min(listed)} "
                         f"to {max(listed)}: where the two are counted from different numbers, each annotation is that "
                         f"of the wrong image, and you {words} its image_id; where images were taken out of the list, "
                         "take out their annotations, too")
    return None


def _categories(categories, annotations):
    """The cause where annotations use ids that categories does not list: figures without them would be wrong."""
    listed = {c.get("id") for c in categories if isinstance(c, dict) and isinstance(c.get("id"), (int, str))}
    strange = [a for a in _perhaps_strange(annotations, listed)
               if not isinstance(a.get("category_id"), (int, str)) or a["category_id"] not in listed]
    if not strange or not listed or len(listed) < len(categories):
        return None
    ids = [str(i) for i in sorted(listed, key=lambda i: (isinstance(i, str), i))]
    more = sorted({shown(a.get("category_id")) for a in strange[1:]})[:5]
    return Cause("unknown-category-id", f"annotation {shown(strange[0].get('id'))} of image "
                 f"{shown(strange[0].get('image_id'))} has category id {shown(strange[0].get('category_id'))}, which "
                 f"categories does not list: it lists {', '.join(ids[:5]) or 'none'}{', ...' if len(ids) > 5 else ''}"
                 + (f"; {len(strange) - 1} more of {len(annotations)} annotations have such ids, "
                    f"{', '.join(more)}" if more else "")
                 + "; list the id, or give its annotations the one that is meant")


def _perhaps_strange(annotations, listed):
    """The annotations but for those of which the columns show that their category is listed."""
    if not isinstance(annotations, Records):
        return annotations
    ids = np.array([i for i in listed if type(i) is int and -2**63 <= i < 2**63], np.int64)
    return annotations.where(~(annotations.told(CATEGORY) & np.isin(annotations.column("category_id"), ids)))


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


def _fractions(images, annotations):
    fields = fractional_fields(images, annotations)
    if not fields:
        return None
    field, count = next(iter(fields.items()))
    order = box_order(annotations) if field == "bbox" else None
    told = f"coordinates are fractions of the image: all {FRACTIONAL[field]} ({count}) lie within [0, 1]"
    if count < (there := sum(bool(a.get(field)) for a in annotations)):
        told = f"coordinates are fractions of the image: {count} of {there} {FRACTIONAL[field]} lie within [0, 1]"
    if order == "":
        return Cause("fractions", f"{told}, where COCO has pixels; as x y width height some would reach "
                     "over the border, and others would as corners or as centres: write x y width height in pixels")
    return Cause("fractions", told + (f" and are {order}" if order else "") + ", where COCO has "
                 + ("x y width height in pixels" if order else "pixels") + "; multiply x and width by the image's "
                 f"width, y and height by its height{_MEND}")


def _box(annotation):
    """x1, y1, x2, y2 as an array; None where there is no box that can be read."""
    try:
        return read_box(annotation["bbox"]) if annotation.get("bbox") else None
    except (TypeError, ValueError, KeyError):
        return None


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


def _read_as(annotation, reading, any_area=False):
    """A ``bbox`` in one of the `_READINGS` as an array x1, y1, x2, y2; None where it cannot be that."""
    try:
        a, b, c, d = (float(v) for v in annotation["bbox"])
    except (TypeError, ValueError, KeyError, OverflowError):
        return None
    box = _READINGS[reading](a, b, c, d)
    return np.array(box) if all(map(math.isfinite, box)) and (box[2] > box[0] and box[3] > box[1] or any_area) else None


def as_corners(annotation, around):
    """The ``bbox`` as x1, y1, x2, y2 where it is that, as the extent of its mask shows to the pixel; else None."""
    box = _read_as(annotation, _CORNERS)
    return box if box is not None and np.abs(box - around).max() <= _AGREEMENT else None


def boxes_in_place(content, reading):
    """A content whose boxes are in one of the other readings, with COCO's x, y, width, height in their places."""
    mended = []
    for annotation in content["annotations"]:
        box = _read_as(annotation, reading, any_area=True) if isinstance(annotation, dict) else None
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
    return _shown_by_masks(images, drawn) if drawn else _shown_by_borders(images, boxed)


def _shown_by_masks(images, annotations):
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
    sizes = sizes_of(images)
    if reading == _EXCHANGED and not any(_overhangs(a, sizes) for a in sampled(annotations)):
        return Cause(_KIND, f"boxes and masks of {proved[reading]} objects have x and y exchanged: either the boxes "
                     "are y x height width, or the masks are: polygons of row and column, as "
                     "skimage.measure.find_contours gives them, or RLEs with counts along the rows; write those anew")
    return Cause(_KIND, f"the boxes are {reading}, not x y width height, as the masks of {proved[reading]} objects "
                 f"show: write x y width height{_MEND}", reading, learnable=True)


def _overhangs(annotation, sizes):
    """Whether a box reaches over the border of its image."""
    box, size = _box(annotation), of_image(sizes, annotation)
    return box is not None and size is not None and bool((box[2:] > np.add(size[::-1], _AGREEMENT)).any())


def _shown_by_borders(images, annotations):
    """The cause where boxes are corners, for else they would reach over the borders of their images."""
    sizes = sizes_of(images)
    seen, over, strangers = 0, 0, 0
    allowed = min(max(1, _STRANGERS * len(annotations)), _MOST_STRANGERS) if len(annotations) >= _FEW else 0
    for annotation in annotations:
        box, size = _box(annotation), of_image(sizes, annotation)
        if box is None or size is None:
            continue
        corners = _read_as(annotation, _CORNERS)
        if corners is None or corners.min() < -_AGREEMENT or (corners[2:] > np.add(size[::-1], _AGREEMENT)).any():
            strangers += 1
            if strangers > allowed:
                return None
            continue
        seen += 1
        over += bool((box[2:] > np.add(size[::-1], _AGREEMENT)).any())
    if not seen or over < _OVERHANGING * seen:
        return None
    which = f"all {seen} lie" if not strangers else f"{seen} of {seen + strangers} lie"
    return Cause(_KIND, f"the boxes are {_CORNERS}, not x y width height: {which} within their images if they "
                 f"are corners, and {over} reach over the border otherwise; write x2 - x1 and y2 - y1 for the last "
                 f"two{_MEND}", _CORNERS)
