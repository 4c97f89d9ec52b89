"""A linear layer's product by oneDNN."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["linear"]


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
    chooses among libraries itself and has no kernel for such a product of weights that change.
    """
    if (x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 and not torch.compiler.is_compiling()
            and x.numel() > 0 and not torch.is_autocast_enabled("cpu") and torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return _Product.apply(x, weight).add_(bias)
    return F.linear(x, weight, bias)
