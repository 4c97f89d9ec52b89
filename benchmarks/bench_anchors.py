"""Anchors: the 268,569 of an FPN over an 800 x 1344 image, level by level."""

import math

import roikit.ops

from . import _inputs


class GridAnchors:
    params = ["cpu", "cuda"]
    param_names = ["device"]

    def setup(self, device):
        self.levels = []
        for stride, size in zip((4, 8, 16, 32, 64), (32, 64, 128, 256, 512), strict=True):
            (cell,) = _inputs.on(device, roikit.ops.cell_anchors([size], [0.5, 1, 2]))
            shape = math.ceil(_inputs.HEIGHT / stride), math.ceil(_inputs.WIDTH / stride)
            self.levels.append((cell, shape, stride))

    def time_grid_anchors(self, device):
        for cell, shape, stride in self.levels:
            roikit.ops.grid_anchors(cell, shape, stride)
        _inputs.wait(device)


class CellAnchors:
    def time_cell_anchors(self):
        roikit.ops.cell_anchors([32, 64, 128, 256, 512], [0.5, 1, 2])
