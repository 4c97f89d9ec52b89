"""Of boxes whose centres lie near each other, the one with the best score.

Boxes are taken by descending score; equal scores by ascending index, NaN last. A box is kept unless a box kept before
it has its centre nearer than the distance. With T the dtype of the boxes, half being cast to float32, a centre is
x = (x1 + x2) * 0.5, likewise y, and two are near where

    dx * dx + dy * dy < T(distance) * T(distance),   dx = x of the kept - x of the later, likewise dy

Exact. A centre with a NaN or an infinity is near no other.

Source: this project's own.
"""

import numpy as np

from roikit.reference.arguments import as_candidates
from roikit.reference.order import score_order

__all__ = ["opname"]


def opname(boxes, scores, distance):
    """Keep the boxes with no better box near their centres.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2.
        scores: (N,) float, any float dtype.
        distance: float, compared strictly.

    Returns:
        int64 (K,): indices of the kept boxes, in the order of their scores.
    """
    boxes, scores = as_candidates("opname", boxes, scores)
    keep, near = [], np.zeros(len(boxes), bool)
    with np.errstate(all="ignore"):
        limit = boxes.dtype.type(distance) * boxes.dtype.type(distance)
        x, y = ((boxes[:, :2] + boxes[:, 2:]) * boxes.dtype.type(0.5)).T
        for i in score_order(scores):
            if not near[i]:
                keep.append(i)
                dx, dy = x[i] - x, y[i] - y
                near |= dx * dx + dy * dy < limit
    return np.array(keep, np.int64)
