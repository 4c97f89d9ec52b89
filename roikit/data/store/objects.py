"""A data set's objects out of columns: those that the columns tell are taken out on demand, the others are packed."""

import numpy as np

from roikit.data.packed import Objects
from roikit.data.store.columns import AREA, BOX, CATEGORY, CROWD, IMAGE, RINGS

__all__ = ["StoredObjects"]

_TOLD = IMAGE | CATEGORY | CROWD | AREA | BOX
_SHORTEST = 6
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
        ids = np.array([image["id"] for image in images], np.int64)
        self._sizes = np.array([(image["height"], image["width"]) for image in images], np.int64).reshape(-1, 2)
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
        order = np.lexsort((places, owner[places]))
        self.rows = numbers[order].astype(np.int32)
        self.starts = np.append(0, np.cumsum(np.bincount(owner[places], minlength=count)))
        self.crowd = self._chosen(self.rows, "iscrowd", self._packed.crowd).astype(bool)

    def _told_by_columns(self, rows, sizes):
        """(len(rows),) bool, whether `read_object` would find what the columns have, without a fault."""
        columns = self._columns
        flags = columns["flags"][rows]
        good = (flags & _TOLD == _TOLD) & np.isin(columns["category_id"][rows], self._categories)
        good &= np.isfinite(columns["area"][rows])
        corners = _corners(columns["bbox"][rows])
        boxes = _inside(corners, sizes)
        good &= np.isfinite(corners).all(1)
        for box in (corners, boxes):
            good &= (box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])
        if self.has_masks:
            good &= self._have_pixels(rows, sizes)
        return good

    def _have_pixels(self, rows, sizes):
        """(len(rows),) bool, whether the polygons are sound, and one of them is inside the image and wide enough."""
        columns = self._columns
        starts, counts = columns["ring_starts"][rows], np.diff(columns["ring_starts"])[rows]
        good = (columns["flags"][rows] & RINGS != 0) & (counts > 0) & (counts != sizes[:, 0])
        lengths, extents = np.diff(columns["ring_ends"]), columns["extents"]
        sound = (lengths >= _SHORTEST) & (lengths % 2 == 0) & np.isfinite(extents).all(1)
        wide = (extents[:, 2:] - extents[:, :2]).min(1, initial=np.inf) >= _WIDE
        reaching = np.zeros(len(rows), bool)
        for k in range(int(counts[good].max(initial=0))):
            place = np.flatnonzero(good & (counts > k))
            ring = starts[place] + k
            height, width = sizes[place].T
            reaching[place] |= (wide[ring] & (extents[ring, 0] >= 0) & (extents[ring, 1] >= 0)
                                & (extents[ring, 2] <= width) & (extents[ring, 3] <= height))
            good[place[~sound[ring]]] = False
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
    known = records.told(IMAGE)
    images = records.column("image_id")
    place = np.minimum(np.searchsorted(ids[order], images), max(len(ids) - 1, 0))
    known = known & (ids[order][place] == images) if len(ids) else np.zeros(len(images), bool)
    rows = np.flatnonzero(known)
    return rows, order[place[rows]]


def _corners(boxes):
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def _inside(boxes, sizes):
    """The boxes cut at the borders of their images."""
    found = np.maximum(boxes, (0, 0, -np.inf, -np.inf))
    np.minimum(found[:, 2:], sizes[:, ::-1], out=found[:, 2:])
    return found
