"""Rotated boxes as others make and move them, each wrong in one deliberate way; see ``mutants``."""

import numpy as np

from roikit import kernels, ops


def smallest_clockwise(masks):
    return kernels.min_area_boxes(masks) * np.array([1, 1, 1, 1, -1], np.float32)


def smallest_short_first(masks):
    return ops.min_area_boxes(masks)[:, [0, 1, 3, 2, 4]]


def flip_angle_kept(boxes, size, direction="horizontal"):
    out = kernels.flip_boxes_rotated(boxes, size, direction)
    out[:, 4] = boxes[:, 4]
    return out


def rotate_clockwise(boxes, degrees, center):
    return ops.rotate_boxes_rotated(boxes, -degrees, center)


def rotate_center_swapped(boxes, degrees, center):
    return kernels.rotate_boxes_rotated(boxes, degrees, center[::-1])


MUTANTS = [
    (smallest_clockwise, "min_area_boxes", "clockwise"),
    (smallest_short_first, "min_area_boxes", "height-first"),
    (flip_angle_kept, "flip_boxes_rotated", "angle-kept"),
    (rotate_clockwise, "rotate_boxes_rotated", "clockwise"),
    (rotate_center_swapped, "rotate_boxes_rotated", "center-swapped"),
]
