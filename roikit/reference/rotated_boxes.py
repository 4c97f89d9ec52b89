"""Rotated boxes made and moved: the smallest around an object, flips of the image, rotations. All of it is exact.

A box is cx, cy, w, h in pixels and degrees counter-clockwise (``rotated``).

min_area_boxes. An object's points are the vertices of its polygons, or the corners of the pixels of its
mask, pixel (x, y) covering [x, x + 1) x [y, y + 1). All in double, in this order:

- the hull is Andrew's monotone chain over the points sorted by x, then y; a corner stays where
  (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x) is above 0, which whole numbers below 2**25 decide
  exactly;
- each of its edges d, from the corner p on, has a rectangle: with the furthest corners along d, before and
  behind, and across it, found by calipers, area = ((most - least) * across) / (d.x * d.x + d.y * d.y) for the
  products with d;
- of the edges whose area is at most (1 + 2**-40) times the least, the one that is turned least from the axes
  is taken, by min(|d.x|, |d.y|) / max(|d.x|, |d.y|); of equals that whose angle is lower; of equals the first;
- w is the longer side, and its angle lies in [-90, 90), for a square in [-45, 45).

One point gives x, y, 0, 0, 0, points on a line a box of height 0, no points 0, 0, 0, 0, 0.

Flips mirror the image: of its W columns cx becomes W - cx, of its H rows cy becomes H - cy; the angle becomes
-angle, as what is seen in the box is mirrored along the same side as the image at angle 0. A rotation turns
the image by ``degrees`` counter-clockwise about a point: with d = centre - point, sin and cos those of
``rotated.sin_cos_degrees`` rounded to T,

    cx = (d.x * cos + d.y * sin) + point.x,  cy = (d.y * cos - d.x * sin) + point.y,  angle + degrees.

Angles come out in [-180, 180), wrapped as in ``rotated_codec``. T is the dtype of the boxes.

Source: Andrew 1979; Freeman and Shapira 1975; Toussaint 1983.
"""

import math

import numpy as np

from roikit.reference.arguments import as_boxes
from roikit.reference.mask_target import bitmap_of
from roikit.reference.rotated import angle_of, sin_cos_degrees
from roikit.reference.rotated_codec import wrap_degrees

__all__ = ["flip_boxes_rotated", "min_area_boxes", "rotate_boxes_rotated"]

def turn_at(a, b, c):
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def convex_hull(points):
    """The corners of a list of (x, y), once around from the first."""
    points = sorted(points)
    hull = []
    for chain in (points, points[-2::-1]):
        start = len(hull) + 1 if hull else 2
        for p in chain:
            while len(hull) >= start and not turn_at(hull[-2], hull[-1], p) > 0:
                hull.pop()
            hull.append(p)
    return hull[:-1] if len(hull) > 1 else hull


def edges(hull):
    """(p, d, d . d, least, most, across) of each edge."""
    n = len(hull)

    def at(i):
        return hull[i % n]

    found, before, beside, behind = [], 1, 1, 1
    for i, p in enumerate(hull):
        dx, dy = at(i + 1)[0] - p[0], at(i + 1)[1] - p[1]
        square = dx * dx + dy * dy
        if square == 0:  # of no length, or of one whose square is no number
            continue

        def along(k, dx=dx, dy=dy):
            return dx * (at(k + 1)[0] - at(k)[0]) + dy * (at(k + 1)[1] - at(k)[1])

        def across(k, dx=dx, dy=dy):
            return dx * (at(k + 1)[1] - at(k)[1]) - dy * (at(k + 1)[0] - at(k)[0])

        before = max(before, i + 1)
        while before < i + n and along(before) > 0:
            before += 1
        beside = max(beside, before)
        while beside < i + n and across(beside) > 0:
            beside += 1
        behind = max(behind, beside)
        while behind < i + n and along(behind) < 0:
            behind += 1
        f, s, r = at(before), at(beside), at(behind)
        found.append((p, (dx, dy), square, dx * (r[0] - p[0]) + dy * (r[1] - p[1]),
                      dx * (f[0] - p[0]) + dy * (f[1] - p[1]), dx * (s[1] - p[1]) - dy * (s[0] - p[0])))
    return found


def box_on(edge):
    """cx, cy, w, h, degrees of the rectangle on an edge."""
    p, (dx, dy), square, least, most, across = edge
    length = math.sqrt(square)
    along, high = (most - least) / length, across / length
    middle, half = 0.5 * (most + least), 0.5 * across
    centre = p[0] + (dx * middle - dy * half) / square, p[1] + (dy * middle + dx * half) / square
    x, y = abs(dx), abs(dy)
    other = along < high or (along == high and (x < y or (x == y and (dx < 0) != (dy < 0))))
    ex, ey = (-dy, dx) if other else (dx, dy)
    if ex < 0 or (ex == 0 and ey < 0):
        ex, ey = -ex, -ey
    angle = angle_of(abs(ey), ex) * 57.295779513082323
    return *centre, *((high, along) if other else (along, high)), -angle if ey > 0 else angle


