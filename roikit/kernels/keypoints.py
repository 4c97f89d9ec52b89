"""Keypoints and their heatmaps on NumPy arrays. The compiled face of roikit.reference.keypoints."""

import numpy as np

from roikit import _check, _core
from roikit._check.keypoints import of_boxes
from roikit.kernels._arguments import as_array, as_floats, wider
from roikit.kernels._launch import launch, view

__all__ = ["decode_keypoints", "encode_keypoints"]


def _of_boxes(op, name, values, boxes, pattern):
    """The values, of the shape in words, and their boxes, contiguous and of the wider dtype."""
    values, boxes = as_floats(op, name, values), as_array(op, "boxes", boxes)
    of_boxes(op, name, values, boxes, pattern)
    return wider(values, boxes)


def encode_keypoints(keypoints, boxes, size, *, threads=None):
    """The cell of each keypoint in a grid over its box: `roikit.ops.encode_keypoints` for arrays.

    Args:
        keypoints: (N, K, 3) float16, float32 or float64: x, y, visibility.
        boxes: (N, 4), likewise, xyxy.
        size: S, from 1 to 2**24.
        threads: how many may work.

    Returns:
        target int64 (N, K), by * S + bx; valid bool (N, K).

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "encode_keypoints"
    keypoints, boxes = _of_boxes(op, "keypoints", keypoints, boxes, ("N", "K", 3))
    size = _check.grid_size(op, "size", size)
    target, valid = np.empty(keypoints.shape[:2], np.int64), np.empty(keypoints.shape[:2], np.bool_)
    _core.encode_keypoints(view(keypoints), view(boxes), size, view(target), view(valid), launch(op, threads))
    return target, valid


def decode_keypoints(maps, boxes, *, threads=None):
    """The place of the largest value of each map, resized to its box: `roikit.ops.decode_keypoints` for arrays.

    Args:
        maps: (N, K, H, W) float16, float32 or float64, H and W at least 1.
        boxes: (N, 4), likewise, xyxy.
        threads: how many may work.

    Returns:
        xy (N, K, 2) and scores (N, K), float32 or float64.

    Raises: TypeError or ValueError for a wrong kind or shape.
    """
    op = "decode_keypoints"
    maps, boxes = _of_boxes(op, "maps", maps, boxes, ("N", "K", "H", "W"))
    xy, scores = np.empty((*maps.shape[:2], 2), maps.dtype), np.empty(maps.shape[:2], maps.dtype)
    _core.decode_keypoints(view(maps), view(boxes), view(xy), view(scores), launch(op, threads))
    return xy, scores
