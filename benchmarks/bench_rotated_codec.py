"""The codec of rotated boxes: a box a row."""

import roikit.kernels as kernels

from .kernel_inputs import bell, boxes, turned
from .kernel_works import Timed, Work


def encode_rotated(n):
    first, second = (turned(boxes(n, 16, 512, 800, 1344, seed)) for seed in (1, 2))
    return lambda: kernels.encode_boxes_rotated(first, second)


def decode_rotated(n):
    deltas, b = bell(n, 5, seed=1) / 5, turned(boxes(n, 16, 512, 800, 1344, 1))
    return lambda: kernels.decode_boxes_rotated(deltas, b)


WORKS = {
    "encode rotated": Work(encode_rotated, (10_000,), (500_000,), 33, 2000),
    "decode rotated": Work(decode_rotated, (10_000,), (500_000,), 32, 2000),
}


class RotatedCodec(Timed):
    works = WORKS
