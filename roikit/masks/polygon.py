"""Polygons, boxes and uncompressed RLEs to masks, by the rule of COCO's rasteriser.

A polygon is a flat list x0 y0 x1 y1 ... of finite pixel coordinates, at least three points, closed
by itself; pixel (0, 0) covers [0, 1) x [0, 1). Its outline is drawn on a grid five times finer and
each column of pixels turns where the outline crosses the column's centre (docs/ops/polygon.md).
Coordinates may lie anywhere; time and memory follow the columns crossed within the image. A
coordinate beyond 2^35 / 5 pixels counts as one there.

Source: pycocotools 2.0.11, bit for bit where that does not overflow.
"""

import numpy as np

from roikit import _polygon, _rle

__all__ = ["frPyObjects", "rasterize"]


def rasterize(polygons, height, width):
    """Draw the union of polygons.

    Args:
        polygons: list of flat polygons; an empty list draws nothing.
        height, width: of the image, pixels; height * width < 2^32.

    Returns:
        uint8 (height, width), column-major, 1 is foreground.

    Raises:
        TypeError: no list of lists of numbers, a size that is not whole.
        ValueError: a coordinate that is not finite, an odd count of them, under 3 points, a size
            that is negative or too large.
    """
    height, width = _rle.image_size("rasterize", height, width)
    counts = _polygon.counts_from_polygons(polygons, height, width, "rasterize")
    offsets = np.array([0, len(counts)], np.int64)
    return _rle.bitmaps_of_runs(counts, offsets, height, width)[0].T


def frPyObjects(pyobj, h, w):
    """Encode what COCO's annotation files hold: polygons, boxes or uncompressed RLEs.

    Args:
        pyobj: a list of polygons, of boxes x y width height (4 numbers each; also an (N, 4) array)
            or of RLEs; or one of them alone. The first of a list says what all are.
        h, w: of the image, pixels. RLEs have a size of their own and keep it.

    Returns:
        A list of RLEs, one for each object; one RLE if ``pyobj`` was one object alone.

    Raises:
        TypeError, ValueError: as ``rasterize`` and ``roikit.masks.rle`` say.
    """
    op = "frPyObjects"
    height, width = _rle.image_size(op, h, w)
    if isinstance(pyobj, dict):
        return _encoded_rles([pyobj])[0]
    if not isinstance(pyobj, (list, tuple, np.ndarray)):
        raise TypeError(f"{op}: pyobj must be a list, an array or an RLE, "
                        f"got {type(pyobj).__name__}")
    if len(pyobj) == 0:
        return []
    first = pyobj[0]
    if isinstance(first, dict):
        return _encoded_rles(pyobj)
    if isinstance(first, (str, bytes)):
        raise TypeError(f"{op}: pyobj must hold polygons, boxes or RLEs, "
                        f"got {type(first).__name__}")
    if np.ndim(first) == 0:
        return _drawn([pyobj], height, width)[0]
    return _drawn(pyobj, height, width)


def _drawn(objects, height, width):
    op = "frPyObjects"
    if any(isinstance(one, dict) or np.isscalar(one) for one in objects):
        raise TypeError(f"{op}: pyobj must hold objects of one kind, got "
                        f"{sorted({type(one).__name__ for one in objects})}")
    if len(objects[0]) == 4:
        parts = [_polygon.box_counts(op, _box(op, one), height, width) for one in objects]
    else:
        parts = [_polygon.polygon_counts(op, one, height, width) for one in objects]
    offsets = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=offsets[1:])
    texts = _rle.strings_from_counts(np.concatenate(parts), offsets)
    return [{"size": [height, width], "counts": text} for text in texts]


def _box(op, box):
    """Four finite Python floats."""
    try:
        values = np.asarray(box)
    except ValueError:
        raise TypeError(f"{op}: a box must hold numbers, got a nested list") from None
    if values.dtype.kind not in "iuf":
        raise TypeError(f"{op}: a box must hold numbers, got {values.dtype}")
    if values.shape != (4,):
        raise ValueError(f"{op}: a box must have 4 numbers, got shape {values.shape}")
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{op}: a box must have finite numbers, got {numbers.tolist()}")
    return numbers.tolist()


def _encoded_rles(rles):
    counts, offsets, sizes = _rle.runs_of(rles, "frPyObjects")
    texts = _rle.strings_from_counts(counts, offsets)
    return [{"size": size, "counts": text}
            for size, text in zip(sizes.tolist(), texts, strict=True)]
