"""Losses on tensors: sigmoid focal loss, and one less the relatives of IoU for matched pairs of boxes.

Written in torch alone, so that autograd, torch.compile and every device have them. Half inputs are computed in float32.
"""

import math

import torch
from torch.nn.functional import logsigmoid

from roikit import _check

__all__ = ["complete_box_iou_loss", "distance_box_iou_loss", "generalized_box_iou_loss", "sigmoid_focal_loss"]

REDUCTIONS = ("none", "mean", "sum")


def _wide(x):
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


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
    _check.same_device(op, inputs=inputs, targets=targets)
    if inputs.shape != targets.shape:
        raise ValueError(f"{op}: targets must have the shape of inputs, {_check.shape_text(inputs)}, got "
                         f"{_check.shape_text(targets)}")
    _check.choice(op, "reduction", reduction, REDUCTIONS)
    alpha, gamma = _check.number(op, "alpha", alpha), _check.number_from(op, "gamma", gamma, 0)
    if not 0 <= alpha <= 1 and alpha != -1:
        raise ValueError(f"{op}: alpha must be in [0, 1], or -1 for none, got {alpha}")
    x, t = _wide(inputs), targets.to(_wide(inputs).dtype)
    # With 0 or 1 for a target, p_t is the sigmoid of the logit turned towards it; between them it is the mixture.
    entropy = -(t * logsigmoid(x) + (1 - t) * logsigmoid(-x))
    wrong = t * torch.sigmoid(-x) + (1 - t) * torch.sigmoid(x)  # 1 - p_t, without a difference that cancels
    loss = entropy * _power(wrong, gamma)
    if alpha >= 0:
        loss = loss * (alpha * t + (1 - alpha) * (1 - t))
    return _reduced(loss, reduction).to(inputs.dtype)


def _power(base, gamma):
    """base ** gamma with a gradient that is finite at 0 for gamma below 1, too."""
    if gamma == 0:
        return torch.ones_like(base)
    if gamma == 2:
        return base * base
    if gamma < 1:
        base = base.clamp(min=torch.finfo(base.dtype).tiny)
    return base**gamma


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
    hull = _hull(a, b).prod(-1)
    return _reduced(1 - iou + (hull - union) / (hull + eps), reduction)


def distance_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """1 - distance IoU of each row of boxes1 with the same row of boxes2.

    Args, returns, errors: as generalized_box_iou_loss.

    Source: Zheng et al., AAAI 2020, equation 7.
    """
    a, b, eps = _matched("distance_box_iou_loss", boxes1, boxes2, reduction, eps)
    return _reduced(1 - _iou(a, b, eps)[0] + _away(a, b, eps), reduction)


def complete_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """1 - complete IoU of each row of boxes1 with the same row of boxes2.

    Args, returns, errors: as generalized_box_iou_loss. alpha, the weight of the aspect ratios, is a constant for the
    gradient. A box without height or width has a defined angle, so no NaN comes of it.

    Source: Zheng et al., AAAI 2020, equations 9 to 12.
    """
    a, b, eps = _matched("complete_box_iou_loss", boxes1, boxes2, reduction, eps)
    iou = _iou(a, b, eps)[0]
    turn = _angle(a) - _angle(b)
    v = 4 / math.pi**2 * turn.square()
    alpha = (v / (1 - iou + v + eps)).detach()
    return _reduced(1 - iou + _away(a, b, eps) + alpha * v, reduction)


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
    return _wide(boxes1), _wide(boxes2), _check.number_from(op, "eps", eps, 0)


def _iou(a, b, eps):
    size = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    inter = size.prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inter
    return inter / (union + eps), union


def _hull(a, b):
    return torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])


def _away(a, b, eps):
    centres = (a[..., :2] + a[..., 2:]) / 2 - (b[..., :2] + b[..., 2:]) / 2
    return centres.square().sum(-1) / (_hull(a, b).square().sum(-1) + eps)


def _angle(boxes):
    """atan(width / height), with a gradient of 0 and not of 0 / 0 for a point."""
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    point = (width == 0) & (height == 0)
    return torch.where(point, 0, torch.atan2(width, torch.where(point, 1, height)))
