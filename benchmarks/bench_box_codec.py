"""The box codec: a box a row."""

import roikit.kernels as kernels

from .kernel_inputs import bell, boxes
from .kernel_works import Timed, Work


def encode(n):
    first, second = boxes(n, 16, 512, 800, 1344, 1), boxes(n, 16, 512, 800, 1344, 2)
    return lambda: kernels.encode_boxes(first, second)


def decode(n):
    deltas = bell(n, 4, seed=1) / 5
    b = boxes(n, 16, 512, 800, 1344, 1)
    return lambda: kernels.decode_boxes(deltas, b)


WORKS = {
    "encode": Work(encode, (10_000,), (500_000,), 18, 1500),
    "decode": Work(decode, (10_000,), (500_000,), 22, 1500),
}


class BoxCodec(Timed):
    works = WORKS
