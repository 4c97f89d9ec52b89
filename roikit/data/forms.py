"""The ways in which files write the outlines of an object, made COCO's: a list of flat lists x0 y0 x1 y1 ...

Taken is what can mean one thing alone. What has two meanings, or none, stays as it is, for the caller to refuse.
"""

import ast
import json
import re

import roikit.masks as rle
from roikit.data.values import number, whole_number

__all__ = ["box_numbers", "outlines"]

_JSON = re.compile(r"\s*(?:\{|\[.*,)")  # NumPy prints lists without commas
_RUNS = re.compile(r"\s*\[?\s*[0-9]+(?:[\s,]+[0-9]+)+\s*\]?\s*")  # no character of an RLE is a blank or a comma
_NUMBERS = frozenset({int, float})
_BOX_NAMES = (("left", "top", "width", "height"), ("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"))
# A ring of fewer numbers has no area.
_SHORTEST = 6


def outlines(segmentation, box=None):
    """A ``segmentation`` in COCO's form, and what it was taken for.

    Taken are: one flat polygon; points in pairs, also as OpenCV's contours have them, as dicts ``x`` and ``y``, and as
    VIA's ``all_points_x`` and ``all_points_y``; numbers as text; the whole written as JSON text, or as Python
    prints it; empty or null polygons, and those of one or two points, beside others; RLEs in a list, whose union it is;
    the characters of an RLE as Python prints bytes; GeoJSON's polygons without holes; the object's box for a polygon,
    which becomes a rectangle.

    Args:
        segmentation: of plain values, as `roikit.data.values.plain` leaves them.
        box: the ``bbox`` beside it, or None.

    Returns:
        The segmentation, itself where nothing is to change, and a tuple of what it was, in words.
    """
    kind = type(segmentation)
    if kind is list:
        for ring in segmentation:
            if type(ring) is not list or len(ring) < _SHORTEST or type(ring[0]) not in _NUMBERS:
                break
        else:
            return segmentation, ()
        if not segmentation:
            return segmentation, ()
    elif kind is dict:
        return _of_dict(segmentation)
    elif kind is str and segmentation.lstrip()[:1] in ("[", "{", "("):
        found, words = _from_text(segmentation)
        if found is None:
            return segmentation, ()
        found, more = outlines(found, box)
        return found, (f"masks as {words} text", *more)
    else:
        return segmentation, ()
    if all(type(one) is dict and "counts" in one for one in segmentation):
        parts, words = zip(*map(_of_dict, segmentation), strict=True)
        whole = parts[0] if len(parts) == 1 else _union(parts)
        return (segmentation, ()) if whole is None else (whole, ("RLEs in a list", *dict.fromkeys(sum(words, ()))))
    if _is_bitmap(segmentation):
        return segmentation, ()
    return _rings(segmentation, box)


def _from_text(text):
    """What text of JSON, or of Python's own form as pandas writes it into tables, holds, and which it is; or None."""
    try:
        return json.loads(text), "JSON"
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(json.dumps(ast.literal_eval(text.strip()), default=_characters)), "Python's"
    except (ValueError, SyntaxError, TypeError, AttributeError, RecursionError, MemoryError):
        return None, ""


def _characters(value):
    return value.decode("latin-1")  # of bytes, the one thing of no form of JSON that an RLE has


def _of_dict(segmentation):
    if "counts" not in segmentation and (ring := segmentation.get("exterior")) and not segmentation.get("interior"):
        ring = _flat(ring)
        return (segmentation, ()) if ring is None else ([ring], ("points as Supervisely has them",))
    if "counts" not in segmentation and _sides(segmentation) is not None:
        ring = _flat(segmentation)
        return (segmentation, ()) if ring is None else ([ring], ("points as VIA has them",))
    if segmentation.get("type") in ("Polygon", "MultiPolygon"):
        return _of_geometry(segmentation)
    counts, size = segmentation.get("counts"), _whole_numbers(segmentation.get("size"))
    sized = size is None or _is_whole(segmentation["size"])  # as it is to be, or of no use
    # Of the quotes, no character of an RLE is one.
    if type(counts) is str and counts[:2] in ("b'", 'b"') and counts[-1:] == counts[1]:
        try:
            found = ast.literal_eval(counts)
        except (ValueError, SyntaxError):
            return segmentation, ()
        segmentation = {**segmentation, "counts": found.decode("latin-1")}
        if sized:
            return segmentation, ("RLEs as Python prints bytes",)
        return {**segmentation, "size": size}, ("RLEs as Python prints bytes", "RLEs with numbers as text or floats")
    if type(counts) is str and not _RUNS.fullmatch(counts):
        runs = counts
    else:
        runs = _whole_numbers(counts.strip(" []").replace(",", " ").split() if type(counts) is str else counts)
    if size is None or runs is None or sized and (_is_whole(counts) or runs is counts):
        return segmentation, ()
    return {**segmentation, "size": size, "counts": runs}, ("RLEs with numbers as text or floats",)


def _whole_numbers(values):
    """A list of ints that values show; None where they show none."""
    found = [whole_number(v) for v in values] if type(values) is list else None
    return found if found is not None and all(type(v) is int for v in found) else None


def _is_whole(values):
    return type(values) is list and all(type(v) is int for v in values)


def _union(parts):
    """The RLE of several of one size; None where they are not such."""
    try:
        found = rle.merge([rle.frPyObjects(part, *part["size"]) if type(part["counts"]) is list else
                           {**part, "counts": part["counts"].encode("ascii")} for part in parts])
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError):
        return None
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


