"""The box codec: the anchors of an FPN, and the classes of a box head."""

import numpy as np
import torch

import roikit.kernels
import roikit.ops

from . import _inputs


class BoxCodec:
    params = ["cpu", "cuda"]
    param_names = ["device"]

    def setup(self, device):
        anchors = _inputs.anchors()
        n = len(anchors)
        deltas = 0.2 * torch.randn(n, 4, generator=_inputs.generator(1))
        self.anchors, self.boxes, self.deltas = _inputs.on(device, anchors, _inputs.boxes(n, 32, 400), deltas)

    def time_encode_boxes(self, device):
        roikit.ops.encode_boxes(self.boxes, self.anchors)
        _inputs.wait(device)

    def time_decode_boxes(self, device):
        roikit.ops.decode_boxes(self.deltas, self.anchors)
        _inputs.wait(device)


class DecodeClasses:
    params = ["cpu", "cuda"]
    param_names = ["device"]

    def setup(self, device):
        deltas = torch.randn(1000, 4 * 91, generator=_inputs.generator(1))
        self.proposals, self.deltas = _inputs.on(device, _inputs.boxes(1000), deltas)

    def time_decode_boxes(self, device):
        roikit.ops.decode_boxes(self.deltas, self.proposals, (10, 10, 5, 5))
        _inputs.wait(device)


class BoxCodecKernel:
    params = [[1, 2], ["base", "v3", "v4"]]
    param_names = ["threads", "simd"]

    def setup(self, threads, simd):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        self.anchors = _inputs.anchors().numpy()
        self.boxes = _inputs.boxes(len(self.anchors), 32, 400).numpy()
        self.out = np.empty_like(self.anchors)

    def time_encode_boxes(self, threads, simd):
        with roikit.simd(simd):
            roikit.kernels.encode_boxes(self.boxes, self.anchors, out=self.out, threads=threads)

    def time_decode_boxes(self, threads, simd):
        with roikit.simd(simd):
            roikit.kernels.decode_boxes(self.boxes, self.anchors, out=self.out, threads=threads)
