"""Faults that all masks of a file have, as the boxes beside them or the sizes of the images show: each with one cause.

A library that counts an RLE along the rows, or one that gives points as row and column, yields masks that can be read
and lie elsewhere. Each such reading is found here, and undone where the boxes prove it. Torch is not needed.
"""

from typing import NamedTuple

import numpy as np

from roikit import masks as rle
from roikit.data.instances import has_mask, is_line, read_box
from roikit.data.records import of_image, sizes_of
from roikit.data.segmentation import bitmap_of

__all__ = ["MaskCause", "extent", "looked_at", "mask_cause", "masks_in_place", "outside_sentence", "sampled"]

_LOOKED_AT = 2000  # annotations, evenly chosen, for each mask takes time
_FEWEST = 3  # of fewer masks elsewhere nothing is concluded
_MOST = 0.5  # share of masks elsewhere that one cause has
_PROVED = 0.95  # share of the masks that a reading must put where their boxes are
_NEAR = 2.0  # pixels that a side may be off
_SIDES = 0.5  # of a mask this share of its extent must lie within its box


class MaskCause(NamedTuple):
    """Masks that are not where their boxes are.

    Attributes:
        sentence: what was found and what to do.
        reading: what `masks_in_place` takes; None where none is proved.
    """

    sentence: str
    reading: str | None


