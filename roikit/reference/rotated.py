"""Rotated boxes: overlap and greedy suppression. Everything here is exact on every floor.

A box is cx, cy, w, h in pixels and an angle in degrees, counter-clockwise as one sees it on an image
whose y points down: its width lies along (cos, -sin), its height along (sin, cos).

Whatever the dtype T of the boxes, all is computed in float64 from + - * / sqrt and fmod alone, in the
order written here, and rounded to T at the end. Sine and cosine are series of those operations, after
an exact reduction: multiples of 90 degrees give 0, 1 and -1, and 360 degrees more give the same bits.

The overlap needs no polygon. In the frame of the larger box "a", the area of "b" within |x| <= hx and
|y| <= hy is, by Green's theorem, the integral of clamp(x, -hx, hx) dy along b's outline, y being
clamped to [-hy, hy]. Each edge gives a closed form that is continuous in all of its numbers, so
nothing depends on whether a corner is found inside or outside.

Against exact arithmetic on the same cosines and sines the IoU of float64 boxes is within ``bound``.

Source: Green's theorem; separating axes: Gottschalk, Lin, Manocha, "OBBTree", SIGGRAPH 1996.
"""

import math

import numpy as np

from roikit.reference.arguments import as_boxes
from roikit.reference.order import suppress

__all__ = ["batched_nms_rotated", "box_iou_rotated", "nms_rotated"]

LIMIT = 1e150  # a coordinate or a side of this size counts as infinite
QUARTER, HALF = 0.78539816339744830962, 1.57079632679489661923
ATAN = (0.99999999999999999995, -0.33333333333333324206, 0.19999999999997013892, -0.14285714285329708164,
        0.11111111085322108759, -0.090909080590311910269, 0.076922810999377432501, -0.066662052599765261879,
        0.058768340046141606641, -0.052173125740615910016, 0.044995007289840320092, -0.033387824501211951519,
        0.015113765096600924669)


def bound(boxes):
    """How far an IoU in float64 may be from the true one: 32 roundings for each unit of the sides' ratio."""
    sides = np.abs(np.asarray(boxes, np.float64)[:, 2:4])
    return 2.0**-52 * 16 * (1 + (sides.max(initial=1) / sides.min(initial=1)))


def _alternating(z, first, last):
    """1 / first! - z (1 / (first + 2)! - z (... 1 / last!))."""
    value = np.full_like(z, 1 / math.factorial(last))
    for k in range(last - 2, first - 1, -2):
        value = 1 / math.factorial(k) - z * value
    return value


def sin_cos_degrees(degrees):
    """Sine and cosine, float64, of finite angles in degrees."""
    a = np.fmod(degrees, 360.0)
    quarters = np.floor(a / 90.0 + 0.5)
    x = (a - 90.0 * quarters) * 0.017453292519943295
    z = x * x
    s = x - (x * z) * _alternating(z, 3, 17)
    c = (1.0 - 0.5 * z) + (z * z) * _alternating(z, 4, 18)
    turn = (quarters + 4).astype(np.int64) % 4
    sin, cos = np.where(turn % 2 == 1, c, s), np.where(turn % 2 == 1, s, c)
    return np.where(turn >= 2, -sin, sin), np.where((turn == 1) | (turn == 2), -cos, cos)


def angle_of(y, x):
    """The angle in radians whose tangent is y / x, for y and x of at least 0: the polynomial of src/core/math.h."""
    low, high = (y, x) if y < x else (x, y)
    r = low / high if high > 0 else 0.0
    steep = r > 0.41421356237309504880
    t = (r - 1.0) / (r + 1.0) if steep else r
    z, total = t * t, ATAN[-1]
    for c in ATAN[-2::-1]:
        total = c + z * total
    angle = (QUARTER if steep else 0.0) + t * total
    return HALF - angle if y > x else angle


def prepared(boxes):
    """Centre x, y, cosine, sine, half sides, half diagonal and area, each float64 (N,); 0 for a box without IoU."""
    x, y, w, h, degrees = np.asarray(boxes, np.float64).T
    area = w * h
    real = (np.abs(x) < LIMIT) & (np.abs(y) < LIMIT) & (w > 0) & (w < LIMIT) & (h > 0) & (h < LIMIT)
    real &= (area > 0) & np.isfinite(degrees)
    x, y, w, h, degrees, area = (np.where(real, v, 0.0) for v in (x, y, w, h, degrees, area))
    s, c = sin_cos_degrees(degrees)
    hx, hy = 0.5 * w, 0.5 * h
    return x, y, c, s, hx, hy, np.sqrt(hx * hx + hy * hy), area


def clamp_to(v, most):
    low = np.where(v > -most, v, -most)
    return np.where(low < most, low, most)


def unit_of(v):
    """v within [0, 1]; NaN gives 0."""
    low = np.where(v > 0, v, 0.0)
    return np.where(low < 1, low, 1.0)


def edge_integral(x, y, dx, per_y, start, end, hx):
    """The integral of clamp(x) dy along an edge from (x, y), where y runs from start to end; dx, 1 / per_y long."""
    xa, xb = x + unit_of((start - y) * per_y) * dx, x + unit_of((end - y) * per_y) * dx
    ca, cb = clamp_to(xa, hx), clamp_to(xb, hx)
    length, step = xb - xa, cb - ca
    weight = (0.5 * step + (xb - cb)) / np.where(length == 0, 1.0, length)
    return (ca + step * weight) * (end - start)


