"""Losses on tensors: one less the relatives of IoU for matched pairs of boxes.

Written in torch alone, so that autograd, torch.compile and every device have them. Half inputs are computed in float32.
"""

import math

import torch

from roikit import _check
from roikit.ops._arguments import float32_at_least, reduced

__all__ = ["complete_box_iou_loss", "distance_box_iou_loss", "generalized_box_iou_loss"]

REDUCTIONS = ("none", "mean", "sum")


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
    return reduced(1 - iou + (hull - union) / (hull + eps), reduction)


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
    return reduced(1 - _iou(a, b, eps)[0] + _away(a, b, eps), reduction)


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
    return reduced(other + _away(a, b, eps) + alpha * v, reduction)


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
