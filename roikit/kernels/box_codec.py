"""The box codec on NumPy arrays. The compiled face of roikit.reference.box_codec."""

from roikit._check.box_codec import CLIP
from roikit.kernels._codec import decode, encode

__all__ = ["decode_boxes", "encode_boxes"]


def encode_boxes(boxes, anchors, weights=(1, 1, 1, 1), *, out=None, threads=None):
    """Express ``boxes`` relative to ``anchors``: `roikit.ops.encode_boxes` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy.
        anchors: (N, 4), likewise.
        weights: four positive factors of dx, dy, dw, dh.
        out: (N, 4), for the result.
        threads: how many may work.

    Returns:
        (N, 4) float32 or float64: dx, dy, dw, dh.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    return encode("encode_boxes", boxes, anchors, weights, 4, out, threads)


def decode_boxes(deltas, anchors, weights=(1, 1, 1, 1), *, clip=CLIP, out=None, threads=None):
    """Apply ``deltas`` to ``anchors``: `roikit.ops.decode_boxes` for arrays.

    Args:
        deltas: (N, 4 C) float16, float32 or float64.
        anchors: (N, 4), likewise, xyxy.
        weights, clip: as in `roikit.ops.decode_boxes`.
        out: (N, 4 C), for the result.
        threads: how many may work.

    Returns:
        (N, 4 C) float32 or float64, x1 y1 x2 y2 of each class.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    return decode("decode_boxes", deltas, anchors, weights, clip, 4, out, threads)
