"""The box codec on NumPy arrays. The compiled face of roikit.reference.box_codec."""

import math

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import as_array, as_boxes, launch, result, view

__all__ = ["decode_boxes", "encode_boxes"]

CLIP = math.log(1000 / 16)  # a box grows at most to 62.5 times its anchor


def encode_boxes(boxes, anchors, weights=(1, 1, 1, 1), *, out=None, threads=None):
    """Express ``boxes`` relative to ``anchors``.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy; half is cast to float32.
        anchors: (N, 4), likewise; the two are computed in the wider dtype.
        weights: four positive factors of dx, dy, dw, dh.
        out: (N, 4) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (N, 4): dx, dy in sizes of the anchor, dw, dh natural logarithms of ratios; infinities or NaN where a side is
        not positive.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.2.
    """
    boxes, anchors = as_boxes("encode_boxes", "boxes", boxes), as_boxes("encode_boxes", "anchors", anchors)
    _check.same_rows("encode_boxes", boxes=boxes, anchors=anchors)
    weights = _check.positives("encode_boxes", "weights", weights, 4)
    dtype = np.result_type(boxes, anchors)
    boxes, anchors = boxes.astype(dtype, copy=False), anchors.astype(dtype, copy=False)
    out = result("encode_boxes", out, boxes.shape, dtype)
    _core.encode_boxes(view(boxes), view(anchors), weights, view(out), launch("encode_boxes", threads))
    return out


def decode_boxes(deltas, anchors, weights=(1, 1, 1, 1), *, clip=CLIP, out=None, threads=None):
    """Apply ``deltas`` to ``anchors``.

    Args:
        deltas: (N, 4 C) float16, float32 or float64, dx dy dw dh of each of C classes; half is cast to float32.
        anchors: (N, 4), likewise, xyxy, shared by the classes of a row; computed in the wider dtype.
        weights: the four positive factors that encoded the deltas.
        clip: dw and dh are limited to this from above, after the division by their weights.
        out: (N, 4 C) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (N, 4 C), x1 y1 x2 y2 of each class.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.2; the clip as torchvision's.
    """
    deltas, anchors = as_array("decode_boxes", "deltas", deltas), as_boxes("decode_boxes", "anchors", anchors)
    _check.deltas("decode_boxes", "deltas", deltas)
    _check.same_rows("decode_boxes", deltas=deltas, anchors=anchors)
    weights = _check.positives("decode_boxes", "weights", weights, 4)
    clip = _check.number("decode_boxes", "clip", clip)
    dtype = np.result_type(deltas, anchors)  # anchors are no longer half
    deltas, anchors = np.ascontiguousarray(deltas, dtype), anchors.astype(dtype, copy=False)
    out = result("decode_boxes", out, deltas.shape, dtype)
    _core.decode_boxes(view(deltas), view(anchors), weights, clip, view(out), launch("decode_boxes", threads))
    return out
