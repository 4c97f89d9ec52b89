"""Anchors: a grid of cells on a map of stride 4."""

import roikit.kernels as kernels

from .kernel_works import Timed, Work


def anchors(height, width):
    cell = kernels.cell_anchors((32,), (0.5, 1.0, 2.0))
    return lambda: kernels.grid_anchors(cell, (height, width), 4)


WORKS = {"anchors": Work(anchors, (100, 168), (400, 672), 7, 1700)}


class Anchors(Timed):
    works = WORKS
