"""roi_align_rotated, and its gradient."""

import numpy as np

import roikit.kernels as kernels

from .kernel_inputs import bell, feature_map, rois, turned
from .kernel_works import Timed, Work


def turned_rois(n, height, width):
    r = rois(n, height, width)
    return np.concatenate([r[:, :1], turned(r[:, 1:])], 1)


def align(channels, height, width, n, last=False):
    x, r = feature_map(channels, height, width, last), turned_rois(n, 4 * height, 4 * width)
    return lambda: kernels.roi_align_rotated(x, r, 7, 1 / 4, 2)


def align_backward(channels, height, width, n):
    r, grad = turned_rois(n, 4 * height, 4 * width), bell(n, channels, 7, 7, seed=5)
    return lambda: kernels.roi_align_rotated_backward(grad, r, (1, channels, height, width), 7, 1 / 4, 2)


SCALES = [1 / 4, 1 / 8, 1 / 16, 1 / 32]


def pyramid_rois(height, width, n):
    r = rois(n, 4 * height, 4 * width, 16, 600)
    return np.concatenate([r[:, :1], turned(r[:, 1:])], 1)


def multiscale(channels, height, width, n):
    maps, r = [feature_map(channels, height >> i, width >> i, seed=i) for i in range(4)], pyramid_rois(height, width, n)
    return lambda: kernels.multiscale_roi_align_rotated(maps, r, 7, SCALES)


def multiscale_backward(channels, height, width, n):
    r, grad = pyramid_rois(height, width, n), bell(n, channels, 7, 7, seed=5)
    shapes = [(1, channels, height >> i, width >> i) for i in range(4)]
    return lambda: kernels.multiscale_roi_align_rotated_backward(grad, r, shapes, 7, SCALES)


WORKS = {
    "roi_align_rotated": Work(align, (32, 50, 84, 50), (64, 100, 168, 800), 83, 2500),
    "roi_align_rotated backward": Work(align_backward, (32, 50, 84, 50), (64, 100, 168, 400), 200, 2200),
    "multiscale_roi_align_rotated": Work(multiscale, (32, 100, 168, 50), (64, 200, 336, 400), 200, 3100),
    "multiscale_roi_align_rotated backward": Work(multiscale_backward, (32, 100, 168, 50), (64, 200, 336, 400),
                                                  40, 3800),
}
MORE = {"roi_align_rotated channels_last": Work(align, (32, 50, 84, 50, True), (64, 100, 168, 800, True))}


class RotatedAlign(Timed):
    works = WORKS | MORE
