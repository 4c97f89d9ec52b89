"""Works of losses: forward and backward."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Work, made, only, plain

__all__ = ["works"]

BOX_LOSSES = ("generalized_box_iou_loss", "distance_box_iou_loss", "complete_box_iou_loss")


def with_gradient(library, name):
    """The gradient of the summed loss with respect to the first argument."""

    def call(given, target):
        given = given.detach().requires_grad_()
        return torch.autograd.grad(getattr(library, name)(given, target, reduction="sum"), given)[0]

    return call


def works(peers, device):
    tv, g = peers.get("torchvision"), inputs.generator(0)
    logits, targets = torch.randn(50_000, 80, generator=g), (torch.rand(50_000, 80, generator=g) < 0.01).float()
    yield Work("losses", "focal fwd+bwd 50000 x 80", made(logits, targets),
               plain(with_gradient(ops, "sigmoid_focal_loss")),
               only(torchvision=tv and plain(with_gradient(tv.ops, "sigmoid_focal_loss"))))
    for name in BOX_LOSSES:
        yield Work("losses", f"{name} fwd+bwd 10000", made(inputs.boxes(10_000, seed=1), inputs.boxes(10_000, seed=2)),
                   plain(with_gradient(ops, name)),
                   only(torchvision=tv and plain(with_gradient(tv.ops, name))))
