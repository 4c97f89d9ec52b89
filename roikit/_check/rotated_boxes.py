"""What the functions on rotated boxes check, and the turn of a rotation, the same on every floor."""

import math

from roikit import _check

FLIPS = ("horizontal", "vertical")


def flip(op, size, direction):
    """Where the mirror lies: the column to change, and the extent of the image along it."""
    height, width = _check.two_numbers(op, "size", size)
    if not (0 <= height < math.inf and 0 <= width < math.inf):
        raise ValueError(f"{op}: size must be two numbers of at least 0, got {size!r}")
    _check.choice(op, "direction", direction, FLIPS)
    return (0, width) if direction == "horizontal" else (1, height)


def turn(op, degrees, center):
    """Degrees, the point (x, y) about which is turned, and sine and cosine of the angle as the kernels have them."""
    degrees = _check.number(op, "degrees", degrees)
    if not isinstance(center, (tuple, list)) or len(center) != 2:
        raise ValueError(f"{op}: center must be two numbers (x, y), got {center!r}")
    point = _check.finites(op, "center", center)
    if not math.isfinite(degrees):
        raise ValueError(f"{op}: degrees must be finite, got {degrees}")
    return degrees, point, *_sin_cos(degrees)


def _alternating(z, first, last):
    """1 / first! - z (1 / (first + 2)! - z (... 1 / last!))."""
    value = 1 / math.factorial(last)
    for k in range(last - 2, first - 1, -2):
        value = 1 / math.factorial(k) - z * value
    return value


def _sin_cos(degrees):
    """The series of src/core/rotated.h: multiples of 90 degrees give 0, 1 and -1."""
    a = math.fmod(degrees, 360.0)
    quarters = math.floor(a / 90.0 + 0.5)
    x = (a - 90.0 * quarters) * 0.017453292519943295
    z = x * x
    s = x - (x * z) * _alternating(z, 3, 17)
    c = (1.0 - 0.5 * z) + (z * z) * _alternating(z, 4, 18)
    quarter = (quarters + 4) % 4
    sin, cos = (c, s) if quarter % 2 else (s, c)
    return (-sin if quarter >= 2 else sin), (-cos if quarter in (1, 2) else cos)
