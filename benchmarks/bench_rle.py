"""Run-length encoding: 100 masks of an 800 x 1333 image, as evaluation handles them."""

import numpy as np

from roikit import masks

from .kernel_inputs import ellipses
from .kernel_works import Work

HEIGHT, WIDTH, COUNT = 800, 1333, 100


def wavy_ellipses(count=COUNT, seed=0):
    """uint8 (count, HEIGHT, WIDTH), row-major; half axes of 20 to 250 pixels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    stack = np.empty((count, HEIGHT, WIDTH), np.uint8)
    for mask in stack:
        dy, dx = y - rng.uniform(0, HEIGHT), x - rng.uniform(0, WIDTH)
        edge = 1 + 0.15 * np.sin(5 * np.arctan2(dy, dx))
        mask[:] = (dy / rng.uniform(20, 250)) ** 2 + (dx / rng.uniform(20, 250)) ** 2 < edge
    return stack


def runs(mask):
    """An uncompressed RLE's list."""
    pixels = mask.ravel(order="F")
    turns = np.flatnonzero(np.diff(pixels, prepend=0))
    return np.diff(turns, prepend=0, append=pixels.size).tolist()


def encode(n, height, width):
    images = np.asfortranarray(ellipses(n, height, width)[0].transpose(1, 2, 0))
    return lambda: masks.encode(images)


def decode(n, height, width):
    rles = masks.encode(ellipses(n, height, width)[0].transpose(1, 2, 0))
    return lambda: masks.decode(rles)


def iou(n, height, width):
    rles = masks.encode(ellipses(n, height, width)[0].transpose(1, 2, 0))
    return lambda: masks.iou(rles, rles, [0] * n)


WORKS = {
    "rle encode": Work(encode, (10, 400, 672), (20, 800, 1333), 12, 1100, levels=False),
    "rle decode": Work(decode, (10, 400, 672), (20, 800, 1333), 2, 1700, levels=False),
    "rle iou": Work(iou, (20, 200, 336), (50, 800, 1333), 9.5, 1100, levels=False),
}


class RleEncode:
    params = [["column-major", "row-major", "masks last"]]
    param_names = ["memory order"]

    def setup_cache(self):
        return wavy_ellipses()

    def setup(self, stack, order):
        view = stack.transpose(1, 2, 0)
        arrange = {"column-major": np.asfortranarray, "row-major": lambda array: array,
                   "masks last": np.ascontiguousarray}
        self.masks = arrange[order](view)

    def time_encode(self, stack, order):
        masks.encode(self.masks)


class Rle:
    params = [[1, 2, COUNT]]
    param_names = ["masks"]

    def setup_cache(self):
        return masks.encode(wavy_ellipses().transpose(1, 2, 0))

    def setup(self, rles, count):
        self.rles = rles[:count]
        self.crowd = [int(i % 5 == 0) for i in range(count)]
        self.listed = [{"size": [HEIGHT, WIDTH], "counts": runs(masks.decode(one))}
                       for one in self.rles]

    def time_decode(self, rles, count):
        masks.decode(self.rles)

    def time_area(self, rles, count):
        masks.area(self.rles)

    def time_to_bbox(self, rles, count):
        masks.toBbox(self.rles)

    def time_iou(self, rles, count):
        masks.iou(self.rles, self.rles, self.crowd)

    def time_merge(self, rles, count):
        masks.merge(self.rles)

    def time_intersect(self, rles, count):
        masks.merge(self.rles, intersect=1)

    def time_from_lists(self, rles, count):
        masks.frPyObjects(self.listed, HEIGHT, WIDTH)
