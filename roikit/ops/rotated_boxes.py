"""Rotated boxes made and moved, on tensors: the smallest around an object, flips of the image, rotations."""

import numpy as np
import torch

from roikit import _check, _core, _rle
from roikit._check import rotated_boxes as checks
from roikit._polygon import flat_points
from roikit.ops._arguments import as_boxes
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register
from roikit.ops._masks import INTEGERS, as_bytes

__all__ = ["flip_boxes_rotated", "min_area_boxes", "rotate_boxes_rotated"]


def min_area_boxes(masks, *, dtype=torch.float32):
    """The smallest rotated box around each object.

    Args:
        masks: one of
            - bitmaps (N, H, W), bool or integer, where not 0 is inside, on any device;
            - a list of N objects, each an RLE dict or a list of polygons [x0, y0, x1, y1, ...] in pixels.
        dtype: torch.float32 or torch.float64, to which the numbers are rounded.

    Returns:
        (N, 5) of ``dtype``, on the device of bitmaps, else on the CPU: cx, cy, w, h in pixels with w >= h, and degrees
        counter-clockwise in [-90, 90); of a square in [-45, 45). A pixel (x, y) covers [x, x + 1) x [y, y + 1). Of
        several boxes of the least area, up to 2^-40 of it, the one that is turned least from the axes; then the one
        with the lower angle. An object without points gives zeros, one on a line h = 0. Exact; without gradient.

    Raises:
        TypeError, ValueError: a wrong kind or shape, in a sentence; a malformed RLE or polygon.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: Andrew 1979 (hull); Freeman and Shapira 1975, Toussaint 1983 (calipers).
    """
    op = "min_area_boxes"
    _check.real_dtype(op, dtype, (torch.float32, torch.float64))
    if isinstance(masks, (list, tuple)):
        return torch.from_numpy(_of_list(op, masks)).to(dtype)
    _check.array(op, "masks", masks)
    _check.tensor(op, "masks", masks)
    _check.dtype(op, "masks", masks, ("bool", *INTEGERS))
    _check.rank(op, "masks", masks, ("N", "H", "W"))
    return torch.ops.roikit.min_area_boxes(masks).to(dtype)


def _of_list(op, masks):
    """float64 (N, 5), an array, of a list of RLE dicts and of lists of polygons."""
    out, start = np.zeros((len(masks), 5)), launch(torch.empty(0))
    of_runs = [i for i, mask in enumerate(masks) if isinstance(mask, dict)]
    if of_runs:
        boxes = np.empty((len(of_runs), 5))
        runs = _rle.runs_of([masks[i] for i in of_runs], op)
        _core.min_area_boxes_of_runs(*map(_core.View, runs), _core.View(boxes), start)
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
        _core.min_area_boxes_of_points(*map(_core.View, (points, offsets, boxes)), start)
        out[of_polygons] = boxes
    return out


def _wrapped(degrees):
    """In [-180, 180), without rounding."""
    r = torch.fmod(degrees, 360)
    r = torch.where(r >= 180, r - 360, r)
    return torch.where(r < -180, r + 360, r) + 0  # -0 becomes 0


def flip_boxes_rotated(boxes, size, direction="horizontal"):
    """Rotated boxes in the mirrored image.

    Args:
        boxes: (N, 5) floating, cx, cy, w, h in pixels and degrees counter-clockwise; half is cast to float32.
        size: (H, W) of the image.
        direction: "horizontal", left becomes right, or "vertical", up becomes down.

    Returns:
        (N, 5) float32 or float64, the angles in [-180, 180). What a box shows is mirrored along the same of its sides
        as the image. Differentiable.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.
    """
    op = "flip_boxes_rotated"
    boxes = as_boxes(op, "boxes", boxes, 5)
    axis, extent = checks.flip(op, size, direction)
    columns = list(boxes.unbind(1))
    columns[axis] = extent - columns[axis]
    columns[4] = _wrapped(-columns[4])
    return torch.stack(columns, 1)


def rotate_boxes_rotated(boxes, degrees, center):
    """Rotated boxes in the image that is turned about a point.

    Args:
        boxes: (N, 5) floating, cx, cy, w, h in pixels and degrees counter-clockwise; half is cast to float32.
        degrees: by how much the image is turned, counter-clockwise.
        center: (x, y), the point that stays where it is.

    Returns:
        (N, 5) float32 or float64, the angles in [-180, 180). Differentiable.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.
    """
    op = "rotate_boxes_rotated"
    boxes = as_boxes(op, "boxes", boxes, 5)
    degrees, *numbers = checks.turn(op, degrees, center)
    # In the boxes' dtype, so that nothing is computed in double.
    x0, y0, sin, cos, degrees = boxes.new_tensor([*numbers[0], *numbers[1:], degrees]).unbind()
    cx, cy, w, h, angle = boxes.unbind(1)
    x, y = cx - x0, cy - y0
    return torch.stack([(x * cos + y * sin) + x0, (y * cos - x * sin) + y0, w, h, _wrapped(angle + degrees)], 1)


def _boxes_kernel(masks):
    core = backend(masks, "min_area_boxes")
    masks = as_bytes(masks)
    out = masks.new_empty((masks.shape[0], 5), dtype=torch.float64)
    scratch = None if core is _core else workspace(masks, core.min_area_boxes_workspace(view(masks)))
    core.min_area_boxes(view(masks), view(out), launch(masks, scratch))
    return out


def _boxes_fake(masks):
    return masks.new_empty((masks.shape[0], 5), dtype=torch.float64)


register("min_area_boxes(Tensor masks) -> Tensor", _boxes_kernel, _boxes_fake)
