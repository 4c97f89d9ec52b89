"""box_iou and its relatives: a square of pairs, and anchors against a few objects."""

import numpy as np

import roikit.kernels
import roikit.ops

from . import _inputs


class BoxIou:
    params = [["1000x1000", "200000x50"], ["cpu", "cuda"]]
    param_names = ["pairs", "device"]

    def setup(self, pairs, device):
        n, m = map(int, pairs.split("x"))
        first = _inputs.boxes(n, seed=1) if n == m else _inputs.anchors()[:n].contiguous()
        self.first, self.second = _inputs.on(device, first, _inputs.boxes(m, 32, 400, seed=2))

    def time_box_iou(self, pairs, device):
        roikit.ops.box_iou(self.first, self.second)
        _inputs.wait(device)


class Relatives:
    params = [["generalized_box_iou", "distance_box_iou", "complete_box_iou"], ["cpu", "cuda"]]
    param_names = ["op", "device"]

    def setup(self, op, device):
        self.op = getattr(roikit.ops, op)
        self.first, self.second = _inputs.on(device, _inputs.boxes(1000, seed=1), _inputs.boxes(1000, seed=2))

    def time_relative_of_box_iou(self, op, device):
        self.op(self.first, self.second)
        _inputs.wait(device)


class BoxIouKernel:
    params = [[1, 2], ["base", "v3", "v4"]]
    param_names = ["threads", "simd"]

    def setup(self, threads, simd):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        self.boxes = _inputs.boxes(1000).numpy()
        self.out = np.empty((1000, 1000), np.float32)

    def time_box_iou(self, threads, simd):
        with roikit.simd(simd):
            roikit.kernels.box_iou(self.boxes, self.boxes, out=self.out, threads=threads)


class ClipBoxes:
    params = ["cpu", "cuda"]
    param_names = ["device"]

    def setup(self, device):
        (self.anchors,) = _inputs.on(device, _inputs.anchors())

    def time_clip_boxes_to_image(self, device):
        roikit.ops.clip_boxes_to_image(self.anchors, (_inputs.HEIGHT, _inputs.WIDTH))
        _inputs.wait(device)
