"""Works of position-sensitive pooling, forward and backward."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, only, size_of
from ._pooling import with_backward, without_gradient

__all__ = ["works"]

CHANNELS, SIZE, SCALE = 10, 7, 1 / 16


def make(device):
    """The gradient of the output, the map as a leaf, the RoIs."""
    g = torch.Generator(device).manual_seed(0)
    shape = 1, CHANNELS * SIZE**2, inputs.HEIGHT // 16, inputs.WIDTH // 16
    maps = torch.randn(shape, device=device, generator=g).requires_grad_()
    rois = inputs.rois(300, 32, 512, 2).to(device)
    return torch.randn(len(rois), CHANNELS, SIZE, SIZE, device=device, generator=g), maps, rois


def works(peers, device):
    libraries = only(torchvision=peers.get("torchvision"))
    # a bin has four samples of four pixels each, or two of its 2 x 2 pixels
    for name, rest, taps, goals in (("ps_roi_align", (2,), 16, (5, 5)), ("ps_roi_pool", (), 4, (None, None))):
        def call(library, name=name, rest=rest):
            pool = getattr(library if library is ops else library.ops, name)
            return lambda x, rois: pool(x, rois, SIZE, SCALE, *rest)

        def fwd(given, out, taps=taps):
            return Cost(size_of(given[1:]), size_of(out), taps * out.numel())

        def both(given, grads, taps=taps):
            return Cost(size_of(given[1:]) + size_of(given[0]), size_of(given[0]) + size_of(grads),
                        2 * taps * given[0].numel())

        for kind, wrap, cost, goal in (("fwd", without_gradient, fwd, goals[0]),
                                       ("fwd+bwd", with_backward, both, goals[1])):
            yield Work("ps_roi", f"{name} 300 rois 7x7 {kind}", make, wrap(call(ops)),
                       {peer: wrap(call(library)) for peer, library in libraries.items()}, cost,
                       f"map read, result written; {taps} operations a value", {"cpu": ("ratio", goal)} if goal else {})
