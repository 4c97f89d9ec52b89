"""Rotated boxes in annotations: what a field says, as corners while transforms move them, as boxes in the end.

A rotated box is cx, cy, w, h in pixels and degrees counter-clockwise. Its corners are its upper left, upper right,
lower right and lower left one, as they lie where the angle is 0. Torch is not needed here.
"""

import numpy as np

from roikit.data.records import shown
from roikit.kernels import min_area_boxes

__all__ = ["boxes_of_corners", "boxes_of_masks", "corners_of_boxes", "has_rotated_box", "in_a_quarter",
           "mirror_corners", "read_rotated_box", "rotated_field", "turn_corners", "upright_boxes"]

# The fields that hold one, in the order in which they are looked at.
_FIELDS = ("rbox", "rbbox", "obb")


def has_rotated_box(annotation):
    """Whether an annotation has a field ``rbox``, ``rbbox`` or ``obb``."""
    return any(annotation.get(field) for field in _FIELDS)


def read_rotated_box(annotation):
    """The rotated box of an annotation, or None where it has none.

    Args:
        annotation: dict with ``rbox``, ``rbbox`` or ``obb``: cx, cy, w, h and degrees counter-clockwise, or the four
            corners of a polygon, x0, y0, ..., x3, y3 in order around it, of which the smallest rectangle is taken.

    Returns:
        (5,) float64; where the corners lie on a line a side is 0.

    Raises:
        ValueError: the field is neither; a number is not finite, or of five a side is not positive. The sentence does
        not name the annotation.
    """
    found = rotated_field(annotation)
    if found is None:
        return None
    field, values = found
    if len(values) == 8:
        return min_area_boxes([[values]], dtype=np.float64)[0]
    if not (values[2:4] > 0).all():
        raise ValueError(f"its {field} must have positive sides, got {shown(annotation[field])}")
    return values


def rotated_field(annotation):
    """The field of an annotation that holds its rotated box, and the five or eight numbers in it; None where none does.

    Returns:
        (name, (5,) or (8,) float64), or None.

    Raises:
        ValueError: it holds something else, or a number that is not finite.
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
    return field, values


def boxes_of_masks(masks):
    """(N, 5) float64 smallest rotated boxes around N masks, each an RLE or a list of polygons.

    A side is a pixel long at least, as a mask's pixels are.
    """
    boxes = min_area_boxes(list(masks), dtype=np.float64)
    boxes[:, 2:4] = np.maximum(boxes[:, 2:4], 1.0)
    return boxes


def in_a_quarter(boxes):
    """(N, 5) the same rectangles with their angles in [-90, 0), the sides exchanged where need be.

    A rectangle has four descriptions, a quarter turn apart, of which a detector is to learn one. It is that of Rotated
    Mask R-CNN, which has anchors at -90, -60 and -30 degrees, wide and high ones.
    """
    boxes = np.array(boxes, np.float64).reshape(-1, 5)
    quarters = np.floor(boxes[:, 4] / 90) + 1
    boxes[:, 4] -= 90 * quarters
    odd = quarters % 2 == 1
    boxes[odd] = boxes[odd][:, [0, 1, 3, 2, 4]]
    return boxes


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

    A box whose angle is 0 keeps it, as `roikit.ops.flip_boxes_rotated` has it.
    """
    moved = corners.copy()
    moved[..., axis] = length - moved[..., axis]
    return moved[:, [1, 0, 3, 2] if axis == 0 else [3, 2, 1, 0]]


def turn_corners(corners, width):
    """(N, 4, 2) corners in an image of this width that is turned by 90 degrees counter-clockwise."""
    return np.stack([corners[..., 1], width - corners[..., 0]], 2)


def upright_boxes(boxes):
    """(N, 4) float64, x1 y1 x2 y2 around (N, 5) rotated boxes."""
    corners = corners_of_boxes(boxes)
    return np.concatenate([corners.min(1), corners.max(1)], 1)
