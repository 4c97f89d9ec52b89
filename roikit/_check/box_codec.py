"""What the codecs of upright and of rotated boxes check."""

import math

from roikit import _check

CLIP = math.log(1000 / 16)  # a box grows at most to 62.5 times its anchor


def to_encode(op, boxes, anchors, weights, columns):
    """``boxes`` and ``anchors`` are (N, columns); returns the weights, one a column, as floats."""
    _check.box_array(op, "boxes", boxes, columns)
    _check.box_array(op, "anchors", anchors, columns)
    _check.same_rows(op, boxes=boxes, anchors=anchors)
    return _check.positives(op, "weights", weights, columns)


def to_decode(op, deltas, anchors, weights, clip, columns):
    """``deltas`` is (N, columns C) with C at least 1, ``anchors`` (N, columns); returns weights and clip as floats."""
    _check.array(op, "deltas", deltas)
    _check.dtype(op, "deltas", deltas)
    if len(deltas.shape) != 2 or deltas.shape[1] % columns or deltas.shape[1] == 0:
        raise ValueError(f"{op}: deltas must have shape (N, {columns} C), got {_check.shape_text(deltas)}")
    _check.box_array(op, "anchors", anchors, columns)
    _check.same_rows(op, deltas=deltas, anchors=anchors)
    return _check.positives(op, "weights", weights, columns), _check.number(op, "clip", clip)
