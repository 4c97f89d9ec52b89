"""soft_nms, fast_nms, matrix_nms: what an RPN hands over, and classes."""

import torch

import roikit.kernels
import roikit.ops

from . import _inputs


class SoftNms:
    params = [["linear", "gaussian", "naive"], [1000, 4000], ["cpu", "cuda"]]
    param_names = ["method", "boxes", "device"]

    def setup(self, method, boxes, device):
        self.boxes, self.scores = _inputs.on(device, *_inputs.clusters(boxes))

    def time_soft_nms(self, method, boxes, device):
        roikit.ops.soft_nms(self.boxes, self.scores, method=method)
        _inputs.wait(device)


class ClassNms:
    params = [["cpu", "cuda"]]
    param_names = ["device"]

    def setup(self, device):
        idxs = torch.randint(0, 80, (5000,), generator=_inputs.generator(4))
        self.boxes, self.scores, self.idxs = _inputs.on(device, *_inputs.clusters(5000), idxs)

    def time_fast_nms(self, device):
        roikit.ops.fast_nms(self.boxes, self.scores, self.idxs, 0.5)
        _inputs.wait(device)

    def time_fast_nms_cross_class(self, device):
        roikit.ops.fast_nms(self.boxes, self.scores, self.idxs, 0.5, cross_class=True)
        _inputs.wait(device)

    def time_matrix_nms(self, device):
        roikit.ops.matrix_nms(self.boxes, self.scores, self.idxs)
        _inputs.wait(device)


class SoftNmsKernel:
    params = [["linear", "gaussian"], ["base", "v3", "v4"]]
    param_names = ["method", "simd"]

    def setup(self, method, simd):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        self.boxes, self.scores = (t.numpy() for t in _inputs.clusters(4000))

    def time_soft_nms(self, method, simd):
        with roikit.simd(simd):
            roikit.kernels.soft_nms(self.boxes, self.scores, method=method)
