"""keypoints: the maps of an image's people back to points, and the targets of a training step."""

import torch

import roikit.kernels
import roikit.ops
from roikit.bench.works_keypoints import keypoint_maps

from . import _inputs


def inputs(kind):
    return keypoint_maps(kind == "peaks"), _inputs.boxes(100, 24, 500, seed=6)


class Keypoints:
    params = [["peaks", "noise"], ["cpu", "cuda"]]
    param_names = ["maps", "device"]

    def setup(self, maps, device):
        self.maps, self.boxes = _inputs.on(device, *inputs(maps))
        self.points, = _inputs.on(device, torch.rand(100, 17, 3, generator=torch.Generator().manual_seed(0)) * 800)

    def time_decode_keypoints(self, maps, device):
        roikit.ops.decode_keypoints(self.maps, self.boxes)
        _inputs.wait(device)

    def time_encode_keypoints(self, maps, device):
        roikit.ops.encode_keypoints(self.points, self.boxes, 56)
        _inputs.wait(device)


class DecodeKernel:
    params = [["peaks", "noise"], [1, 2], ["base", "v3", "v4"]]
    param_names = ["maps", "threads", "simd"]

    def setup(self, maps, threads, simd):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        self.maps, self.boxes = (x.numpy() for x in inputs(maps))

    def time_decode_keypoints(self, maps, threads, simd):
        with roikit.simd(simd):
            roikit.kernels.decode_keypoints(self.maps, self.boxes, threads=threads)

    def peakmem_decode_keypoints(self, maps, threads, simd):
        roikit.kernels.decode_keypoints(self.maps, self.boxes, threads=threads)
