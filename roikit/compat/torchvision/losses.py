"""The losses of torchvision.ops on matched boxes, which may also be whole numbers."""

import torch

import roikit.ops

__all__ = ["complete_box_iou_loss", "distance_box_iou_loss", "generalized_box_iou_loss"]


def _loss(op, boxes1, boxes2, reduction, eps):
    boxes = (x.float() if isinstance(x, torch.Tensor) and not x.is_floating_point() else x for x in (boxes1, boxes2))
    return op(*boxes, reduction, eps)


def generalized_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """`roikit.ops.generalized_box_iou_loss`; whole numbers become float32."""
    return _loss(roikit.ops.generalized_box_iou_loss, boxes1, boxes2, reduction, eps)


def distance_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """`roikit.ops.distance_box_iou_loss`; whole numbers become float32."""
    return _loss(roikit.ops.distance_box_iou_loss, boxes1, boxes2, reduction, eps)


def complete_box_iou_loss(boxes1, boxes2, reduction="none", eps=1e-7):
    """`roikit.ops.complete_box_iou_loss`; whole numbers become float32."""
    return _loss(roikit.ops.complete_box_iou_loss, boxes1, boxes2, reduction, eps)
