"""Rotated boxes: overlap of all pairs, suppression of clusters and of boxes that hardly meet."""

import torch

import roikit.kernels
import roikit.ops

from . import _inputs


class BoxIouRotated:
    params = [[(500, 500), (5000, 50)], ["cpu", "cuda"]]
    param_names = ["boxes", "device"]

    def setup(self, boxes, device):
        n, m = boxes
        self.boxes = _inputs.on(device, _inputs.rotated(n, seed=1), _inputs.rotated(m, seed=2))

    def time_box_iou_rotated(self, boxes, device):
        roikit.ops.box_iou_rotated(*self.boxes)
        _inputs.wait(device)


class NmsRotated:
    params = [["clusters", "sparse"], [2000, 20000], ["cpu", "cuda"]]
    param_names = ["layout", "boxes", "device"]

    def setup(self, layout, boxes, device):
        given = _inputs.rotated_clusters(boxes)
        if layout == "sparse":
            given = _inputs.rotated(boxes, 8, 24, seed=3), torch.rand(boxes, generator=_inputs.generator(9))
        self.boxes, self.scores = _inputs.on(device, *given)
        self.idxs = torch.arange(boxes, device=device) % 5

    def time_nms_rotated(self, layout, boxes, device):
        roikit.ops.nms_rotated(self.boxes, self.scores, 0.5)
        _inputs.wait(device)

    def time_batched_nms_rotated(self, layout, boxes, device):
        roikit.ops.batched_nms_rotated(self.boxes, self.scores, self.idxs, 0.5)
        _inputs.wait(device)


class RotatedKernels:
    params = [["base", "v3", "v4"]]
    param_names = ["simd"]

    def setup(self, simd):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        self.boxes, self.scores = (t.numpy() for t in _inputs.rotated_clusters(2000))

    def time_box_iou_rotated(self, simd):
        with roikit.simd(simd):
            roikit.kernels.box_iou_rotated(self.boxes[:500], self.boxes[500:1000])

    def time_nms_rotated(self, simd):
        with roikit.simd(simd):
            roikit.kernels.nms_rotated(self.boxes, self.scores, 0.5)
