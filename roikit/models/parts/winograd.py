"""3x3 convolutions in training on a CPU by Winograd's algorithm, where that is measured to be faster.

Forward and the gradient of the input, which is a convolution with the filter turned by half a turn, are NNPACK's; the
gradient of the weights is torch's own.
"""

import math
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.parts.ways import SEVERAL, has_winograd, nearest
from roikit.ops._derivatives import transformed

__all__ = ["WinogradConv2d", "take_ways", "ways_of", "with_winograd"]

_LEAST = 2e7  # multiplications below which nothing is gained that could be measured
_BETTER = 0.95  # of the time of the direct way Winograd's must take less than this
_RUNS = 3
_NARROWEST = 16  # channels of Winograd's algorithm
_DIRECT, _WINOGRAD = "direct", "winograd"


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
        # What comes channels-last goes on so, for what follows is faster then; the reorders count in a measurement.
        ctx.form = torch.contiguous_format if x.is_contiguous() else torch.channels_last
        laid, filters = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight, laid, filters)
        ctx.padding, ctx.biased = padding, bias is not None
        return _convolved(laid, filters, bias, padding).contiguous(memory_format=ctx.form)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        again = torch.is_grad_enabled()  # whoever differentiates this gradient takes torch's own of what was given
        x, weight = ctx.saved_tensors[:2] if again else ctx.saved_tensors[2:]
        grad, padding = grad.contiguous(), ctx.padding
        own = None
        if ctx.needs_input_grad[0] and not again:
            turned = weight.flip(2, 3).transpose(0, 1).contiguous()
            own = _convolved(grad, turned, None, 2 - padding).contiguous(memory_format=ctx.form)
        wanted = [again and ctx.needs_input_grad[0], *ctx.needs_input_grad[1:3]]
        direct, of_weight, of_bias = torch.ops.aten.convolution_backward(
            grad, x, weight, [len(weight)] if ctx.biased else None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], 1,
            wanted) if any(wanted) else (None, None, None)
        return direct if again else own, of_weight, of_bias, None


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    # A few maps are faster one by one: of several NNPACK transforms all before it multiplies.
    parts = [torch._nnpack_spatial_convolution(part, weight, bias, [padding] * 2, [1, 1])
             for part in (x.split(1) if len(x) <= SEVERAL else (x,))]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


class WinogradConv2d(nn.Conv2d):
    """An `nn.Conv2d` of 3x3 and stride 1 that takes Winograd's algorithm in training, for sizes for which it is faster.

    Attributes:
        ways: sizes (N, C, H, W) of inputs and the way of each, "direct" or "winograd"; other sizes get that of the
            nearest, by the number of cells, or are measured where they differ by a factor of two or more.
        measured: what was found for layers alike.
    """

    ways: list[tuple[list[int], str]]
    measured: dict[Any, str]

    @classmethod
    def of(cls, conv: nn.Conv2d, measured: dict[Any, str]) -> "WinogradConv2d":
        """The same convolution, with the same parameters."""
        found = cls.__new__(cls)
        found.__dict__.update(conv.__dict__)
        found.ways, found.measured = [], measured
        return found

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        usual = (input.device.type == "cpu" and input.dtype == weight.dtype == torch.float32 and input.numel() > 0
                 and self.training and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
                 and not torch.compiler.is_compiling() and type(input) is Tensor
                 and not transformed(input, weight, bias))
        # It is asked each time, for a model may have come from another machine.
        if usual and has_winograd() and self._way(input, weight, bias) == _WINOGRAD:
            return _Convolution.apply(input, weight, bias, self.padding[0])
        return super()._conv_forward(input, weight, bias)

    def _way(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> str:
        way = nearest(self.ways, x.shape)
        if way is None:
            alike = x.shape, x.stride(), weight.shape, self.padding, x.requires_grad, weight.requires_grad
            way = self.measured.get(alike) or _faster(x, weight, bias, self.padding[0])
            self.measured[alike] = way
            self.ways.append((list(x.shape), way))
        return way


def _faster(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> str:
    """The faster way of a forward and a backward pass for these inputs."""
    if x.shape[0] * x.shape[2] * x.shape[3] * weight.numel() < _LEAST:
        return _DIRECT
    own, filters = (part.detach().requires_grad_(part.requires_grad) for part in (x, weight))
    biased = None if bias is None else bias.detach().requires_grad_(bias.requires_grad)

    def step(way: str) -> float:
        begun = time.perf_counter()
        out = (_Convolution.apply(own, filters, biased, padding) if way == _WINOGRAD else
               F.conv2d(own, filters, biased, padding=padding))
        wanted = [part for part in (own, filters, biased) if part is not None and part.requires_grad]
        if wanted:
            torch.autograd.grad(out, wanted, torch.ones_like(out))  # as the result lies
        return time.perf_counter() - begun

    # In turns, so that noise hits both; the first ones find memory and caches cold.
    seconds = {_DIRECT: math.inf, _WINOGRAD: math.inf}
    for run in range(_RUNS + 1):
        for way in seconds:
            spent = step(way)
            if run:
                seconds[way] = min(seconds[way], spent)
    return _WINOGRAD if seconds[_WINOGRAD] < _BETTER * seconds[_DIRECT] else _DIRECT


def with_winograd(model: nn.Module) -> int:
    """Have the 3x3 convolutions of a model take Winograd's algorithm in float32 training on a CPU, where it is faster.

    Parameters, names and results in evaluation stay what they are. In training results differ in float32's last digits
    from those of the direct way.

    Returns:
        How many convolutions it may be; 0 where this torch or this processor has no such convolutions.
    """
    if not has_winograd():
        return 0
    count, measured = 0, {}
    for parent in list(model.modules()):
        for name, part in parent.named_children():
            if type(part) is nn.Conv2d and _suits(part):
                setattr(parent, name, WinogradConv2d.of(part, measured))
                count += 1
    return count


def _suits(conv: nn.Conv2d) -> bool:
    return (conv.kernel_size == (3, 3) and conv.stride == (1, 1) and conv.dilation == (1, 1) and conv.groups == 1
            and conv.padding in ((0, 0), (1, 1)) and conv.padding_mode == "zeros"
            and min(conv.in_channels, conv.out_channels) >= _NARROWEST)


def ways_of(model: nn.Module) -> dict[str, list[Any]]:
    """Name of a convolution -> sizes and ways, as plain data."""
    return {name: [[list(size), way] for size, way in part.ways] for name, part in model.named_modules()
            if isinstance(part, WinogradConv2d) and part.ways}


def take_ways(model: nn.Module, ways: dict[str, list[Any]]) -> None:
    """Put in what `ways_of` gave; names that the model has not are passed over, and sizes that are new are measured."""
    for name, part in model.named_modules():
        if isinstance(part, WinogradConv2d):
            part.ways = [(list(size), way) for size, way in ways.get(name, [])]
