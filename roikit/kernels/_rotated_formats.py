"""Rotated boxes in other formats, in NumPy; "xywhr", whose corner is the box's own, stands between the others."""

import numpy as np

from roikit._check import angles


def _series(z, terms):
    value = np.full_like(z, terms[0])
    for term in terms[1:]:
        value = term - z * value
    return value


def _sin_cos(degrees):
    """Sine and cosine of angles in double, NaN of those that are not finite, as src/core/rotated.h has them."""
    known = np.isfinite(degrees)
    a = np.fmod(np.where(known, degrees, 0.0), 360.0)
    quarters = np.floor(a / 90.0 + 0.5)
    x = (a - 90.0 * quarters) * angles.PER_DEGREE
    z = x * x
    s = x - (x * z) * _series(z, angles.SINE)
    c = (1.0 - 0.5 * z) + (z * z) * _series(z, angles.COSINE)
    turn = np.mod(quarters, 4)
    odd = (turn == 1) | (turn == 3)
    sin, cos = np.where(odd, c, s), np.where(odd, s, c)
    sin, cos = np.where(turn >= 2, -sin, sin), np.where((turn == 1) | (turn == 2), -cos, cos)
    return np.where(known, sin, np.nan), np.where(known, cos, np.nan)


def _own_axes(boxes):
    """w * cos, w * sin, h * sin, h * cos, each (N,)."""
    sin, cos = (v.astype(boxes.dtype) for v in _sin_cos(boxes[:, 4].astype(np.float64)))
    w, h = boxes[:, 2], boxes[:, 3]
    return w * cos, w * sin, h * sin, h * cos


def _degrees_along(x, y):
    """The angles in (-180, 180] of steps of x to the right and y upwards, as src/core/math.h has the arc tangent."""
    right, up = np.where(x < 0, -x, x), np.where(y < 0, -y, y)
    low, high = np.where(up < right, up, right), np.where(up < right, right, up)
    r = low / np.where(high == 0, 1.0, high)
    steep = r > angles.STEEP
    t = np.where(steep, (r - 1.0) / (r + 1.0), r)
    z, total = t * t, angles.ATAN[0]
    for term in angles.ATAN[1:]:
        total = term + z * total
    turn = np.where(steep, angles.EIGHTH + t * total, t * total)
    degrees = np.where(up > right, angles.QUARTER - turn, turn) * angles.PER_RADIAN
    degrees = np.where(x < 0, 180.0 - degrees, degrees)
    return np.where(np.isnan(x) | np.isnan(y), np.nan, np.where(y < 0, -degrees, degrees))


def to_own_corner(boxes, fmt):
    """"xywhr" (N, 5) of another rotated format."""
    if fmt == "cxcywhr":
        ax, ay, dx, dy = _own_axes(boxes)
        half = boxes.dtype.type(0.5)
        return np.column_stack([boxes[:, 0] - half * (ax + dx), boxes[:, 1] - half * (dy - ay), boxes[:, 2:]])
    if fmt == "xyxyxyxy":
        corners = boxes.astype(np.float64)
        along, down = corners[:, 2:4] - corners[:, 0:2], corners[:, 4:6] - corners[:, 2:4]
        sides = [np.sqrt(v[:, 0] * v[:, 0] + v[:, 1] * v[:, 1]) for v in (along, down)]
        turn = _degrees_along(along[:, 0], corners[:, 1] - corners[:, 3])
        return np.column_stack([boxes[:, :2], *(v.astype(boxes.dtype) for v in (*sides, turn))])
    return boxes


def from_own_corner(boxes, fmt):
    """Another rotated format of "xywhr" (N, 5); new memory."""
    if fmt == "xywhr":
        return boxes.copy()
    ax, ay, dx, dy = _own_axes(boxes)
    x, y = boxes[:, 0], boxes[:, 1]
    if fmt == "cxcywhr":
        half = boxes.dtype.type(0.5)
        return np.column_stack([x + half * (ax + dx), y + half * (dy - ay), boxes[:, 2:]])
    right, up = x + ax, y - ay
    return np.column_stack([x, y, right, up, right + dx, up + dy, x + dx, y + dy])
