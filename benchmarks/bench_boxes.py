"""Boxes: overlaps of all pairs, and clipping."""

import roikit.kernels as kernels

from .kernel_inputs import boxes
from .kernel_works import Timed, Work


def pairs(name):
    def make(n, m):
        first, second = boxes(n, 16, 512, 800, 1344, 1), boxes(m, 16, 512, 800, 1344, 2)
        return lambda: getattr(kernels, name)(first, second)
    return make


def clip(n):
    b = boxes(n, 16, 512, 900, 1500)
    return lambda: kernels.clip_boxes_to_image(b, (800, 1344))


WORKS = {
    "clip": Work(clip, (10_000,), (500_000,), 120, 5000, counted=False, levels=False),
    "box_iou": Work(pairs("box_iou"), (300, 300), (2000, 2000), 7, 1500),
    "generalized_box_iou": Work(pairs("generalized_box_iou"), (300, 300), (2000, 2000), 11, 1900),
    "distance_box_iou": Work(pairs("distance_box_iou"), (300, 300), (2000, 2000), 16, 1900),
    "complete_box_iou": Work(pairs("complete_box_iou"), (300, 300), (2000, 2000), 18, 1900),
}


class Boxes(Timed):
    works = WORKS
