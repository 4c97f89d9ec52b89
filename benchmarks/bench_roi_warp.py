"""roi_warp: 300 RoIs of the C4 ablation, forward and backward."""

import roikit.kernels
import roikit.ops

from . import _inputs

RULE = (14, 1 / 16)


def inputs():
    return _inputs.feature_map(256, 50, 84, seed=1), _inputs.rois(300, 32, 512, 2)


class RoiWarp:
    params = [["max", "mean"], ["cpu", "cuda"]]
    param_names = ["reduce", "device"]

    def setup(self, reduce, device):
        self.maps, self.rois = _inputs.on(device, *inputs())
        self.leaf = self.maps.detach().clone().requires_grad_()

    def time_forward(self, reduce, device):
        roikit.ops.roi_warp(self.maps, self.rois, *RULE, reduce=reduce)
        _inputs.wait(device)

    def time_forward_backward(self, reduce, device):
        self.leaf.grad = None
        roikit.ops.roi_warp(self.leaf, self.rois, *RULE, reduce=reduce).sum().backward()
        _inputs.wait(device)


class RoiWarpKernel:
    params = [1, 2]
    param_names = ["threads"]

    def setup(self, threads):
        self.maps, self.rois = (x.numpy() for x in inputs())
        self.out = roikit.kernels.roi_warp(self.maps, self.rois, *RULE)

    def time_forward(self, threads):
        roikit.kernels.roi_warp(self.maps, self.rois, *RULE, out=self.out, threads=threads)
