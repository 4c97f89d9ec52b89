"""deform_conv2d: the works of the published comparison, forward and backward."""

import roikit.kernels
import roikit.ops
from roikit.bench.works_deform_conv import RULE, forward, make, with_backward

from . import _inputs

MAPS = {"256x50x84": (256, 16), "128x100x168": (128, 8)}


class DeformConv:
    params = [list(MAPS), ["cpu", "cuda"]]
    param_names = ["map", "device"]

    def setup(self, name, device):
        _inputs.on(device)
        given = make(*MAPS[name], 1, False)(device)
        self.forward, self.both = (wrap(roikit.ops.deform_conv2d)(*given) for wrap in (forward, with_backward))

    def time_forward(self, name, device):
        self.forward()
        _inputs.wait(device)

    def time_forward_backward(self, name, device):
        self.both()
        _inputs.wait(device)


class DeformConvKernel:
    params = [list(MAPS), [1, 2]]
    param_names = ["map", "threads"]

    def setup(self, name, threads):
        grad, *leaves = (x.detach().numpy() for x in make(*MAPS[name], 1, False)("cpu"))
        self.grad, self.given = grad, (*leaves[:4], *RULE, leaves[4])

    def time_forward(self, name, threads):
        roikit.kernels.deform_conv2d(*self.given, threads=threads)

    def time_backward(self, name, threads):
        roikit.kernels.deform_conv2d_backward(self.grad, *self.given, threads=threads)
