"""nms: what an RPN hands over, boxes that hardly overlap, classes."""

import roikit.kernels as kernels

from .kernel_inputs import boxes, clusters, in_classes
from .kernel_works import Timed, Work


def nms(n, threshold=0.7):
    b, scores = clusters(n)
    return lambda: kernels.nms(b, scores, threshold)


def nms_sparse(n):
    b, scores = boxes(n, 8, 64, 800, 1344, 3), clusters(n)[1]
    return lambda: kernels.nms(b, scores, 0.5)


def nms_padded(n, most):
    b, scores = clusters(n)
    return lambda: kernels.nms_padded(b, scores, 0.7, most)


def batched_nms(n, classes):
    b, scores, index = in_classes(n, classes)
    return lambda: kernels.batched_nms(b, scores, index, 0.7)


WORKS = {
    "nms": Work(nms, (3000,), (12_000,), 17, 1200),
    "batched_nms": Work(batched_nms, (3000, 5), (12_000, 5), 20, 1200),
}
MORE = {"nms sparse": Work(nms_sparse, (3000,), (12_000,)), "nms_padded": Work(nms_padded, (3000, 300), (12_000, 300)),
        "batched_nms of 80 classes": Work(batched_nms, (3000, 80), (12_000, 80))}


class Nms(Timed):
    works = WORKS | MORE
