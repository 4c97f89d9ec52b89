"""Annotation records with the names that the doctor calls them by, made when they are asked for."""

from collections.abc import Sequence

import numpy as np

from roikit.data.causes import agreeing_boxes
from roikit.data.instances import is_wrong_area
from roikit.data.store.columns import BOX, CATEGORY, ID, IMAGE
from roikit.data.store.told import are_told, corners, inside, owned, pixel_boxes

__all__ = ["NamedRecords", "counted_ids", "repeatable", "settled", "to_look_at"]

_AT_ONCE = 1024


class NamedRecords(Sequence):
    """(subject, record) of some `Records`, with ids of images in the columns."""

    def __init__(self, records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        record = self.records[index]
        place = int(self.records.places[index])
        return self._subject(record, place), record

    def __iter__(self):
        for place, record in zip(self.records.places, self.records, strict=True):
            yield self._subject(record, place), record

    def _subject(self, record, place):
        number = record.get("id")
        known = type(number) is int and -2**63 <= number < 2**63
        return f"annotation {number if known else f'at place {place}'} of image {record['image_id']}"


def to_look_at(records, images, categories):
    """The places of records whose ids are not in the columns, or not among those of the images and categories.

    Args:
        records: `Records` of all rows.
        images, categories: collections of ids.
    """
    good = records.told(IMAGE | CATEGORY)
    for name, listed in (("image_id", images), ("category_id", categories)):
        ids = [number for number in listed if type(number) is int and -2**63 <= number < 2**63]
        good &= np.isin(records.column(name), np.array(ids, np.int64))
    return np.flatnonzero(~good)


def counted_ids(records):
    """(id, how often) of the ids of 64 bits that are there more than once, in the order of the file."""
    ids = records.column("id")[records.told(ID)]
    found, first, counts = np.unique(ids, return_index=True, return_counts=True)
    often = np.flatnonzero(counts > 1)
    often = often[np.argsort(first[often])]
    return list(zip(found[often].tolist(), counts[often].tolist(), strict=True))


def repeatable(records):
    """The places of records that may be there again: others have the same image, category and box."""
    told = records.told(IMAGE | CATEGORY | BOX)
    boxes = records.column("bbox") + 0.0  # -0.0 is 0.0
    keys = np.column_stack([records.column("image_id"), records.column("category_id"), boxes.view(np.int64)])
    order = np.lexsort(keys.T)
    same = (keys[order[1:]] == keys[order[:-1]]).all(1)
    again = np.zeros(len(records), bool)
    again[order[1:][same]] = again[order[:-1][same]] = True
    return np.flatnonzero(again | ~told)


def settled(records, images, masks, border):
    """Which records the doctor has nothing to say about: box and mask are sound, in the image, and agree.

    Args:
        records: `Records`.
        images: image id -> record, None for one that is faulty.
        masks: whether each must have a mask.
        border: pixels that a box may reach over the border.

    Yields:
        (start, (M,) bool) of the records from start to start + M.
    """
    sound = [record for record in images.values() if record is not None]
    ids, heights, widths = (np.array([r[name] for r in sound], np.int64) for name in ("id", "height", "width"))
    sizes = np.zeros((len(records.columns["flags"]), 2), np.int64)
    rows, owners = owned(records.of_rows(None), ids)
    sizes[rows] = np.stack([heights, widths], 1)[owners]
    categories = np.unique(records.columns["category_id"])  # those that are not listed are named already
    for start in range(0, len(records), _AT_ONCE):
        rows = records.places[start:start + _AT_ONCE]
        yield start, _settled(records.columns, rows, sizes[rows], categories, masks, border)


def _settled(columns, rows, sizes, categories, masks, border):
    good = are_told(columns, rows, sizes, categories, masks)
    boxes = corners(columns["bbox"][rows])
    cut = inside(boxes, sizes)
    good &= (np.abs(boxes - cut) <= border).all(1) & ~is_wrong_area(columns["area"][rows], cut)
    if not masks:
        return good
    good &= columns["ring_starts"][rows + 1] - columns["ring_starts"][rows] == 1
    for height, width in set(map(tuple, sizes[good].tolist())):
        place = np.flatnonzero(good & (sizes == (height, width)).all(1))
        good[place] = agreeing_boxes(cut[place], pixel_boxes(columns, rows[place], height, width))
    return good
