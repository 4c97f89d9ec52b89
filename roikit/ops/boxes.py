"""Boxes on tensors: areas, formats, clipping, overlap; differentiable where that makes sense."""

import torch

from roikit import _check
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import register

__all__ = ["box_area", "box_convert", "box_iou", "clip_boxes_to_image", "masks_to_boxes",
           "remove_small_boxes"]

FORMATS = ("xyxy", "xywh", "cxcywh")


def _boxes(op, name, x):
    _check.boxes(op, name, x)
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def box_area(boxes):
    """The areas (N,) of boxes (N, 4) xyxy; a reversed side counts as 0, NaN stays NaN.

    Raises:
        TypeError, ValueError: boxes is not a floating (N, 4) tensor.
    """
    boxes = _boxes("box_area", "boxes", boxes)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    return sides[:, 0] * sides[:, 1]


def box_convert(boxes, in_fmt, out_fmt):
    """Boxes (N, 4) from one format to another: "xyxy", "xywh" (corner and size), "cxcywh" (centre and size).

    Raises:
        TypeError, ValueError: boxes is not a floating (N, 4) tensor; a format is unknown.
    """
    boxes = _boxes("box_convert", "boxes", boxes)
    _check.choice("box_convert", "in_fmt", in_fmt, FORMATS)
    _check.choice("box_convert", "out_fmt", out_fmt, FORMATS)
    if in_fmt == out_fmt:
        return boxes.clone()
    first, second = boxes[:, :2], boxes[:, 2:]
    if in_fmt == "xywh":
        second = first + second
    elif in_fmt == "cxcywh":
        first, second = first - 0.5 * second, first + 0.5 * second
    if out_fmt == "xywh":
        second = second - first
    elif out_fmt == "cxcywh":
        first, second = (first + second) * 0.5, second - first
    return torch.cat([first, second], dim=1)


def clip_boxes_to_image(boxes, size):
    """Boxes (..., 4) xyxy with x moved into [0, W] and y into [0, H]; ``size`` is (H, W). NaN stays NaN.

    Raises:
        TypeError, ValueError: boxes is not a floating (N, 4) tensor; size is not two numbers of at least 0.
    """
    boxes = _boxes("clip_boxes_to_image", "boxes", boxes)
    height, width = _check.pair("clip_boxes_to_image", "size", tuple(size), 0)
    limit = boxes.new_full((4,), width)  # filled on the device: a copy from the host would wait for it
    limit[1::2].fill_(height)
    return torch.minimum(boxes.clamp(min=0), limit)


def remove_small_boxes(boxes, min_size):
    """Indices (K,) int64 of the boxes (N, 4) whose width and height are both at least ``min_size``.

    Raises:
        TypeError, ValueError: boxes is not a floating (N, 4) tensor; min_size is not a number.
    """
    boxes = _boxes("remove_small_boxes", "boxes", boxes)
    least = _check.number("remove_small_boxes", "min_size", min_size)
    sides = boxes[:, 2:] - boxes[:, :2]
    return torch.where((sides >= least).all(dim=1))[0]


def masks_to_boxes(masks):
    """The tight boxes (N, 4) float32 of masks (N, H, W): first and last pixel index on each axis.

    An empty mask gives zeros, a mask of one pixel a box without area, as in torchvision.

    Raises:
        TypeError, ValueError: masks is not a (N, H, W) tensor.
    """
    _check.array("masks_to_boxes", "masks", masks)
    _check.rank("masks_to_boxes", "masks", masks, ("N", "H", "W"))
    out = masks.new_zeros((masks.shape[0], 4), dtype=torch.float32)
    if masks.numel() == 0:
        return out
    for axis, first in ((1, 0), (2, 1)):  # columns that hold a pixel give x, rows give y
        hit = (masks != 0).any(dim=axis).to(torch.uint8)
        last = hit.shape[1] - 1 - hit.flip(1).argmax(dim=1)
        out[:, first] = hit.argmax(dim=1).float()
        out[:, first + 2] = torch.where(hit.any(dim=1).bool(), last, 0).float()
    return out


def box_iou(boxes1, boxes2):
    """Intersection over union of every pair of boxes.

    Args:
        boxes1: (N, 4) floating, xyxy in pixels; half is cast to float32.
        boxes2: (M, 4), likewise, on the same device; the two are computed in the wider dtype.

    Returns:
        (N, M) float32 or float64 in [0, 1]; 0 where a box is empty, reversed or not finite. Differentiable in both.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module.

    Source: Everingham et al., IJCV 2010, section 4.2, with half-open boxes.
    """
    a, b = _boxes("box_iou", "boxes1", boxes1), _boxes("box_iou", "boxes2", boxes2)
    _check.same_device("box_iou", boxes1=a, boxes2=b)
    dtype = torch.promote_types(a.dtype, b.dtype)
    return torch.ops.roikit.box_iou(a.to(dtype), b.to(dtype))


def _box_iou_kernel(boxes1, boxes2):
    a, b = boxes1.contiguous(), boxes2.contiguous()
    out = a.new_empty((a.shape[0], b.shape[0]))
    backend(a, "box_iou").box_iou(view(a), view(b), view(out), launch(a))
    return out


def _box_iou_fake(boxes1, boxes2):
    return boxes1.new_empty((boxes1.shape[0], boxes2.shape[0]))


def _box_iou_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _box_iou_backward(ctx, grad):
    """By the quotient rule. Where two sides are equal, each box gets half of the intersection's gradient."""
    a, b = (x.unsqueeze(d) for x, d in zip(ctx.saved_tensors, (1, 0), strict=True))  # (N, 1, 4), (1, M, 4)
    size = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    size = size.clamp(min=0)
    inter = size[..., 0] * size[..., 1]
    sides_a, sides_b = ((x[..., 2:] - x[..., :2]).clamp(min=0) for x in (a, b))
    union = sides_a.prod(-1) + sides_b.prod(-1) - inter
    valid = (union > 0) & torch.isfinite(union)
    grad = torch.where(valid, grad, 0)
    union = torch.where(valid, union, 1)
    inter = torch.where(valid, inter, 0)
    g_inter = grad * (union + inter) / (union * union)
    g_area = -grad * inter / (union * union)
    g_size = g_inter.unsqueeze(-1) * torch.where(size > 0, size.flip(-1), 0)
    grads = []
    for mine, other, sides, axis in ((a, b, sides_a, 1), (b, a, sides_b, 0)):
        low = (mine[..., :2] > other[..., :2]).to(grad.dtype)
        low = low + 0.5 * (mine[..., :2] == other[..., :2]).to(grad.dtype)
        high = (mine[..., 2:] < other[..., 2:]).to(grad.dtype)
        high = high + 0.5 * (mine[..., 2:] == other[..., 2:]).to(grad.dtype)
        g_side = (g_area.unsqueeze(-1) * torch.where(sides > 0, sides.flip(-1), 0)).sum(axis)
        corner = torch.cat([(-g_size * low).sum(axis) - g_side, (g_size * high).sum(axis) + g_side], dim=-1)
        grads.append(torch.nan_to_num(corner))
    return tuple(grads)


register("box_iou(Tensor boxes1, Tensor boxes2) -> Tensor", _box_iou_kernel, _box_iou_fake,
         backward=_box_iou_backward, setup_context=_box_iou_context)
