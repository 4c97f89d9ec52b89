"""Keypoints as cells of a box's heatmap, and heatmaps back to keypoints. Both are decisions and exact.

T is the wider dtype of the two arguments, float32 or float64; half is cast to float32. Every expression
is computed in T in the order written, without fused multiply-add, so every floor gives the same bits.

Mask R-CNN models a keypoint as one cell of an S x S grid over its box. The cell of a point (x, y) is

    by * S + bx,  bx = floor((x - x1) * (S / (x2 - x1))),  by likewise,

at most S - 1 along each axis, so that a point on the box's right or lower edge is in the last cell. It
is valid where x1 <= x <= x2, y1 <= y <= y2, its visibility is above 0, and S / (x2 - x1) and
S / (y2 - y1) are positive and finite, which no empty, reversed or infinite box has; 0 otherwise.

Back: the map of H x W values is resized to one value a pixel of the box and the place of the largest
is the keypoint. Along an axis of extent E, from the box's corners low and high:

- side = high - low, at least 1; G = ceil(side), at most GRID_LIMIT: a larger box has wider cells.
- Cell i is at u = (i + 0.5) * (T(E) / T(G)) - 0.5; c = floor(u), limited to [-1, E - 1]; t = u - c.
- It reads the pixels c - 1, c, c + 1, c + 2, limited to [0, E - 1], with Keys' weights for A = -0.75:
  far(t + 1), near(t), near(1 - t), far((1 - t) + 1), where
  near(d) = ((A + 2) * d - (A + 3)) * d * d + 1 and far(d) = ((A * d - 5 A) * d + 8 A) * d - 4 A.
- The sum of four is ((p0 * w0 + p1 * w1) + p2 * w2) + p3 * w3, of the columns first, then of the rows.

The search starts at position 0 with -infinity, goes by rows, and a value that is strictly greater wins:
the first of equals, and never NaN. The score is the value at the position, the keypoint
x = (T(ix) + 0.5) * (side / T(G)) + x1, y likewise. A map of NaN alone has position 0 and score NaN. A
box with a NaN or infinite coordinate or side gives keypoints 0, 0 and score 0.

Source: He et al. 2017, arXiv:1703.06870, section 5; Keys 1981, "Cubic convolution interpolation for
digital image processing"; A = -0.75 and the half-pixel centres are those of torch's bicubic resize.
"""

import numpy as np

from roikit.reference.arguments import as_boxes, as_floats

__all__ = ["decode_keypoints", "encode_keypoints"]

GRID_LIMIT = 4096
SIZE_LIMIT = 2**24  # float32 has every whole number up to here


def as_pair(op, name, values, boxes):
    """The values and their boxes in T."""
    values, boxes = as_floats(op, name, values), as_boxes(op, "boxes", boxes)
    if values.ndim not in (3, 4) or len(values) != len(boxes):
        raise ValueError(f"{op}: {name} and boxes must have as many rows, got {len(values)} and {len(boxes)}")
    dtype = np.result_type(values, boxes)
    return values.astype(dtype), boxes.astype(dtype)


def encode_keypoints(keypoints, boxes, size):
    """The cell of each keypoint in a size x size grid over its box. The module states the rule.

    Args:
        keypoints: (N, K, 3) float, x, y, visibility.
        boxes: (N, 4) float, x1 y1 x2 y2.
        size: S, from 1 to 2**24.

    Returns:
        target int64 (N, K): by * S + bx, 0 where it is not valid.
        valid bool (N, K): in the box and visible.
    """
    op = "encode_keypoints"
    keypoints, boxes = as_pair(op, "keypoints", keypoints, boxes)
    if keypoints.ndim != 3 or keypoints.shape[2] != 3:
        raise ValueError(f"{op}: keypoints must have shape (N, K, 3), got {keypoints.shape}")
    if not 1 <= size <= SIZE_LIMIT:
        raise ValueError(f"{op}: size must be from 1 to {SIZE_LIMIT}, got {size}")
    real = keypoints.dtype.type
    valid = keypoints[:, :, 2] > 0
    cells = []
    with np.errstate(all="ignore"):
        for axis in (0, 1):
            at, low, high = keypoints[:, :, axis], boxes[:, axis, None], boxes[:, axis + 2, None]
            scale = real(size) / (high - low)
            valid = valid & (low <= at) & (at <= high) & (scale > 0) & (scale < np.inf)
            cell = np.floor((at - low) * scale)
            cells.append(np.where(cell < size, cell, real(size - 1)))
    x, y = (np.where(valid, cell, 0).astype(np.int64) for cell in cells)
    return y * size + x, valid


