"""8-bit integers for maps and weights: how a number is coded, and layers that compute on the codes, by oneDNN.

Source: Jacob et al. 2018, arXiv:1712.05877: a map's codes are 0 to 255 for the range that calibration saw, a weight's
-127 to 127 with a scale for each output channel; products are added up exactly in 32 bits.
"""

import functools
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor

from roikit.errors import BackendError
from roikit.models.parts.conv import same_padding
from roikit.models.parts.fused import FusedConv2d
from roikit.models.parts.inference_layer import InferenceLayer
from roikit.models.parts.linear import FusedLinear
from roikit.models.parts.ways import activate

__all__ = ["Coding", "Quantized", "QuantizedConv2d", "QuantizedLinear", "has_int8", "require_int8"]

_HIGHEST = 255
_LARGEST_WEIGHT = 127
# Settings of ONEDNN_MAX_CPU_ISA that leave oneDNN without the instructions.
_WITHOUT = ("SSE41", "AVX", "AVX2", "AVX512_CORE")
_ONTO = "sum"  # oneDNN's name of an addition to what the result's memory holds


def has_int8() -> bool:
    """Whether oneDNN multiplies 8-bit integers here: torch has the layers and the processor VNNI or AMX.

    Without VNNI pairs of products are added in 16 bits, which saturate: other results, in more time. What
    ONEDNN_MAX_CPU_ISA leaves of the processor counts.
    """
    if not (torch.backends.mkldnn.is_available() and _has_layers()):
        return False
    most = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    asked = (getattr(torch.cpu, name, None) for name in ("_is_vnni_supported", "_is_amx_tile_supported"))
    return most.upper() not in _WITHOUT and any(ask() for ask in asked if ask is not None)


@functools.cache
def _has_layers() -> bool:
    """Whether this torch has the layers of its compiler that are called here, in the form that is."""
    names = ("qconv_prepack", "qconv2d_pointwise", "qlinear_prepack", "qlinear_pointwise")
    if not all(hasattr(torch.ops.onednn, name) for name in names):
        return False
    onto = getattr(torch.ops.onednn.qconv2d_pointwise, "binary", None)
    rows = getattr(torch.ops.onednn.qlinear_pointwise, "binary", None)
    return onto is not None and rows is not None and (
        [part.name for part in onto._schema.arguments[6:8]] == ["qaccum", "bias"]
        and [part.name for part in rows._schema.arguments[6:8]] == ["other", "bias"])


def require_int8(op: str) -> None:
    """Raises BackendError where oneDNN does not multiply 8-bit integers."""
    if not has_int8():
        raise BackendError(f"{op}: precision 'int8' needs a processor with VNNI or AMX, which ONEDNN_MAX_CPU_ISA may "
                           "turn off, and torch's oneDNN layers for it; there is none here, where 'float32' works")


