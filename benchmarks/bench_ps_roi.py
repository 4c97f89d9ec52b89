"""ps_roi_align and ps_roi_pool, and their gradients."""

import roikit.kernels as kernels

from .kernel_inputs import bell, rois
from .kernel_works import Timed, Work, pooling


def backward(name):
    def make(channels, height, width, n):
        grad, r = bell(n, channels, 7, 7, seed=5), rois(n, 4 * height, 4 * width)
        return lambda: getattr(kernels, f"{name}_backward")(grad, r, (1, 49 * channels, height, width), 1 / 4)
    return make


WORKS = {
    "ps_roi_align": Work(pooling("ps_roi_align", 49), (2, 50, 84, 20), (4, 100, 168, 400), 82, 1100, levels=False),
    "ps_roi_align backward": Work(backward("ps_roi_align"), (2, 50, 84, 20), (4, 100, 168, 400), 13, 1700,
                                  levels=False),
    "ps_roi_pool": Work(pooling("ps_roi_pool", 49), (2, 50, 84, 20), (4, 100, 168, 400), 59, 1100, levels=False),
    "ps_roi_pool backward": Work(backward("ps_roi_pool"), (2, 50, 84, 20), (4, 100, 168, 400), 14, 1700, levels=False),
}


class PsRoi(Timed):
    works = WORKS
