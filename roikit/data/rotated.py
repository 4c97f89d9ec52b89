"""Rotated boxes in annotations: what a field says, as corners while transforms move them, as boxes in the end.

A rotated box is cx, cy, w, h in pixels and degrees counter-clockwise. Its corners are its upper left, upper right,
lower right and lower left one, as they lie where the angle is 0; which side is up outlives every transform.
Torch is not needed here.
"""

import numpy as np

from roikit.data.records import shown

__all__ = ["boxes_of_corners", "corners_of_boxes", "has_rotated_box", "mirror_corners", "read_rotated_box",
           "smallest_rectangle", "upright_boxes"]

# The fields that hold one, in the order in which they are looked at.
_FIELDS = ("rbox", "obb")


def has_rotated_box(annotation):
    """Whether an annotation has a field ``rbox`` or ``obb``."""
    return any(annotation.get(field) for field in _FIELDS)


def read_rotated_box(annotation):
    """The rotated box of an annotation, or None where it has none.

    Args:
        annotation: dict with ``rbox`` or ``obb``: five numbers, cx, cy, w, h and degrees counter-clockwise, or the four
            corners of a polygon, x0, y0, ..., x3, y3 in order around it, of which the smallest rectangle is taken.

    Returns:
        (5,) float64.

    Raises:
        ValueError: the field is neither; a number is not finite, or a side is not positive. The sentence does not name
        the annotation.
    """
    field = next((field for field in _FIELDS if annotation.get(field)), None)
    if field is None:
        return None
    try:
        values = np.asarray(annotation[field], np.float64).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        values = np.empty(0)
    if len(values) not in (5, 8):
        raise ValueError(f"its {field} must be cx, cy, w, h and an angle, or four corners, got "
                         f"{shown(annotation[field])}")
    if not np.isfinite(values).all():
        raise ValueError(f"its {field} must be finite, got {shown(annotation[field])}")
    box = values if len(values) == 5 else smallest_rectangle(values.reshape(4, 2))
    if not (box[2:4] > 0).all():
        raise ValueError(f"its {field} must have positive sides, got {shown(annotation[field])}")
    return box


def smallest_rectangle(points):
    """The rectangle of the least area around some points; it has a side along one of their convex hull.

    Args:
        points: (K, 2) float64, K at least 2; all pairs are looked at, which suits a few points.

    Returns:
        (5,) float64 with the angle in [-90, 0); of equal ones that of the first pair. 0 wide or high where all points
        lie on a line.

    Source: Freeman and Shapira 1975, "Determining the minimum-area encasing rectangle for an arbitrary closed curve".
    """
    first, second = np.triu_indices(len(points), 1)
    along = points[second] - points[first]
    length = np.hypot(*along.T)
    if not length.any():
        return np.array([*points[0], 0.0, 0.0, -90.0])
    along = along[length > 0] / length[length > 0][:, None]
    across = np.stack([-along[:, 1], along[:, 0]], 1)  # a quarter turn, clockwise on the screen
    u, v = along @ points.T, across @ points.T
    low, high = np.stack([u.min(1), v.min(1)], 1), np.stack([u.max(1), v.max(1)], 1)
    sides = high - low
    best = int(sides.prod(1).argmin())
    middle = (low[best] + high[best]) / 2
    centre = middle[0] * along[best] + middle[1] * across[best]
    (width, height), (x, y) = sides[best], along[best]
    angle = np.degrees(np.arctan2(-y, x))
    quarters = np.floor(angle / 90) + 1
    angle -= 90 * quarters
    if quarters % 2:
        width, height = height, width
    return np.array([*centre, width, height, angle])


def corners_of_boxes(boxes):
    """(N, 4, 2) corners x, y of (N, 5) rotated boxes."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 5)
    turn = np.radians(boxes[:, 4])
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x = boxes[:, 2:3] / 2 * np.array([-1.0, 1.0, 1.0, -1.0])
    y = boxes[:, 3:4] / 2 * np.array([-1.0, -1.0, 1.0, 1.0])
    return np.stack([boxes[:, :1] + x * cos + y * sin, boxes[:, 1:2] - x * sin + y * cos], 2)


def boxes_of_corners(corners):
    """(N, 5) rotated boxes of (N, 4, 2) corners, with angles in [-180, 180); the inverse of `corners_of_boxes`.

    Of a parallelogram, which scaling one axis makes of a rectangle, the lengths of both axes stay, and the direction of
    the one along the height.
    """
    corners = np.asarray(corners, np.float64).reshape(-1, 4, 2)
    centre = corners.mean(1)
    right = (corners[:, 1] + corners[:, 2] - corners[:, 0] - corners[:, 3]) / 2
    down = (corners[:, 2] + corners[:, 3] - corners[:, 0] - corners[:, 1]) / 2
    angle = np.degrees(np.arctan2(down[:, 0], down[:, 1]))
    angle = (angle + 180) % 360 - 180
    return np.column_stack([centre, np.hypot(*right.T), np.hypot(*down.T), angle])


def mirror_corners(corners, axis, length):
    """(N, 4, 2) corners in a mirror across an image of ``length`` pixels along ``axis`` (0: x, 1: y).

    The upper side of a box stays its upper side.
    """
    moved = corners.copy()
    moved[..., axis] = length - moved[..., axis]
    return moved[:, [1, 0, 3, 2]]


def upright_boxes(boxes):
    """(N, 4) float64, x1 y1 x2 y2 around (N, 5) rotated boxes."""
    corners = corners_of_boxes(boxes)
    return np.concatenate([corners.min(1), corners.max(1)], 1)
