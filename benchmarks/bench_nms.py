"""nms: what an RPN hands over, boxes that hardly overlap, classes. For up to a million see bench_scaling."""

import torch

import roikit.kernels
import roikit.ops

from . import _inputs


class Nms:
    params = [["clusters", "sparse"], [1000, 4000, 12000], ["cpu", "cuda"]]
    param_names = ["layout", "boxes", "device"]

    def setup(self, layout, boxes, device):
        self.threshold = 0.7
        given = _inputs.clusters(boxes)
        if layout == "sparse":
            self.threshold = 0.5
            given = _inputs.boxes(boxes, 8, 64, seed=3), torch.rand(boxes, generator=_inputs.generator(9))
        self.boxes, self.scores = _inputs.on(device, *given)

    def time_nms(self, layout, boxes, device):
        roikit.ops.nms(self.boxes, self.scores, self.threshold)
        _inputs.wait(device)


class BatchedNms:
    params = [["5 levels", "80 classes"], ["cpu", "cuda"]]
    param_names = ["classes", "device"]

    def setup(self, classes, device):
        self.threshold = 0.7 if classes == "5 levels" else 0.5
        boxes, scores = _inputs.clusters(5000)
        idxs = torch.arange(5).repeat_interleave(1000)
        if classes == "80 classes":
            idxs = torch.randint(0, 80, (5000,), generator=_inputs.generator(4))
        self.boxes, self.scores, self.idxs = _inputs.on(device, boxes, scores, idxs)

    def time_batched_nms(self, classes, device):
        roikit.ops.batched_nms(self.boxes, self.scores, self.idxs, self.threshold)
        _inputs.wait(device)


class NmsKernel:
    params = [["base", "v3", "v4"]]
    param_names = ["simd"]

    def setup(self, simd):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        self.boxes, self.scores = (t.numpy() for t in _inputs.clusters(4000))

    def time_nms(self, simd):
        with roikit.simd(simd):
            roikit.kernels.nms(self.boxes, self.scores, 0.7)

    def time_nms_padded(self, simd):
        with roikit.simd(simd):
            roikit.kernels.nms_padded(self.boxes, self.scores, 0.7, 300)
