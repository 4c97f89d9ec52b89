"""A data set's objects out of columns: those that the columns tell are taken out on demand, the others are packed."""

import numpy as np

from roikit.data.packed import Objects
from roikit.data.store.columns import RLE
from roikit.data.store.told import are_told, corners, inside, known_told, owned

__all__ = ["StoredObjects"]


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
        rows, owners = owned(records, ids)
        self.has_masks = bool(records.drawn[rows].any())
        plain = known_told(self._columns, rows, np.column_stack([ids, self._sizes]), self._categories, self.has_masks)
        if plain is None:
            plain = are_told(self._columns, rows, self._sizes[owners], self._categories, self.has_masks)
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
        boxes = inside(corners(self._columns["bbox"][np.maximum(rows, 0)]), self._sizes[images])
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
        if self._columns["flags"][row] & RLE:
            code = slice(*self._columns["count_ends"][row:row + 2])
            return {"size": [height, width], "counts": self._columns["counts"][code].tobytes()}
        ends = self._columns["ring_ends"][slice(*(self._columns["ring_starts"][row:row + 2] + (0, 1)))]
        return [np.array(self._columns["points"][a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _ordered(owners):
    """The stable order of whole numbers from 0: 16 bits at a time, which NumPy sorts by counting."""
    order = np.argsort((owners & 0xFFFF).astype(np.uint16), kind="stable")
    for shift in range(16, int(owners.max(initial=0)).bit_length(), 16):
        order = order[np.argsort((owners[order] >> shift & 0xFFFF).astype(np.uint16), kind="stable")]
    return order
