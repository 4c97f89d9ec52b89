"""Numbers of the arithmetic of angles, the same on every floor: those of src/core/rotated.h and src/core/math.h."""

import math

__all__ = ["ATAN", "COSINE", "EIGHTH", "PER_DEGREE", "PER_RADIAN", "QUARTER", "SINE", "STEEP"]

PER_DEGREE, PER_RADIAN = 0.017453292519943295, 57.295779513082323
# 1 / k! of the alternating series, the last first.
SINE = tuple(1 / math.factorial(k) for k in range(17, 2, -2))
COSINE = tuple(1 / math.factorial(k) for k in range(18, 3, -2))
# The arc tangent: of values up to STEEP the polynomial, of others that of (r - 1) / (r + 1), and an eighth of a turn.
STEEP = 0.41421356237309504880
EIGHTH, QUARTER = 0.78539816339744830962, 1.57079632679489661923
ATAN = (0.015113765096600924669, -0.033387824501211951519, 0.044995007289840320092, -0.052173125740615910016,
        0.058768340046141606641, -0.066662052599765261879, 0.076922810999377432501, -0.090909080590311910269,
        0.11111111085322108759, -0.14285714285329708164, 0.19999999999997013892, -0.33333333333333324206,
        0.99999999999999999995)
