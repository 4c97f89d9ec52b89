"""Many boxes: more than hypothesis would draw, so that they cross the kernels' groups and tiles."""

import numpy as np


def candidates(n, seed, dtype=np.float32, centres=8):
    """Boxes around a few centres, scores with ties, a handful of classes; some boxes and scores are awkward."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 300, (centres, 2))[rng.integers(0, centres, n)] + rng.normal(0, 5, (n, 2))
    half = rng.uniform(5, 30, (n, 2))
    boxes = np.concatenate([centre - half, centre + half], 1).round(1).astype(dtype)
    scores = (rng.integers(0, max(n // 2, 2), n) / n - 0.1).astype(dtype)
    if n > 10:
        odd = rng.integers(0, n, 10)
        boxes[odd[0], 2] = boxes[odd[0], 0]
        boxes[odd[1]] = boxes[odd[1]][[2, 3, 0, 1]]
        boxes[odd[2], 1], boxes[odd[3], 2], boxes[odd[4]] = np.nan, np.inf, [-np.inf, -np.inf, np.inf, np.inf]
        boxes[odd[5]] = boxes[odd[7]]  # an infinite score that is multiplied with 0
        scores[odd[5:]] = [np.nan, -np.nan, np.inf, -np.inf, -0.0]
    return boxes, scores, rng.integers(-2, 3, n)


def rois(images, count, size, seed=0):
    """(count, 5) float32, of sides up to ``size``."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(-5, size, (count, 2))
    return np.concatenate([rng.integers(0, images, (count, 1)), corner, corner + rng.uniform(0, size, (count, 2))], 1,
                          dtype=np.float32)


def rotated_rois(images, count, size, seed=0):
    """(count, 6) float32, of sides up to ``size``, at any angle."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.integers(0, images, (count, 1)), rng.uniform(-5, size, (count, 2)),
                           np.exp(rng.uniform(0, np.log(size), (count, 2))), rng.uniform(-200, 200, (count, 1))], 1,
                          dtype=np.float32)
