"""A convolution with its norm, its activation and an addition in one step, for inference on a CPU."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.errors import BackendError
from roikit.models.parts.conv import SameConv2d, same_padding
from roikit.models.parts.norm import FrozenBatchNorm2d

__all__ = ["FusedConv2d", "NormedConv2d", "folded", "fuse", "has_fixed_statistics", "require_bf16"]

# oneDNN's name of each activation, and its numbers.
_ACTIVATIONS = {"none": ("none", []), "relu": ("relu", []), "relu6": ("hardtanh", [0.0, 6.0]),
                "leaky": ("leaky_relu", [0.1])}


def _has_onednn() -> bool:
    """Whether this torch has oneDNN's fused convolutions, which its compiler calls as well."""
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in ("_convolution_pointwise", "_convolution_pointwise_"))


def require_bf16(op: str) -> None:
    """Raises BackendError where oneDNN has no bfloat16 for this processor. What the environment says of it counts."""
    if _has_onednn() and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise BackendError(f"{op}: precision 'bf16' needs oneDNN's bfloat16, which x86 has with AVX-512 and which "
                           "ONEDNN_MAX_CPU_ISA may turn off; there is none here, where 'float32' works")


class FusedConv2d(nn.Module):
    """activation(conv(x) + onto), channels-last.

    Args:
        weight: (out, in / groups, kH, kW); copied.
        bias: (out,), or None.
        stride, padding, dilation, groups: as `nn.Conv2d`; `padding` None is TensorFlow's SAME.
        activation: "none", "relu", "relu6" or "leaky", a leaky ReLU of slope 0.1.
        dtype: of weights, input and result: float32 or bfloat16.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: tuple[int, int] = (1, 1),
                 padding: tuple[int, int] | None = (0, 0), dilation: tuple[int, int] = (1, 1), groups: int = 1,
                 activation: str = "none", dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.training = False
        self.stride, self.padding, self.dilation, self.groups = list(stride), padding, list(dilation), groups
        self.activation = activation
        self.kernel_size = tuple(weight.shape[-2:])
        self.out_channels = len(weight)
        self.dtype = dtype
        self.bias = None if bias is None else bias.detach().to(dtype, copy=True)
        # Not in oneDNN's own order, which depends on the size of the input: a weight in that of another size takes it
        # up to thirty times the convolution's time to put right, one in the common order a few hundredths.
        self.weight = weight.detach().to(dtype).clone(memory_format=torch.channels_last)
        self._look()

    def _look(self) -> None:
        """What this torch and this processor have."""
        self.fused = _has_onednn()
        if self.fused and self.dtype == torch.bfloat16:
            require_bf16("prepare_for_inference")

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._look()

    def train(self, mode: bool = True) -> "FusedConv2d":
        if mode:
            raise RuntimeError("a model prepared for inference cannot be trained; train the model it was made from")
        return super().train(False)

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (N, C, H, W).
            onto: a map of the result's shape to add to, or None. It is overwritten.
        """
        x = x.to(self.dtype, memory_format=torch.channels_last)
        padding = self.padding
        if padding is None:
            x, padding = same_padding(x, self.kernel_size, self.stride)
        if onto is not None:
            onto = onto.to(self.dtype, memory_format=torch.channels_last)
        if not self.fused:
            return self._plain(x, onto, padding)
        name, numbers = _ACTIVATIONS[self.activation]
        layout = (list(padding), self.stride, self.dilation, self.groups)
        if onto is None:
            return torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *layout, name, numbers, "")
        # After an addition oneDNN's wrapper takes no activation but ReLU.
        after = "relu" if name == "relu" else None
        out = torch.ops.mkldnn._convolution_pointwise_(onto, x, self.weight, self.bias, *layout, "add", 1.0, after, [],
                                                       "")
        return out if after else activate(out, self.activation)

    def _plain(self, x: Tensor, onto: Tensor | None, padding: Any) -> Tensor:
        out = F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)
        return activate(out if onto is None else onto.add_(out), self.activation)

    def extra_repr(self) -> str:
        return (f"{self.out_channels}, kernel_size={self.kernel_size}, stride={tuple(self.stride)}, "
                f"activation={self.activation}, dtype={self.dtype}")


class NormedConv2d(nn.Module):
    """A fused convolution and a norm that depends on its input; activation(norm(conv(x)) + onto)."""

    def __init__(self, conv: FusedConv2d, norm: nn.Module, activation: str) -> None:
        super().__init__()
        self.conv, self.norm, self.activation = conv, norm, activation

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        # torch's GroupNorm of channels-last maps takes the variance as a difference of two large numbers, which lost
        # three digits where a channel's mean is far from 0.
        out = self.norm(self.conv(x).contiguous())
        return activate(out if onto is None else out.add_(onto), self.activation)


def activate(x: Tensor, activation: str) -> Tensor:
    """`x` with the activation applied in place."""
    if activation == "relu":
        return x.relu_()
    if activation == "leaky":
        return F.leaky_relu_(x, 0.1)
    return x.clamp_(0, 6) if activation == "relu6" else x


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

    A norm with fixed statistics goes into the weights; another one stays a step of its own.
    """
    padding = None if isinstance(conv, SameConv2d) else conv.padding
    parts = (*folded(conv, norm), conv.stride, padding, conv.dilation, conv.groups)
    if norm is None or has_fixed_statistics(norm):
        return FusedConv2d(*parts, activation, dtype)
    return NormedConv2d(FusedConv2d(*parts, dtype=dtype), copy.deepcopy(norm), activation)
