"""The losses of torchvision.ops, with its errors; boxes may also be whole numbers and have leading axes."""

import numbers

import roikit.ops
from roikit.compat.torchvision._arguments import broadcast, choice, last_axis

__all__ = ["complete_box_iou_loss", "distance_box_iou_loss", "generalized_box_iou_loss", "sigmoid_focal_loss"]

REDUCTIONS = ("none", "mean", "sum")


def _reduction(op, reduction):
    choice(op, "reduction", reduction, REDUCTIONS, f"Invalid Value for arg 'reduction': {reduction!r}")


def sigmoid_focal_loss(inputs, targets, alpha=0.25, gamma=2, reduction="none"):
    """`roikit.ops.sigmoid_focal_loss`, with torchvision's words for a wrong alpha or reduction."""
    if isinstance(alpha, numbers.Real) and not 0 <= alpha <= 1 and alpha != -1:
        raise ValueError(f"sigmoid_focal_loss: Invalid alpha value: {alpha}; it must be in [0, 1], or -1 for none")
    _reduction("sigmoid_focal_loss", reduction)
    return roikit.ops.sigmoid_focal_loss(inputs, targets, alpha, gamma, reduction)


def _loss(op, boxes1, boxes2, reduction, eps):
    name = op.__name__
    _reduction(name, reduction)
    last_axis(name, 4, boxes1=boxes1, boxes2=boxes2)
    boxes1, boxes2 = (x if x.is_floating_point() else x.float() for x in (boxes1, boxes2))
    if boxes1.shape == boxes2.shape and boxes1.dim() <= 2:
        return op(boxes1, boxes2, reduction, eps)
    first, second, lead = broadcast(name, boxes1, boxes2, 1)
    loss = op(first, second, reduction, eps)
    return loss.reshape(lead) if reduction == "none" else loss


def generalized_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """`roikit.ops.generalized_box_iou_loss` of boxes (..., 4); whole numbers become float32."""
    return _loss(roikit.ops.generalized_box_iou_loss, boxes1, boxes2, reduction, eps)


def distance_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """`roikit.ops.distance_box_iou_loss` of boxes (..., 4); whole numbers become float32."""
    return _loss(roikit.ops.distance_box_iou_loss, boxes1, boxes2, reduction, eps)


def complete_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """`roikit.ops.complete_box_iou_loss` of boxes (..., 4); whole numbers become float32."""
    return _loss(roikit.ops.complete_box_iou_loss, boxes1, boxes2, reduction, eps)
