"""The smallest rotated boxes around objects: of bitmaps, runs and polygons."""

import numpy as np

import roikit.kernels as kernels
import roikit.masks

from .kernel_inputs import boxes, ellipses, stars, turned
from .kernel_works import Timed, Work


def smallest(form, n, height, width):
    bitmaps, b = ellipses(n, height, width)
    masks = {"bitmaps": lambda: bitmaps, "rle": lambda: roikit.masks.encode(bitmaps.transpose(1, 2, 0)),
             "polygons": lambda: stars(b)}[form]()
    return lambda: kernels.min_area_boxes(masks)


def moved(n):
    b = turned(boxes(n, 16, 256, 800, 1333)).astype(np.float32)
    return lambda: kernels.rotate_boxes_rotated(kernels.flip_boxes_rotated(b, (800, 1333)), 30.0, (600.0, 400.0))


WORKS = {
    "min_area_boxes bitmaps": Work(smallest, ("bitmaps", 10, 200, 336), ("bitmaps", 20, 800, 1333), 90, 1200),
    "min_area_boxes rle": Work(smallest, ("rle", 10, 200, 336), ("rle", 100, 800, 1333), 45, 1200),
    "flip_boxes_rotated, rotate_boxes_rotated": Work(moved, (1000,), (100000,), 110, 3100, counted=False, levels=False),
}
MORE = {"min_area_boxes polygons": Work(smallest, ("polygons", 10, 200, 336), ("polygons", 100, 800, 1333))}


class RotatedBoxes(Timed):
    works = WORKS | MORE
