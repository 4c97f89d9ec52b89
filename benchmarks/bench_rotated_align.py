"""roi_align_rotated: the work of the published comparison, forward and backward."""

import torch

import roikit.kernels
import roikit.ops

from . import _inputs

RULE = 7, 0.25, 2


def inputs():
    """A map of stride 4 with 256 channels, and 500 RoIs."""
    boxes = _inputs.rotated(500, 16, 224, seed=5)
    return _inputs.feature_map(256, 200, 336), torch.cat([torch.zeros(500, 1), boxes], 1)


class RoiAlignRotated:
    params = [["contiguous", "channels_last"], ["cpu", "cuda"]]
    param_names = ["format", "device"]

    def setup(self, format, device):
        maps, self.rois = _inputs.on(device, *inputs())
        form = torch.channels_last if format == "channels_last" else torch.contiguous_format
        self.maps = maps.contiguous(memory_format=form)
        self.leaf = self.maps.detach().clone().requires_grad_()
        self.grad = torch.ones(500, 256, 7, 7, device=self.maps.device)

    def time_forward(self, format, device):
        roikit.ops.roi_align_rotated(self.maps, self.rois, *RULE)
        _inputs.wait(device)

    def time_forward_backward(self, format, device):
        self.leaf.grad = None
        roikit.ops.roi_align_rotated(self.leaf, self.rois, *RULE).backward(self.grad)
        _inputs.wait(device)


class RoiAlignRotatedKernel:
    params = [[1, 2]]
    param_names = ["threads"]

    def setup(self, threads):
        self.maps, self.rois = (x.numpy() for x in inputs())
        self.out = roikit.kernels.roi_align_rotated(self.maps, self.rois, *RULE)

    def time_forward(self, threads):
        roikit.kernels.roi_align_rotated(self.maps, self.rois, *RULE, out=self.out, threads=threads)

    def time_backward(self, threads):
        roikit.kernels.roi_align_rotated_backward(self.out, self.rois, self.maps.shape, *RULE, threads=threads)
