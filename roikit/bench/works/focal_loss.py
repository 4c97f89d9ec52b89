"""Works of the focal loss: forward and backward of a dense head's logits."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Work, made, only, plain
from .losses import with_gradient

__all__ = ["works"]


def works(peers, device):
    tv, g = peers.get("torchvision"), inputs.generator(0)
    logits, targets = torch.randn(50_000, 80, generator=g), (torch.rand(50_000, 80, generator=g) < 0.01).float()
    yield Work("focal_loss", "focal fwd+bwd 50000 x 80", made(logits, targets),
               plain(with_gradient(ops, "sigmoid_focal_loss")),
               only(torchvision=tv and plain(with_gradient(tv.ops, "sigmoid_focal_loss"))))
