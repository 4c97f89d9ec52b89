"""Mends annotations one by one: ids, areas, boxes beside their masks; takes out what nothing can be learnt from."""

from collections import Counter

import numpy as np

from roikit.data.causes import agreeing, as_corners
from roikit.data.findings import counted
from roikit.data.instances import has_mask, is_line, is_wrong_area, read_area, read_box, read_object
from roikit.data.records import of_image, sizes_of
from roikit.data.repeated import repeated_objects
from roikit.data.segmentation import box_and_area, read_segmentation

__all__ = ["mended_objects"]

# Reasons of `read_object` that nothing in the file can mend.
_HOPELESS = frozenset({"with a polygon of two points", "without a box", "with an empty mask", "with a box without area",
                       "with a box outside the image"})
# How far a box may reach over the border, in pixels, as in the doctor's checks.
_BORDER = 1.0


def mended_objects(content, done):
    """The content with its objects mended, each once.

    Args:
        content: of `load_annotations`, its causes mended.
        done: list that learns what was done, in sentences.
    """
    sizes = sizes_of(content["images"])
    has_masks = any(isinstance(a, dict) and has_mask(a) for a in content["annotations"])
    counts, reasons, kept = Counter(), Counter(), []
    for annotation in _once(content["annotations"], counts):
        size = of_image(sizes, annotation)
        if size is not None:
            own = Counter()
            try:
                annotation, reason = _mended(annotation, *size, has_masks, own)
                counts += own
            except (ValueError, TypeError, OverflowError):
                reason = None  # malformed, for the doctor to name
            if reason in _HOPELESS:
                reasons[reason] += 1
                continue
        kept.append(annotation)
    for words, count in counts.items():
        done.append(words.format(counted(count, "object")))
    for reason, count in reasons.items():
        done.append(f"took out {counted(count, 'object')} {reason}")
    return {**content, "annotations": _numbered(kept, done)}


def _once(annotations, counts):
    """The annotations without those that are another one again."""
    again = set(repeated_objects(annotations))
    if again:
        counts["took out repetitions of {}"] += len(again)
    return [annotation for place, annotation in enumerate(annotations) if place not in again]


def _mended(annotation, height, width, has_masks, counts):
    """The annotation with a sound box and an area, and the reason of `read_object` why it is of no use, or None."""
    if is_line(annotation):
        return annotation, "with a polygon of two points"
    annotation = _without_malformed(annotation)
    box, around, area = _box(annotation), None, None
    if has_mask(annotation):
        around, area = box_and_area(read_segmentation(annotation["segmentation"], height, width), height, width)
        around = np.array(around)
        shown = area and box is not None and not agreeing(box, around)
        if shown and (corners := as_corners(annotation, around)) is not None:
            annotation, box = {**annotation, "bbox": _written(corners)}, corners
            counts["took the box for x1 y1 x2 y2, as the mask shows, in {}"] += 1
    inside = None if box is None else _inside(box, height, width)
    if inside is None and area:
        annotation, box = {**annotation, "bbox": _written(around)}, around
        counts["put the box around the mask of {}"] += 1
    elif inside is None and box is not None:
        box = np.sort(box.reshape(2, 2), 0).reshape(4)
        inside = _inside(box, height, width)
        if inside is not None:
            annotation = {**annotation, "bbox": _written(box)}
            counts["turned a box of negative width or height round in {}"] += 1
    if inside is not None and np.abs(inside - box).max() > _BORDER:
        annotation = {**annotation, "bbox": _written(inside)}
        counts["cut the box at the border of the image in {}"] += 1
    found = read_object(annotation, height, width, masks=has_masks)
    if found == "without a mask" and inside is None:
        return annotation, "without a box"
    if isinstance(found, str):
        return annotation, found
    if (stated := annotation.get("area")) is None or is_wrong_area(stated, found.box):
        counted_anew = read_object({**annotation, "area": None}, height, width, masks=has_masks).area
        annotation = {**annotation, "area": counted_anew}
        counts["counted the area of {}"] += counted_anew != stated
    return annotation, None


def _without_malformed(annotation):
    """The annotation without an area, or a box beside a mask, that cannot be read: these can be counted anew."""
    for field, read in (("area", read_area), *([("bbox", read_box)] if has_mask(annotation) else [])):
        try:
            if annotation.get(field):
                read(annotation[field])
        except ValueError:
            annotation = {name: value for name, value in annotation.items() if name != field}
    return annotation


def _box(annotation):
    return read_box(annotation["bbox"]) if annotation.get("bbox") else None


def _inside(box, height, width):
    """The part of a box in the image; None where there is none."""
    cut = np.array([max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)])
    return cut if np.isfinite(box).all() and cut[2] > cut[0] and cut[3] > cut[1] else None


def _written(box):
    x1, y1, x2, y2 = (int(v) if v.is_integer() else v for v in np.asarray(box, np.float64).tolist())
    return [x1, y1, x2 - x1, y2 - y1]


def _numbered(annotations, done):
    """The annotations with ids that differ, from 1 where one is missing or occurs again, for other tools need them."""
    ids = [a.get("id") for a in annotations if isinstance(a, dict)]
    # 0 is an id that pycocotools takes for none.
    if all(type(number) is int and number > 0 for number in ids) and len(set(ids)) == len(ids):
        return annotations
    done.append("numbered the annotations anew, from 1")
    numbered, number = [], 0
    for annotation in annotations:
        if isinstance(annotation, dict):
            number += 1
            annotation = {**annotation, "id": number}
        numbered.append(annotation)
    return numbered
