"""Masks of rotated boxes as others write them, each wrong in one deliberate way; see ``mutants``."""

import numpy as np

from roikit import kernels, ops
from roikit.masks import encode

CLOCKWISE, RADIANS = np.array([1, 1, 1, 1, -1]), np.array([1, 1, 1, 1, 180 / np.pi])


def targets_clockwise(masks, boxes, matched, size, *, rule="soft"):
    return kernels.mask_targets_rotated(masks, (boxes * CLOCKWISE).astype(boxes.dtype), matched, size, rule=rule)


def targets_in_radians(masks, boxes, matched, size, *, rule="soft"):
    turned = (boxes.double() * boxes.new_tensor(RADIANS).double()).to(boxes.dtype)
    return ops.mask_targets_rotated(masks, turned, matched, size, rule=rule)


def targets_height_first(masks, boxes, matched, size, *, rule="soft"):
    return kernels.mask_targets_rotated(masks, boxes[:, [0, 1, 3, 2, 4]], matched, size, rule=rule)


def targets_soft(masks, boxes, matched, size, *, rule="soft"):
    return ops.mask_targets_rotated(masks, boxes, matched, size)


def paste_clockwise(masks, boxes, image_size, *, threshold=0.5):
    return kernels.paste_masks_rotated(masks, (boxes * CLOCKWISE).astype(boxes.dtype), image_size, threshold=threshold)


def paste_rows_upwards(masks, boxes, image_size, *, threshold=0.5):
    return ops.paste_masks_rotated(masks.flip(-2), boxes, image_size, threshold=threshold)


def paste_rle_clockwise(masks, boxes, image_size, *, threshold=0.5):
    boxes = (boxes * CLOCKWISE).astype(boxes.dtype)
    return kernels.paste_masks_rotated_rle(masks, boxes, image_size, threshold=threshold)


def paste_rle_strict(masks, boxes, image_size, *, threshold=0.5):
    soft = kernels.paste_masks_rotated(masks, boxes, image_size, threshold=None)
    return [encode(np.asfortranarray(mask.astype(np.uint8))) for mask in soft > soft.dtype.type(threshold)]


MUTANTS = [
    (targets_clockwise, "mask_targets_rotated", "clockwise"),
    (targets_in_radians, "mask_targets_rotated", "radians"),
    (targets_height_first, "mask_targets_rotated", "height-first"),
    (targets_soft, "mask_targets_rotated", "soft-rule"),
    (paste_clockwise, "paste_masks_rotated", "clockwise"),
    (paste_rows_upwards, "paste_masks_rotated", "rows-upwards"),
    (paste_rle_clockwise, "paste_masks_rotated_rle", "clockwise"),
    (paste_rle_strict, "paste_masks_rotated_rle", "strict-threshold"),
]
