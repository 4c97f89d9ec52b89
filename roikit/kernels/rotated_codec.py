"""The codec of rotated boxes and their anchors on NumPy arrays: the compiled face of roikit.reference.rotated_codec."""

import numpy as np

from roikit import _check
from roikit._check import rotated_codec as checks
from roikit._check.box_codec import CLIP
from roikit.kernels._codec import decode, encode
from roikit.kernels.anchors import cell_anchors

__all__ = ["cell_anchors_rotated", "decode_boxes_rotated", "encode_boxes_rotated"]


def encode_boxes_rotated(boxes, anchors, weights=(1, 1, 1, 1, 1), *, out=None, threads=None):
    """Express rotated ``boxes`` relative to rotated ``anchors``: `roikit.ops.encode_boxes_rotated` for arrays.

    Args:
        boxes: (N, 5) float16, float32 or float64: cx, cy, w, h, degrees.
        anchors: (N, 5), likewise.
        weights: five positive factors of dx, dy, dw, dh, da.
        out: (N, 5), for the result.
        threads: how many may work.

    Returns:
        (N, 5) float32 or float64: dx, dy, dw, dh, da.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    return encode("encode_boxes_rotated", boxes, anchors, weights, 5, out, threads)


def decode_boxes_rotated(deltas, anchors, weights=(1, 1, 1, 1, 1), *, clip=CLIP, out=None, threads=None):
    """Apply ``deltas`` to rotated ``anchors``: `roikit.ops.decode_boxes_rotated` for arrays.

    Args:
        deltas: (N, 5 C) float16, float32 or float64.
        anchors: (N, 5), likewise.
        weights, clip: as in `roikit.ops.decode_boxes_rotated`.
        out: (N, 5 C), for the result.
        threads: how many may work.

    Returns:
        (N, 5 C) float32 or float64: cx, cy, w, h, degrees of each class.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    return decode("decode_boxes_rotated", deltas, anchors, weights, clip, 5, out, threads)


def cell_anchors_rotated(sizes, aspect_ratios, angles, *, dtype=np.float32):
    """Rotated anchors around the origin: `roikit.ops.cell_anchors_rotated` for arrays.

    Args:
        sizes, aspect_ratios: S and R positive numbers.
        angles: A finite numbers, degrees counter-clockwise.
        dtype: float32 or float64, of the result and of everything computed.

    Returns:
        (S * R * A, 5): 0, 0, w, h, angle.

    Raises: TypeError or ValueError for another dtype, a size or ratio not above 0, an angle that is not finite.
    """
    op = "cell_anchors_rotated"
    sizes, ratios, angles = checks.cell(op, sizes, aspect_ratios, angles)
    dtype = np.dtype(dtype)
    _check.real_dtype(op, dtype, (np.float32, np.float64))
    cell = cell_anchors(sizes, ratios, order="size", dtype=dtype)
    anchors = np.zeros((len(cell), len(angles), 5), dtype)
    anchors[..., 2:4] = 2 * cell[:, None, 2:]
    anchors[..., 4] = angles
    return anchors.reshape(-1, 5)
