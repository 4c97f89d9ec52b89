"""ps_roi_align and ps_roi_pool: the work of the published comparison, forward and backward."""

import torch

import roikit.kernels
import roikit.ops

from . import _inputs


def inputs():
    """A map of stride 16 with ten channels for each of 7 x 7 bins, and 300 RoIs."""
    return _inputs.feature_map(490, 50, 84, seed=2), _inputs.rois(300, 32, 512, 2)


RULES = {"ps_roi_align": (7, 1 / 16, 2), "ps_roi_pool": (7, 1 / 16)}


class PsRoi:
    params = [list(RULES), ["cpu", "cuda"]]
    param_names = ["op", "device"]

    def setup(self, op, device):
        self.maps, self.rois = _inputs.on(device, *inputs())
        self.leaf = self.maps.detach().clone().requires_grad_()
        self.grad = torch.ones(300, 10, 7, 7, device=self.maps.device)

    def time_forward(self, op, device):
        getattr(roikit.ops, op)(self.maps, self.rois, *RULES[op])
        _inputs.wait(device)

    def time_forward_backward(self, op, device):
        self.leaf.grad = None
        getattr(roikit.ops, op)(self.leaf, self.rois, *RULES[op]).backward(self.grad)
        _inputs.wait(device)


class PsRoiKernel:
    params = [list(RULES), [1, 2]]
    param_names = ["op", "threads"]

    def setup(self, op, threads):
        self.maps, self.rois = (x.numpy() for x in inputs())
        self.out = getattr(roikit.kernels, op)(self.maps, self.rois, *RULES[op])

    def time_forward(self, op, threads):
        getattr(roikit.kernels, op)(self.maps, self.rois, *RULES[op], out=self.out, threads=threads)
