"""Which annotations the columns alone tell all about: `roikit.data.instances.read_object` would find no fault in them.

The others, few in most files, are made records and go through it.
"""

import numpy as np

from roikit import masks as rle
from roikit.data.records import fault_of
from roikit.data.store.columns import AREA, BOX, CATEGORY, CROWD, IMAGE, RINGS, RLE

__all__ = ["are_told", "corners", "inside", "judged", "known_told", "owned", "pixel_boxes"]

_TOLD = IMAGE | CATEGORY | CROWD | AREA | BOX
_SHORTEST = 6
_AT_ONCE = 1 << 15  # rows, whose arrays stay in a processor's cache
# A polygon inside its image that is so wide and high holds a pixel, as `roikit.data.instances` has it.
_WIDE = 2.0


def owned(records, ids):
    """The rows of the annotations of some images, and which image each is of.

    Args:
        records: `Records` of all rows.
        ids: (I,) int64, of the images, which differ.

    Returns:
        (M,) int64, rows in ascending order, and (M,) int64, places in ``ids``.
    """
    order = np.argsort(ids, kind="stable")
    images, listed = records.column("image_id"), ids[order]
    if not len(ids):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, last = int(listed[0]), int(listed[-1])
    if last - first < 4 * len(images):  # a table is faster than a search
        table = np.full(last - first + 2, -1)
        table[listed - first] = np.arange(len(ids))
        within = (images >= first) & (images <= last)
        place = table[np.where(within, images - first, -1)]
    else:
        place = np.minimum(np.searchsorted(listed, images), len(ids) - 1)
        place = np.where(listed[place] == images, place, -1)
    rows = np.flatnonzero(records.told(IMAGE) & (place >= 0))
    return rows, order[place[rows]]


def judged(pieces, images, categories):
    """What `are_told` says of all rows, to be kept with the columns.

    Args:
        pieces: iterable of columns, one piece after the other.
        images, categories: the records that the file lists; of faulty ones nothing is told.

    Returns:
        dict of lists of arrays: ``told`` (N,) uint8, 1 where a box must be told and 2 where a mask must be, too;
        ``listed`` (I, 3) int64, id, height and width of the images that it holds for, and ``kinds`` (C,) int64, the
        ids of the categories.
    """
    listed = sorted((r["id"], r["height"], r["width"]) for r in images if fault_of(r, "image") is None)
    listed = np.array(listed, np.int64).reshape(-1, 3)
    kinds = np.unique(np.array([r["id"] for r in categories if fault_of(r, "category") is None], np.int64))
    told = [np.zeros(0, np.uint8)]
    for columns in pieces:
        place = np.minimum(np.searchsorted(listed[:, 0], columns["image_id"]), max(len(listed) - 1, 0))
        sizes = np.zeros((len(place), 2), np.int64)
        if len(listed):
            sizes = np.where(listed[place, :1] == columns["image_id"][:, None], listed[place, 1:], 0)
        rows = np.arange(len(place))
        boxes = _told(columns, rows, sizes, kinds, False)
        sound, reaching = _polygons(columns, rows, sizes)
        masks = sound & reaching
        for height, width in set(map(tuple, sizes[boxes & ~masks].tolist())):
            place = np.flatnonzero(boxes & ~masks & (sizes == (height, width)).all(1))
            _look_at_pixels(columns, place, sound, masks, height, width)
        told.append(boxes + 2 * (boxes & masks).astype(np.uint8))
    return {"told": told, "listed": [listed], "kinds": [kinds]}


def known_told(columns, rows, images, categories, masks):
    """What `are_told` would say, as `judged` found it; None where it was of other images or categories.

    Args:
        columns, rows, categories, masks: as `are_told` has them, the categories in ascending order.
        images: (I, 3) int64, id, height and width of the images.
    """
    listed = columns["listed"]
    if not len(listed) or not np.array_equal(columns["kinds"], categories):
        return None
    place = np.minimum(np.searchsorted(listed[:, 0], images[:, 0]), len(listed) - 1)
    return columns["told"][rows] & (2 if masks else 1) != 0 if np.array_equal(listed[place], images) else None


