"""soft_nms, fast_nms, matrix_nms: what an RPN hands over, and classes."""

import roikit.kernels as kernels

from .kernel_inputs import clusters, in_classes
from .kernel_works import Timed, Work


def soft_nms(n, method):
    b, scores = clusters(n)
    return lambda: kernels.soft_nms(b, scores, method=method)


def fast_nms(n, classes, cross_class=False):
    b, scores, index = in_classes(n, classes)
    return lambda: kernels.fast_nms(b, scores, index, 0.5, cross_class=cross_class)


def matrix_nms(n, classes):
    b, scores, index = in_classes(n, classes)
    return lambda: kernels.matrix_nms(b, scores, index)


WORKS = {
    "soft_nms linear": Work(soft_nms, (1000, "linear"), (4000, "linear"), 18, 1100),
    "soft_nms gaussian": Work(soft_nms, (1000, "gaussian"), (4000, "gaussian"), 28, 1100),
    "fast_nms": Work(fast_nms, (6000, 5), (12_000, 5), 13, 1100),
    "matrix_nms": Work(matrix_nms, (1500, 5), (6000, 5), 32, 1100),
}
MORE = {"soft_nms naive": Work(soft_nms, (1000, "naive"), (4000, "naive")),
        "fast_nms across classes": Work(fast_nms, (6000, 80, True), (12_000, 80, True))}


class SoftNms(Timed):
    works = WORKS | MORE
