"""Weights and pictures that are functions of a name and a seed, so that golden files need not hold them. NumPy only.

The draws are the bits of PCG64, which NumPy promises to keep, turned into uniform numbers by exact steps: the same bits
on every machine and with every version. (A normal distribution would be neither promised nor exact.)
"""

import hashlib
import math

import numpy as np

__all__ = ["draw", "picture", "tensor_of"]

# A norm at the end of a residual branch: there are up to 33 branches, and each adds its variance.
LAST_NORMS = ("conv3.norm.weight", "bn3.weight")
SMALL = 0.25
CENTRES = {"fc_mask_iou.bias": 0.6}  # predicted overlaps are not clamped: around this


def uniform(count, *key):
    """`count` float32 in [-1, 1), a function of `key`."""
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    bits = np.random.PCG64(int.from_bytes(digest[:16], "little")).random_raw((count + 1) // 2)
    high = (bits >> np.uint64(40)).astype(np.float32), ((bits >> np.uint64(8)) & np.uint64(0xFFFFFF)).astype(np.float32)
    return (np.stack(high, axis=1).reshape(-1)[:count] - np.float32(2**23)) * np.float32(2.0**-23)


def tensor_of(name, shape, seed, factor=1.0):
    """The tensor `name` of a state dict.

    A matrix or kernel keeps the variance of what a ReLU lets through: uniform, standard deviation
    sqrt(2 / fan-in) * factor. The rows of a matrix have the sum 0, so that scores show what differs between boxes, and
    not what all have in common. The weight and the variance of a norm are in [0.8, 1.2) (a quarter of that at the end
    of a residual branch), its mean and every bias in [-0.1, 0.1), or about its centre. A counter of batches is 0.

    Returns:
        `shape` float32; int64 for a counter.
    """
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    x = uniform(math.prod(shape), seed, name).reshape(shape)
    if len(shape) > 1:
        if len(shape) == 2:
            x = (x - x.mean(axis=1, keepdims=True, dtype=np.float64)).astype(np.float32)
        return x * np.float32(math.sqrt(6 / math.prod(shape[1:])) * factor)
    if name.endswith((".weight", ".running_var")):
        small = SMALL if name.endswith(LAST_NORMS) else 1.0
        return (np.float32(1) + np.float32(0.2) * x) * np.float32(small)
    centre = sum(value for end, value in CENTRES.items() if name.endswith(end))
    return np.float32(0.1) * x + np.float32(centre)


def draw(shapes, seed, factors):
    """A state dict of NumPy arrays: `shapes` {name: shape}, `factors` {name of a weight: what multiplies it}."""
    if unknown := set(factors) - set(shapes):
        raise ValueError(f"draw: factors must be of tensors in shapes, got {sorted(unknown)}")
    return {name: tensor_of(name, tuple(shape), seed, factors.get(name, 1.0)) for name, shape in shapes.items()}


def resized(cells, height, width):
    """`cells` (h, w) bilinear at (height, width), corner to corner."""
    for length in (height, width):
        at = np.arange(length) * ((len(cells) - 1) / (length - 1))
        low = np.minimum(at.astype(np.int64), len(cells) - 2)
        part = (at - low)[:, None]
        cells = (cells[low] * (1 - part) + cells[low + 1] * part).T
    return cells


def picture(height, width, seed, objects=24):
    """A smooth picture with `objects` ellipses of all sizes: (3, height, width) uint8, RGB."""
    image = np.stack([sum(resized(uniform(n * n, seed, "noise", n, channel).reshape(n, n).astype(np.float64),
                                  height, width) for n in (4, 13, 41)) for channel in range(3)])
    y, x = np.mgrid[:height, :width]
    for i in range(objects):
        cx, cy, size, ratio, *colour = uniform(7, seed, "object", i).astype(np.float64)
        size = (0.03 + 0.15 * (1 + size) ** 2) * min(height, width) / 2
        a, b = size * (1.2 + 0.8 * ratio), size * (1.2 - 0.8 * ratio)
        distance = ((x - (1 + cx) / 2 * width) / a) ** 2 + ((y - (1 + cy) / 2 * height) / b) ** 2
        shade = np.maximum(0, 1 - (distance * distance) ** 2)  # flat inside, steep at the edge
        image = image * (1 - shade) + (np.array(colour)[:, None, None] * 1.8 + image * 0.2) * shade
    return np.clip(np.floor(127.5 + 75 * image), 0, 255).astype(np.uint8)
