"""opname, and its gradient."""

import roikit.kernels as kernels

from .kernel_inputs import map_and_rois
from .kernel_works import Timed, Work, pooling


def backward(channels, height, width, n):
    x, r = map_and_rois(channels, height, width, n)
    output = kernels.opname(x, r, 7, 1 / 4)
    return lambda: kernels.opname_backward(output, r, x.shape, 1 / 4)


WORKS = {
    "opname":
        Work(pooling("opname"), (16, 50, 84, 50), (64, 100, 168, 400), 70, 1300, levels=False),
    "opname backward":
        Work(backward, (16, 50, 84, 50), (64, 100, 168, 400), 160, 1600, levels=False),
}


class Opname(Timed):
    works = WORKS
