"""The sigmoid focal loss on tensors.

The focal loss of a whole dense head is a large tensor. Run eagerly, loss and slope (the derivative by the logit) are
taken together in one pass, and a sum is taken on the way, so that nothing of the head's size is written but the
gradient itself. Where somebody looks at the single operations - a compiler, which makes one pass of them by itself, a
transform, a second derivative, a gradient of the targets - it is the plain formula.
"""

import importlib.util
from functools import cache

import torch
from torch.autograd import forward_ad
from torch.nn.functional import softplus

from roikit import _check, _core
from roikit._check.focal_loss import decisions, rule
from roikit.ops._arguments import float32_at_least, reduced
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register

__all__ = ["sigmoid_focal_loss"]


def sigmoid_focal_loss(inputs, targets, alpha=0.25, gamma=2, reduction="none"):
    """The focal loss of independent binary decisions: alpha_t (1 - p_t)^gamma times the cross entropy.

    Args:
        inputs: logits of any shape, floating.
        targets: of the same shape, 0 for the negative class and 1 for the positive, or between.
        alpha: the weight of positives, 1 - alpha that of negatives; in [0, 1], or -1 for no weights.
        gamma: at least 0; 0 gives the weighted cross entropy.
        reduction: "none", "mean" or "sum".

    Returns:
        the loss in the dtype of inputs, of their shape or a scalar; "mean" of nothing is 0. Differentiable in inputs
        and targets. No logit gives NaN, however large: where a decision is sure and right, loss and gradient are 0.

    Raises:
        TypeError, ValueError: a wrong kind, shape, alpha, gamma or reduction, in a sentence.

    Source: Lin et al., ICCV 2017, equation 5.
    """
    op = "sigmoid_focal_loss"
    for name, x in (("inputs", inputs), ("targets", targets)):
        _check.array(op, name, x)
    decisions(op, inputs, targets)
    _check.same_device(op, inputs=inputs, targets=targets)
    alpha, gamma = rule(op, alpha, gamma, reduction)
    x = float32_at_least(inputs)
    t = targets.to(x.dtype)
    if _seen_through(x, t) or not _has_kernels(x):
        loss = reduced(_focal_loss(x, t, alpha, gamma), reduction)
    else:
        summed = reduction != "none"
        if x.requires_grad and torch.is_grad_enabled():
            loss = _FocalLoss.apply(x, t, alpha, gamma, summed)
        else:
            loss = torch.ops.roikit.sigmoid_focal_loss(x, t, alpha, gamma, summed, False)[0]
        if reduction == "mean":
            loss = loss / max(x.numel(), 1)
    return loss.to(inputs.dtype)


def _seen_through(inputs, targets):
    """Whether somebody looks at the single operations: a compiler, a transform, or a gradient but the usual."""
    return (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
            or (targets.requires_grad and torch.is_grad_enabled())
            or any(forward_ad.unpack_dual(x).tangent is not None for x in (inputs, targets)))


@cache
def _cuda_is_built():
    return importlib.util.find_spec("roikit._cuda") is not None


def _has_kernels(x):
    """Whether this build has kernels for the tensor's device; any device has those of the plain formula."""
    return x.is_cpu or (x.is_cuda and _cuda_is_built())


def _focal_loss(x, t, alpha, gamma):
    """The loss in operations that autograd and torch.compile see through."""
    # With 0 or 1 for a target, p_t is the sigmoid of the logit turned towards it; between them it is the mixture.
    entropy = torch.lerp(softplus(x), softplus(-x), t)
    near = x.clamp(-1000, 1000)  # beyond, sigmoids are 0 and 1; their slopes of 0 would meet products that overflow
    wrong = torch.lerp(torch.sigmoid(near), torch.sigmoid(-near), t)  # 1 - p_t, without a difference that cancels
    return entropy * _power(wrong, gamma) * (1 if alpha < 0 else alpha * t + (1 - alpha) * (1 - t))


def _power(base, gamma):
    """base ** gamma with a gradient that is finite at 0 for gamma below 1, too."""
    if gamma == 0:
        return torch.ones_like(base)
    if gamma == 2:
        return base * base
    if gamma < 1:
        base = base.clamp(min=torch.finfo(base.dtype).tiny)
    return base**gamma


class _FocalLoss(torch.autograd.Function):
    """The loss of every element or of all; differentiable in the inputs, as often as one likes."""

    @staticmethod
    def forward(ctx, inputs, targets, alpha, gamma, summed):
        loss, slope = torch.ops.roikit.sigmoid_focal_loss(inputs, targets, alpha, gamma, summed, True)
        ctx.save_for_backward(inputs, targets)
        ctx.slope, ctx.rest = slope, (alpha, gamma)
        ctx.summed = summed
        return loss

    @staticmethod
    def backward(ctx, grad):
        inputs, targets = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody will differentiate this gradient
            loss = _focal_loss(inputs, targets, *ctx.rest)
            loss = loss.sum() if ctx.summed else loss
            return torch.autograd.grad(loss, inputs, grad, create_graph=True)[0], None, None, None, None
        if torch._C._functorch.is_legacy_batchedtensor(grad):  # is_grads_batched: many gradients of one slope
            return _slope(ctx) * grad, None, None, None, None
        # The slope becomes the gradient, in place; whoever comes a second time has it computed anew.
        slope, ctx.slope = _slope(ctx), None
        if not (ctx.summed and grad.is_cpu and grad == 1):
            slope *= grad
        return slope, None, None, None, None


def _slope(ctx):
    if ctx.slope is not None:
        return ctx.slope
    return torch.ops.roikit.sigmoid_focal_loss(*ctx.saved_tensors, *ctx.rest, True, True)[1]


def _fake(inputs, targets, alpha, gamma, summed, with_slope):
    contiguous = {"memory_format": torch.contiguous_format}
    return (inputs.new_empty(()) if summed else torch.empty_like(inputs, **contiguous),
            torch.empty_like(inputs, **contiguous) if with_slope else inputs.new_empty(0))


def _kernel(inputs, targets, alpha, gamma, summed, with_slope):
    loss, slope = _fake(inputs, targets, alpha, gamma, summed, with_slope)
    x, t = inputs.contiguous().view(-1), targets.contiguous().view(-1)
    core = backend(x, "sigmoid_focal_loss")
    scratch = None
    if core is not _core and summed:
        scratch = workspace(x, core.sigmoid_focal_loss_workspace(x.numel()))
    core.sigmoid_focal_loss(view(x), view(t), alpha, gamma, view(loss if summed else loss.view(-1)),
                            view(slope.view(-1)), launch(x, scratch))
    return loss, slope


register("sigmoid_focal_loss(Tensor inputs, Tensor targets, float alpha, float gamma, bool summed, bool with_slope) -> "
         "(Tensor, Tensor)", _kernel, _fake)
