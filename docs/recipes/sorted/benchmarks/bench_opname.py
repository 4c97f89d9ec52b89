"""opname: what an RPN hands over."""

import roikit.kernels as kernels

from .kernel_inputs import clusters
from .kernel_works import Timed, Work


def opname(n):
    b, scores = clusters(n)
    return lambda: kernels.opname(b, scores, 16.0)


WORKS = {"opname": Work(opname, (1000,), (4000,), 6, 1200)}


class Opname(Timed):
    works = WORKS
