"""opname: a box a row."""

import roikit.kernels as kernels

from .kernel_inputs import boxes
from .kernel_works import Timed, Work


def opname(n):
    b = boxes(n, 16, 512, 800, 1344, 1)
    return lambda: kernels.opname(b, 4)


WORKS = {"opname": Work(opname, (50_000,), (500_000,), 40, 2000)}


class Opname(Timed):
    works = WORKS