def sampled(annotations):
    """Some of the annotations, evenly chosen."""
    return annotations[::-(-len(annotations) // _LOOKED_AT) or 1]


def looked_at(images, annotations):
    """Some of the annotations, each with what its faults are seen by.

    Args:
        images: image records.
        annotations: annotation records that are dicts.

    Returns:
        list of (annotation, size of its image or None, box or None, extent of its mask or None).
    """
    chosen = list(sampled(annotations))
    ids = {number for annotation in chosen if type(number := annotation.get("image_id")) is int}
    sizes = sizes_of(record for record in images if isinstance(record, dict)
                     and type(number := record.get("id")) is int and number in ids)
    return [(annotation, of_image(sizes, annotation), _box(annotation), extent(annotation)) for annotation in chosen]


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
    if type(segmentation) is not list or not has_mask(annotation) or _is_bitmap(segmentation):
        return None
    try:
        points = np.concatenate([np.asarray(ring, np.float64).reshape(-1) for ring in segmentation])
    except (TypeError, ValueError, OverflowError):
        return None
    if not points.size or points.size % 2 or not np.isfinite(points).all():
        return None
    return np.array([points[0::2].min(), points[1::2].min(), points[0::2].max(), points[1::2].max()])


def _is_bitmap(rows):
    """Whether these are the rows of a bitmap, which need not be measured: they have no coordinates to be wrong."""
    first = rows[0]
    return (len(rows) > 1 and type(first) is list and {int, float, bool}.issuperset(map(type, first))
            and {0, 1, 255}.issuperset(first) and bitmap_of(rows) is not None)


def mask_cause(chosen):
    """The MaskCause where more than half of the masks lie outside their boxes, or have sides exchanged; else None.

    Args:
        chosen: of `looked_at`.
    """
    looked, elsewhere, exchanged = 0, [], 0
    for annotation, known, box, around in chosen:
        size = _size(annotation)
        if size is not None and known is not None and size != known and size == known[::-1]:
            looked, exchanged = looked + 1, exchanged + 1
            elsewhere.append((annotation, known))
            continue
        if box is None or around is None or is_line(annotation):
            continue
        looked += 1
        if not _within(around, box):
            elsewhere.append((annotation, known))
    if len(elsewhere) < _FEWEST or len(elsewhere) <= _MOST * looked:
        return None
    for reading, (words, read) in _READINGS.items():
        proved = sum(_is_read_so(annotation, size, read) for annotation, size in elsewhere)
        if proved >= _PROVED * len(elsewhere):
            return MaskCause(f"{words}, as the boxes of {proved} objects show: write them in COCO's way; "
                             "`roikit doctor --mend` does it", reading)
    if len(elsewhere) - exchanged <= _MOST * looked:
        return None  # each RLE is of another size than its image, which is said of each
    annotation = elsewhere[0][0]
    return MaskCause(f"the masks of {len(elsewhere)} of {looked} objects lie outside their boxes, the first of which "
                     f"is annotation {annotation.get('id')} of image {annotation.get('image_id')}: boxes and masks are "
                     "of different pictures, scales or orders of coordinates; write one of the two anew, or leave it "
                     "out", None)


def masks_in_place(content, reading):
    """A content whose masks are in one of the other readings, with COCO's in their places."""
    sizes, read = sizes_of(content["images"]), _READINGS[reading][1]
    found = []
    for annotation in content["annotations"]:
        if isinstance(annotation, dict) and (extent(annotation) is not None or _size(annotation)):
            mask = _masked(annotation, of_image(sizes, annotation), read)
            annotation = annotation if mask is None else {**annotation, "segmentation": mask}
        found.append(annotation)
    return {**content, "annotations": found}


def outside_sentence(chosen):
    """What to say where a quarter of the objects or more have their middle outside of their images; None elsewhere.

    Args:
        chosen: of `looked_at`.
    """
    looked, outside = 0, []
    for _, size, box, around in chosen:
        box = box if around is None else around
        if box is None or size is None:
            continue
        looked += 1
        if ((box[:2] + box[2:]) / 2 > size[::-1]).any():
            outside.append((box, size))
    if len(outside) < _FEWEST or len(outside) < looked / 4:
        return None
    far = np.max([box[2:] for box, _ in outside], axis=0)
    height, width = outside[0][1]
    return (f"{len(outside)} of {looked} objects lie outside their images, which are {width}x{height}, say, where "
            f"coordinates reach {far[0]:g} and {far[1]:g}: they are of larger pictures, or of a scale of their own "
            "such as 1000; scale them to the pixels of the images")


def _box(annotation):
    try:
        box = read_box(annotation["bbox"]) if annotation.get("bbox") else None
    except (TypeError, ValueError, KeyError):
        return None
    return box if box is not None and np.isfinite(box).all() and box[2] > box[0] and box[3] > box[1] else None


def _size(annotation):
    """(height, width) of an RLE; None of all else."""
    segmentation = annotation.get("segmentation")
    size = segmentation.get("size") if isinstance(segmentation, dict) else None
    return tuple(size) if isinstance(size, list) and len(size) == 2 else None


def _within(around, box):
    """Whether half of a mask's extent, or of the box where that is the smaller, is common to both."""
    w = min(around[2], box[2]) - max(around[0], box[0])
    h = min(around[3], box[3]) - max(around[1], box[1])
    areas = [max(float(np.prod(one[2:] - one[:2])), 1.0) for one in (around, box)]
    return np.abs(around - box).max() <= _NEAR or w > 0 and h > 0 and w * h >= _SIDES * areas[0]


def _masked(annotation, size, read):
    """The segmentation in a reading; None where it cannot be that."""
    try:
        return None if size is None else read(annotation["segmentation"], *size)
    except (TypeError, ValueError, KeyError, OverflowError):
        return None


def _is_read_so(annotation, size, read):
    mask, box = _masked(annotation, size, read), _box(annotation)
    around = None if mask is None else extent({"segmentation": mask})
    return box is not None and around is not None and bool(np.abs(around - box).max() <= _NEAR)


def _along_rows(segmentation, height, width):
    if not isinstance(segmentation, dict) or sorted(segmentation["size"]) != sorted((height, width)):
        return None
    counts = segmentation["counts"]
    if isinstance(counts, str):
        counts = rle.decode({"size": [width, height], "counts": counts.encode("ascii")})
    else:
        counts = rle.decode(rle.frPyObjects({"size": [width, height], "counts": counts}, width, height))
    found = rle.encode(np.asfortranarray(counts.T))
    return {"size": [height, width], "counts": found["counts"].decode("ascii")}


def _of_exchanged_sides(segmentation, height, width):
    if not isinstance(segmentation, dict) or segmentation["size"] != [width, height]:
        return None
    return {**segmentation, "size": [height, width]}


def _row_and_column(segmentation, height, width):
    if not isinstance(segmentation, list):
        return None
    return [np.asarray(ring, np.float64).reshape(-1, 2)[:, ::-1].reshape(-1).tolist() for ring in segmentation]


def _first_all_x(segmentation, height, width):
    if not isinstance(segmentation, list):
        return None
    return [np.asarray(ring, np.float64).reshape(2, -1).T.reshape(-1).tolist() for ring in segmentation]


_READINGS = {
    "sides": ("the RLEs have width, height for size, which is height, width", _of_exchanged_sides),
    "rows": ("the counts of the RLEs go along the rows of the image, not down its columns", _along_rows),
    "row, column": ("the points of the polygons are y x, row and column, not x y", _row_and_column),
    "all x": ("the polygons have all x before all y, not x y of each point", _first_all_x),
}