def cubic_weights(t):
    """The weights of four pixels, from the fraction t at which a cell lies between the middle two."""
    real = t.dtype.type
    a = real(-0.75)

    def near(d):
        return ((a + real(2)) * d - (a + real(3))) * d * d + real(1)

    def far(d):
        return ((a * d - real(5) * a) * d + real(8) * a) * d - real(4) * a

    return far(t + real(1)), near(t), near(real(1) - t), far((real(1) - t) + real(1))


def resized(values, cells):
    """Values (E, ...) along the first axis at so many cells."""
    real, extent = values.dtype.type, len(values)
    u = (np.arange(cells, dtype=real) + real(0.5)) * (real(extent) / real(cells)) - real(0.5)
    c = np.clip(np.floor(u), real(-1), real(extent - 1))
    weights = [w.reshape(-1, *[1] * (values.ndim - 1)) for w in cubic_weights(u - c)]
    p = [values[np.clip(c.astype(np.int64) + k, 0, extent - 1)] for k in (-1, 0, 1, 2)]
    with np.errstate(all="ignore"):
        return ((p[0] * weights[0] + p[1] * weights[1]) + p[2] * weights[2]) + p[3] * weights[3]


def grid(low, high):
    """The side of a box along an axis, at least 1, and how many cells it has; None where it is not finite."""
    with np.errstate(all="ignore"):
        side = high - low
    if not np.isfinite([low, high, side]).all():
        return None
    side = max(side, side.dtype.type(1))
    return side, int(min(np.ceil(side), GRID_LIMIT))


def decode_keypoints(maps, boxes):
    """The place of the largest value of each map, resized to its box. The module states the rule.

    Args:
        maps: (N, K, H, W) float, a map for each keypoint; H and W at least 1.
        boxes: (N, 4) float, x1 y1 x2 y2.

    Returns:
        xy T (N, K, 2), in pixels of the boxes, and scores T (N, K), the resized map's value there.
    """
    op = "decode_keypoints"
    maps, boxes = as_pair(op, "maps", maps, boxes)
    if maps.ndim != 4 or 0 in maps.shape[2:]:
        raise ValueError(f"{op}: maps must have shape (N, K, H, W) with H and W at least 1, got {maps.shape}")
    real = maps.dtype.type
    xy, scores = np.zeros((*maps.shape[:2], 2), real), np.zeros(maps.shape[:2], real)
    for n, (x1, y1, x2, y2) in enumerate(boxes):
        across, down = grid(x1, x2), grid(y1, y2)
        if across is None or down is None:
            continue
        (width, columns), (height, rows) = across, down
        for k in range(maps.shape[1]):
            surface = resized(resized(maps[n, k].T, columns).T, rows)
            winners = np.where(np.isnan(surface), -np.inf, surface)
            iy, ix = divmod(int(winners.argmax()), columns)
            if winners[iy, ix] == -np.inf:
                iy = ix = 0
            scores[n, k] = surface[iy, ix]
            with np.errstate(over="ignore"):
                xy[n, k, 0] = (real(ix) + real(0.5)) * (width / real(columns)) + x1
                xy[n, k, 1] = (real(iy) + real(0.5)) * (height / real(rows)) + y1
    return xy, scores
