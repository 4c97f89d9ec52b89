"""Rotated boxes in other formats, in torch; "xywhr", whose corner is the box's own, stands between the others.

The arithmetic is that of `roikit.kernels`, and so are the bits. ``where`` picks no value whose gradient is not finite.
"""

import torch

from roikit._check import angles


def _series(z, terms):
    value = torch.full_like(z, terms[0])
    for term in terms[1:]:
        value = term - z * value
    return value


def _sin_cos(degrees):
    """Sine and cosine of angles in double, NaN of those that are not finite, as src/core/rotated.h has them."""
    known = degrees.isfinite()
    a = torch.fmod(torch.where(known, degrees, 0.0), 360.0)
    # By a tensor: by a number, CUDA multiplies with its inverse.
    quarters = torch.floor(a.detach() / a.new_full((), 90.0) + 0.5)
    x = (a - 90.0 * quarters) * angles.PER_DEGREE
    z = x * x
    s = x - (x * z) * _series(z, angles.SINE)
    c = (1.0 - 0.5 * z) + (z * z) * _series(z, angles.COSINE)
    turn = torch.remainder(quarters, 4.0)
    odd = (turn == 1) | (turn == 3)
    sin, cos = torch.where(odd, c, s), torch.where(odd, s, c)
    sin, cos = torch.where(turn >= 2, -sin, sin), torch.where((turn == 1) | (turn == 2), -cos, cos)
    return torch.where(known, sin, torch.nan), torch.where(known, cos, torch.nan)


def _own_axes(boxes):
    """w * cos, w * sin, h * sin, h * cos, each (N,)."""
    sin, cos = (v.to(boxes.dtype) for v in _sin_cos(boxes[:, 4].double()))
    w, h = boxes[:, 2], boxes[:, 3]
    return w * cos, w * sin, h * sin, h * cos


def _degrees_along(x, y):
    """The angles in (-180, 180] of steps of x to the right and y upwards, as src/core/math.h has the arc tangent."""
    right, up = torch.where(x < 0, -x, x), torch.where(y < 0, -y, y)
    low, high = torch.where(up < right, up, right), torch.where(up < right, right, up)
    r = low / torch.where(high == 0, 1.0, high)
    steep = r > angles.STEEP
    t = torch.where(steep, (r - 1.0) / (r + 1.0), r)
    z, total = t * t, angles.ATAN[0]
    for term in angles.ATAN[1:]:
        total = term + z * total
    turn = torch.where(steep, angles.EIGHTH + t * total, t * total)
    degrees = torch.where(up > right, angles.QUARTER - turn, turn) * angles.PER_RADIAN
    degrees = torch.where(x < 0, 180.0 - degrees, degrees)
    return torch.where(x.isnan() | y.isnan(), torch.nan, torch.where(y < 0, -degrees, degrees))


def _root(square):
    """The square root rounded correctly; torch's, of doubles on a CPU, may be a library's that is off by a bit.

    What its square leaves of the number is found exactly, by Dekker's product of halves, and corrects it.
    """
    root = square.sqrt()
    own = root.detach()
    high = own * 134217729.0  # 2**27 + 1
    high = high - (high - own)
    low, whole = own - high, own * own
    left = (square.detach() - whole) - (((high * high - whole) + 2.0 * high * low) + low * low)
    plain = (square > 1e-280) & (square < 1e280)  # where no product is lost
    return root + torch.where(plain, left / (own + own), 0.0)


def _length(step):
    square = step[:, 0] * step[:, 0] + step[:, 1] * step[:, 1]
    none = square == 0
    return torch.where(none, 0.0, _root(torch.where(none, 1.0, square)))


def to_own_corner(boxes, fmt):
    """"xywhr" (N, 5) of another rotated format."""
    if fmt == "cxcywhr":
        ax, ay, dx, dy = _own_axes(boxes)
        corner = torch.stack([boxes[:, 0] - 0.5 * (ax + dx), boxes[:, 1] - 0.5 * (dy - ay)], dim=1)
        return torch.cat([corner, boxes[:, 2:]], dim=1)
    if fmt == "xyxyxyxy":
        corners = boxes.double()
        along, down = corners[:, 2:4] - corners[:, 0:2], corners[:, 4:6] - corners[:, 2:4]
        turn = _degrees_along(along[:, 0], corners[:, 1] - corners[:, 3])
        rest = torch.stack([_length(along), _length(down), turn], dim=1)
        return torch.cat([boxes[:, :2], rest.to(boxes.dtype)], dim=1)
    return boxes


def from_own_corner(boxes, fmt):
    """Another rotated format of "xywhr" (N, 5); new memory."""
    if fmt == "xywhr":
        return boxes.clone()
    ax, ay, dx, dy = _own_axes(boxes)
    x, y = boxes[:, 0], boxes[:, 1]
    if fmt == "cxcywhr":
        return torch.cat([torch.stack([x + 0.5 * (ax + dx), y + 0.5 * (dy - ay)], dim=1), boxes[:, 2:]], dim=1)
    right, up = x + ax, y - ay
    return torch.stack([x, y, right, up, right + dx, up + dy, x + dx, y + dy], dim=1)
