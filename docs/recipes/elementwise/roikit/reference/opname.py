"""The centre of each box, in pixels of a map of some stride.

With T the dtype of the boxes, half being cast to float32, and the stride rounded to T:

    x = ((x1 + x2) * 0.5) / stride, likewise y

Exact: every operation is rounded once, in this order. NaN and infinities are what IEEE 754 makes of them.

Source: this project's own.
"""

import numpy as np

from roikit.reference.arguments import as_boxes

__all__ = ["opname"]


def opname(boxes, stride=1.0):
    """The centre of each box, in pixels of a map.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2.
        stride: image pixels a pixel of the map.

    Returns:
        (N, 2) T: x, y.
    """
    boxes = as_boxes("opname", "boxes", boxes)
    real = boxes.dtype.type
    with np.errstate(all="ignore"):
        return ((boxes[:, :2] + boxes[:, 2:]) * real(0.5)) / real(stride)
