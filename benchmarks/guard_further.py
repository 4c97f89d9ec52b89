"""The works of `benchmarks.guard` on the further ops: suppression, rotated boxes, keypoints, other ways of pooling."""

import numpy as np

import roikit.kernels as kernels

from .guard_inputs import Work, bell, boxes, clusters, feature_map, in_classes, map_and_rois, rois, uniform


def pairs(name):
    def make(n, m):
        first, second = boxes(n, 16, 512, 800, 1344, 1), boxes(m, 16, 512, 800, 1344, 2)
        return lambda: getattr(kernels, name)(first, second)
    return make


def soft_nms(n, method):
    b, scores = clusters(n)
    return lambda: kernels.soft_nms(b, scores, method=method)


def fast_nms(n, classes):
    b, scores, index = in_classes(n, classes)
    return lambda: kernels.fast_nms(b, scores, index, 0.5)


def matrix_nms(n, classes):
    b, scores, index = in_classes(n, classes)
    return lambda: kernels.matrix_nms(b, scores, index)


def turned(b, seed=9):
    """The boxes as (x, y, width, height, angle), at any angle."""
    angle = (uniform(len(b), 1, seed=seed) * 360 - 180).astype(b.dtype)
    return np.concatenate([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2], angle], 1)


def box_iou_rotated(n, m):
    first, second = (turned(boxes(k, 16, 512, 800, 1344, k)) for k in (n, m))
    return lambda: kernels.box_iou_rotated(first, second)


def nms_rotated(n):
    b, scores = clusters(n)
    b = turned(b)
    return lambda: kernels.nms_rotated(b, scores, 0.5)


def encode_rotated(n):
    first, second = (turned(boxes(n, 16, 512, 800, 1344, seed)) for seed in (1, 2))
    return lambda: kernels.encode_boxes_rotated(first, second)


def decode_rotated(n):
    deltas, b = bell(n, 5, seed=1) / 5, turned(boxes(n, 16, 512, 800, 1344, 1))
    return lambda: kernels.decode_boxes_rotated(deltas, b)


def encode_keypoints(n, points):
    b = boxes(n, 32, 512, 800, 1344, 1)
    places = b[:, None, :2] + uniform(n, points, 2, seed=3).astype(np.float32) * (b[:, 2:] - b[:, :2])[:, None]
    keypoints = np.concatenate([places, np.ones((n, points, 1), np.float32)], 2)
    return lambda: kernels.encode_keypoints(keypoints, b, 56)


def decode_keypoints(n, points):
    maps, b = bell(n, points, 56, 56, seed=2), boxes(n, 32, 256, 800, 1344, 1)
    return lambda: kernels.decode_keypoints(maps, b)


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


def multiscale_max(channels, height, width, n):
    maps = [feature_map(channels, height >> i, width >> i, seed=i) for i in range(4)]
    r = rois(n, 4 * height, 4 * width, 16, 600)
    return lambda: kernels.multiscale_roi_align_with_argmax(maps, r, 7, [1 / 4, 1 / 8, 1 / 16, 1 / 32])


def turned_rois(n, height, width):
    r = rois(n, height, width)
    return np.concatenate([r[:, :1], turned(r[:, 1:])], 1)


def rotated_align(channels, height, width, n):
    x, r = feature_map(channels, height, width), turned_rois(n, 4 * height, 4 * width)
    return lambda: kernels.roi_align_rotated(x, r, 7, 1 / 4, 2)


def rotated_align_backward(channels, height, width, n):
    r, grad = turned_rois(n, 4 * height, 4 * width), bell(n, channels, 7, 7, seed=5)
    return lambda: kernels.roi_align_rotated_backward(grad, r, (1, channels, height, width), 7, 1 / 4, 2)


def pooling(name, planes=1):
    """7 x 7 bins of a map with ``planes`` for each channel."""
    def make(channels, height, width, n):
        x, r = map_and_rois(planes * channels, height, width, n)
        return lambda: getattr(kernels, name)(x, r, 7, 1 / 4)
    return make


def max_backward(name, *scale):
    """The gradient of a pooling that keeps the place of each maximum."""
    def make(channels, height, width, n):
        x, r = map_and_rois(channels, height, width, n)
        output, argmax = getattr(kernels, f"{name}_with_argmax")(x, r, 7, 1 / 4)
        return lambda: getattr(kernels, f"{name}_backward")(output, argmax, r, x.shape, *scale)
    return make


def ps_backward(name):
    def make(channels, height, width, n):
        grad, r = bell(n, channels, 7, 7, seed=5), rois(n, 4 * height, 4 * width)
        return lambda: getattr(kernels, f"{name}_backward")(grad, r, (1, 49 * channels, height, width), 1 / 4)
    return make