def comes_first(p, q):
    """The larger box is the first; equal ones by x, y, width, cosine and sine."""
    first = np.zeros(np.broadcast_shapes(p[0].shape, q[0].shape), bool)
    for i in (3, 2, 4, 1, 0, 7):
        first = (p[i] > q[i]) | ((p[i] == q[i]) & first)
    return first


def intersection(p, q):
    """The area that prepared boxes share, between 0 and that of the smaller one."""
    px, py, pc, ps, phx, phy, _, parea = p
    qx, qy, qc, qs, qhx, qhy, _, qarea = q
    first = comes_first(p, q)
    c = pc * qc + ps * qs  # b's width lies along (c, s) in a's frame
    turn = qc * ps - qs * pc
    s = np.where(first, turn, -turn)
    ac, as_, bc, bs = (np.where(first, *pair) for pair in ((pc, qc), (ps, qs), (qc, pc), (qs, ps)))
    ahx, ahy, bhx, bhy = (np.where(first, *pair) for pair in ((phx, qhx), (phy, qhy), (qhx, phx), (qhy, phy)))
    dx, dy = np.where(first, qx - px, -(qx - px)), np.where(first, qy - py, -(qy - py))
    x, y = dx * ac - dy * as_, dx * as_ + dy * ac  # b's centre in a's frame
    ux, uy, vx, vy = c * bhx, s * bhx, -s * bhy, c * bhy  # half of b's sides
    of_x, of_y = dx * bc - dy * bs, dx * bs + dy * bc
    absc, abss = np.abs(c), np.abs(s)
    apart = np.abs(x) >= ahx + (np.abs(ux) + np.abs(vx))  # an axis of either box separates them
    apart |= np.abs(y) >= ahy + (np.abs(uy) + np.abs(vy))
    apart |= np.abs(of_x) >= bhx + (absc * ahx + abss * ahy)
    apart |= np.abs(of_y) >= bhy + (abss * ahx + absc * ahy)
    x0, x1, x2, x3 = (x - ux) - vx, (x + ux) - vx, (x + ux) + vx, (x - ux) + vx
    y0, y1, y2, y3 = (y - uy) - vy, (y + uy) - vy, (y + uy) + vy, (y - uy) + vy
    c0, c1, c2, c3 = (clamp_to(v, ahy) for v in (y0, y1, y2, y3))
    per_u, per_v = 0.5 / uy, 0.5 / vy
    area = ((edge_integral(x0, y0, 2 * ux, per_u, c0, c1, ahx) + edge_integral(x1, y1, 2 * vx, per_v, c1, c2, ahx))
            + (edge_integral(x2, y2, -2 * ux, -per_u, c2, c3, ahx)
               + edge_integral(x3, y3, -2 * vx, -per_v, c3, c0, ahx)))
    most = np.where(parea < qarea, parea, qarea)
    area = np.where(area > 0, area, 0.0)
    return np.where(apart, 0.0, np.where(area < most, area, most))


def box_iou_rotated(boxes1, boxes2):
    """Intersection over union of every pair of rotated boxes; T is the wider of the two dtypes.

    Args:
        boxes1: (N, 5) float, cx, cy, w, h and degrees counter-clockwise.
        boxes2: (M, 5) float.

    Returns:
        T (N, M) in [0, 1], symmetric in the two boxes bit by bit. 0 for boxes that do not meet, for an
        empty, reversed, NaN or infinite box, and for one with a coordinate or a side of 1e150 or more.
    """
    a = as_boxes("box_iou_rotated", "boxes1", boxes1, 5)
    b = as_boxes("box_iou_rotated", "boxes2", boxes2, 5)
    dtype = np.result_type(a, b)
    with np.errstate(all="ignore"):
        p, q = (prepared(boxes.astype(dtype)) for boxes in (a, b))
        p, q = [v[:, None] for v in p], [v[None, :] for v in q]
        inter = intersection(p, q)
        dx, dy, r = q[0] - p[0], q[1] - p[1], p[6] + q[6]
        some = (inter > 0) & (dx * dx + dy * dy < r * r)  # the circles around them meet
        return np.where(some, inter / ((p[7] + q[7]) - inter), 0.0).astype(dtype)


def nms_rotated(boxes, scores, iou_threshold):
    """``nms`` of rotated boxes, by the overlap of ``box_iou_rotated``.

    Args:
        boxes: (N, 5) float, cx, cy, w, h and degrees counter-clockwise.
        scores, iou_threshold: as in `nms`.

    Returns:
        int64 (K,): indices of the kept boxes, in the order of their scores.
    """
    return suppress("nms_rotated", boxes, scores, None, iou_threshold, box_iou_rotated, 5)


def batched_nms_rotated(boxes, scores, idxs, iou_threshold):
    """``nms_rotated`` within each class, as `batched_nms` is `nms` within each.

    Args:
        boxes, scores, iou_threshold: as in `nms_rotated`.
        idxs: (N,) integer, as in `batched_nms`.

    Returns:
        int64 (K,): the kept boxes of all classes, merged in the order of their scores.
    """
    return suppress("batched_nms_rotated", boxes, scores, idxs, iou_threshold, box_iou_rotated, 5)
