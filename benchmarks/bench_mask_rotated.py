"""Masks and rotated boxes: targets from bitmaps, runs and polygons, and pasting as images and as runs."""

import numpy as np

import roikit.kernels as kernels
import roikit.masks

from .kernel_inputs import boxes, ellipses, soft_masks, stars, turned
from .kernel_works import Timed, Work


def paste(n, height, width, threshold=0.5):
    masks, b = soft_masks(n), turned(boxes(n, 24, height / 2, height, width, 6))
    return lambda: kernels.paste_masks_rotated(masks, b, (height, width), threshold=threshold)


def paste_rle(n, height, width):
    masks, b = soft_masks(n), turned(boxes(n, 24, height / 2, height, width, 6))
    return lambda: kernels.paste_masks_rotated_rle(masks, b, (height, width))


def targets(form, n, height, width, count, rule="soft"):
    bitmaps, b = ellipses(n, height, width)
    masks = {"bitmaps": lambda: bitmaps, "rle": lambda: roikit.masks.encode(bitmaps.transpose(1, 2, 0)),
             "polygons": lambda: stars(b)}[form]()
    which = np.arange(count) % n
    rois = turned(b[which])
    return lambda: kernels.mask_targets_rotated(masks, rois, which, 28, rule=rule, image_size=(height, width))


WORKS = {
    "mask_targets_rotated bitmaps": Work(targets, ("bitmaps", 5, 200, 336, 32), ("bitmaps", 20, 800, 1333, 128), 80,
                                         1200),
    "mask_targets_rotated rle": Work(targets, ("rle", 5, 200, 336, 32), ("rle", 20, 800, 1333, 128), 80, 1200),
    "paste_masks_rotated": Work(paste, (10, 200, 336), (20, 800, 1333), 10, 2400),
    "paste_masks_rotated_rle": Work(paste_rle, (10, 200, 336), (100, 800, 1333), 90, 1100),
}
MORE = {
    "mask_targets_rotated polygons": Work(targets, ("polygons", 5, 200, 336, 32), ("polygons", 20, 800, 1333, 128)),
    "paste_masks_rotated soft": Work(paste, (10, 200, 336, None), (10, 800, 1333, None)),
}


class MaskRotated(Timed):
    works = WORKS | MORE
