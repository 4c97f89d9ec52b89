"""Anchors on NumPy arrays: a cell's shapes, and their copies over a feature map."""

import numpy as np

from roikit import _check, _core
from roikit.kernels._arrays import as_boxes, launch, result, view

__all__ = ["cell_anchors", "grid_anchors"]


def cell_anchors(sizes, aspect_ratios, *, rounded=False, order="ratio", dtype=np.float32):
    """Anchors around the origin, one for each pair of a size and a ratio.

    Args:
        sizes: S positive numbers, the square roots of the anchors' areas, pixels.
        aspect_ratios: R positive numbers, height over width.
        rounded: round the corners to whole pixels, half to even (torchvision's anchors).
        order: "ratio" has the ratio outside and the size inside (torchvision), "size" the size outside and the ratio
            inside (detectron2).
        dtype: float32 or float64; sizes and ratios are cast to it and everything is computed in it.

    Returns:
        (S * R, 4), x1 y1 x2 y2: h = sqrt(ratio), w = 1 / h; [-w size, -h size, w size, h size] / 2.

    Raises:
        TypeError, ValueError: dtype or order is another; a size or a ratio is not a positive number.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.1.
    """
    sizes = _check.positives("cell_anchors", "sizes", sizes)
    ratios = _check.positives("cell_anchors", "aspect_ratios", aspect_ratios)
    _check.choice("cell_anchors", "order", order, ("ratio", "size"))
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"cell_anchors: dtype must be float32 or float64, got {dtype}")
    sizes, ratios = np.array(sizes, dtype), np.array(ratios, dtype)
    out = np.empty((len(sizes) * len(ratios), 4), dtype)
    _core.cell_anchors(view(sizes), view(ratios), order == "ratio", bool(rounded), view(out), launch("cell_anchors", 1))
    return out


def grid_anchors(cell_anchors, feature_size, stride, *, offset=0.0, out=None, threads=None):
    """Copies of a cell at every position of a feature map.

    Args:
        cell_anchors: (A, 4) float16, float32 or float64, xyxy around the origin, pixels; half is cast to float32. Or
            (A, 5), rotated boxes cx, cy, w, h, degrees, whose centres alone are moved.
        feature_size: (H, W), map pixels.
        stride: image pixels a map pixel: a number, or (sy, sx).
        offset: where in its map pixel a cell sits: 0 its corner, 0.5 its centre.
        out: (H * W * A, 4), or 5, array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (H * W * A, 4), or 5, float32 or float64, rows in the order y, x, cell.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.1.
    """
    cell = as_boxes("grid_anchors", "cell_anchors", cell_anchors, (4, 5))
    height, width = _check.pair("grid_anchors", "feature_size", feature_size, 0)
    stride_y, stride_x = _check.two_numbers("grid_anchors", "stride", stride)
    offset = _check.number("grid_anchors", "offset", offset)
    out = result("grid_anchors", out, (height * width * len(cell), cell.shape[1]), cell.dtype)
    _core.grid_anchors(view(cell), height, width, stride_y, stride_x, offset, view(out),
                       launch("grid_anchors", threads))
    return out
