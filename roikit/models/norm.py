"""Normalisation layers of the backbones, and the one place that chooses among them."""

from collections.abc import Callable
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FrozenBatchNorm2d", "norm_layer"]


class FrozenBatchNorm2d(nn.Module):
    """Batch norm whose statistics and affine are buffers: a fixed scale and shift a channel.

    Args:
        num_features: channels C of the (N, C, H, W) input.
        eps: added to the variance.

    It has the tensors of a trained `nn.BatchNorm2d` and takes that layer's state, without the
    batch counter.
    """

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        state_dict.pop(prefix + "num_batches_tracked", None)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self, x: Tensor) -> Tensor:
        # One pass over x in either memory format, where x * scale + shift would take two.
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                            training=False, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


def norm_layer(kind: str, *, eps: float = 1e-5, groups: int = 32) -> Callable[[int], nn.Module]:
    """The function that makes a normalisation layer for a number of channels.

    Args:
        kind: "frozen", "batch" or "group".
        eps: added to the variance.
        groups: GroupNorm takes gcd(channels, groups) groups: 32 of them wherever that divides.
    """
    if kind == "frozen":
        return lambda channels: FrozenBatchNorm2d(channels, eps)
    if kind == "batch":
        return lambda channels: nn.BatchNorm2d(channels, eps)
    if kind == "group":
        return lambda channels: nn.GroupNorm(gcd(channels, groups), channels, eps)
    raise ValueError(f"norm_layer: kind must be one of frozen, batch, group, got {kind!r}")
