"""mask_targets of 28 x 28: from bitmaps, runs and polygons."""

import numpy as np

import roikit.kernels as kernels
import roikit.masks

from .kernel_inputs import ellipses, stars
from .kernel_works import Timed, Work


def targets(form, n, height, width, count, rule="soft"):
    bitmaps, b = ellipses(n, height, width)
    masks = {"bitmaps": lambda: bitmaps, "rle": lambda: roikit.masks.encode(bitmaps.transpose(1, 2, 0)),
             "polygons": lambda: stars(b)}[form]()
    which = np.arange(count) % n
    return lambda: kernels.mask_targets(masks, b[which], which, 28, rule=rule, image_size=(height, width))


WORKS = {
    "mask_targets bitmaps": Work(targets, ("bitmaps", 5, 200, 336, 32), ("bitmaps", 20, 800, 1333, 128), 28, 1200),
    "mask_targets rle": Work(targets, ("rle", 5, 200, 336, 32), ("rle", 20, 800, 1333, 128), 32, 1200),
    "mask_targets polygons": Work(targets, ("polygons", 5, 200, 336, 32), ("polygons", 20, 800, 1333, 128), 36, 1200),
}
MORE = {"mask_targets binary": Work(targets, ("bitmaps", 5, 200, 336, 32, "binary"),
                                    ("bitmaps", 20, 800, 1333, 128, "binary"))}


class MaskTarget(Timed):
    works = WORKS | MORE
