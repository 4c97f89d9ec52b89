"""Losses on tensors: sigmoid focal loss, and one less the relatives of IoU for matched pairs of boxes.

Written in torch alone, so that autograd, torch.compile and every device have them. Half inputs are computed in float32.
The focal loss of a whole dense head is a large tensor: run eagerly on a CPU, loss and slope are taken together, in
pieces that stay in the caches, so that of a dozen intermediate results none is ever written to memory.
"""

import math

import torch
from torch.autograd import forward_ad
from torch.nn.functional import softplus

from roikit import _check
from roikit.ops._arguments import float32_at_least

__all__ = ["complete_box_iou_loss", "distance_box_iou_loss", "generalized_box_iou_loss", "sigmoid_focal_loss"]

REDUCTIONS = ("none", "mean", "sum")

# Elements a thread: enough for torch to share them out, few enough for the caches.
PIECE = 65_536


def _reduced(loss, reduction):
    if reduction == "none":
        return loss
    if reduction == "sum" or loss.numel() == 0:  # the mean of nothing is 0, and has a gradient
        return loss.sum()
    return loss.mean()


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
    _check.dtype(op, "inputs", inputs)
    _check.dtype(op, "targets", targets, (*_check.FLOATS, *_check.INTEGERS, "bool"))
    _check.same_device(op, inputs=inputs, targets=targets)
    if inputs.shape != targets.shape:
        raise ValueError(f"{op}: targets must have the shape of inputs, {_check.shape_text(inputs)}, got "
                         f"{_check.shape_text(targets)}")
    _check.choice(op, "reduction", reduction, REDUCTIONS)
    alpha, gamma = _check.number(op, "alpha", alpha), _check.number_from(op, "gamma", gamma, 0)
    if not 0 <= alpha <= 1 and alpha != -1:
        raise ValueError(f"{op}: alpha must be in [0, 1], or -1 for none, got {alpha}")
    if _seen_through(inputs, targets) or not _binary(targets):
        x = float32_at_least(inputs)
        loss = _focal_loss(x, targets.to(x.dtype), alpha, gamma)
    elif inputs.requires_grad and torch.is_grad_enabled():
        loss = _FocalLoss.apply(inputs, targets, alpha, gamma)
    else:
        loss = _in_pieces(inputs, targets, alpha, gamma, with_slope=False)[0]
    return _reduced(loss, reduction).to(inputs.dtype)


def _seen_through(inputs, targets):
    """Whether somebody looks at the single operations: a compiler, a transform, or a gradient but the usual."""
    return (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
            or (targets.requires_grad and torch.is_grad_enabled())
            or any(forward_ad.unpack_dual(x).tangent is not None for x in (inputs, targets)))


def _binary(targets):
    """Whether every target is 0 or 1. Asked on the CPU alone: elsewhere the answer would wait for the device."""
    return targets.is_cpu and bool(((targets == 0) | (targets == 1)).all())


def _focal_loss(x, t, alpha, gamma):
    """The loss in operations that autograd and torch.compile see through."""
    # With 0 or 1 for a target, p_t is the sigmoid of the logit turned towards it; between them it is the mixture.
    entropy = torch.lerp(softplus(x), softplus(-x), t)
    near = x.clamp(-1000, 1000)  # beyond, sigmoids are 0 and 1; their slopes of 0 would meet products that overflow
    wrong = torch.lerp(torch.sigmoid(near), torch.sigmoid(-near), t)  # 1 - p_t, without a difference that cancels
    return entropy * _power(wrong, gamma) * _balance(t, alpha)


def _power(base, gamma):
    """base ** gamma with a gradient that is finite at 0 for gamma below 1, too."""
    if gamma == 0:
        return torch.ones_like(base)
    if gamma == 2:
        return base * base
    if gamma < 1:
        base = base.clamp(min=torch.finfo(base.dtype).tiny)
    return base**gamma


def _balance(t, alpha):
    return 1 if alpha < 0 else alpha * t + (1 - alpha) * (1 - t)


def _loss_and_slope(x, t, alpha, gamma, with_slope):
    """The loss of 0 or 1 for every target, and its derivative by x or None."""
    turn = 1 - 2 * t
    y = x * turn
    wrong, entropy = torch.sigmoid(y), softplus(y)  # 1 - p_t and -log p_t
    power = _power(wrong, gamma)
    if alpha >= 0:
        power *= _balance(t, alpha)
    loss = entropy * power
    if not with_slope:
        return loss, None
    slope = wrong + entropy.mul_((1 - wrong).mul_(gamma)) if gamma else wrong  # entropy * gamma may overflow
    return loss, slope.mul_(power).mul_(turn)


def _in_pieces(inputs, targets, alpha, gamma, with_slope):
    """The loss and the slope of a whole tensor, in float32 or float64."""
    wide = float32_at_least(inputs.new_empty(0)).dtype
    piece = PIECE * torch.get_num_threads()
    if inputs.numel() <= piece:
        return _loss_and_slope(inputs.to(wide), targets.to(wide), alpha, gamma, with_slope)
    loss = torch.empty(inputs.shape, dtype=wide)
    slope = torch.empty_like(loss) if with_slope else None
    for begin in range(0, inputs.numel(), piece):
        x, t = (a.reshape(-1)[begin : begin + piece].to(wide) for a in (inputs, targets))
        for whole, part in zip((loss, slope), _loss_and_slope(x, t, alpha, gamma, with_slope), strict=True):
            if whole is not None:
                whole.view(-1)[begin : begin + piece] = part
    return loss, slope


