"""A linear layer's product by oneDNN, and a layer of it with its ReLU."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.ops._derivatives import transformed

__all__ = ["FusedLinear", "linear"]


class _Product(torch.autograd.Function):
    """(M, K) @ (N, K).T of float32 matrices; so are its gradients, whichever way the matrices lie in memory."""

    @staticmethod
    def forward(ctx, left, right):
        ctx.save_for_backward(left, right)
        return torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")

    @staticmethod
    def backward(ctx, grad):
        left, right = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (_Product.apply(grad, right.t()) if wanted[0] else None,
                _Product.apply(grad.t(), left.t()) if wanted[1] else None)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`F.linear` of a (M, K) `x` with a (N, K) `weight`.

    In float32 on a CPU by oneDNN: on an AMD processor with AVX-512 it took half the time of the library that torch's
    own products call there. torch.export gets F.linear, which other runtimes know, and so does torch.compile, which
    chooses among libraries itself and has no kernel for such a product of weights that change. So do transforms of
    torch.func and forward mode.
    """
    if (x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and not torch.compiler.is_compiling()
            and x.numel() > 0 and not torch.is_autocast_enabled("cpu") and torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, "_linear_pointwise") and not transformed(x, weight)):
        return _Product.apply(x, weight).add_(bias)
    return F.linear(x, weight, bias)


class FusedLinear(nn.Module):
    """relu(x @ weight.T + bias), for inference on a CPU.

    Args:
        layer: the linear layer; copied.
        dtype: of weights, input and result: float32 or bfloat16.
        cells: cells on each side of a pooled box, for a layer that sees all of them: it takes (R, C, cells, cells) as
            they lie in memory. None for (M, K) rows.
    """

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, cells: int | None = None) -> None:
        super().__init__()
        weight = layer.weight
        if cells is not None:  # channels-last
            weight = weight.unflatten(1, (-1, cells, cells)).permute(0, 2, 3, 1).flatten(1)
        self.cells = cells
        self._contiguous: Tensor | None = None
        for name, value in (("weight", weight), ("bias", layer.bias)):
            self.register_buffer(name, value.detach().to(dtype, copy=True), persistent=False)

    def told(self) -> str:
        """What the layer is, in words."""
        return "x".join(map(str, self.weight.shape)) + f" relu {str(self.weight.dtype).removeprefix('torch.')}"

    def forward(self, x: Tensor) -> Tensor:
        # Products, not convolutions of 1x1 maps, which are the same and took ten times as long in oneDNN.
        weight = self.weight
        if self.cells is not None and x.is_contiguous() and not torch.compiler.is_compiling():
            x, weight = x.flatten(1), self._in_order(self.cells)
        elif self.cells is not None:
            x = x.permute(0, 2, 3, 1).flatten(1)
        return linear(x.to(self.weight.dtype), weight, self.bias).relu_()

    def _in_order(self, cells: int) -> Tensor:
        """The weight for cells channels-first; made when such boxes come."""
        if self._contiguous is None:
            self._contiguous = self.weight.unflatten(1, (cells, cells, -1)).permute(0, 3, 1, 2).flatten(1)
        return self._contiguous
