"""Keypoints and their heatmaps on NumPy arrays. The compiled face of roikit.reference.keypoints."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import as_array, as_boxes, launch, view

__all__ = ["decode_keypoints", "encode_keypoints"]


def _as_pair(op, name, values, boxes, pattern):
    """The values, of the shape in words, and their boxes, contiguous and of the wider dtype."""
    values, boxes = as_array(op, name, values), as_boxes(op, "boxes", boxes)
    _check.dtype(op, name, values, ("float16", "float32", "float64"))
    _check.keypoints(op, name, values, pattern)
    _check.same_rows(op, **{name: values, "boxes": boxes})
    dtype = np.result_type(np.float32, values, boxes)
    return np.ascontiguousarray(values, dtype), boxes.astype(dtype, copy=False)


def encode_keypoints(keypoints, boxes, size, *, threads=None):
    """The cell of each keypoint in a size x size grid over its box: the target of a keypoint head's softmax.

    Args:
        keypoints: (N, K, 3) float16, float32 or float64: x, y, visibility; half is cast to float32.
        boxes: (N, 4), likewise, xyxy; the two are computed in the wider dtype.
        size: S, from 1 to 2**24.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        target int64 (N, K): by * S + bx, 0 where it is not valid.
        valid bool (N, K): the point lies in its box, edges included, and its visibility is above 0. No point of an
            empty, reversed or infinite box is.

    Raises:
        TypeError, ValueError: a wrong kind or shape.

    Source: He et al. 2017, arXiv:1703.06870, section 5.
    """
    op = "encode_keypoints"
    keypoints, boxes = _as_pair(op, "keypoints", keypoints, boxes, ("N", "K", 3))
    size = _check.grid_size(op, "size", size)
    target, valid = np.empty(keypoints.shape[:2], np.int64), np.empty(keypoints.shape[:2], np.bool_)
    _core.encode_keypoints(view(keypoints), view(boxes), size, view(target), view(valid), launch(op, threads))
    return target, valid


def decode_keypoints(maps, boxes, *, threads=None):
    """The place of the largest value of each map, resized bicubically to one value a pixel of its box.

    Args:
        maps: (N, K, H, W) float16, float32 or float64, a map for each keypoint, H and W at least 1; half is cast to
            float32.
        boxes: (N, 4), likewise, xyxy; the two are computed in the wider dtype. A side below 1 counts as 1; one above
            4096 has 4096 wider cells.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        xy (N, K, 2) float32 or float64, in pixels of the boxes; scores (N, K), the resized map's value there. Of equal
        values the first by rows; NaN never wins, and a map of NaN alone has its first cell and score NaN. Both are 0
        for a box that is not finite.

    Raises:
        TypeError, ValueError: a wrong kind or shape.

    Source: He et al. 2017, arXiv:1703.06870, section 5; Keys 1981, with A = -0.75 as torch has it.
    """
    op = "decode_keypoints"
    maps, boxes = _as_pair(op, "maps", maps, boxes, ("N", "K", "H", "W"))
    xy, scores = np.empty((*maps.shape[:2], 2), maps.dtype), np.empty(maps.shape[:2], maps.dtype)
    _core.decode_keypoints(view(maps), view(boxes), view(xy), view(scores), launch(op, threads))
    return xy, scores
