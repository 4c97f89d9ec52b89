"""A convolution with its norm, its activation and an addition in one step, for inference on a CPU."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from roikit.errors import BackendError
from roikit.models.parts.conv import SameConv2d, same_padding
from roikit.models.parts.inference_layer import InferenceLayer, InFloat32
from roikit.models.parts.norm import FrozenBatchNorm2d, GroupNorm
from roikit.models.parts.ways import WAYS, activate, fastest, fused, has_onednn, nearest
from roikit.ops._group_norm import group_norm

__all__ = ["FusedConv2d", "NormedConv2d", "folded", "fuse", "has_fixed_statistics", "require_bf16"]


def require_bf16(op: str) -> None:
    """Raises BackendError where oneDNN has no bfloat16 for this processor. What the environment says of it counts."""
    if has_onednn() and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise BackendError(f"{op}: precision 'bf16' needs oneDNN's bfloat16, which x86 has with AVX-512 and which "
                           "ONEDNN_MAX_CPU_ISA may turn off; there is none here, where 'float32' works")


class FusedConv2d(InferenceLayer):
    """activation(conv(x) + onto), in the way of `roikit.models.parts.ways` that is chosen for the size of x.

    Args:
        weight: (out, in / groups, kH, kW); copied.
        bias: (out,), or None.
        stride, padding, dilation, groups: as `nn.Conv2d`; `padding` None is TensorFlow's SAME.
        activation: "none", "relu", "relu6" or "leaky", a leaky ReLU of slope 0.1.
        dtype: of weights, input and result: float32 or bfloat16.

    Attributes:
        ways: sizes (N, C, H, W) of inputs and the way of each; other sizes get that of the nearest, by the number of
            cells.
        measured: of a model whose ways are measured as sizes come that are near none of these, what was found for
            layers alike; None where nothing is measured.
        follower: the layer that the result goes to, where its time counts in a measurement, or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: tuple[int, int] = (1, 1),
                 padding: tuple[int, int] | None = (0, 0), dilation: tuple[int, int] = (1, 1), groups: int = 1,
                 activation: str = "none", dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.stride, self.padding, self.dilation, self.groups = list(stride), padding, list(dilation), groups
        self.activation = activation
        self.kernel_size = tuple(weight.shape[-2:])
        self.out_channels = len(weight)
        self.dtype = dtype
        self.bias = None if bias is None else bias.detach().to(dtype, copy=True)
        # Not in oneDNN's own order, which depends on the size of the input: a weight in that of another size takes it
        # up to thirty times the convolution's time to put right, one in the common order a few hundredths.
        self.weight = weight.detach().to(dtype).clone(memory_format=torch.channels_last)
        self._contiguous: Tensor | None = None
        self.ways: list[tuple[list[int], str]] = []
        self.measured: dict[Any, str] | None = None
        self._follower: list[FusedConv2d] = []  # in a list it is no part of this one
        self._look()

    @property
    def follower(self) -> "FusedConv2d | None":
        return self._follower[0] if self._follower else None

    def followed_by(self, layer: nn.Module) -> None:
        """Say which layer the result goes to."""
        self._follower = [layer] if isinstance(layer, FusedConv2d) else []

    def told(self) -> str:
        """What the convolution is, in words."""
        sides = "x".join(map(str, self.weight.shape))
        return (f"{sides} stride {self.stride} padding {self.padding} dilation {self.dilation} groups {self.groups} "
                f"{self.activation} {str(self.dtype).removeprefix('torch.')}")

    def in_order(self) -> Tensor:
        """The weight as channels-first ways take it; made when the first of them asks."""
        if self._contiguous is None:
            self._contiguous = self.weight.contiguous()
        return self._contiguous

    def padded(self, x: Tensor) -> tuple[Tensor, Any]:
        """x and the padding that is left to do."""
        return (x, self.padding) if self.padding is not None else same_padding(x, self.kernel_size, self.stride)

    def _look(self) -> None:
        """What this torch and this processor have."""
        self.fused = has_onednn()
        if self.fused and self.dtype == torch.bfloat16:
            require_bf16("prepare_for_inference")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._look()

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (N, C, H, W).
            onto: a map of the result's shape to add to, or None. It is overwritten.
        """
        if torch.compiler.is_compiling():
            return fused(self, x, onto)
        if torch.is_autocast_enabled("cpu"):  # whatever the way, it computes in its own dtype
            with torch.autocast("cpu", enabled=False):
                return self.forward(x, onto)
        if not self.ways and self.measured is None or not x.numel():
            return fused(self, x, onto)
        x = x.to(self.dtype)
        way = nearest(self.ways, x.shape)
        if way is None and self.measured is not None:
            alike = self.told(), x.shape, x.stride(), onto is None, (
                None if self.follower is None else self.follower.told())
            way = self.measured.get(alike) or fastest(self, x, onto)
            self.measured[alike] = way
            self.ways.append((list(x.shape), way))
        return WAYS[way or nearest(self.ways, x.shape, math.inf) or "fused"](self, x, onto)

    def extra_repr(self) -> str:
        return (f"{self.out_channels}, kernel_size={self.kernel_size}, stride={tuple(self.stride)}, "
                f"activation={self.activation}, dtype={self.dtype}"
                + "".join(f", {'x'.join(map(str, shape))}: {way}" for shape, way in self.ways))


class NormedConv2d(nn.Module):
    """A fused convolution and a norm that depends on its input; activation(norm(conv(x)) + onto)."""

    def __init__(self, conv: FusedConv2d | InFloat32, norm: nn.Module, activation: str) -> None:
        super().__init__()
        self.conv, self.norm, self.activation = conv, norm, activation

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        out, norm = self.conv(x), self.norm
        if type(norm) is GroupNorm and self.activation in ("none", "relu"):
            return group_norm(out, norm.num_groups, norm.weight, norm.bias, norm.eps, onto, self.activation == "relu",
                              overwrite=True)
        out = norm(out)
        return activate(out if onto is None else out.add_(onto), self.activation)


def has_fixed_statistics(norm: nn.Module | None) -> bool:
    """Whether a norm is a scale and a shift of each channel, which can go into the weights before it."""
    return isinstance(norm, FrozenBatchNorm2d) or isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None


def folded(conv: nn.Conv2d, norm: nn.Module | None) -> tuple[Tensor, Tensor | None]:
    """A convolution's weight and bias with a norm of fixed statistics in them, computed in float64; its own without."""
    weight, bias = conv.weight, conv.bias
    if not has_fixed_statistics(norm):
        return weight, bias
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if bias is not None:
        shift = shift + bias.double() * scale
    return (weight.double() * scale.view(-1, 1, 1, 1)).float(), shift.float()


def fuse(conv: nn.Conv2d, norm: nn.Module | None, activation: str, dtype: torch.dtype) -> nn.Module:
    """`conv`, `norm` and `activation` as one module that takes (x, onto).

    A norm with fixed statistics goes into the weights; another one stays a step of its own, and so does all of a
    convolution that pads with anything but a number of zeros.
    """
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return NormedConv2d(InFloat32(conv), nn.Identity() if norm is None else copy.deepcopy(norm), activation)
    padding = None if isinstance(conv, SameConv2d) else conv.padding
    parts = (*folded(conv, norm), conv.stride, padding, conv.dilation, conv.groups)
    if norm is None or has_fixed_statistics(norm):
        return FusedConv2d(*parts, activation, dtype)
    return NormedConv2d(FusedConv2d(*parts, dtype=dtype), copy.deepcopy(norm), activation)
