"""Annotation records as columns: what of each field is in COCO's form goes into an array, all else stays JSON text."""

import json
from array import array
from itertools import chain

import numpy as np

__all__ = ["AREA", "BOX", "CATEGORY", "CROWD", "ID", "IMAGE", "RINGS", "RLE", "Builder", "joined"]

# Which of a record's fields are in the columns; a segmentation as polygons (RINGS) or as an RLE of characters.
ID, IMAGE, CATEGORY, CROWD, AREA, BOX, RINGS, RLE = (1 << k for k in range(8))
_NUMBERS = frozenset({int, float})
_MOST = 2.0**53  # below every whole number is one of double precision
_SHORTEST = 6  # numbers of a polygon with area
_FIELDS_TOLD = np.array([bin(bits).count("1") for bits in range(256)])
_NO_RECORD = {}
_NO_BOX = (0.0, 0.0, 0.0, 0.0)
_FIELDS = ((ID, "id"), (IMAGE, "image_id"), (CATEGORY, "category_id"), (CROWD, "iscrowd"), (AREA, "area"),
           (BOX, "bbox"), (RINGS | RLE, "segmentation"))
_ENDS = {"ring_counts": "ring_starts", "ring_lengths": "ring_ends", "count_lengths": "count_ends"}


class Builder:
    """Collects records piece by piece.

    Args:
        usual: function that makes an annotation record what `roikit.data.annotations` would have of it; it is called
            for those records alone that may not be so yet.
    """

    def __init__(self, usual):
        self._usual = usual
        self._parts = {}
        self._rests = {}
        self._count = 0

    def add(self, records, again=None):
        """Take in some records.

        Args:
            records: list, as JSON has them.
            again: function that gives the same records with all digits of whole numbers; None where these have them.
        """
        columns = _columns(records)
        usual = _are_usual(columns)
        if not usual.all():
            rests = _rests(records, columns["flags"])
            if again is not None and any("e+" in text for text in rests.values()):
                return self.add(again())  # a large number, of whose digits some may be lost
            records = [record if known else self._usual(record)
                       for record, known in zip(records, usual.tolist(), strict=True)]
            columns = _columns(records)
        for place, text in _rests(records, columns["flags"]).items():
            self._rests[self._count + place] = text
        for name, values in columns.items():
            self._parts.setdefault(name, []).append(values)
        self._count += len(records)

    def name_categories(self, called):
        """Put ids in the place of names of categories.

        Args:
            called: function from a name to an id, of 64 bits, or None.

        Returns:
            The number of records that had a name.
        """
        found, start = 0, 0
        for flags, categories in zip(self._parts.get("flags", ()), self._parts.get("category_id", ()), strict=True):
            for place in np.flatnonzero(flags & CATEGORY == 0).tolist():
                rest = json.loads(self._rests.get(start + place, "{}"))
                name = rest.get("category_id") if isinstance(rest, dict) else None
                number = called(name) if type(name) is str else None
                if number is None:
                    continue
                found += 1
                categories[place] = number
                flags[place] |= CATEGORY
                del rest["category_id"]
                self._rests[start + place] = json.dumps(rest)
            start += len(flags)
        return found

    def has_image_names(self):
        """Whether a record calls its image by text."""
        return any('"image_id": "' in text and isinstance(rest := json.loads(text), dict)
                   and type(rest.get("image_id")) is str for text in self._rests.values())

    def pieces(self):
        """The columns of what was added, one piece after the other, with ``ring_starts`` and ``ring_ends`` of each."""
        for values in zip(*self._parts.values(), strict=True):
            piece = dict(zip(self._parts, values, strict=True))
            yield {**piece, **{ends: _ends(piece[lengths]) for lengths, ends in _ENDS.items()}}

    def repeated_ids(self):
        """How many whole numbers that are ids are one that was there before."""
        ids = [values[flags & ID != 0] for values, flags in zip(self._parts.get("id", ()), self._parts.get("flags", ()),
                                                                strict=True)]
        ids = np.sort(np.concatenate([np.zeros(0, np.int64), *ids]))
        large = [number for text in self._rests.values() if '"id": ' in text
                 and isinstance(rest := json.loads(text), dict) and type(number := rest.get("id")) is int]
        return int(np.count_nonzero(ids[1:] == ids[:-1])) + len(large) - len(set(large))

    def finish(self):
        """The columns; nothing can be added then.

        Returns:
            dict of lists of arrays, which `joined` puts together, for N records with R polygons:
            ``flags`` (N,) uint8, which fields are in the columns; ``id``, ``image_id`` and ``category_id`` (N,) int64;
            ``iscrowd`` (N,) int8; ``area`` (N,) and ``bbox`` (N, 4) float64;
            ``points`` (P,) float64, all coordinates, ``ring_ends`` (R + 1,) int64 where the polygons are among them,
            ``ring_starts`` (N + 1,) int64 which polygons are whose, ``extents`` (R, 4) float64 the least and the
            largest x and y of each, x1 y1 x2 y2, NaN of one that is empty or has an odd count;
            ``counts`` (C,) uint8, the characters of the RLEs, ``count_ends`` (N + 1,) int64, ``sizes`` (N, 2) int32;
            ``rests`` (T,) uint8, JSON of what else the records have, ``rest_ends`` (N + 1,) int64.
        """
        found = self._parts or {name: [values] for name, values in _columns([]).items()}
        for lengths, ends in _ENDS.items():
            found[ends] = [_ends(joined(found.pop(lengths)))]
        lengths = np.zeros(self._count, np.int64)
        places = sorted(self._rests)
        texts = [self._rests[place].encode() for place in places]
        lengths[places] = [len(text) for text in texts]
        found["rests"] = [np.frombuffer(b"".join(texts), np.uint8)]
        found["rest_ends"] = [_ends(lengths)]
        return found


