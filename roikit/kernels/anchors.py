"""Anchors on NumPy arrays: a cell's shapes, and their copies over a feature map."""

import numpy as np

from roikit import _check, _core
from roikit._check import anchors as checks
from roikit.kernels._arguments import as_boxes
from roikit.kernels._launch import launch, result, view

__all__ = ["cell_anchors", "grid_anchors"]


def cell_anchors(sizes, aspect_ratios, *, rounded=False, order="ratio", dtype=np.float32):
    """Anchors around the origin, one for each pair of a size and a ratio: `roikit.ops.cell_anchors` for arrays.

    Args:
        sizes, aspect_ratios: S and R positive numbers.
        rounded, order: as in `roikit.ops.cell_anchors`.
        dtype: float32 or float64, of the result and of everything computed.

    Returns:
        (S * R, 4), x1 y1 x2 y2.

    Raises: TypeError or ValueError for another dtype or order, a size or a ratio that is not a positive number.
    """
    op = "cell_anchors"
    sizes, ratios = checks.cell(op, sizes, aspect_ratios, order)
    dtype = np.dtype(dtype)
    _check.real_dtype(op, dtype, (np.float32, np.float64))
    sizes, ratios = np.array(sizes, dtype), np.array(ratios, dtype)
    out = np.empty((len(sizes) * len(ratios), 4), dtype)
    _core.cell_anchors(view(sizes), view(ratios), order == "ratio", bool(rounded), view(out), launch(op, 1))
    return out


def grid_anchors(cell_anchors, feature_size, stride, *, offset=0.0, out=None, threads=None):
    """Copies of a cell at every position of a feature map: `roikit.ops.grid_anchors` for arrays.

    Args:
        cell_anchors: (A, 4) float16, float32 or float64, or (A, 5) rotated boxes.
        feature_size: (H, W).
        stride, offset: as in `roikit.ops.grid_anchors`.
        out: (H * W * A, 4), or 5, for the result.
        threads: how many may work.

    Returns:
        (H * W * A, 4), or 5, float32 or float64.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "grid_anchors"
    cell = as_boxes(op, "cell_anchors", cell_anchors, (4, 5))
    height, width, *rule = checks.grid(op, feature_size, stride, offset)
    out = result(op, out, (height * width * len(cell), cell.shape[1]), cell.dtype)
    _core.grid_anchors(view(cell), height, width, *rule, view(out), launch(op, threads))
    return out
