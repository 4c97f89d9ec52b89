"""Rotated boxes made and moved, on NumPy arrays. The compiled face of roikit.reference.rotated_boxes."""

import numpy as np

from roikit import _check, _core, _rle
from roikit._check import rotated_boxes as checks
from roikit._polygon import flat_points
from roikit.kernels._arguments import INTEGERS, as_array, as_boxes, as_bytes
from roikit.kernels._launch import launch, view

__all__ = ["flip_boxes_rotated", "min_area_boxes", "rotate_boxes_rotated"]


def min_area_boxes(masks, *, dtype=np.float32, threads=None):
    """The smallest rotated box around each object: `roikit.ops.min_area_boxes` for arrays.

    Args:
        masks: bitmaps (N, H, W), bool or integer; or a list whose entries are RLE dicts or lists of polygons.
        dtype: float32 or float64.
        threads: how many may work.

    Returns:
        (N, 5) of ``dtype``: cx, cy, w, h with w >= h, and degrees in [-90, 90).

    Raises: TypeError or ValueError for a wrong kind or shape, a malformed RLE or polygon.
    """
    op = "min_area_boxes"
    _check.real_dtype(op, dtype, (np.float32, np.float64, np.dtype(np.float32), np.dtype(np.float64)))
    start = launch(op, threads)
    if isinstance(masks, (list, tuple)):
        return boxes_of_list(op, masks, start).astype(dtype, copy=False)
    masks = as_array(op, "masks", masks)
    _check.dtype(op, "masks", masks, ("bool", *INTEGERS))
    _check.rank(op, "masks", masks, ("N", "H", "W"))
    out = np.empty((len(masks), 5))
    _core.min_area_boxes(view(as_bytes(masks)), view(out), start)
    return out.astype(dtype, copy=False)


def boxes_of_list(op, masks, start):
    """float64 (N, 5) of a list of RLE dicts and of lists of polygons."""
    out = np.zeros((len(masks), 5))
    of_runs = [i for i, mask in enumerate(masks) if isinstance(mask, dict)]
    if of_runs:
        boxes = np.empty((len(of_runs), 5))
        _core.min_area_boxes_of_runs(*map(view, _rle.runs_of([masks[i] for i in of_runs], op)), view(boxes), start)
        out[of_runs] = boxes
    of_polygons = [i for i, mask in enumerate(masks) if not isinstance(mask, dict)]
    if of_polygons:
        parts = []
        for i in of_polygons:
            if not isinstance(masks[i], (list, tuple)):
                raise TypeError(f"{op}: masks must be an array, or a list of RLE dicts or of lists of polygons, got a "
                                f"list with {type(masks[i]).__name__}")
            parts.append(np.concatenate([np.empty(0), *(flat_points(op, polygon) for polygon in masks[i])]))
        offsets = np.cumsum([0] + [len(part) // 2 for part in parts], dtype=np.int64)
        points, boxes = np.concatenate(parts).reshape(-1, 2), np.empty((len(parts), 5))
        _core.min_area_boxes_of_points(view(points), view(offsets), view(boxes), start)
        out[of_polygons] = boxes
    return out


def _wrapped(degrees):
    """In [-180, 180), without rounding."""
    r = np.fmod(degrees, degrees.dtype.type(360))
    r = np.where(r >= 180, r - 360, r)
    return np.where(r < -180, r + 360, r) + 0  # -0 becomes 0


def flip_boxes_rotated(boxes, size, direction="horizontal"):
    """Rotated boxes in the mirrored image: `roikit.ops.flip_boxes_rotated` for arrays.

    Args:
        boxes: (N, 5) float16, float32 or float64: cx, cy, w, h, degrees.
        size: (H, W) of the image.
        direction: "horizontal" or "vertical".

    Returns:
        (N, 5) float32 or float64.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "flip_boxes_rotated"
    boxes = as_boxes(op, "boxes", boxes, 5)
    axis, extent = checks.flip(op, size, direction)
    out = boxes.copy()
    with np.errstate(all="ignore"):
        out[:, axis] = boxes.dtype.type(extent) - boxes[:, axis]
        out[:, 4] = _wrapped(-boxes[:, 4])
    return out


def rotate_boxes_rotated(boxes, degrees, center):
    """Rotated boxes in the image that is turned about a point: `roikit.ops.rotate_boxes_rotated` for arrays.

    Args:
        boxes: (N, 5) float16, float32 or float64: cx, cy, w, h, degrees.
        degrees: by how much the image is turned, counter-clockwise.
        center: (x, y), the point that stays where it is.

    Returns:
        (N, 5) float32 or float64.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "rotate_boxes_rotated"
    boxes = as_boxes(op, "boxes", boxes, 5)
    real = boxes.dtype.type
    degrees, (x0, y0), sin, cos = checks.turn(op, degrees, center)
    x0, y0, sin, cos = real(x0), real(y0), real(sin), real(cos)
    out = boxes.copy()
    with np.errstate(all="ignore"):
        x, y = boxes[:, 0] - x0, boxes[:, 1] - y0
        out[:, 0], out[:, 1] = (x * cos + y * sin) + x0, (y * cos - x * sin) + y0
        out[:, 4] = _wrapped(boxes[:, 4] + real(degrees))
    return out
