"""A data set's objects out of columns: those that the columns tell are taken out on demand, the others are packed."""

import numpy as np

from roikit.data.packed import Objects
from roikit.data.store.columns import AREA, BOX, CATEGORY, CROWD, IMAGE, RINGS

__all__ = ["StoredObjects"]

_TOLD = IMAGE | CATEGORY | CROWD | AREA | BOX
_SHORTEST = 6
_AT_ONCE = 1 << 15  # rows, whose arrays stay in a processor's cache
# A polygon inside its image that is so wide and high holds a pixel, as `roikit.data.instances` has it.
_WIDE = 2.0


class StoredObjects:
    """What `roikit.data.packed.Objects` is, of `Records`; without keypoints and rotated boxes.

    Of an object it holds the number of its row alone, so that loader processes get little where they are not forked:
    the columns are mapped by each. Objects of which the columns do not tell all go through `Objects`.

    Attributes: those of `Objects`; and
        rows: (N,) int32, the row of an object in the columns, or -1 - k for the k-th of those that are packed.
    """

    keypoints = rotated = None

    def __init__(self, images, records, label_of):
        """As `Objects`, with ``records`` a `Records` of all rows."""
        self._columns = records.columns
        ids, *sides = (np.array([image[field] for image in images], np.int64) for field in ("id", "height", "width"))
        self._sizes = np.stack(sides, 1)
        self._categories = np.array(sorted(label_of), np.int64)
        self._labels = np.array([label_of[number] for number in sorted(label_of)], np.int64)
        rows, owners = _owned(records, ids)
        self.has_masks = bool(records.drawn[rows].any())
        plain = self._told_by_columns(rows, self._sizes[owners])
        odd, used = rows[~plain], np.unique(owners[~plain]).tolist()
        self._packed = Objects([images[k] for k in used], records.of_rows(odd), label_of, masks=self.has_masks)
        self.dropped = self._packed.dropped
        self._arrange(rows, owners, plain, odd[self._packed.places], len(images))

    def _arrange(self, rows, owners, plain, packed, count):
        """Put the objects in the images' order, and those of an image in the file's."""
        places = np.concatenate([rows[plain], packed])
        numbers = np.concatenate([rows[plain], -1 - np.arange(len(packed))])
        owner = np.zeros(len(self._columns["flags"]), np.int64)
        owner[rows] = owners
        order = np.argsort(places, kind="stable") if len(packed) else np.arange(len(places))
        order = order[_ordered(owner[places[order]])]
        self.rows = numbers[order].astype(np.int32)
        self.starts = np.append(0, np.cumsum(np.bincount(owner[places], minlength=count)))
        self.crowd = self._chosen(self.rows, "iscrowd", self._packed.crowd).astype(bool)

    def _told_by_columns(self, rows, sizes):
        """(len(rows),) bool, whether `read_object` would find what the columns have, without a fault."""
        parts = [slice(start, start + _AT_ONCE) for start in range(0, len(rows), _AT_ONCE)]
        return np.concatenate([self._told(rows[part], sizes[part]) for part in parts]) if parts else np.zeros(0, bool)

    def _told(self, rows, sizes):
        columns = self._columns
        good = (columns["flags"][rows] & _TOLD == _TOLD) & np.isin(columns["category_id"][rows], self._categories)
        good &= np.isfinite(columns["area"][rows])
        corners = _corners(columns["bbox"][rows])
        good &= np.isfinite(corners).all(1)
        for box in (corners, _inside(corners, sizes)):
            good &= (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
        return good & self._have_pixels(rows, sizes) if self.has_masks else good

    def _have_pixels(self, rows, sizes):
        """(len(rows),) bool, whether the polygons are sound, and one of them is inside the image and wide enough."""
        columns = self._columns
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
            reaching[place] |= ((x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height)
                                & (x2 - x1 >= _WIDE) & (y2 - y1 >= _WIDE))
        return good & reaching

    def without(self, images):
        """Leave out images, (images,) bool, and their objects."""
        kept = np.repeat(~images, np.diff(self.starts))
        counts = np.diff(self.starts)[~images]
        self.rows, self.crowd, self._sizes = self.rows[kept], self.crowd[kept], self._sizes[~images]
        self.starts = np.append(0, np.cumsum(counts))

    @property
    def boxes(self):
        return self.boxes_of(np.arange(len(self.rows)))

    @property
    def labels(self):
        return self.labels_of(np.arange(len(self.rows)))

    @property
    def area(self):
        return self.area_of(np.arange(len(self.rows)))

    def boxes_of(self, objects):
        rows = self.rows[objects]
        images = np.searchsorted(self.starts, objects, "right") - 1
        boxes = _inside(_corners(self._columns["bbox"][np.maximum(rows, 0)]), self._sizes[images])
        boxes[rows < 0] = self._packed.boxes[-1 - rows[rows < 0]]
        return boxes

    def labels_of(self, objects):
        rows = self.rows[objects]
        ids = self._columns["category_id"][np.maximum(rows, 0)]
        found = self._labels[np.minimum(np.searchsorted(self._categories, ids), len(self._labels) - 1)]
        found[rows < 0] = self._packed.labels[-1 - rows[rows < 0]]
        return found

    def area_of(self, objects):
        return self._chosen(self.rows[objects], "area", self._packed.area)

    def _chosen(self, rows, name, packed):
        found = self._columns[name][np.maximum(rows, 0)]
        found[rows < 0] = packed[-1 - rows[rows < 0]]
        return found

    def mask(self, index, height, width):
        """As `Objects.mask`."""
        row = int(self.rows[index])
        if row < 0:
            return self._packed.mask(-1 - row, height, width)
        ends = self._columns["ring_ends"][slice(*(self._columns["ring_starts"][row:row + 2] + (0, 1)))]
        return [np.array(self._columns["points"][a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _owned(records, ids):
    """The rows of the annotations of these images, and which image each is of."""
    order = np.argsort(ids, kind="stable")
    images, listed = records.column("image_id"), ids[order]
    if not len(ids):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    first, last = int(listed[0]), int(listed[-1])
    if last - first < 4 * len(images):  # a table is faster than a search
        table = np.full(last - first + 2, -1)
        table[listed - first] = np.arange(len(ids))
        inside = (images >= first) & (images <= last)
        place = table[np.where(inside, images - first, -1)]
    else:
        place = np.minimum(np.searchsorted(listed, images), len(ids) - 1)
        place = np.where(listed[place] == images, place, -1)
    rows = np.flatnonzero(records.told(IMAGE) & (place >= 0))
    return rows, order[place[rows]]


def _ordered(owners):
    """The stable order of whole numbers from 0: 16 bits at a time, which NumPy sorts by counting."""
    order = np.argsort((owners & 0xFFFF).astype(np.uint16), kind="stable")
    for shift in range(16, int(owners.max(initial=0)).bit_length(), 16):
        order = order[np.argsort((owners[order] >> shift & 0xFFFF).astype(np.uint16), kind="stable")]
    return order


def _corners(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def _inside(boxes, sizes):
    """The boxes cut at the borders of their images."""
    found = np.maximum(boxes, (0, 0, -np.inf, -np.inf))
    np.minimum(found[:, 2:], sizes[:, ::-1], out=found[:, 2:])
    return found
