"""roi_align of one map and of a pyramid: samples in a grid, their maximum, integrals; and the gradients."""

import numpy as np

import roikit.kernels as kernels

from .kernel_inputs import bell, feature_map, map_and_rois, rois
from .kernel_works import Timed, Work

SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


def align(channels, height, width, n, last=False, samples=2, dtype="float32"):
    x, r = map_and_rois(channels, height, width, n, last)
    x = x.astype(dtype, copy=False)
    return lambda: kernels.roi_align(x, r, 7, 1 / 4, samples, True)


def align_backward(channels, height, width, n, last=False, samples=2):
    r, shape = rois(n, 4 * height, 4 * width), (1, channels, height, width)
    gradient = bell(n, 7, 7, channels, seed=5).transpose(0, 3, 1, 2)
    gradient = gradient if last else np.ascontiguousarray(gradient)
    return lambda: kernels.roi_align_backward(gradient, r, shape, 7, 1 / 4, samples, True)


def pyramid(channels, height, width, n):
    """Four maps, each half as large as the one before, and RoIs of all their sizes."""
    maps = [feature_map(channels, height >> i, width >> i, seed=i) for i in range(4)]
    return maps, rois(n, 4 * height, 4 * width, 16, 600)


def multiscale(*size):
    maps, r = pyramid(*size)
    return lambda: kernels.multiscale_roi_align(maps, r, 7, SCALES)


def multiscale_backward(channels, height, width, n):
    maps, r = pyramid(channels, height, width, n)
    shapes, gradient = [x.shape for x in maps], bell(n, channels, 7, 7, seed=5)
    return lambda: kernels.multiscale_roi_align_backward(gradient, r, shapes, 7, SCALES)


def multiscale_max(*size):
    maps, r = pyramid(*size)
    return lambda: kernels.multiscale_roi_align_with_argmax(maps, r, 7, SCALES)


def integral(channels, height, width, n):
    x, r = map_and_rois(channels, height, width, n)
    return lambda: kernels.roi_align(x, r, 7, 1 / 4, rule="integral")


def integral_backward(channels, height, width, n):
    r, grad = rois(n, 4 * height, 4 * width), bell(n, channels, 7, 7, seed=5)
    return lambda: kernels.roi_align_backward(grad, r, (1, channels, height, width), 7, 1 / 4, rule="integral")


def integral_boxes_backward(channels, height, width, n):
    x, r = map_and_rois(channels, height, width, n)
    grad = bell(n, channels, 7, 7, seed=5)
    return lambda: kernels.roi_align_boxes_backward(grad, x, r, 1 / 4)


def align_max(channels, height, width, n):
    x, r = map_and_rois(channels, height, width, n)
    return lambda: kernels.roi_align_with_argmax(x, r, 7, 1 / 4, 2, True)


def align_max_backward(channels, height, width, n, samples=2):
    x, r = map_and_rois(channels, height, width, n)
    output, argmax = kernels.roi_align_with_argmax(x, r, 7, 1 / 4, samples, True)
    return lambda: kernels.roi_align_backward(output, r, x.shape, 7, 1 / 4, samples, True, argmax=argmax)


WORKS = {
    "roi_align": Work(align, (32, 50, 84, 50), (64, 100, 168, 800), 50, 1900),
    "roi_align channels_last": Work(align, (32, 50, 84, 50, True), (64, 100, 168, 800, True), 45, 1900),
    "roi_align adaptive": Work(align, (32, 50, 84, 50, False, 0), (64, 100, 168, 800, False, 0), 65, 1900),
    "roi_align backward": Work(align_backward, (32, 50, 84, 50), (64, 100, 168, 400), 120, 1900),
    "roi_align channels_last backward": Work(align_backward, (32, 50, 84, 50, True), (64, 100, 168, 400, True),
                                             110, 1900),
    # few RoIs on a large map: writing the zeros is most of the work
    "roi_align sparse backward": Work(align_backward, (32, 100, 168, 2), (64, 200, 336, 4), 7, 1900),
    "roi_align adaptive backward": Work(align_backward, (32, 50, 84, 50, False, 0), (64, 100, 168, 400, False, 0),
                                        130, 1900),
    "multiscale_roi_align": Work(multiscale, (32, 100, 168, 50), (64, 200, 336, 400), 160, 2400),
    "multiscale_roi_align backward": Work(multiscale_backward, (32, 100, 168, 50), (64, 200, 336, 400), 30, 3700),
    "multiscale_roi_align max": Work(multiscale_max, (32, 100, 168, 50), (64, 200, 336, 400), 90, 3000),
    "roi_align integral": Work(integral, (32, 50, 84, 20), (64, 100, 168, 400), 84, 1600),
    "roi_align integral backward": Work(integral_backward, (32, 50, 84, 20), (64, 100, 168, 200), 98, 1900),
    "roi_align integral boxes": Work(integral_boxes_backward, (32, 50, 84, 10), (64, 100, 168, 100), 46, 1300),
    "roi_align max": Work(align_max, (32, 50, 84, 50), (64, 100, 168, 800), 40, 2800),
    "roi_align max backward": Work(align_max_backward, (32, 50, 84, 50), (64, 100, 168, 400), 160, 1900),
    "roi_align max adaptive backward": Work(align_max_backward, (32, 50, 84, 50, 0), (64, 100, 168, 400, 0), 200, 1900),
}
MORE = {"roi_align float16": Work(align, (32, 50, 84, 50, False, 2, "float16"),
                                  (64, 100, 168, 800, False, 2, "float16"))}


class RoiAlign(Timed):
    works = WORKS | MORE