def deform(channels, height, width):
    """Input, offsets, weight and mask of a convolution of 3 x 3."""
    x, weight = feature_map(channels, height, width), bell(channels, channels, 3, 3, seed=1)
    return x, 2 * bell(1, 18, height, width, seed=2), weight, bell(1, 9, height, width, seed=3)


def deform_conv(channels, height, width):
    x, offset, weight, mask = deform(channels, height, width)
    return lambda: kernels.deform_conv2d(x, offset, weight, padding=1, mask=mask)


def deform_conv_backward(channels, height, width):
    x, offset, weight, mask = deform(channels, height, width)
    return lambda: kernels.deform_conv2d_backward(x, x, offset, weight, padding=1, mask=mask)


FURTHER = {
    "generalized_box_iou": Work(pairs("generalized_box_iou"), (300, 300), (2000, 2000), 11, 1900),
    "distance_box_iou": Work(pairs("distance_box_iou"), (300, 300), (2000, 2000), 16, 1900),
    "complete_box_iou": Work(pairs("complete_box_iou"), (300, 300), (2000, 2000), 18, 1900),
    "soft_nms linear": Work(soft_nms, (1000, "linear"), (4000, "linear"), 18, 1100),
    "soft_nms gaussian": Work(soft_nms, (1000, "gaussian"), (4000, "gaussian"), 28, 1100),
    "fast_nms": Work(fast_nms, (6000, 5), (12_000, 5), 13, 1100),
    "matrix_nms": Work(matrix_nms, (1500, 5), (6000, 5), 32, 1100),
    "box_iou_rotated": Work(box_iou_rotated, (100, 100), (500, 500), 39, 1300),
    "nms_rotated": Work(nms_rotated, (1000,), (4000,), 48, 1200),
    "encode rotated": Work(encode_rotated, (10_000,), (500_000,), 33, 2000),
    "decode rotated": Work(decode_rotated, (10_000,), (500_000,), 32, 2000),
    "encode_keypoints": Work(encode_keypoints, (500, 17), (20_000, 17), 68, 1700, levels=False),
    "decode_keypoints": Work(decode_keypoints, (1, 17), (10, 17), 42, 1100),
    "roi_align integral": Work(integral, (32, 50, 84, 20), (64, 100, 168, 400), 84, 1600),
    "roi_align integral backward": Work(integral_backward, (32, 50, 84, 20), (64, 100, 168, 200), 98, 1900),
    "roi_align integral boxes": Work(integral_boxes_backward, (32, 50, 84, 10), (64, 100, 168, 100), 46, 1300),
    "roi_align max": Work(align_max, (32, 50, 84, 50), (64, 100, 168, 800), 40, 2800),
    "roi_align max backward": Work(align_max_backward, (32, 50, 84, 50), (64, 100, 168, 400), 160, 1900),
    "roi_align max adaptive backward": Work(align_max_backward, (32, 50, 84, 50, 0), (64, 100, 168, 400, 0), 200, 1900),
    "multiscale_roi_align max": Work(multiscale_max, (32, 100, 168, 50), (64, 200, 336, 400), 90, 3000),
    "roi_align_rotated": Work(rotated_align, (32, 50, 84, 50), (64, 100, 168, 800), 83, 2500),
    "roi_align_rotated backward": Work(rotated_align_backward, (32, 50, 84, 50), (64, 100, 168, 400), 200, 2200),
    "roi_warp": Work(pooling("roi_warp"), (32, 50, 84, 50), (64, 100, 168, 800), 62, 2400),
    "roi_warp backward": Work(max_backward("roi_warp", 1 / 4), (32, 50, 84, 50), (64, 100, 168, 400), 102, 1900),
    "ps_roi_align": Work(pooling("ps_roi_align", 49), (2, 50, 84, 20), (4, 100, 168, 400), 82, 1100, levels=False),
    "ps_roi_align backward": Work(ps_backward("ps_roi_align"), (2, 50, 84, 20), (4, 100, 168, 400),
                                  13, 1700, levels=False),
    "ps_roi_pool": Work(pooling("ps_roi_pool", 49), (2, 50, 84, 20), (4, 100, 168, 400), 59, 1100, levels=False),
    "ps_roi_pool backward": Work(ps_backward("ps_roi_pool"), (2, 50, 84, 20), (4, 100, 168, 400),
                                  14, 1700, levels=False),
    "deform_conv2d": Work(deform_conv, (16, 25, 42), (64, 50, 84), 129, 1600),
    "deform_conv2d backward": Work(deform_conv_backward, (16, 25, 42), (64, 50, 84), 314, 2300),
}
