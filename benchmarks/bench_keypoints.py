"""keypoints: the maps of people back to points, and the targets of a training step."""

import numpy as np

import roikit.kernels as kernels

from .kernel_inputs import bell, boxes, uniform
from .kernel_works import Timed, Work


def encode_keypoints(n, points):
    b = boxes(n, 32, 512, 800, 1344, 1)
    places = b[:, None, :2] + uniform(n, points, 2, seed=3).astype(np.float32) * (b[:, 2:] - b[:, :2])[:, None]
    keypoints = np.concatenate([places, np.ones((n, points, 1), np.float32)], 2)
    return lambda: kernels.encode_keypoints(keypoints, b, 56)


def decode_keypoints(n, points):
    maps, b = bell(n, points, 56, 56, seed=2), boxes(n, 32, 256, 800, 1344, 1)
    return lambda: kernels.decode_keypoints(maps, b)


WORKS = {
    "encode_keypoints": Work(encode_keypoints, (500, 17), (20_000, 17), 68, 1700, levels=False),
    "decode_keypoints": Work(decode_keypoints, (1, 17), (10, 17), 42, 1100),
}


class Keypoints(Timed):
    works = WORKS
