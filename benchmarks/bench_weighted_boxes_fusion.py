"""weighted_boxes_fusion: what four models hand over, of one class and of many."""

import numpy as np

import roikit.kernels as kernels

from .kernel_inputs import in_classes
from .kernel_works import Timed, Work


def weighted_boxes_fusion(n, classes):
    b, scores, index = in_classes(n, classes)
    models = np.arange(n) % 4
    return lambda: kernels.weighted_boxes_fusion(b, scores, index, models)


WORKS = {
    "weighted_boxes_fusion": Work(weighted_boxes_fusion, (1000, 1), (10_000, 1), 60, 1500),
    "weighted_boxes_fusion classes": Work(weighted_boxes_fusion, (1000, 20), (10_000, 80), 30, 1100),
}


class WeightedBoxesFusion(Timed):
    works = WORKS
