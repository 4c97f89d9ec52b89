"""Normalisation layers of the backbones, and the one place that chooses among them."""

from collections.abc import Callable
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.ops._group_norm import batch_norm, group_norm, has_batch_norm

__all__ = ["BatchNorm2d", "ConvBlock", "FrozenBatchNorm2d", "GroupNorm", "conv_norm", "norm_layer"]


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

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """(num_features,) each: the layer is x * scale + shift."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm` of maps of any size.

    torch's own asks whether a group has more than one value, and raises where it has not: of an image of 32 pixels with
    a group for each channel. Here such a group is its bias. Nor has torch.export, which may not know how many boxes
    there are, anything to answer.
    """

    def forward(self, input: Tensor, onto: Tensor | None = None, relu: bool = False) -> Tensor:
        """
        Args:
            input: (N, C, H, W), or of any other number of axes where nothing follows.
            onto: a map like `input` that is added, or None.
            relu: whether a ReLU comes last.
        """
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps, onto, relu)


class BatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` that takes along what follows; in training on a CPU all are one kernel."""

    def forward(self, input: Tensor, onto: Tensor | None = None, relu: bool = False) -> Tensor:
        """
        Args:
            input: (N, C, H, W).
            onto: a map like `input` that is added, or None.
            relu: whether a ReLU comes last.
        """
        if not (self.training and self._averages() and has_batch_norm(input, self.weight, self.bias, onto)):
            out = super().forward(input)
            if onto is not None:
                out += onto
            return out.relu_() if relu else out
        out, mean, rate = batch_norm(input, self.weight, self.bias, self.eps, onto, relu)
        with torch.no_grad():
            count = input.numel() // input.shape[1]
            variance = (rate.double().pow(-2) - self.eps).clamp_(min=0.0) * (count / (count - 1))  # without bias
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        return out

    def _averages(self) -> bool:
        """Whether statistics are averaged as they are by default."""
        return self.running_mean is not None and self.momentum is not None


# What takes an addition and a ReLU along.
_TAKING = (GroupNorm, BatchNorm2d)


def conv_norm(conv: nn.Conv2d, norm: nn.Module, x: Tensor, onto: Tensor | None = None,
              activation: nn.Module | None = None) -> Tensor:
    """activation(norm(conv(x)) + onto) of a convolution without bias.

    On a CPU a `FrozenBatchNorm2d` acts on the weights, which are far fewer than the values of a map; gradients pass
    through them to the convolution's own. `GroupNorm` and `BatchNorm2d` take the addition and a ReLU along.
    """
    if type(norm) in _TAKING and type(activation) in (nn.ReLU, type(None)):
        return norm(conv(x), onto, activation is not None)
    if type(norm) is not FrozenBatchNorm2d or x.device.type != "cpu" or conv.bias is not None:
        out = norm(conv(x))
    else:
        scale, shift = norm.scale_and_shift()
        out = conv._conv_forward(x, conv.weight * scale[:, None, None, None], shift)
    if onto is not None:
        out += onto
    return out if activation is None else activation(out)


class ConvBlock(nn.Sequential):
    """A convolution, perhaps a normalisation, and perhaps a ReLU, which the normalisation takes along."""

    def forward(self, input: Tensor) -> Tensor:
        if len(self) == 3 and type(self[1]) in _TAKING and type(self[2]) is nn.ReLU:
            return self[1](self[0](input), relu=True)
        return super().forward(input)

    def added(self, input: Tensor, onto: Tensor) -> Tensor:
        """The block's result and `onto`, which a normalisation in last place takes along."""
        if len(self) == 2 and type(self[1]) in _TAKING:
            return self[1](self[0](input), onto)
        out = self(input)
        out += onto
        return out


def norm_layer(kind: str, *, eps: float = 1e-5, groups: int = 32) -> Callable[[int], nn.Module]:
    """The function that makes a normalisation layer for a number of channels.

    Args:
        kind: "frozen", "batch", "sync" (statistics over all processes of a distributed training) or "group".
        eps: added to the variance.
        groups: GroupNorm takes gcd(channels, groups) groups: 32 of them wherever that divides.
    """
    if kind == "frozen":
        return lambda channels: FrozenBatchNorm2d(channels, eps)
    if kind == "batch":
        return lambda channels: BatchNorm2d(channels, eps)
    if kind == "sync":
        return lambda channels: nn.SyncBatchNorm(channels, eps)
    if kind == "group":
        return lambda channels: GroupNorm(gcd(channels, groups), channels, eps)
    raise ValueError(f"norm_layer: kind must be one of frozen, batch, sync, group, got {kind!r}")
