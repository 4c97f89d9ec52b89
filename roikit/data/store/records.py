"""Annotation records in columns, which are made dicts when they are asked for."""

import json
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from roikit.data.instances import has_mask
from roikit.data.store.columns import AREA, BOX, CATEGORY, CROWD, ID, IMAGE, RINGS, RLE

__all__ = ["Records"]

_AT_ONCE = 1024


class Records(Sequence):
    """The annotation records of a file, as `roikit.data.annotations.load_annotations` gives them.

    Each access makes a dict anew, so that changes of it are lost. All numbers of ``bbox``,
    ``area`` and polygons are floats.

    Args:
        columns: as `roikit.data.store.columns.Builder.finish` gives them.
        rows: (M,) places of the records that are meant, in their order; None for all.
    """

    def __init__(self, columns, rows=None):
        self.columns = columns
        self._rows = rows

    def __len__(self):
        return len(self.columns["flags"]) if self._rows is None else len(self._rows)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Records(self.columns, np.arange(len(self))[index] if self._rows is None else self._rows[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"a record's place must be in 0..{len(self) - 1}, got {index}")
        row = index % len(self) if self._rows is None else int(self._rows[index])
        return next(self._made(row, row + 1))

    def __iter__(self):
        if self._rows is None:
            start, count = 0, 1  # who looks at the first alone need not wait for the others
            while start < len(self):
                yield from self._made(start, min(start + count, len(self)))
                start, count = start + count, min(2 * count, _AT_ONCE)
        else:
            for row in self._rows.tolist():
                yield from self._made(row, row + 1)

    @property
    def places(self):
        """(len(self),) int64, the places of these records in the file."""
        return np.arange(len(self)) if self._rows is None else self._rows

    def of_rows(self, rows):
        """The records at these places of the file, an (M,) array, or all for None."""
        return Records(self.columns, rows)

    def where(self, wanted):
        """The records for which ``wanted``, (len(self),) bool, is True."""
        if wanted.all():
            return self
        return Records(self.columns, np.flatnonzero(wanted) if self._rows is None else self._rows[wanted])

    def column(self, name):
        """A column, one value for each of these records."""
        return self.columns[name] if self._rows is None else self.columns[name][self._rows]

    def told(self, bits):
        """(len(self),) bool, whether the columns tell all of these fields of a record."""
        return self.column("flags") & bits == bits

    def untold(self, bits):
        """(place, record) of those of which the columns do not tell all of these fields."""
        return ((place, self[place]) for place in np.flatnonzero(~self.told(bits)).tolist())

    @cached_property
    def crowds(self):
        """The number of records that have ``iscrowd`` 1."""
        known = self.told(CROWD)
        others = self.where(~known)
        return int(np.count_nonzero(self.column("iscrowd")[known])) + sum(
            isinstance(record, dict) and record.get("iscrowd") == 1 for record in others)

    @cached_property
    def dicts(self):
        """The records that are dicts: these, where all are."""
        bare = np.flatnonzero(self.column("flags") == 0)
        others = [place for place in bare.tolist() if not isinstance(self[place], dict)]
        if not others:
            return self
        wanted = np.ones(len(self), bool)
        wanted[others] = False
        return self.where(wanted)

    @cached_property
    def boxed(self):
        """(len(self),) bool, whether a record, which must be a dict, has a ``bbox``."""
        found = self.told(BOX)
        for place in np.flatnonzero(~found).tolist():
            found[place] = bool(self[place].get("bbox"))
        return found

    @cached_property
    def drawn(self):
        """(len(self),) bool, whether a record, which must be a dict, has a mask."""
        flags, starts = self.column("flags"), self.columns["ring_starts"]
        ends = self.columns["ring_ends"][starts]
        lengths = np.diff(ends)
        found = (flags & RLE != 0) | (flags & RINGS != 0) & ((lengths if self._rows is None else
                                                              lengths[self._rows]) > 0)
        for place in np.flatnonzero(flags & (RLE | RINGS) == 0).tolist():
            found[place] = has_mask(self[place])
        return found

    def _made(self, start, stop):
        """The dicts of the rows from start to stop."""
        columns, rows = self.columns, slice(start, stop)
        flags, crowds = columns["flags"][rows].tolist(), columns["iscrowd"][rows].tolist()
        ids, images = columns["id"][rows].tolist(), columns["image_id"][rows].tolist()
        categories, areas = columns["category_id"][rows].tolist(), columns["area"][rows].tolist()
        boxes = columns["bbox"][rows].tolist()
        rings = columns["ring_starts"][start:stop + 1].tolist()
        ends = columns["ring_ends"][rings[0]:rings[-1] + 1].tolist()
        points = columns["points"][ends[0]:ends[-1]].tolist()
        ends = [end - ends[0] for end in ends]
        rests = columns["rest_ends"][start:stop + 1].tolist()
        for k, bits in enumerate(flags):
            record = {}
            if rests[k + 1] > rests[k]:
                rest = json.loads(columns["rests"][rests[k]:rests[k + 1]].tobytes())
                if not isinstance(rest, dict):
                    yield rest
                    continue
                record = rest
            if bits & ID:
                record["id"] = ids[k]
            if bits & IMAGE:
                record["image_id"] = images[k]
            if bits & CATEGORY:
                record["category_id"] = categories[k]
            if bits & CROWD:
                record["iscrowd"] = crowds[k]
            if bits & AREA:
                record["area"] = areas[k]
            if bits & BOX:
                record["bbox"] = boxes[k]
            if bits & RINGS:
                first = rings[0]
                record["segmentation"] = [points[ends[i]:ends[i + 1]]
                                          for i in range(rings[k] - first, rings[k + 1] - first)]
            elif bits & RLE:
                code = slice(*columns["count_ends"][start + k:start + k + 2].tolist())
                record["segmentation"] = {"size": columns["sizes"][start + k].tolist(),
                                          "counts": columns["counts"][code].tobytes().decode()}
            yield record
