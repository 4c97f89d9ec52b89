"""The codec of rotated boxes and their anchors on NumPy arrays: the compiled face of roikit.reference.rotated_codec."""

import math

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import as_array, as_boxes, launch, result, view
from roikit.kernels.anchors import cell_anchors

__all__ = ["cell_anchors_rotated", "decode_boxes_rotated", "encode_boxes_rotated"]

CLIP = math.log(1000 / 16)  # a box grows at most to 62.5 times its anchor


def encode_boxes_rotated(boxes, anchors, weights=(1, 1, 1, 1, 1), *, out=None, threads=None):
    """Express rotated ``boxes`` relative to rotated ``anchors``.

    Args:
        boxes: (N, 5) float16, float32 or float64: cx, cy, w, h in pixels, degrees counter-clockwise; half is cast to
            float32.
        anchors: (N, 5), likewise; the two are computed in the wider dtype.
        weights: five positive factors of dx, dy, dw, dh, da.
        out: (N, 5) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (N, 5): dx, dy in sides of the anchor, dw, dh natural logarithms of ratios, da the turn in radians, from within
        [-180, 180) degrees; infinities or NaN where a side is not positive.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.2; the angle as detectron2's.
    """
    op = "encode_boxes_rotated"
    boxes, anchors = as_boxes(op, "boxes", boxes, 5), as_boxes(op, "anchors", anchors, 5)
    _check.same_rows(op, boxes=boxes, anchors=anchors)
    weights = _check.positives(op, "weights", weights, 5)
    dtype = np.result_type(boxes, anchors)
    boxes, anchors = boxes.astype(dtype, copy=False), anchors.astype(dtype, copy=False)
    out = result(op, out, boxes.shape, dtype)
    _core.encode_boxes_rotated(view(boxes), view(anchors), weights, view(out), launch(op, threads))
    return out


def decode_boxes_rotated(deltas, anchors, weights=(1, 1, 1, 1, 1), *, clip=CLIP, out=None, threads=None):
    """Apply ``deltas`` to rotated ``anchors``.

    Args:
        deltas: (N, 5 C) float16, float32 or float64, dx dy dw dh da of each of C classes; half is cast to float32.
        anchors: (N, 5), likewise, shared by the classes of a row; computed in the wider dtype.
        weights: the five positive factors that encoded the deltas.
        clip: dw and dh are limited to this from above, after the division by their weights.
        out: (N, 5 C) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (N, 5 C): cx, cy, w, h and degrees in [-180, 180) of each class.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.

    Source: as `encode_boxes_rotated`; the clip as torchvision's.
    """
    op = "decode_boxes_rotated"
    deltas, anchors = as_array(op, "deltas", deltas), as_boxes(op, "anchors", anchors, 5)
    _check.deltas(op, "deltas", deltas, 5)
    _check.same_rows(op, deltas=deltas, anchors=anchors)
    weights = _check.positives(op, "weights", weights, 5)
    clip = _check.number(op, "clip", clip)
    dtype = np.result_type(deltas, anchors)  # anchors are no longer half
    deltas, anchors = np.ascontiguousarray(deltas, dtype), anchors.astype(dtype, copy=False)
    out = result(op, out, deltas.shape, dtype)
    _core.decode_boxes_rotated(view(deltas), view(anchors), weights, clip, view(out), launch(op, threads))
    return out


def cell_anchors_rotated(sizes, aspect_ratios, angles, *, dtype=np.float32):
    """Rotated anchors around the origin, one for each size, ratio and angle.

    Args:
        sizes: S positive numbers, the square roots of the anchors' areas, pixels.
        aspect_ratios: R positive numbers, height over width.
        angles: A finite numbers, degrees counter-clockwise.
        dtype: float32 or float64; everything is cast to it and computed in it.

    Returns:
        (S * R * A, 5), rows 0, 0, w, h, angle with the size outside, then the ratio, the angle inside (detectron2's
        order); the sides are those of `cell_anchors`. `grid_anchors` lays them out.

    Raises:
        TypeError, ValueError: dtype is another; a size or a ratio is not a positive number, an angle is not finite.

    Source: Ma et al. 2017, arXiv:1703.01086, section IV.
    """
    op = "cell_anchors_rotated"
    sizes, ratios = _check.positives(op, "sizes", sizes), _check.positives(op, "aspect_ratios", aspect_ratios)
    angles = _check.finites(op, "angles", angles)
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"{op}: dtype must be float32 or float64, got {dtype}")
    cell = cell_anchors(sizes, ratios, order="size", dtype=dtype)
    anchors = np.zeros((len(cell), len(angles), 5), dtype)
    anchors[..., 2:4] = 2 * cell[:, None, 2:]
    anchors[..., 4] = angles
    return anchors.reshape(-1, 5)
