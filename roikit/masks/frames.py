"""Masks moved between frames as runs: into a window, into a larger picture, mirrored. No picture-sized bitmap is made.

The work follows the columns that a mask covers, whatever the size of its frame.
"""

import numpy as np

from roikit import _rle
from roikit.masks.rle import decode, toBbox

__all__ = ["flip", "shift", "window"]


def shift(rles, dy, dx, height, width):
    """Move masks into another frame.

    Args:
        rles: list of N RLEs of one size.
        dy, dx: whole numbers, what is added to rows and columns; negative ones cut a window out.
        height, width: of the new frame, pixels; what comes to lie outside is left out.

    Returns:
        list of N RLEs of the size [height, width].

    Raises:
        TypeError, ValueError: as ``roikit.masks.rle`` says.
    """
    height, width = _rle.image_size("shift", height, width)
    mask, x, top, bottom, _ = _columns(rles, "shift")
    x, top, bottom = x + int(dx), (top + int(dy)).clip(0, height), (bottom + int(dy)).clip(0, height)
    inside = (x >= 0) & (x < width) & (top < bottom)
    return _encoded(mask[inside], x[inside], top[inside], bottom[inside], len(rles), height, width)


def flip(rles, *, horizontal=False, vertical=False):
    """Mirror masks within their frame: left and right, top and bottom, or both.

    Args:
        rles: list of N RLEs of one size.

    Returns:
        list of N RLEs of that size.
    """
    mask, x, top, bottom, (height, width) = _columns(rles, "flip")
    if horizontal:
        x = width - 1 - x
    if vertical:
        top, bottom = height - bottom, height - top
    order = np.lexsort((top, x, mask))
    return _encoded(mask[order], x[order], top[order], bottom[order], len(rles), height, width)


def window(rle):
    """The pixels of one mask within the box around them.

    Returns:
        y, x of the box's first pixel, and the pixels as bool (h, w); (0, 0) of a mask without foreground.
    """
    x, y, width, height = (int(v) for v in toBbox(rle))
    return y, x, decode(shift([rle], -y, -x, height, width)[0]).astype(bool)


def _columns(rles, op):
    """The foreground in pieces of one column each, ordered by mask, column and row.

    Returns:
        int64 arrays: the mask's place in the list, column, first row, row behind the last; and (height, width).
    """
    counts, offsets, sizes = _rle.runs_of(rles, op)
    height, width = _rle.one_size(op, sizes)
    # All masks in one line of pixels, one after the other: each is height * width long.
    ends = np.cumsum(counts, dtype=np.int64)
    runs = np.arange(len(counts)) - np.repeat(offsets[:-1], np.diff(offsets))
    shown = (runs % 2 == 1) & (counts > 0)
    ends, starts = ends[shown], (ends - counts)[shown]
    if not len(ends):
        none = np.zeros(0, np.int64)
        return none, none, none, none, (height, width)
    first = starts // height
    pieces = (ends - 1) // height - first + 1
    run = np.repeat(np.arange(len(starts)), pieces)
    column = first[run] + np.arange(len(run)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    top = np.maximum(starts[run] - column * height, 0)
    bottom = np.minimum(ends[run] - column * height, height)
    return column // width, column % width, top, bottom, (height, width)


def _encoded(mask, x, top, bottom, count, height, width):
    """``count`` RLEs of pieces in the order of `_columns`."""
    pixels = height * width
    starts, ends = mask * pixels + x * height + top, mask * pixels + x * height + bottom
    joined = np.zeros(len(mask), bool)  # a piece that goes on where the one before ends
    joined[1:] = (starts[1:] == ends[:-1]) & (mask[1:] == mask[:-1])
    last = np.ones(len(mask), bool)
    last[:-1] = ~joined[1:]
    starts, ends, mask = starts[~joined], ends[last], mask[~joined]
    # Of each mask: its first pixel, start and end of each run, and the pixel behind its last.
    number = np.bincount(mask, minlength=count)
    begins = np.cumsum(2 * number + 2) - (2 * number + 2)
    edges = np.empty(2 * len(mask) + 2 * count, np.int64)
    edges[begins] = np.arange(count) * pixels
    edges[begins + 2 * number + 1] = (np.arange(count) + 1) * pixels
    at = begins[mask] + 1 + 2 * (np.arange(len(mask)) - (np.cumsum(number) - number)[mask])
    edges[at], edges[at + 1] = starts, ends
    counts = np.diff(edges)
    kept = np.ones(len(counts), bool)
    kept[begins[1:] - 1] = False  # between two masks
    lasts = begins + 2 * number
    kept[lasts[counts[lasts] == 0]] = False  # COCO's runs end with the last foreground
    sizes = np.zeros(count + 1, np.int64)
    np.cumsum(2 * number + 1 - (counts[lasts] == 0), out=sizes[1:])
    texts = _rle.strings_from_counts(counts[kept].astype(np.uint32), sizes)
    return [{"size": [height, width], "counts": text} for text in texts]
