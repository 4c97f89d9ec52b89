"""Pasting masks into an image: as bool images, as float images, as runs."""

import roikit.kernels as kernels

from .kernel_inputs import boxes, soft_masks
from .kernel_works import Timed, Work


def paste(n, height, width, threshold=0.5, rule="continuous"):
    masks, b = soft_masks(n), boxes(n, 24, height / 2, height, width, 6)
    return lambda: kernels.paste_masks(masks, b, (height, width), threshold=threshold, rule=rule)


def paste_rle(n, height, width, cells=28):
    masks, b = soft_masks(n, cells), boxes(n, 24, height / 2, height, width, 6)
    return lambda: kernels.paste_masks_rle(masks, b, (height, width))


WORKS = {
    "paste_masks": Work(paste, (10, 200, 336), (20, 800, 1333), 4.5, 2200),
    "paste_masks soft": Work(paste, (10, 200, 336, None), (10, 800, 1333, None), 3, 3000),
    "paste_masks_rle": Work(paste_rle, (10, 200, 336), (100, 800, 1333), 30, 1100),
}
MORE = {
    "paste_masks integer": Work(paste, (10, 200, 336, 0.5, "integer"), (20, 800, 1333, 0.5, "integer")),
    "paste_masks_rle of 14 x 14": Work(paste_rle, (10, 200, 336, 14), (100, 800, 1333, 14)),
    "paste_masks_rle of 56 x 56": Work(paste_rle, (10, 200, 336, 56), (100, 800, 1333, 56)),
    "paste_masks_rle of one": Work(paste_rle, (1, 200, 336), (1, 800, 1333)),
}


class MaskPaste(Timed):
    works = WORKS | MORE
