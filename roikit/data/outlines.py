"""The outline of a mask as polygons that rasterise to the same mask, pixel by pixel.

The points are corners of pixels, so the polygons are exact under COCO's rule of rasterising. A hole is a ring like the
others: what an odd number of rings is around belongs to the object.
"""

import numpy as np

from roikit.data.segmentation import rasterised, read_segmentation

__all__ = ["joined_ring", "one_ring", "rings_of"]

_RIGHT, _DOWN, _LEFT, _UP = range(4)
_TURNS = (1, 0, 3)  # to the right, on, to the left: two pixels that touch at a corner alone have rings of their own


def rings_of(bitmap):
    """The borders of what is set.

    Args:
        bitmap: (H, W) bool.

    Returns:
        list of int64 arrays (N, 2), x and y of the corners in their order, closed without repeating the first; the
        object is to the right of each side, as a picture shows it.
    """
    height, width = bitmap.shape
    padded = np.zeros((height + 2, width + 2), bool)
    padded[1:-1, 1:-1] = bitmap
    centre, across = padded[1:-1, 1:-1], width + 1
    # A side goes from a corner, number y (W + 1) + x, to the next corner in its direction.
    begins = ((~padded[:-2, 1:-1], 0), (~padded[1:-1, 2:], 1), (~padded[2:, 1:-1], across + 1),
              (~padded[1:-1, :-2], across))
    starts, directions = [], []
    for direction, (free, corner) in enumerate(begins):
        y, x = np.nonzero(centre & free)
        starts.append(y * across + x + corner)
        directions.append(np.full(len(y), direction))
    start, direction = np.concatenate(starts), np.concatenate(directions)
    place = np.full((4, (height + 1) * across), -1)
    place[direction, start] = np.arange(len(start))
    end = start + np.array([1, across, -1, -across])[direction]
    following = np.full(len(start), -1)
    for turn in _TURNS:
        found = place[(direction + turn) % 4, end]
        following = np.where(following < 0, found, following)
    return [np.stack([corners % across, corners // across], 1) for corners in
            _cycles(start.tolist(), direction.tolist(), following.tolist())]


def _cycles(start, direction, following):
    """The corners where each ring turns."""
    rings, left = [], [True] * len(start)
    for first in range(len(start)):
        if not left[first]:
            continue
        corners, side = [], first
        while left[side]:
            left[side] = False
            after = following[side]
            if direction[after] != direction[side]:
                corners.append(start[after])
            side = after
        rings.append(np.array(corners))
    return rings


def joined_ring(rings):
    """Several rings as one, over bridges that are walked there and back and so have no area.

    Args:
        rings: list of arrays (N, 2) of whole numbers.

    Returns:
        array (M, 2).
    """
    rings = sorted(rings, key=len, reverse=True)
    whole = rings[0]
    for ring in rings[1:]:
        squares = ((whole[:, None] - ring[None]) ** 2).sum(2)
        near, own = np.unravel_index(squares.argmin(), squares.shape)
        corner = [[ring[own, 0], whole[near, 1]]]  # along a row, then along a column: both lie between pixels
        around = np.concatenate([ring[own:], ring[:own + 1]])
        whole = np.concatenate([whole[:near + 1], corner, around, corner, whole[near:]])
    return whole


def one_ring(segmentation, height, width):
    """A mask as one polygon: a lone polygon as it is, any other mask by the borders of its pixels.

    Args:
        segmentation: of a COCO annotation.
        height, width: of the image.

    Returns:
        (N, 2) float64; None where it has no pixel.

    Raises:
        ValueError: the segmentation is malformed.
    """
    mask = read_segmentation(segmentation, height, width)
    if isinstance(mask, list) and len(mask) == 1:
        return mask[0].reshape(-1, 2)
    boxed = rasterised(mask, height, width)
    if not boxed.bitmap.any():
        return None
    return (joined_ring(rings_of(boxed.bitmap)) + (boxed.x, boxed.y)).astype(np.float64)
