"""Rotated boxes: overlaps of all pairs, suppression of clusters and of boxes that hardly meet."""

import roikit.kernels as kernels

from .kernel_inputs import boxes, clusters, in_classes, turned
from .kernel_works import Timed, Work


def box_iou_rotated(n, m):
    first, second = (turned(boxes(k, 16, 512, 800, 1344, k)) for k in (n, m))
    return lambda: kernels.box_iou_rotated(first, second)


def nms_rotated(n):
    b, scores = clusters(n)
    b = turned(b)
    return lambda: kernels.nms_rotated(b, scores, 0.5)


def nms_rotated_sparse(n):
    b, scores = turned(boxes(n, 8, 24, 800, 1344, 3)), clusters(n)[1]
    return lambda: kernels.nms_rotated(b, scores, 0.5)


def batched_nms_rotated(n, classes):
    b, scores, index = in_classes(n, classes)
    b = turned(b)
    return lambda: kernels.batched_nms_rotated(b, scores, index, 0.5)


WORKS = {
    "box_iou_rotated": Work(box_iou_rotated, (100, 100), (500, 500), 39, 1300),
    "nms_rotated": Work(nms_rotated, (1000,), (4000,), 48, 1200),
}
MORE = {"nms_rotated sparse": Work(nms_rotated_sparse, (1000,), (20_000,)),
        "batched_nms_rotated": Work(batched_nms_rotated, (1000, 5), (4000, 5))}


class Rotated(Timed):
    works = WORKS | MORE