def smallest_box(points):
    """The box of a list of (x, y)."""
    hull = convex_hull(points)
    if not hull:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    all_edges = edges(hull)
    if not all_edges:
        return *hull[0], 0.0, 0.0, 0.0
    areas = [((most - least) * across) / square for _, _, square, least, most, across in all_edges]
    limit = min(areas) + min(areas) * 2.0**-40
    best = None
    for edge, area in zip(all_edges, areas, strict=True):
        x, y = abs(edge[1][0]), abs(edge[1][1])
        key = (x / y if x < y else y / x), box_on(edge)[4]
        if area <= limit and (best is None or key < best[0]):
            best = key, box_on(edge)
    return best[1]


def corners_of(mask):
    """(x, y) of the corners of the first and of the last pixel of each column of a bitmap."""
    if mask.size == 0:
        return []
    columns = np.flatnonzero(mask.any(axis=0))
    first, last = mask.argmax(axis=0), mask.shape[0] - mask[::-1].argmax(axis=0)
    return [(float(x + i), float(y)) for x in columns for i in (0, 1) for y in (first[x], last[x])]


def min_area_boxes(masks, *, dtype=np.float32):
    """The smallest rotated box around each object.

    Args:
        masks: bitmaps (N, H, W), bool or integer; or a list whose entries are RLE dicts or lists of polygons
            [x0, y0, x1, y1, ...] in pixels.
        dtype: float32 or float64, to which the numbers are rounded.

    Returns:
        (N, 5) of ``dtype``: cx, cy, w, h in pixels with w >= h, and degrees in [-90, 90).

    Raises:
        ValueError: a malformed RLE; a polygon of less than 3 points.
    """
    boxes = np.zeros((len(masks), 5))
    for i in range(len(masks)):
        if isinstance(masks, np.ndarray) or isinstance(masks[i], dict):
            points = corners_of(bitmap_of(masks, i, None))
        else:
            if any(len(polygon) < 6 or len(polygon) % 2 for polygon in masks[i]):
                raise ValueError("min_area_boxes: a polygon must have at least 3 points, x and y of each")
            points = [(float(x), float(y)) for polygon in masks[i]
                      for x, y in zip(polygon[::2], polygon[1::2], strict=True)]
        boxes[i] = smallest_box(points)
    return boxes.astype(dtype)


def flip_boxes_rotated(boxes, size, direction="horizontal"):
    """Rotated boxes in the mirrored image.

    Args:
        boxes: (N, 5) float, cx, cy, w, h in pixels and degrees counter-clockwise.
        size: (H, W) of the image.
        direction: "horizontal" (left becomes right) or "vertical".

    Returns:
        T (N, 5); angles in [-180, 180).
    """
    op = "flip_boxes_rotated"
    boxes = as_boxes(op, "boxes", boxes, 5)
    if direction not in ("horizontal", "vertical"):
        raise ValueError(f"{op}: direction must be 'horizontal' or 'vertical', got {direction!r}")
    out = boxes.copy()
    axis = 0 if direction == "horizontal" else 1
    with np.errstate(all="ignore"):
        out[:, axis] = boxes.dtype.type(size[1 - axis]) - boxes[:, axis]
        out[:, 4] = wrap_degrees(-boxes[:, 4])
    return out


def rotate_boxes_rotated(boxes, degrees, center):
    """Rotated boxes in the image that is turned about a point.

    Args:
        boxes: (N, 5) float, cx, cy, w, h in pixels and degrees counter-clockwise.
        degrees: by how much the image is turned, counter-clockwise.
        center: (x, y), the point that stays where it is.

    Returns:
        T (N, 5); angles in [-180, 180).
    """
    boxes = as_boxes("rotate_boxes_rotated", "boxes", boxes, 5)
    real = boxes.dtype.type
    sin, cos = (real(v) for v in sin_cos_degrees(np.float64(degrees)))
    x0, y0 = (real(v) for v in center)
    with np.errstate(all="ignore"):
        x, y = boxes[:, 0] - x0, boxes[:, 1] - y0
        out = boxes.copy()
        out[:, 0], out[:, 1] = (x * cos + y * sin) + x0, (y * cos - x * sin) + y0
        out[:, 4] = wrap_degrees(boxes[:, 4] + real(degrees))
    return out
