"""Masks of prototypes: as bool images, as float images, as runs."""

import numpy as np

import roikit.kernels as kernels

from .kernel_inputs import bell, boxes, uniform
from .kernel_works import Timed, Work


def parts(n, cells, height, width, count=32):
    """Smooth prototypes, as networks give them, and coefficients."""
    y, x = np.mgrid[:cells, :cells].astype(np.float32) / cells
    centre, size = uniform(2, count, 1, 1, seed=5), 0.1 + 0.4 * uniform(count, 1, 1, seed=6)
    prototypes = np.maximum(3 - 3 * np.hypot(y - centre[0], x - centre[1]) / size, 0).astype(np.float32)
    return prototypes, np.tanh(bell(n, count, seed=7)), boxes(n, 24, height / 2, height, width, 6)


def assemble(n, cells, height, width, threshold=0.5):
    given = parts(n, cells, height, width)
    return lambda: kernels.assemble_masks(*given, (height, width), threshold=threshold)


def assemble_rle(n, cells, height, width):
    given = parts(n, cells, height, width)
    return lambda: kernels.assemble_masks_rle(*given, (height, width))


WORKS = {
    "assemble_masks": Work(assemble, (10, 35, 140, 140), (20, 138, 550, 550), 16, 1500),
    "assemble_masks_rle": Work(assemble_rle, (10, 35, 140, 140), (100, 138, 550, 550), 40, 1100),
}
MORE = {
    "assemble_masks soft": Work(assemble, (10, 35, 140, 140, None), (10, 138, 550, 550, None)),
    "assemble_masks_rle of 800 x 1333": Work(assemble_rle, (10, 35, 140, 233), (100, 138, 800, 1333)),
}


class MaskAssembly(Timed):
    works = WORKS | MORE
