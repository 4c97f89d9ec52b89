"""mmcv.ops: focal losses with the class as an integer."""

import torch

import roikit.ops

__all__ = ["SigmoidFocalLoss", "SoftmaxFocalLoss", "sigmoid_focal_loss", "softmax_focal_loss"]


def _check(op, input, target, weight, reduction):
    for name, x in (("input", input), ("target", target)):
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{op}: {name} must be a tensor, got {type(x).__name__}")
    if input.dim() != 2 or target.shape != input.shape[:1]:
        raise ValueError(f"{op}: input must have shape (N, C) and target (N,), got {tuple(input.shape)} and "
                         f"{tuple(target.shape)}")
    if target.dtype != torch.int64:
        raise TypeError(f"{op}: target must be int64, got {target.dtype}")
    if weight is not None and weight.shape != input.shape[1:]:
        raise ValueError(f"{op}: weight must have one value a class ({input.shape[1]}), got {tuple(weight.shape)}")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{op}: reduction must be \"none\", \"mean\" or \"sum\", got {reduction!r}")


def _weights(target, weight):
    """(N,), the weight of each row's class; 1 for the background, which has none."""
    foreground = (target >= 0) & (target < len(weight))
    return torch.where(foreground, weight[torch.where(foreground, target, 0)], 1)


def _reduced(loss, reduction):
    """mmcv's mean divides by the rows, not by the elements; of no rows it is 0."""
    if reduction == "none":
        return loss
    return loss.sum() / max(len(loss), 1) if reduction == "mean" else loss.sum()


def sigmoid_focal_loss(input, target, gamma=2.0, alpha=0.25, weight=None, reduction="mean"):
    """mmcv.ops.sigmoid_focal_loss; gamma comes before alpha.

    Args:
        input: (N, C) logits.
        target: (N,) int64, the class; any number that is no class, such as C, is the background.
        gamma, alpha: as in roikit.ops.sigmoid_focal_loss.
        weight: (C,), a factor for each class; the background has 1.
        reduction: "none", "mean" (the sum over N) or "sum".

    Returns:
        (N, C), or a scalar, the dtype of input. Differentiable in input.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.
    """
    _check("sigmoid_focal_loss", input, target, weight, reduction)
    classes = torch.arange(input.shape[1], device=input.device)
    one_hot = (target[:, None] == classes).to(input.dtype)
    loss = roikit.ops.sigmoid_focal_loss(input, one_hot, alpha, gamma)
    if weight is not None:
        loss = loss * _weights(target, weight)[:, None]
    return _reduced(loss, reduction)


def softmax_focal_loss(input, target, gamma=2.0, alpha=0.25, weight=None, reduction="mean"):
    """mmcv.ops.softmax_focal_loss, of a few tensor operations.

    Args:
        input: (N, C) logits.
        target: (N,) int64, the class, below C; a negative number is ignored.
        gamma, alpha: -alpha (1 - p)^gamma log p, p being the softmax of the row's class.
        weight: (C,), a factor for each class.
        reduction: "none", "mean" (the sum over N, ignored rows too) or "sum".

    Returns:
        (N,), or a scalar. Differentiable in input.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.
    """
    _check("softmax_focal_loss", input, target, weight, reduction)
    counted = target >= 0
    rows = torch.where(counted, target, 0)[:, None]
    log_p = input.log_softmax(dim=1).gather(1, rows)[:, 0]
    wrong = -log_p.expm1()
    if gamma < 1:  # whose slope at 0 is infinite
        wrong = wrong.clamp(min=torch.finfo(wrong.dtype).tiny)
    loss = -alpha * wrong**gamma * log_p
    if weight is not None:
        loss = loss * _weights(target, weight)
    return _reduced(torch.where(counted, loss, 0), reduction)


class _FocalLoss(torch.nn.Module):
    """The constructor of both modules; weight is a buffer."""

    def __init__(self, gamma, alpha, weight=None, reduction="mean"):
        super().__init__()
        self.gamma, self.alpha, self.reduction = gamma, alpha, reduction
        self.register_buffer("weight", weight)

    def forward(self, input, target):
        return self.loss(input, target, self.gamma, self.alpha, self.weight, self.reduction)

    def extra_repr(self):
        return f"gamma={self.gamma}, alpha={self.alpha}, reduction={self.reduction}"


class SigmoidFocalLoss(_FocalLoss):
    """mmcv.ops.SigmoidFocalLoss: `sigmoid_focal_loss` with fixed parameters. Input: logits (N, C), target (N,)."""

    loss = staticmethod(sigmoid_focal_loss)


class SoftmaxFocalLoss(_FocalLoss):
    """mmcv.ops.SoftmaxFocalLoss: `softmax_focal_loss` with fixed parameters. Input: logits (N, C), target (N,)."""

    loss = staticmethod(softmax_focal_loss)