class _FocalLoss(torch.autograd.Function):
    """The loss of every element; differentiable in the inputs, as often as one likes."""

    @staticmethod
    def forward(ctx, inputs, targets, alpha, gamma):
        loss, slope = _in_pieces(inputs, targets, alpha, gamma, with_slope=True)
        ctx.save_for_backward(inputs, targets, slope)
        ctx.rest = alpha, gamma
        return loss

    @staticmethod
    def backward(ctx, grad):
        inputs, targets, slope = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return (slope * grad).to(inputs.dtype), None, None, None
        # Somebody will differentiate this gradient.
        loss = _focal_loss(float32_at_least(inputs), targets.to(slope.dtype), *ctx.rest)
        return torch.autograd.grad(loss, inputs, grad, create_graph=True)[0], None, None, None


def generalized_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """1 - generalized IoU of each row of boxes1 with the same row of boxes2.

    Args:
        boxes1: (N, 4) or (4,) floating, xyxy in pixels; half is computed in float32.
        boxes2: of the same shape, on the same device.
        reduction: "none", "mean" or "sum".
        eps: added to every denominator, at least 0.

    Returns:
        float32 or float64 (N,), or () where boxes are (4,) or reduced; "mean" of nothing is 0. Differentiable in both.

    Raises:
        TypeError, ValueError: a wrong kind, shape, device, eps or reduction, in a sentence.

    Source: Rezatofighi et al., CVPR 2019, section 3.1.
    """
    a, b, eps = _matched("generalized_box_iou_loss", boxes1, boxes2, reduction, eps)
    iou, union = _iou(a, b, eps)
    hull = _area(_hull(a, b))
    return _reduced(1 - iou + (hull - union) / (hull + eps), reduction)


def distance_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """1 - distance IoU of each row of boxes1 with the same row of boxes2.

    Args:
        boxes1, boxes2, reduction, eps: as in `generalized_box_iou_loss`.

    Returns:
        float32 or float64 (N,), or (), as in `generalized_box_iou_loss`. Differentiable in both.

    Raises:
        TypeError, ValueError: as in `generalized_box_iou_loss`.

    Source: Zheng et al., AAAI 2020, equation 7.
    """
    a, b, eps = _matched("distance_box_iou_loss", boxes1, boxes2, reduction, eps)
    return _reduced(1 - _iou(a, b, eps)[0] + _away(a, b, eps), reduction)


def complete_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """1 - complete IoU of each row of boxes1 with the same row of boxes2.

    Args:
        boxes1, boxes2, reduction, eps: as in `generalized_box_iou_loss`.

    Returns:
        float32 or float64 (N,), or (), as in `generalized_box_iou_loss`. Differentiable in both: alpha, the weight of
        the aspect ratios, is a constant for the gradient. A box without height or width has a defined angle, so no NaN
        comes of it.

    Raises:
        TypeError, ValueError: as in `generalized_box_iou_loss`.

    Source: Zheng et al., AAAI 2020, equations 9 to 12.
    """
    a, b, eps = _matched("complete_box_iou_loss", boxes1, boxes2, reduction, eps)
    other = 1 - _iou(a, b, eps)[0]
    turn = _angle(a) - _angle(b)
    v = 4 / math.pi**2 * turn.square()
    alpha = (v / (other + v + eps)).detach()
    return _reduced(other + _away(a, b, eps) + alpha * v, reduction)


def _matched(op, boxes1, boxes2, reduction, eps):
    for name, x in (("boxes1", boxes1), ("boxes2", boxes2)):
        _check.array(op, name, x)
        _check.dtype(op, name, x)
        if x.ndim not in (1, 2) or x.shape[-1] != 4:
            raise ValueError(f"{op}: {name} must have shape (N, 4) or (4,), got {_check.shape_text(x)}")
    if boxes1.shape != boxes2.shape:
        raise ValueError(f"{op}: boxes1 and boxes2 must have one shape, got {_check.shape_text(boxes1)} and "
                         f"{_check.shape_text(boxes2)}")
    _check.same_device(op, boxes1=boxes1, boxes2=boxes2)
    _check.choice(op, "reduction", reduction, REDUCTIONS)
    return _corners(boxes1), _corners(boxes2), _check.number_from(op, "eps", eps, 0)


def _corners(boxes):
    """The least and the greatest corner of every box, two tensors (2, ...), x before y, each in a row of its own."""
    return float32_at_least(boxes).movedim(-1, 0).contiguous().unflatten(0, (2, 2)).unbind()


def _area(size):
    width, height = size.unbind()
    return width * height  # prod's gradient would look for zeros


def _iou(a, b, eps):
    inter = _area((torch.minimum(a[1], b[1]) - torch.maximum(a[0], b[0])).clamp(min=0))
    union = _area(a[1] - a[0]) + _area(b[1] - b[0]) - inter
    return inter / (union + eps), union


def _hull(a, b):
    return torch.maximum(a[1], b[1]) - torch.minimum(a[0], b[0])


def _away(a, b, eps):
    between = (a[0] + a[1] - b[0] - b[1]) / 2
    return between.square().sum(0) / (_hull(a, b).square().sum(0) + eps)


def _angle(corners):
    """atan(width / height), with a gradient of 0 and not of 0 / 0 for a point."""
    width, height = (corners[1] - corners[0]).unbind()
    point = (width == 0) & (height == 0)
    return torch.where(point, 0, torch.atan2(width, torch.where(point, 1, height)))
