"""Works of losses: forward and backward."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Work, made, only, plain

__all__ = ["with_gradient", "works"]

BOX_LOSSES = ("generalized_box_iou_loss", "distance_box_iou_loss", "complete_box_iou_loss")


def with_gradient(library, name):
    """The gradient of the summed loss with respect to the first argument."""

    def call(given, target):
        given = given.detach().requires_grad_()
        return torch.autograd.grad(getattr(library, name)(given, target, reduction="sum"), given)[0]

    return call


def works(peers, device):
    tv = peers.get("torchvision")
    for name in BOX_LOSSES:
        yield Work("losses", f"{name} fwd+bwd 10000", made(inputs.boxes(10_000, seed=1), inputs.boxes(10_000, seed=2)),
                   plain(with_gradient(ops, name)),
                   only(torchvision=tv and plain(with_gradient(tv.ops, name))))