def are_told(columns, rows, sizes, categories, masks):
    """Whether an object has all fields in the columns, a known category, a box and, if it must have one, a mask.

    Args:
        columns: of `roikit.data.store.columns.Builder`.
        rows: (M,) int64.
        sizes: (M, 2) int64, height and width of their images.
        categories: (C,) int64, the ids that are listed.
        masks: whether each must have a mask.

    Returns:
        (M,) bool.
    """
    parts = [slice(start, start + _AT_ONCE) for start in range(0, len(rows), _AT_ONCE)]
    return np.concatenate([_told(columns, rows[part], sizes[part], categories, masks) for part in parts]
                          or [np.zeros(0, bool)])


def _told(columns, rows, sizes, categories, masks):
    good = (columns["flags"][rows] & _TOLD == _TOLD) & np.isin(columns["category_id"][rows], categories)
    good &= np.isfinite(columns["area"][rows])
    whole = corners(columns["bbox"][rows])
    good &= np.isfinite(whole).all(1)
    for box in (whole, inside(whole, sizes)):
        good &= (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
    return good & np.logical_and(*_polygons(columns, rows, sizes)) if masks else good


def _polygons(columns, rows, sizes):
    """(M,) bool twice, whether the polygons are sound, and whether one of them is inside the image and wide enough."""
    starts = columns["ring_starts"][rows]
    counts = columns["ring_starts"][rows + 1] - starts
    good = (columns["flags"][rows] & RINGS != 0) & (counts > 0) & (counts != sizes[:, 0])
    reaching = np.zeros(len(rows), bool)
    for k in range(int(counts[good].max(initial=0))):
        place = np.flatnonzero(good & (counts > k))
        ring, (height, width) = starts[place] + k, sizes[place].T
        lengths = columns["ring_ends"][ring + 1] - columns["ring_ends"][ring]
        x1, y1, x2, y2 = columns["extents"][ring].T
        good[place] = (lengths >= _SHORTEST) & (lengths % 2 == 0) & np.isfinite(x1 + y1 + x2 + y2)
        reaching[place] |= (x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height) & (x2 - x1 >= _WIDE) & (
            y2 - y1 >= _WIDE)
    return good, reaching


def _look_at_pixels(columns, rows, sound, masks, height, width):
    """Mark in ``masks`` those of some rows, in images of one size, whose polygons or RLE are sound and have a pixel."""
    drawn = rows[sound[rows]]
    starts, stops = columns["ring_starts"][drawn], columns["ring_starts"][drawn + 1]
    rings = [_slice(columns, "points", "ring_ends", ring)
             for first, stop in zip(starts.tolist(), stops.tolist(), strict=True) for ring in range(first, stop)]
    seen = _have_area(rings, lambda some: rle.frPyObjects(some, height, width))
    owners = np.repeat(drawn, stops - starts)
    masks[owners[seen]] = True
    coded = rows[(columns["flags"][rows] & RLE != 0) & (columns["sizes"][rows] == (height, width)).all(1)]
    codes = [{"size": [height, width], "counts": _slice(columns, "counts", "count_ends", row).tobytes()}
             for row in coded.tolist()]
    masks[coded] = _have_area(codes, lambda some: some)


def _slice(columns, values, ends, place):
    return columns[values][columns[ends][place]:columns[ends][place + 1]]


def _have_area(shapes, encoded):
    """(len(shapes),) bool, which have a pixel; each is looked at alone where one cannot be read."""
    try:
        return rle.area(encoded(shapes)) > 0 if shapes else np.zeros(0, bool)
    except (TypeError, ValueError, OverflowError):
        return np.array([_have_area([shape], encoded)[0] for shape in shapes]) if len(shapes) > 1 else np.zeros(1, bool)


def pixel_boxes(columns, rows, height, width):
    """(M, 4) float64, x1 y1 x2 y2 around the pixels of masks of a single polygon, in images of one size."""
    ends = columns["ring_ends"]
    rings = columns["ring_starts"][rows].tolist()
    codes = rle.frPyObjects([columns["points"][ends[ring]:ends[ring + 1]] for ring in rings], height, width)
    return corners(rle.toBbox(codes).reshape(-1, 4))


def corners(boxes):
    """(M, 4) x1 y1 x2 y2 of boxes x y width height."""
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def inside(boxes, sizes):
    """Boxes x1 y1 x2 y2 cut at the borders of their images, ``sizes`` (M, 2) of height and width."""
    found = np.maximum(boxes, (0, 0, -np.inf, -np.inf))
    np.minimum(found[:, 2:], sizes[:, ::-1], out=found[:, 2:])
    return found
