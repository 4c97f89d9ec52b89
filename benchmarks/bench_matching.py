"""match_boxes: a grid of anchors against some objects."""

import roikit.kernels as kernels

from .kernel_inputs import boxes
from .kernel_works import Timed, Work


def match(height, width, n, **rule):
    cell = kernels.cell_anchors((32,), (0.5, 1.0, 2.0))
    grid = kernels.grid_anchors(cell, (height, width), 4)
    truth = boxes(n, 32, 0.5 * 4 * height, 4 * height, 4 * width, 2)
    return lambda: kernels.match_boxes(grid, truth, 0.7, 0.3, **rule)


def match_without_low_quality(height, width, n):
    return match(height, width, n, allow_low_quality=False)


WORKS = {"match_boxes": Work(match, (40, 67, 50), (200, 336, 50), 56, 1700)}
MORE = {"match_boxes of 1000": Work(match, (40, 67, 1000), (200, 336, 1000)),
        "match_boxes without low quality": Work(match_without_low_quality, (40, 67, 50), (200, 336, 50))}


class Matching(Timed):
    works = WORKS | MORE
