"""Anchors: the cell's shapes, and their copies over a feature map. The arithmetic is exact.

T is ``dtype`` for the cell and the dtype of the cell for the grid. A ratio is height over width.

Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.1; shapes and orders as torchvision's and
detectron2's.
"""

import numpy as np

from roikit.reference.arguments import as_boxes, pair

__all__ = ["cell_anchors", "grid_anchors"]


def cell_anchors(sizes, aspect_ratios, *, rounded=False, order="ratio", dtype=np.float32):
    """Anchors around the origin, one for each pair of a size and a ratio.

    Args:
        sizes: S numbers, the square root of an anchor's area, pixels.
        aspect_ratios: R numbers above 0, height over width.
        rounded: round the corners to whole pixels, half to even (torchvision's anchors).
        order: "ratio" has the ratio outside and the size inside (torchvision), "size" the size
            outside and the ratio inside (detectron2).
        dtype: T, float32 or float64.

    Returns:
        T (S * R, 4), x1 y1 x2 y2. Sizes and ratios are cast to T; h = sqrt(ratio), w = 1 / h;
        ws = w * size, hs = h * size; [-ws, -hs, ws, hs] / 2.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"cell_anchors: dtype must be float32 or float64, got {dtype}")
    if order not in ("ratio", "size"):
        raise ValueError(f"cell_anchors: order must be 'ratio' or 'size', got {order!r}")
    sizes, ratios = np.asarray(sizes, dtype), np.asarray(aspect_ratios, dtype)
    heights = np.sqrt(ratios)
    widths = dtype.type(1) / heights
    if order == "ratio":
        ws, hs = widths[:, None] * sizes[None, :], heights[:, None] * sizes[None, :]
    else:
        ws, hs = widths[None, :] * sizes[:, None], heights[None, :] * sizes[:, None]
    ws, hs = ws.ravel(), hs.ravel()
    cell = np.stack([-ws, -hs, ws, hs], axis=1) / dtype.type(2)
    return np.rint(cell) if rounded else cell


def grid_anchors(cell_anchors, feature_size, stride, *, offset=0.0):
    """Copies of a cell at every position of a feature map.

    Args:
        cell_anchors: (A, 4) float, x1 y1 x2 y2 around the origin, pixels; or (A, 5), rotated boxes
            cx, cy, w, h, degrees, whose centres alone are moved.
        feature_size: (H, W), map pixels.
        stride: image pixels a map pixel: a number, or (sy, sx).
        offset: where in its map pixel a cell sits: 0 its corner, 0.5 its centre.

    Returns:
        T (H * W * A, 4), or 5, rows in the order of y, x, cell. The shift of column j is
        (T(j) + T(offset)) * T(sx), likewise for rows; shift + cell.
    """
    cell = as_boxes("grid_anchors", "cell_anchors", cell_anchors, 4, 5)
    real, columns = cell.dtype.type, cell.shape[1]
    height, width = feature_size
    stride_y, stride_x = pair(stride)
    x = (np.arange(width, dtype=cell.dtype) + real(offset)) * real(stride_x)
    y = (np.arange(height, dtype=cell.dtype) + real(offset)) * real(stride_y)
    grid = np.broadcast_to(cell, (height, width, *cell.shape)).copy()
    for corner in (0, 2) if columns == 4 else (0,):
        grid[..., corner] += x[None, :, None]
        grid[..., corner + 1] += y[:, None, None]
    return grid.reshape(-1, columns)
