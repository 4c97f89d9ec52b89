"""One object's mask in its three forms, and what a transform of the image does to it.

    RLE        dict with "size" [H, W] and "counts" (bytes), as COCO stores it; rests in a data set
    polygons   list of flat float64 arrays x0 y0 x1 y1 ..., the union of which is the object
    BoxedMask  a bitmap inside its own box; what an RLE becomes while transforms work on it

Polygons are moved exactly, point by point. An RLE is decoded once, when the first transform needs its
pixels, and encoded once, at the end, so a chain of transforms costs two conversions. Coordinates are
continuous: pixel (0, 0) covers [0, 1) x [0, 1).
"""

import math
from typing import NamedTuple

import numpy as np

import roikit.masks as rle
from roikit.data.records import shown

__all__ = ["BoxedMask", "bitmap_of", "box_and_area", "crop", "encode", "flip_horizontal", "flip_vertical",
           "opened", "rasterised", "read_segmentation", "resize", "rotate", "trimmed", "within"]


class BoxedMask(NamedTuple):
    """A bitmap (h, w) of bool whose first pixel is (y, x) of the image, or a view of one."""

    bitmap: np.ndarray
    y: int
    x: int


def read_segmentation(segmentation, height, width):
    """The ``segmentation`` of a COCO annotation as polygons or as a compressed RLE.

    Args:
        segmentation: list of flat coordinate lists (at least 3 points each; empty ones are passed over),
            a dict with ``size`` and ``counts`` (str, bytes, or a list of run lengths), or the rows of the whole image
            as lists of zeros and ones.
        height, width: size of the image in pixels; an RLE must have the same.

    Returns:
        list of float64 arrays, or a dict ``{"size": [H, W], "counts": bytes}``.

    Raises:
        ValueError: the segmentation is malformed; the text says how.
    """
    if isinstance(segmentation, dict):
        try:
            return _read_rle(segmentation, height, width)
        except (TypeError, OverflowError, ValueError) as error:
            text = str(error)  # without the name of the function that refused it
            raise ValueError(text.removeprefix("frPyObjects: ").removeprefix("area: ")) from None
    if not isinstance(segmentation, (list, tuple)) or not segmentation:
        raise ValueError(f"a segmentation must be a list of polygons or an RLE, got {shown(segmentation)}")
    if not isinstance(segmentation[0], (list, tuple, np.ndarray)):
        raise ValueError("a list of polygons must hold lists, got one flat list of "
                         f"{type(segmentation[0]).__name__}")
    if len(segmentation) == height > 1 and all(hasattr(row, "__len__") and len(row) == width for row in segmentation):
        bitmap = bitmap_of(segmentation)
        if bitmap is not None:
            return rle.encode(np.asfortranarray(bitmap, np.uint8))
    rings = []
    for ring in segmentation:
        try:
            points = np.asarray(ring, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise ValueError("a polygon must be a flat list of numbers") from None
        if points.ndim != 1:
            raise ValueError("a polygon must be a flat list of numbers")
        if not points.size:
            continue
        if points.size % 2:
            raise ValueError(f"a polygon has an odd count of coordinates, {points.size}")
        if points.size < 6:
            raise ValueError(f"a polygon has {points.size // 2} points, fewer than 3")
        if not np.isfinite(points).all():
            raise ValueError("a polygon has a coordinate that is not finite")
        rings.append(points)
    if not rings:
        raise ValueError("a segmentation must hold a polygon that is not empty")
    return rings


def bitmap_of(values):
    """An array (H, W) or (1, H, W) of zeros and ones, or of zeros and 255, as (H, W) bool; None for anything else."""
    try:
        pixels = np.asarray(values)
    except (TypeError, ValueError, RuntimeError):  # rows of several lengths; a tensor that is not on the CPU
        return None
    if pixels.ndim == 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim == 2 and pixels.dtype.kind in "biuf":
        for one in (1, 255):
            if ((pixels == 0) | (pixels == one)).all():
                return pixels.astype(bool)
    return None


def _read_rle(segmentation, height, width):
    missing = {"size", "counts"} - segmentation.keys()
    if segmentation.get("type") == "Polygon":
        raise ValueError("GeoJSON's polygon has holes, which COCO's polygons cannot have: write an RLE")
    if len(missing) == 2 and segmentation:
        raise ValueError("a segmentation must be a list of polygons or an RLE with size and counts, got a dict of "
                         f"{', '.join(map(str, list(segmentation)[:5]))}")
    if missing:
        raise ValueError(f"the RLE has no {' and no '.join(sorted(missing))}")
    size, counts = segmentation["size"], segmentation["counts"]
    if not isinstance(size, (list, tuple)) or list(size) != [height, width]:
        raise ValueError(f"the RLE is of an image of {shown(size)} (height, width), "
                         f"the image is [{height}, {width}]")
    found = {"size": [height, width], "counts": counts}
    if isinstance(counts, list):
        return rle.frPyObjects(found, height, width)
    if isinstance(counts, str):
        found["counts"] = counts.encode("latin-1", "replace")
    rle.area(found)  # parses the string, and so refuses a malformed one here
    return found


def opened(mask):
    """An RLE as a BoxedMask; any other form as it is."""
    if not isinstance(mask, dict):
        return mask
    x, y, w, h = (int(v) for v in rle.toBbox(mask))
    bitmap = rle.decode(mask)[y:y + h, x:x + w]
    return BoxedMask(bitmap.astype(bool, order="C"), y, x)


def rasterised(mask, height, width):
    """Any form of a mask in an image of ``height`` x ``width`` as a BoxedMask."""
    return opened(_rasterised(mask, height, width) if isinstance(mask, list) else mask)


def encode(mask, height, width):
    """A BoxedMask inside an image of ``height`` x ``width`` as a compressed RLE; polygons as they are."""
    if not isinstance(mask, BoxedMask):
        return mask
    return rle.frPyObjects({"size": [height, width], "counts": _counts(mask, height, width)},
                           height, width)


def _counts(mask, height, width):
    """Run lengths down the columns of the whole image, from the bitmap inside its box alone."""
    h, w = mask.bitmap.shape
    padded = np.zeros((w, h + 2), dtype=bool)
    padded[:, 1:-1] = mask.bitmap.T
    # In each column, changes are alternately the start and the end of a run.
    column, row = np.nonzero(padded[:, 1:] != padded[:, :-1])
    edges = (mask.x + column) * height + (mask.y + row)
    if h == height:  # a run that reaches the bottom goes on where the next column starts at the top
        joined = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
        edges = np.delete(edges, np.concatenate([joined, joined + 1]))
    bounds = np.zeros(len(edges) + 2, np.int64)
    bounds[1:-1], bounds[-1] = edges, height * width
    counts = (bounds[1:] - bounds[:-1]).tolist()
    return counts[:-1] if counts[-1] == 0 else counts


def trimmed(bitmap, y, x):
    """The BoxedMask of what is set in ``bitmap``, its box made tight; None when nothing is set."""
    rows = np.flatnonzero(bitmap.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(bitmap.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return BoxedMask(bitmap[top:rows[-1] + 1, left:columns[-1] + 1], y + top, x + left)


def box_and_area(mask, height, width):
    """Tight box (x1, y1, x2, y2) of the mask's pixels inside the image, and their count.

    Zeros when no pixel is set.
    """
    if isinstance(mask, BoxedMask):
        (h, w), area = mask.bitmap.shape, int(np.count_nonzero(mask.bitmap))
        return (mask.x, mask.y, mask.x + w, mask.y + h), area
    if isinstance(mask, list):
        mask = _rasterised(mask, height, width)
    x, y, w, h = (float(v) for v in rle.toBbox(mask))
    return (x, y, x + w, y + h), int(rle.area(mask))


def _rasterised(polygons, height, width):
    parts = rle.frPyObjects(polygons, height, width)
    return rle.merge(parts) if len(parts) > 1 else parts[0]


def within(mask, height, width):
    """Polygons that reach over the border of an image as what the border leaves of them, a BoxedMask; any other as it
    is."""
    return rasterised(mask, height, width) if isinstance(mask, list) and _overhangs(mask, height, width) else mask


def _overhangs(polygons, height, width):
    return any(ring[0::2].min() < 0 or ring[1::2].min() < 0 or ring[0::2].max() > width
               or ring[1::2].max() > height for ring in polygons)


def flip_horizontal(mask, width):
    """Mirror left and right in an image ``width`` pixels wide."""
    if isinstance(mask, list):
        return [_moved(ring, -1, width, 1, 0) for ring in mask]
    return BoxedMask(mask.bitmap[:, ::-1], mask.y, width - mask.x - mask.bitmap.shape[1])


def flip_vertical(mask, height):
    """Mirror top and bottom in an image ``height`` pixels high."""
    if isinstance(mask, list):
        return [_moved(ring, 1, 0, -1, height) for ring in mask]
    return BoxedMask(mask.bitmap[::-1], height - mask.y - mask.bitmap.shape[0], mask.x)


def rotate(mask, width):
    """Turn by 90 degrees counter-clockwise an image ``width`` pixels wide (before the turn)."""
    if isinstance(mask, list):
        turned = []
        for ring in mask:
            points = np.empty_like(ring)
            points[0::2], points[1::2] = ring[1::2], width - ring[0::2]
            turned.append(points)
        return turned
    return BoxedMask(np.rot90(mask.bitmap), width - mask.x - mask.bitmap.shape[1], mask.y)


def _moved(ring, x_scale, x_shift, y_scale, y_shift):
    points = np.empty_like(ring)
    points[0::2] = ring[0::2] * x_scale + x_shift
    points[1::2] = ring[1::2] * y_scale + y_shift
    return points


def crop(mask, window, image_size):
    """What is left of the mask in a window of the image; None when nothing is.

    Args:
        mask: polygons or a BoxedMask.
        window: (y, x, height, width); it may reach beyond the image.
        image_size: (height, width) of the image before the cut.

    Of polygons, those that do not meet the window are left out; the others keep their points outside it,
    which rasterising clips. Where the window would uncover what the image's border clipped so far, the
    object becomes a bitmap.
    """
    y, x, height, width = window
    beyond = y < 0 or x < 0 or y + height > image_size[0] or x + width > image_size[1]
    if beyond:
        mask = within(mask, *image_size)
    if isinstance(mask, list):
        kept = []
        for ring in mask:
            points = _moved(ring, 1, -x, 1, -y)
            xs, ys = points[0::2], points[1::2]
            if xs.max() > 0 and ys.max() > 0 and xs.min() < width and ys.min() < height:
                kept.append(points)
        if not kept or not box_and_area(kept, height, width)[1]:
            return None
        return kept
    top, left = max(y - mask.y, 0), max(x - mask.x, 0)
    inside = mask.bitmap[top:max(y + height - mask.y, 0), left:max(x + width - mask.x, 0)]
    if inside.shape == mask.bitmap.shape:  # whole, and tight as it was
        return BoxedMask(mask.bitmap, mask.y - y, mask.x - x)
    return trimmed(inside, mask.y + top - y, mask.x + left - x) if inside.size else None


def resize(mask, y_scale, x_scale):
    """The mask in an image ``y_scale`` times as high and ``x_scale`` times as wide; None when it
    has no pixel left.

    A pixel of the result belongs to the object when at least half of its area does.
    """
    if isinstance(mask, list):
        return [_moved(ring, x_scale, 0, y_scale, 0) for ring in mask]
    h, w = mask.bitmap.shape
    sums = np.zeros((h + 1, w + 1))
    np.cumsum(mask.bitmap, axis=0, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    first_y, index, part = _edges(mask.y, h, y_scale)
    sums = sums[index] * (1 - part)[:, None] + sums[index + 1] * part[:, None]
    sums = sums[1:] - sums[:-1]
    first_x, index, part = _edges(mask.x, w, x_scale)
    sums = sums[:, index] * (1 - part) + sums[:, index + 1] * part
    covered = sums[:, 1:] - sums[:, :-1]
    # The slack keeps a pixel that is covered to one half exactly, whatever the rounding of the sums.
    return trimmed(covered >= (0.5 - 1e-9) / (y_scale * x_scale), first_y, first_x)


def _edges(start, length, scale):
    """Where the edges of the result's pixels that meet [start, start + length) fall in the bitmap.

    Returns the first such pixel, and for each edge the index and the fraction of its place in the
    running sums (length + 1 long), so that the sum there is interpolated exactly.
    """
    first, last = math.floor(start * scale), math.ceil((start + length) * scale)
    place = np.arange(first, last + 1) / scale - start
    place = np.minimum(np.maximum(place, 0), length)
    index = np.minimum(place.astype(np.intp), length - 1)
    return first, index, place - index