def _columns(records):
    dicts = records if {dict}.issuperset(map(type, records)) else [
        record if type(record) is dict else _NO_RECORD for record in records]
    found, flags = {}, np.zeros(len(dicts), np.uint8)
    for bit, name in _FIELDS[:3]:
        found[name], good = _whole([record.get(name) for record in dicts])
        flags |= good * np.uint8(bit)
    crowds, good = _whole([record.get("iscrowd") for record in dicts])
    good = good & (crowds >= 0) & (crowds <= 1)
    found["iscrowd"] = np.where(good, crowds, 0).astype(np.int8)
    flags |= good * np.uint8(CROWD)
    found["area"], good = _reals([record.get("area") for record in dicts])
    flags |= good * np.uint8(AREA)
    found["bbox"], good = _boxes([record.get("bbox") for record in dicts])
    flags |= good * np.uint8(BOX)
    masks = [record.get("segmentation") for record in dicts]
    flags |= _polygons(masks, found) * np.uint8(RINGS)
    flags |= _codes(masks, found) * np.uint8(RLE)
    found["flags"] = flags
    return found


def _whole(values):
    """(N,) int64 of the ints of 64 bits among the values, and which are such."""
    if {int}.issuperset(map(type, values)):
        try:
            return np.frombuffer(array("q", values), np.int64), np.ones(len(values), bool)
        except OverflowError:
            pass
    good = [type(v) is int and -2**63 <= v < 2**63 for v in values]
    return np.array([v if known else 0 for v, known in zip(values, good, strict=True)], np.int64), np.array(good, bool)


def _reals(values):
    """(N,) float64 of the ints and floats among the values that double precision holds, and which are such."""
    numbers = _numbers(values)
    if numbers is not None:
        return numbers, np.ones(len(values), bool)
    good = [type(v) in _NUMBERS and not abs(v) >= _MOST for v in values]
    return np.array([v if known else 0.0 for v, known in zip(values, good, strict=True)],
                    np.float64), np.array(good, bool)


def _boxes(values):
    """(N, 4) float64 of the lists of four numbers, and which are such."""
    if {list}.issuperset(map(type, values)) and {4}.issuperset(map(len, values)):
        numbers = _numbers(list(chain.from_iterable(values)))
        if numbers is not None:
            return numbers.reshape(-1, 4), np.ones(len(values), bool)
    good = [type(v) is list and len(v) == 4 and _numbers(v) is not None for v in values]
    boxes = [v if known else _NO_BOX for v, known in zip(values, good, strict=True)]
    return np.array(boxes, np.float64).reshape(-1, 4), np.array(good, bool)


def _numbers(values):
    """(N,) float64 of ints and floats; None where one of the values is none, or is not held by double precision."""
    try:
        numbers = np.frombuffer(array("d", values), np.float64)
    except (TypeError, OverflowError):
        return None
    if numbers.size and (np.fmax.reduce(numbers) >= _MOST or np.fmin.reduce(numbers) <= -_MOST):
        return None
    # Of what JSON has, True and False alone are taken for numbers too.
    if any(type(values[place]) is bool for place in np.flatnonzero((numbers == 0) | (numbers == 1)).tolist()):
        return None
    return numbers