class Coding(NamedTuple):
    """Which number a code c of 0 to 255 is: (c - zero) * scale. 0.0 has a code of its own."""

    scale: float
    zero: int

    @classmethod
    def of(cls, low: float, high: float) -> "Coding":
        """That of a range, which is widened to 0.0."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / _HIGHEST, 1e-12)
        return cls(scale, round(-low / scale))

    def encode(self, x: Tensor) -> Tensor:
        """uint8 codes of a map, channels-last, or of a matrix."""
        layout = torch.channels_last if x.ndim == 4 else torch.contiguous_format
        return x.mul(1 / self.scale).add_(self.zero + 0.5).clamp_(0, _HIGHEST).to(torch.uint8, memory_format=layout)

    def decode(self, codes: Tensor) -> Tensor:
        """The float32 numbers of codes."""
        return codes.float().sub_(self.zero).mul_(self.scale)


def _coded_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """int8 codes of a weight, and the scale of each output channel."""
    scales = weight.flatten(1).abs().amax(1).clamp_min(1e-12) / _LARGEST_WEIGHT
    codes = (weight / scales.view(-1, *[1] * (weight.ndim - 1))).round().clamp(-_LARGEST_WEIGHT, _LARGEST_WEIGHT)
    return codes.to(torch.int8).contiguous(), scales


class Quantized(InferenceLayer):
    """What both layers have: a coded weight, packed as oneDNN takes it, which no other process does."""

    def __init__(self, weight: Tensor, bias: Tensor | None, takes: Coding) -> None:
        super().__init__()
        self.codes, self.scales = _coded_weight(weight.float())
        self.zeros = torch.zeros(len(weight), dtype=torch.int64)
        self.bias = None if bias is None else bias.detach().float()
        self.takes = takes
        self.gives: Coding | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "packed"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        require_int8("prepare_for_inference")
        self.packed = self._pack()

    def _pack(self) -> Tensor:
        raise NotImplementedError

    @property
    def links(self) -> bool:
        """Whether it can take codes from another layer, and give some."""
        return True

    def coded(self, x: Tensor) -> Tensor:
        """x as codes: that of a layer before which gives them, or of numbers."""
        return x if x.dtype == torch.uint8 else self.takes.encode(x)

    def _given(self) -> tuple[float, int, torch.dtype]:
        return (1.0, 0, torch.float32) if self.gives is None else (*self.gives, torch.uint8)


class QuantizedConv2d(Quantized):
    """A `FusedConv2d` on codes.

    Args:
        layer: the convolution, float32, of one group.
        takes: what the codes of its input are.

    Attributes:
        gives: what the codes of its result are; None, float32.
        adds: what the codes of `onto` are, where it gives codes.
    """

    def __init__(self, layer: FusedConv2d, takes: Coding) -> None:
        super().__init__(layer.weight, layer.bias, takes)
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation
        self.kernel_size, self.out_channels, self.activation = layer.kernel_size, layer.out_channels, layer.activation
        self.adds: Coding | None = None
        # Packed weights of a 1x1 convolution suit some sizes of map, and oneDNN may take hundreds of times the
        # convolution's time to put them right for others. A product of matrices is as fast, and takes them for any.
        self.is_product = self.kernel_size == (1, 1) and tuple(self.padding or (0, 0)) == (0, 0)
        self.packed = self._pack()

    @property
    def links(self) -> bool:
        return self.activation in ("none", "relu") and self.padding is not None

    def _pack(self) -> Tensor:
        if self.is_product:
            return torch.ops.onednn.qlinear_prepack(self.codes.flatten(1), None)
        layout = self._layout(self.padding or (0, 0))
        return torch.ops.onednn.qconv_prepack(self.codes, self.scales, *self.takes, *layout,
                                              [1, self.codes.shape[1], 64, 64])

    def _layout(self, padding: Any) -> tuple[list[int], list[int], list[int], int]:
        return self.stride, list(padding), self.dilation, 1

    def forward(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (N, C, H, W) float32 or codes.
            onto: a map of the result's shape to add to, of codes where `gives` is not None, or None. It is overwritten.

        Returns:
            codes where `gives` is not None, else float32.
        """
        if not x.numel():
            return self._empty(x)
        if onto is not None and self.gives is not None:
            return self._run(x, onto.contiguous(memory_format=torch.channels_last), self.activation)
        at_once = self.activation if onto is None and self.links else "none"
        out = self._run(x, None, at_once)
        if onto is not None:
            out = out.add_(onto)
        return out if at_once == self.activation else activate(out, self.activation)

    def _run(self, x: Tensor, onto: Tensor | None, activation: str) -> Tensor:
        padding = self.padding
        if self.is_product:
            x = x[:, :, ::self.stride[0], ::self.stride[1]]
        elif padding is None:
            x, padding = same_padding(x, self.kernel_size, self.stride)
        x = self.coded(x).contiguous(memory_format=torch.channels_last)
        size = x.shape
        if self.is_product:
            x, onto = _rows(x), None if onto is None else _rows(onto)
        ops = torch.ops.onednn
        op = ops.qlinear_pointwise if self.is_product else ops.qconv2d_pointwise
        layout = () if self.is_product else self._layout(padding)
        weight, how = (self.packed, self.scales, self.zeros), (self.bias, *layout, *self._given())
        if onto is None:
            out = op(x, *self.takes, *weight, *how, activation, [], "")
        else:
            out = op.binary(x, *self.takes, *weight, onto, *how, *self.adds, _ONTO, 1.0, activation, [], "")
        return out.view(size[0], *size[2:], -1).permute(0, 3, 1, 2) if self.is_product else out

    def _empty(self, x: Tensor) -> Tensor:
        if self.padding is None:
            sides = [-(-side // step) for side, step in zip(x.shape[2:], self.stride, strict=True)]
        else:
            sides = [(side + 2 * pad - spread * (size - 1) - 1) // step + 1 for side, pad, spread, size, step in zip(
                x.shape[2:], self.padding, self.dilation, self.kernel_size, self.stride, strict=True)]
        return x.new_zeros((len(x), self.out_channels, *sides), dtype=self._given()[2])

    def extra_repr(self) -> str:
        return (f"{self.out_channels}, kernel_size={self.kernel_size}, stride={tuple(self.stride)}, "
                f"activation={self.activation}, gives={'float32' if self.gives is None else 'codes'}")


def _rows(x: Tensor) -> Tensor:
    """A channels-last map as a row for each cell."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


class QuantizedLinear(Quantized):
    """A `FusedLinear` on codes: relu(x @ weight.T + bias) of (M, K) float32 or codes."""

    def __init__(self, layer: FusedLinear, takes: Coding) -> None:
        super().__init__(layer.weight, layer.bias, takes)
        self.packed = self._pack()

    def _pack(self) -> Tensor:
        return torch.ops.onednn.qlinear_prepack(self.codes, None)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:  # pooled boxes, whose cells `FusedLinear` has channels-last
            x = self.coded(x).permute(0, 2, 3, 1).flatten(1)
        if not len(x):
            return x.new_zeros((0, len(self.codes)), dtype=self._given()[2])
        return torch.ops.onednn.qlinear_pointwise(self.coded(x), *self.takes, self.packed, self.scales, self.zeros,
                                                  self.bias, *self._given(), "relu", [], "")
