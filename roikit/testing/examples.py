"""Small inputs by words: what the examples in the signatures of `roikit.testing.table` stand for. NumPy only.

Plain ones are what every implementation is made for: boxes with an area inside the map, finite numbers. Awkward ones
have NaN, infinities, huge numbers and reversed boxes. The same seed gives the same input. With ``strays``, indices of
images and masks may name nothing.
"""

import numpy as np

__all__ = ["WORDS", "example", "special"]

IMAGES, MASKS = 2, 3
HEIGHT, WIDTH = 7, 9  # of maps and bitmaps
CHANNELS = 8
ROWS, AWKWARD_ROWS = 5, 200
SPECIAL = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 2.0**31, -1e9, 0.0, 5.0, 12.0], np.float32)


def special(rng, *shape):
    """float32, of what kernels get wrong: NaN, infinities, numbers that no integer holds, and a few ordinary ones."""
    return SPECIAL[rng.integers(0, len(SPECIAL), shape)]


class _Draw:
    """One word's input. ``n`` is the number of its rows."""

    def __init__(self, word, seed, rows, awkward, strays):
        self.rng = np.random.default_rng([seed, *word.encode()])
        self.awkward, self.strays = awkward, strays
        self.n = (AWKWARD_ROWS if awkward else ROWS) if rows is None else rows

    def floats(self, *shape):
        values = self.rng.uniform(-1, 1, shape).astype(np.float32)
        if self.awkward:
            few = self.rng.random(shape) < 0.1
            values[few] = special(self.rng, int(few.sum()))
        return values

    def positive(self, *shape):
        """In [0, 1), with ties, finite."""
        return (self.rng.integers(0, 64, shape) / 64).astype(np.float32)

    def indices(self, count):
        strays = 1 if self.strays else 0
        return self.rng.integers(-strays, count + strays, self.n)

    def boxes(self):
        if self.awkward:
            return special(self.rng, self.n, 4)
        corner = self.rng.uniform(0, HEIGHT - 3, (self.n, 2))
        return np.concatenate([corner, corner + self.rng.uniform(2, 4, (self.n, 2))], 1).astype(np.float32)

    def rotated_boxes(self):
        if self.awkward:
            return special(self.rng, self.n, 5)
        boxes, turns = self.boxes(), 30 * self.rng.integers(-6, 7, (self.n, 1))
        return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2], turns], 1,
                              dtype=np.float32)

    def of_images(self, boxes):
        return np.concatenate([self.indices(IMAGES)[:, None], boxes], 1, dtype=np.float32)

    def maps(self, times=1):
        return self.rng.standard_normal((IMAGES, CHANNELS, times * HEIGHT, times * WIDTH)).astype(np.float32)

    def keypoints(self):
        if self.awkward:
            return special(self.rng, self.n, 3, 3)
        return np.concatenate([self.rng.uniform(0, HEIGHT, (self.n, 3, 2)), self.rng.integers(0, 3, (self.n, 3, 1))], 2,
                              dtype=np.float32)


WORDS = {
    "boxes": _Draw.boxes,  # (N, 4), x1 y1 x2 y2
    "rotated_boxes": _Draw.rotated_boxes,  # (N, 5), cx cy w h degrees
    "rois": lambda draw: draw.of_images(draw.boxes()),  # (N, 5), the image's index first
    "rotated_rois": lambda draw: draw.of_images(draw.rotated_boxes()),  # (N, 6)
    "scores": lambda draw: draw.floats(draw.n) if draw.awkward else draw.positive(draw.n),  # (N,)
    "classes": lambda draw: draw.rng.integers(0, 3, draw.n),  # (N,) int64
    "matches": lambda draw: draw.indices(MASKS),  # (N,) int64, of bitmaps
    "deltas": lambda draw: draw.floats(draw.n, 4),  # (N, 4)
    "rotated_deltas": lambda draw: draw.floats(draw.n, 5),  # (N, 5)
    "keypoints": _Draw.keypoints,  # (N, 3, 3), x y visibility
    "masks": lambda draw: draw.positive(draw.n, 5, 5),  # (N, M, M), probabilities
    "heatmaps": lambda draw: draw.floats(draw.n, 2, 5, 6),  # (N, K, H, W)
    "maps": _Draw.maps,  # (images, channels, H, W)
    "pyramid": lambda draw: [draw.maps(2), draw.maps()],  # a list of maps
    "bitmaps": lambda draw: draw.positive(MASKS, HEIGHT, WIDTH).round().astype(np.uint8),  # (masks, H, W) of 0 and 1
}


def example(word, seed=0, *, rows=None, awkward=False, strays=False):
    """The input that a word stands for: an array, or a list of arrays.

    Args:
        word: one of WORDS, or "floats(2, 18, 5, 7)" for float32 of that shape.
        seed: an integer, at least 0.
        rows: how many boxes, scores and the like; None for a few, or some hundred awkward ones.
        awkward: NaN and the like; maps, masks and classes stay as they are.
        strays: indices of images and of masks may be one too low or too high.

    Raises:
        ValueError: no such word.
    """
    draw = _Draw(word, seed, rows, awkward, strays)
    if word.startswith("floats("):
        return draw.floats(*map(int, word[len("floats("):].rstrip(",)").split(",")))
    if word not in WORDS:
        raise ValueError(f"example: word must be one of {', '.join(WORDS)}, or floats(...), got {word!r}")
    return WORDS[word](draw)
