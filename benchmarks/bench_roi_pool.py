"""roi_pool: the works of the published comparison, forward and backward."""

import torch

import roikit.kernels
import roikit.ops

from . import _inputs

# name: channels, height, width of the map; RoIs, smallest and largest side, seed; bins; scale
WORKS = {
    "1000 rois 7x7": (256, 200, 336, 1000, 16, 224, 0, 7, 1 / 4),
    "C4 300 rois 14x14": (1024, 50, 84, 300, 32, 512, 2, 14, 1 / 16),
}


def inputs(work):
    channels, height, width, n, smallest, largest, seed, bins, scale = WORKS[work]
    maps = _inputs.feature_map(channels, height, width, seed=int(channels == 1024))
    return maps, _inputs.rois(n, smallest, largest, seed), (bins, scale)


class RoiPool:
    params = [list(WORKS), ["contiguous", "channels_last"], ["cpu", "cuda"]]
    param_names = ["work", "format", "device"]

    def setup(self, work, form, device):
        maps, rois, self.rule = inputs(work)
        self.maps, self.rois = _inputs.on(device, maps, rois)
        if form == "channels_last":
            self.maps = self.maps.contiguous(memory_format=torch.channels_last)
        self.leaf = self.maps.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        self.grad = torch.ones_like(roikit.ops.roi_pool(self.maps, self.rois, *self.rule))

    def time_roi_pool(self, work, form, device):
        roikit.ops.roi_pool(self.maps, self.rois, *self.rule)
        _inputs.wait(device)

    def time_roi_pool_forward_backward(self, work, form, device):
        self.leaf.grad = None
        roikit.ops.roi_pool(self.leaf, self.rois, *self.rule).backward(self.grad)
        _inputs.wait(device)


class RoiPoolKernel:
    params = [[1, 2], ["base", "v3", "v4"]]
    param_names = ["threads", "simd"]

    def setup(self, threads, simd):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        maps, rois, self.rule = inputs("1000 rois 7x7")
        self.maps, self.rois = maps.numpy(), rois.numpy()
        self.out = roikit.kernels.roi_pool(self.maps, self.rois, *self.rule)

    def time_roi_pool(self, threads, simd):
        with roikit.simd(simd):
            roikit.kernels.roi_pool(self.maps, self.rois, *self.rule, out=self.out, threads=threads)
