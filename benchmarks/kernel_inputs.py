"""The inputs of works of the kernels, always the same. NumPy only."""

import math

import numpy as np


def uniform(*shape, seed):
    """float64 in [0, 1): splitmix64 of an index. NumPy's generators draw from the system when they are imported, and
    what they then allocate shifts the counts.
    """
    x = np.arange(1, np.prod(shape) + 1, dtype=np.uint64) + np.uint64(seed << 40)
    x *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).reshape(shape) / 2.0**53


def bell(*shape, seed):
    """float32, mean 0, deviation 1: about normal, a sum of four uniform numbers."""
    return ((uniform(4, *shape, seed=seed).sum(0) - 2) * math.sqrt(3)).astype(np.float32)


def boxes(n, smallest, largest, height, width, seed=0):
    """float32 (n, 4), xyxy inside the image; sqrt(area) log-uniform in [smallest, largest], ratio in [1/2, 2]."""
    u = uniform(4, n, seed=seed)
    size, ratio = smallest * (largest / smallest) ** u[0], np.sqrt(0.5 * 4 ** u[1])
    w, h = np.minimum(size * ratio, width - 2), np.minimum(size / ratio, height - 2)
    x, y = u[2] * (width - w), u[3] * (height - h)
    return np.stack([x, y, x + w, y + h], 1).astype(np.float32)


def clusters(n, seed=0):
    """n boxes jittered about n / 50 objects of an 800 x 1344 image, and their scores."""
    objects = boxes(n // 50, 32, 400, 800, 1344, seed + 1)[(uniform(n, seed=seed + 2) * (n // 50)).astype(int)]
    side = np.tile(objects[:, 2:] - objects[:, :2], 2)
    return objects + 0.1 * side * bell(n, 4, seed=seed + 3), uniform(n, seed=seed + 4).astype(np.float32)


def rois(n, height, width, smallest=16, largest=224):
    return np.concatenate([np.zeros((n, 1), np.float32), boxes(n, smallest, largest, height, width, 3)], 1)


def feature_map(channels, height, width, last=False, seed=0):
    """float32 (1, channels, height, width), stored with the channels last if ``last``."""
    x = bell(1, height, width, channels, seed=seed).transpose(0, 3, 1, 2)
    return x if last else np.ascontiguousarray(x)


def map_and_rois(channels, height, width, n, last=False):
    """A feature map at a quarter of its image's size, and n RoIs of the image."""
    return feature_map(channels, height, width, last), rois(n, 4 * height, 4 * width)


def in_classes(n, classes):
    """The boxes and scores of `clusters`, and the class of each box."""
    return *clusters(n), (uniform(n, seed=4) * classes).astype(int)


def turned(b, seed=9):
    """The boxes as (x, y, width, height, angle), at any angle."""
    angle = (uniform(len(b), 1, seed=seed) * 360 - 180).astype(b.dtype)
    return np.concatenate([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2], angle], 1)


def soft_masks(n, size=28):
    """float32 (n, size, size) in (0, 1): discs with soft edges."""
    y, x = np.mgrid[-1:1:size * 1j, -1:1:size * 1j]
    u = uniform(3, n, 1, 1, seed=6)
    middle, radius = 0.4 * u[:2] - 0.2, 0.6 + 0.4 * u[2]
    return np.clip((radius - np.hypot(x - middle[0], y - middle[1])) * 5 + 0.5, 0, 1).astype(np.float32)


def ellipses(n, height, width):
    """uint8 (n, height, width): an ellipse in each of n boxes; and the boxes."""
    b = boxes(n, height / 16, height / 2, height, width, 7)
    y, x = np.mgrid[:height, :width] + 0.5
    return np.stack([(((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2 < 0.25)
                     for x1, y1, x2, y2 in b]).astype(np.uint8), b


def stars(b, corners=60):
    """A polygon with ``corners`` vertices within each box, as COCO's lists."""
    out = []
    for (x1, y1, x2, y2), u in zip(b.tolist(), uniform(len(b), 2, corners, seed=8), strict=True):
        angle, radius = 2 * math.pi * np.sort(u[0]), 0.3 + 0.2 * u[1]
        x, y = (x1 + x2) / 2 + (x2 - x1) * radius * np.cos(angle), (y1 + y2) / 2 + (y2 - y1) * radius * np.sin(angle)
        out.append([np.stack([x, y], 1).ravel().tolist()])
    return out