def _polygons(masks, found):
    """Which masks are lists of flat lists of numbers; these go into the columns."""
    good = [type(mask) is list for mask in masks]
    points = _points(masks, good)
    if points is None:
        good = [known and _is_polygons(mask) for mask, known in zip(masks, good, strict=True)]
        points = _points(masks, good)
    chosen = [mask if known else () for mask, known in zip(masks, good, strict=True)]
    found["ring_counts"] = np.array([*map(len, chosen)], np.int64)
    found["ring_lengths"] = np.array([*map(len, chain.from_iterable(chosen))], np.int64)
    found["points"] = points
    found["extents"] = _extents(points, found["ring_lengths"])
    return np.array(good, bool)


def _points(masks, good):
    """(P,) float64, all coordinates of these masks; None where one of them is not of flat lists of numbers."""
    rings = list(chain.from_iterable(mask for mask, known in zip(masks, good, strict=True) if known))
    if not {list}.issuperset(map(type, rings)):
        return None
    return _numbers(list(chain.from_iterable(rings)))


def _is_polygons(mask):
    return all(type(ring) is list and _numbers(ring) is not None for ring in mask)


def _codes(masks, found):
    """Which masks are RLEs of characters; these go into the columns."""
    found["sizes"] = np.zeros((len(masks), 2), np.int32)
    found["counts"], found["count_lengths"] = np.zeros(0, np.uint8), np.zeros(len(masks), np.int64)
    if dict not in map(type, masks):
        return np.zeros(len(masks), bool)
    good = [type(mask) is dict and _is_rle(mask) for mask in masks]
    codes = [mask["counts"].encode() if known else b"" for mask, known in zip(masks, good, strict=True)]
    found["counts"] = np.frombuffer(b"".join(codes), np.uint8)
    found["count_lengths"] = np.array([*map(len, codes)], np.int64)
    for place in np.flatnonzero(good).tolist():
        found["sizes"][place] = masks[place]["size"]
    return np.array(good, bool)


def _is_rle(mask):
    size, counts = mask.get("size"), mask.get("counts")
    return (len(mask) == 2 and type(counts) is str and counts != "" and counts.isascii() and type(size) is list
            and len(size) == 2 and all(type(side) is int and 0 <= side < 2**31 for side in size))


def _extents(points, lengths):
    """(R, 4) float64, x1 y1 x2 y2 around each polygon."""
    extents = np.full((len(lengths), 4), np.nan)
    good = (lengths > 0) & (lengths % 2 == 0)
    starts = np.cumsum(lengths) - lengths
    if not good.all():
        points = points[np.repeat(good, lengths)]
        starts = np.cumsum(lengths[good]) - lengths[good]
    if len(starts):
        extents[good] = np.stack([least.reduceat(points[side::2], starts // 2)
                                  for least in (np.minimum, np.maximum) for side in (0, 1)], 1)
    return extents


def _are_usual(columns):
    """Which records `roikit.data.annotations` takes as they are, as far as the columns tell."""
    short = np.repeat(np.arange(len(columns["flags"])), columns["ring_counts"])[columns["ring_lengths"] < _SHORTEST]
    usual = (columns["flags"] == ID | IMAGE | CATEGORY | CROWD | AREA | BOX | RINGS) & (columns["ring_counts"] > 0)
    usual &= columns["area"] > 0
    usual[short] = False
    return usual


def _rests(records, flags):
    """Place -> JSON text of what the columns do not have of a record."""
    counts = [len(record) if type(record) is dict else -1 for record in records]
    found = {}
    for place in np.flatnonzero(_FIELDS_TOLD[flags] != counts).tolist():
        record = records[place]
        if type(record) is dict:
            kept = {name for bit, name in _FIELDS if flags[place] & bit}
            record = {name: value for name, value in record.items() if name not in kept}
        found[place] = json.dumps(record)
    return found


def joined(parts):
    """A list of arrays as one array; the list is emptied, so that there is never twice the memory."""
    if len(parts) == 1:
        return parts.pop()
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    start = 0
    parts.reverse()
    while parts:
        part = parts.pop()
        whole[start:start + len(part)] = part
        start += len(part)
    return whole


def _ends(lengths):
    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    return ends
