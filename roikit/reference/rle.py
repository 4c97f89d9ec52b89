"""The law of run-length encoded masks: everything is said through the bitmap.

Runs are counted in column-major order, alternately background and foreground, background first.
Source: the COCO format, as pycocotools 2.0.11 reads and writes it.
"""

import numpy as np

__all__ = ["area", "counts_from_string", "decode", "encode", "iou", "merge", "string_from_counts",
           "to_bbox"]


def encode(mask):
    """Runs (uint32) of a bitmap (H, W); not 0 is foreground. One run of 0 for an empty image."""
    pixels = np.asarray(mask).astype(bool).ravel(order="F")
    turns = np.flatnonzero(np.diff(pixels, prepend=False))
    return np.diff(turns, prepend=0, append=pixels.size).astype(np.uint32)


def decode(counts, height, width):
    """uint8 (H, W), column-major, of runs that sum to height * width."""
    values = np.arange(len(counts)) % 2
    return np.repeat(values, counts).astype(np.uint8).reshape((height, width), order="F")


def area(counts, height, width):
    """Foreground pixels."""
    return int(decode(counts, height, width).sum())


def to_bbox(counts, height, width):
    """[x, y, width, height] around the foreground as floats; zeros if there is none."""
    rows, columns = np.nonzero(decode(counts, height, width))
    if len(rows) == 0:
        return [0.0, 0.0, 0.0, 0.0]
    x, y = columns.min(), rows.min()
    return [float(x), float(y), float(columns.max() - x + 1), float(rows.max() - y + 1)]


def iou(dt, gt, height, width, crowd=False):
    """Intersection over union of two masks given as runs; over dt's area if gt is a crowd."""
    a, b = decode(dt, height, width) > 0, decode(gt, height, width) > 0
    common = int((a & b).sum())
    whole = int(a.sum()) if crowd else int((a | b).sum())
    return common / whole if whole else 0.0


def merge(masks, height, width, intersect=False):
    """Runs of the union, or intersection, of at least two masks given as runs."""
    join = np.logical_and if intersect else np.logical_or
    return encode(join.reduce([decode(counts, height, width) for counts in masks]))


def string_from_counts(counts):
    """COCO's compressed string.

    From the fourth run on, the difference to the run two places before is written. A number is
    written in groups of 5 bits, lowest first, in two's complement; the bit of value 32 says that
    another group follows, and 48 is added to make a printable character.
    """
    text = bytearray()
    for i, run in enumerate(int(run) for run in counts):
        number = run - int(counts[i - 2]) if i > 2 else run
        more = True
        while more:
            group = number & 31
            number >>= 5
            more = number != (-1 if group & 16 else 0)
            text.append(48 + group + (32 if more else 0))
    return bytes(text)


def counts_from_string(text, height, width):
    """Runs (uint32) of a compressed string; ValueError for the first rule that it breaks."""
    counts, number, shift = [], 0, 0
    for character in text:
        if not 48 <= character <= 111:
            raise ValueError("counts must hold characters 48..111 only")
        if shift == 35:
            raise ValueError("counts must hold numbers of at most 7 characters")
        group = character - 48
        number += (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            number -= 1 << shift
        run = number + (counts[-2] if len(counts) > 2 else 0)
        if run < 0:
            raise ValueError("runs must not be negative")
        if sum(counts) + run > height * width:
            raise ValueError("runs must sum to height * width")
        counts.append(run)
        number, shift = 0, 0
    if shift:
        raise ValueError("counts must hold whole numbers")
    if sum(counts) != height * width:
        raise ValueError("runs must sum to height * width")
    return np.array(counts, np.uint32)
