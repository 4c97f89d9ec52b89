"""roi_align and multiscale_roi_align: the works of the published comparison, forward and backward."""

import torch

import roikit.kernels
import roikit.ops

from . import _inputs

# name: channels, height, width of the map; RoIs, smallest and largest side, seed; bins; scale; sampling ratio
WORKS = {
    "1000 rois 7x7": (256, 200, 336, 1000, 16, 224, 0, 7, 1 / 4, 2),
    "100 rois 14x14": (256, 200, 336, 100, 16, 224, 1, 14, 1 / 4, 2),
    "1000 rois 7x7 adaptive": (256, 200, 336, 1000, 16, 224, 0, 7, 1 / 4, 0),
    "C4 300 rois 14x14": (1024, 50, 84, 300, 32, 512, 2, 14, 1 / 16, 2),
}


def inputs(work):
    channels, height, width, n, smallest, largest, seed, bins, scale, ratio = WORKS[work]
    maps = _inputs.feature_map(channels, height, width, seed=int(channels == 1024))
    return maps, _inputs.rois(n, smallest, largest, seed), (bins, scale, ratio, True)


class RoiAlign:
    params = [list(WORKS), ["contiguous", "channels_last"], ["cpu", "cuda"]]
    param_names = ["work", "format", "device"]

    def setup(self, work, form, device):
        maps, rois, self.rule = inputs(work)
        self.maps, self.rois = _inputs.on(device, maps, rois)
        if form == "channels_last":
            self.maps = self.maps.contiguous(memory_format=torch.channels_last)
        self.leaf = self.maps.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        self.grad = torch.ones_like(roikit.ops.roi_align(self.maps, self.rois, *self.rule))

    def time_roi_align(self, work, form, device):
        roikit.ops.roi_align(self.maps, self.rois, *self.rule)
        _inputs.wait(device)

    def time_roi_align_forward_backward(self, work, form, device):
        self.leaf.grad = None
        roikit.ops.roi_align(self.leaf, self.rois, *self.rule).backward(self.grad)
        _inputs.wait(device)


class RoiAlignIntegral:
    params = [["contiguous", "channels_last"], ["cpu", "cuda"]]
    param_names = ["format", "device"]

    def setup(self, form, device):
        maps, rois, (bins, scale, _, aligned) = inputs("1000 rois 7x7")
        self.maps, self.rois = _inputs.on(device, maps, rois)
        if form == "channels_last":
            self.maps = self.maps.contiguous(memory_format=torch.channels_last)
        self.rule = (bins, scale, -1, aligned)
        self.leaf = self.maps.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        self.boxes = self.rois.detach().clone().requires_grad_()
        self.grad = torch.ones_like(self.pool(self.maps, self.rois))

    def pool(self, maps, rois):
        return roikit.ops.roi_align(maps, rois, *self.rule, rule="integral")

    def time_forward(self, form, device):
        self.pool(self.maps, self.rois)
        _inputs.wait(device)

    def time_forward_backward(self, form, device):
        torch.autograd.grad(self.pool(self.leaf, self.rois), self.leaf, self.grad)
        _inputs.wait(device)

    def time_forward_backward_to_the_boxes(self, form, device):
        torch.autograd.grad(self.pool(self.maps, self.boxes), self.boxes, self.grad)
        _inputs.wait(device)


class RoiAlignMax:
    params = [["contiguous", "channels_last"], [2, 0], ["cpu", "cuda"]]
    param_names = ["format", "sampling_ratio", "device"]

    def setup(self, form, ratio, device):
        maps, rois, (bins, scale, _, aligned) = inputs("1000 rois 7x7")
        self.maps, self.rois = _inputs.on(device, maps, rois)
        if form == "channels_last":
            self.maps = self.maps.contiguous(memory_format=torch.channels_last)
        self.rule = (bins, scale, ratio, aligned)
        self.leaf = self.maps.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        self.grad = torch.ones_like(self.pool(self.maps))

    def pool(self, maps):
        return roikit.ops.roi_align(maps, self.rois, *self.rule, reduce="max")

    def time_forward(self, form, ratio, device):
        self.pool(self.maps)
        _inputs.wait(device)

    def time_forward_backward(self, form, ratio, device):
        torch.autograd.grad(self.pool(self.leaf), self.leaf, self.grad)
        _inputs.wait(device)


class MultiscaleRoiAlign:
    params = [[2, 0], ["cpu", "cuda"]]
    param_names = ["sampling_ratio", "device"]

    def setup(self, ratio, device):
        self.maps = [m.requires_grad_() for m in _inputs.on(device, *_inputs.pyramid())]
        self.boxes = list(_inputs.on(device, _inputs.boxes(1000, 16, 800, 4)))
        self.grad = torch.ones_like(self.pool(ratio))

    def pool(self, ratio):
        return roikit.ops.multiscale_roi_align(self.maps, self.boxes, 7, [1 / 4, 1 / 8, 1 / 16, 1 / 32],
                                               sampling_ratio=ratio)

    def time_multiscale_roi_align(self, ratio, device):
        with torch.no_grad():
            self.pool(ratio)
        _inputs.wait(device)

    def time_multiscale_roi_align_forward_backward(self, ratio, device):
        for m in self.maps:
            m.grad = None
        self.pool(ratio).backward(self.grad)
        _inputs.wait(device)


class RoiAlignKernel:
    params = [[1, 2], ["base", "v3", "v4"], ["float32", "float16"]]
    param_names = ["threads", "simd", "dtype"]

    def setup(self, threads, simd, dtype):
        if simd not in roikit.simd_levels():
            raise NotImplementedError(f"this processor has no {simd}")
        maps, rois, self.rule = inputs("1000 rois 7x7")
        self.maps, self.rois = maps.numpy().astype(dtype), rois.numpy()
        self.out = roikit.kernels.roi_align(self.maps, self.rois, *self.rule)

    def time_roi_align(self, threads, simd, dtype):
        with roikit.simd(simd):
            roikit.kernels.roi_align(self.maps, self.rois, *self.rule, out=self.out, threads=threads)