def _of_geometry(geometry):
    """GeoJSON's polygons; one with a hole, which COCO's polygons cannot have, stays as it is."""
    parts = geometry.get("coordinates")
    if geometry["type"] == "Polygon":
        parts = [parts]
    if type(parts) is not list or not parts or not all(type(part) is list and len(part) == 1 for part in parts):
        return geometry, ()
    rings = [_flat(part[0]) for part in parts]
    return (geometry, ()) if None in rings else (rings, ("polygons of GeoJSON",))


def _is_bitmap(rows):
    """Whether these may be the rows of a bitmap, which `roikit.data.segmentation` tells by the image's size."""
    return all(type(row) is list and row and {0, 1, 255}.issuperset(v for v in row if type(v) in _NUMBERS)
               and all(type(v) in _NUMBERS for v in row) for row in rows)


def _rings(segmentation, box):
    words = set()
    if _flat_numbers(segmentation) is not None:
        words.add("flat polygons")
    found = _collected(segmentation, words)
    if found is None:
        return segmentation, ()
    whole = [ring for ring in found if len(ring) >= _SHORTEST or len(ring) % 2]
    if whole and len(whole) < len(found):
        short = [ring for ring in found if len(ring) < _SHORTEST and not len(ring) % 2]
        words.add("empty polygons beside others" if not any(short) else
                  "polygons of one or two points beside others")
        found = whole
    if not whole and len(found) == 1 and len(found[0]) == 4 and found[0] == box_numbers(box)[0]:
        x, y, w, h = found[0]
        return [[x, y, x + w, y, x + w, y + h, x, y + h]], ("boxes in place of polygons",)
    if found == segmentation and not words:
        return segmentation, ()
    if found != [] and not any(found):  # nothing but empty ones
        return segmentation, ()
    return found, tuple(sorted(words))


def _collected(value, words):
    """The flat rings in nested lists, in order; None where something is neither. ``words`` learns of the forms."""
    if value is None or value == []:
        return [[]]
    ring = _flat(value)
    if ring is not None:
        if _has_text(value):
            words.add("coordinates as text")
        if type(value) is dict:
            words.add("points as VIA has them")
        elif type(value[0]) in (list, dict):
            words.add("points in pairs")
        return [ring]
    if type(value) is not list or any(type(one) not in (list, dict, type(None)) for one in value):
        return None
    found = []
    for one in value:
        rings = _collected(one, words)
        if rings is None:
            return None
        found += rings
    return found


def _flat(value):
    """x0 y0 x1 y1 ... of what shows one ring; None for all else."""
    if type(value) is dict:
        sides = _sides(value)
        return None if sides is None else _flat_numbers([v for pair in zip(*sides, strict=True) for v in pair])
    if type(value) is not list or not value:
        return None
    if type(value[0]) not in (list, dict):
        return _flat_numbers(value)
    pairs = [_pair(one) for one in value]
    return None if None in pairs else [v for pair in pairs for v in pair]


def _sides(value):
    """The lists of x and of y of a dict; None where it has none, or of two lengths."""
    for names in (("all_points_x", "all_points_y"), ("x", "y")):
        xs, ys = map(value.get, names)
        if type(xs) is list and type(ys) is list and len(xs) == len(ys):
            return xs, ys
    return None


def _pair(value):
    """[x, y] of a point; None for all else."""
    if type(value) is list and len(value) == 1:  # OpenCV's contours
        value = value[0]
    if type(value) is dict and {"x", "y"} <= value.keys():
        value = [value["x"], value["y"]]
    if type(value) is not list or len(value) != 2:
        return None
    return _flat_numbers(value)


def _flat_numbers(values):
    """The values as numbers; None where one is none. Whatever is not finite stays, for the reader to name."""
    if values and _NUMBERS.issuperset(map(type, values)):
        return values
    found = [number(v) for v in values]
    return None if not found or None in found else found


def _has_text(value):
    return any(map(_has_text, value.values() if type(value) is dict else value)) if type(value) in (list, dict) \
        else type(value) is str


def box_numbers(box):
    """A ``bbox`` as a flat list of four numbers, and what it was taken for; itself and () where there is nothing to do.

    Taken are numbers as text, a list in a list, JSON text, and dicts whose names tell what is what: left, top, width
    and height; x1, y1, x2 and y2; xmin, ymin, xmax and ymax. (A dict of x, y, width and height is not taken, for some
    tools have the centre in x and y.)
    """
    if type(box) is list and len(box) == 4 and _NUMBERS.issuperset(map(type, box)):
        return box, ()
    found, words = box, []
    if type(found) is str and _JSON.match(found):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return box, ()
        words.append("boxes as JSON text")
    elif type(found) is str and len(numbers := found.strip(" []()").replace(";", " ").replace(",", " ").split()) == 4:
        found = numbers
    if type(found) is list and len(found) == 1 and type(found[0]) is list:
        found = found[0]
        words.append("boxes in a list")
    corners = False
    if type(found) is dict:
        names = next((names for names in _BOX_NAMES if set(names) <= found.keys()), None)
        if names is None:
            return box, ()
        corners = names is not _BOX_NAMES[0]
        found = [found[name] for name in names]
        words.append("boxes with named sides")
    if type(found) is not list or len(found) != 4:
        return box, ()
    numbers = [number(v) for v in found]
    if None in numbers:
        return box, ()
    if str in map(type, found):
        words.append("boxes as text")
    x, y, w, h = numbers
    return ([x, y, w - x, h - y] if corners else numbers), tuple(words)
