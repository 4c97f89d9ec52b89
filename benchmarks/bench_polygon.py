"""Polygon rasterisation: 100 outlines, to RLEs of the image and to the 28 x 28 bitmap of a RoI."""

import numpy as np

from roikit import masks
from roikit.masks.polygon import rasterize

from .kernel_inputs import boxes, stars
from .kernel_works import Work

HEIGHT, WIDTH, COUNT = 800, 1333, 100


def outlines(points, smallest, largest, seed=0):
    """COUNT flat lists of floats: wavy ellipses of `points` vertices, partly outside the image."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    lists = []
    for _ in range(COUNT):
        radius = 1 + 0.15 * np.sin(5 * angle)
        x = rng.uniform(0, WIDTH) + rng.uniform(smallest, largest) * radius * np.cos(angle)
        y = rng.uniform(0, HEIGHT) + rng.uniform(smallest, largest) * radius * np.sin(angle)
        lists.append(np.stack([x, y], 1).ravel().tolist())
    return lists


def polygon(n, height, width):
    shapes = sum(stars(boxes(n, height / 8, height / 2, height, width, 7)), [])
    return lambda: masks.frPyObjects(shapes, height, width)


WORKS = {"polygon": Work(polygon, (20, 200, 336), (50, 800, 1333), 13, 1100, levels=False)}


class Polygon:
    params = [[8, 30, 300], ["20-250", "2-20"]]
    param_names = ["points", "half axis"]

    def setup(self, points, size):
        smallest, largest = map(int, size.split("-"))
        self.polygons = outlines(points, smallest, largest)

    def time_from_polygons(self, points, size):
        masks.frPyObjects(self.polygons, HEIGHT, WIDTH)

    def time_rasterize_union(self, points, size):
        rasterize(self.polygons, HEIGHT, WIDTH)


class PolygonTarget:
    params = [[30]]
    param_names = ["points"]

    def setup(self, points):
        self.polygons = [(np.array(one) / 20).tolist() for one in outlines(points, 20, 250)]

    def time_rasterize_28x28(self, points):
        for one in self.polygons:
            rasterize([one], 28, 28)
