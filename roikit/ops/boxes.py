"""Boxes on tensors: areas, formats, clipping, overlap; differentiable where that makes sense."""

import math

import torch

from roikit import _check
from roikit._check.boxes import ROTATED, formats
from roikit.ops._arguments import as_boxes, wider
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import register
from roikit.ops._rotated_formats import from_own_corner, to_own_corner

__all__ = ["box_area", "box_convert", "box_iou", "clip_boxes_to_image", "complete_box_iou", "distance_box_iou",
           "generalized_box_iou", "masks_to_boxes", "remove_small_boxes"]


def box_area(boxes):
    """The areas of boxes.

    Args:
        boxes: (N, 4) floating, xyxy; half is cast to float32.

    Returns:
        (N,) float32 or float64, square pixels; a reversed side counts as 0, NaN stays NaN. Differentiable.

    Raises:
        TypeError, ValueError: boxes is not a floating (N, 4) tensor.
    """
    boxes = as_boxes("box_area", "boxes", boxes)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    return sides[:, 0] * sides[:, 1]


def box_convert(boxes, in_fmt, out_fmt):
    """Boxes from one format to another.

    The rotated formats are torchvision's. "cxcywhr" is roikit's own: centre, size, and degrees counter-clockwise.
    "xywhr" has the box's own top left corner in place of the centre. "xyxyxyxy" has its corners top left, top right,
    bottom right, bottom left, as they lie where the angle is 0.

    Args:
        boxes: (N, 4) floating, of a rotated format (N, 5), of "xyxyxyxy" (N, 8); half is cast to float32.
        in_fmt, out_fmt: "xyxy", "xywh" (corner and size), or "cxcywh" (centre and size); or both "cxcywhr", "xywhr" or
            "xyxyxyxy".

    Returns:
        (N, 4), (N, 5) or (N, 8) float32 or float64, always new memory; angles made of corners are in (-180, 180].
        Differentiable.

    Raises:
        TypeError, ValueError: boxes is not a floating tensor of these columns; a format is unknown; one is upright and
        one rotated.
    """
    boxes = as_boxes("box_convert", "boxes", boxes, formats("box_convert", in_fmt, out_fmt))
    if in_fmt == out_fmt:
        return boxes.clone()
    if in_fmt in ROTATED:
        return from_own_corner(to_own_corner(boxes, in_fmt), out_fmt)
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
    """Boxes moved into an image: x into [0, W] and y into [0, H].

    Args:
        boxes: (N, 4) floating, xyxy; half is cast to float32.
        size: (H, W), pixels.

    Returns:
        (N, 4) float32 or float64; NaN stays NaN. Differentiable.

    Raises:
        TypeError, ValueError: boxes is not a floating (N, 4) tensor; size is not two numbers of at least 0.
    """
    boxes = as_boxes("clip_boxes_to_image", "boxes", boxes)
    height, width = _check.pair("clip_boxes_to_image", "size", tuple(size), 0)
    limit = boxes.new_full((4,), width)  # filled on the device: a copy from the host would wait for it
    limit[1::2].fill_(height)
    return torch.minimum(boxes.clamp(min=0), limit)


def remove_small_boxes(boxes, min_size):
    """Indices of the boxes whose width and height are both at least ``min_size``.

    Args:
        boxes: (N, 4) floating, xyxy; half is cast to float32.
        min_size: pixels.

    Returns:
        (K,) int64, ascending; a box with a NaN coordinate is never among them.

    Raises:
        TypeError, ValueError: boxes is not a floating (N, 4) tensor; min_size is not a number.
    """
    boxes = as_boxes("remove_small_boxes", "boxes", boxes)
    least = _check.number("remove_small_boxes", "min_size", min_size)
    sides = boxes[:, 2:] - boxes[:, :2]
    return torch.where((sides >= least).all(dim=1))[0]


def masks_to_boxes(masks, *, inclusive=True):
    """The tight boxes of masks.

    Args:
        masks: (N, H, W) of any dtype; a pixel is inside where it is not 0.
        inclusive: torchvision's way: x2 and y2 are the last pixel's index, so that a mask of one pixel gives a box
            without area. False: they are one more, so that the box covers the pixels, as in detectron2 and COCO.

    Returns:
        (N, 4) float32: the first and last pixel index on each axis. An empty mask gives zeros either way.

    Raises:
        TypeError, ValueError: masks is not a (N, H, W) tensor.
    """
    _check.array("masks_to_boxes", "masks", masks)
    _check.tensor("masks_to_boxes", "masks", masks)
    _check.rank("masks_to_boxes", "masks", masks, ("N", "H", "W"))
    out = masks.new_zeros((masks.shape[0], 4), dtype=torch.float32)
    if masks.numel() == 0:
        return out
    for axis, first in ((1, 0), (2, 1)):  # columns that hold a pixel give x, rows give y
        hit = (masks != 0).any(dim=axis).to(torch.uint8)
        last = hit.shape[1] - bool(inclusive) - hit.flip(1).argmax(dim=1)
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
    return torch.ops.roikit.box_iou(*_pairs("box_iou", boxes1, boxes2))


def generalized_box_iou(boxes1, boxes2):
    """IoU less the share of the smallest enclosing box that neither box covers, for every pair.

    Args:
        boxes1: (N, 4), as in `box_iou`.
        boxes2: (M, 4), likewise.

    Returns:
        (N, M) float32 or float64 in [-1, 1]; 0 where a box is not finite, and for two equal points. Differentiable in
        both.

    Raises:
        TypeError, ValueError, BackendError: as in `box_iou`.

    Source: Rezatofighi et al., CVPR 2019, algorithm 1.
    """
    return torch.ops.roikit.generalized_box_iou(*_pairs("generalized_box_iou", boxes1, boxes2))


def distance_box_iou(boxes1, boxes2, eps=1e-7):
    """IoU less the squared distance of the centres over the squared diagonal of the enclosing box, for every pair.

    Args:
        boxes1: (N, 4), as in `box_iou`.
        boxes2: (M, 4), likewise.
        eps: at least 0, added to the squared diagonal.

    Returns:
        (N, M) float32 or float64 in [-1, 1]; 0 where a box is not finite. Differentiable in both.

    Raises:
        TypeError, ValueError, BackendError: as in `box_iou`; eps is not a finite number of at least 0.

    Source: Zheng et al., AAAI 2020, equation 7.
    """
    eps = _check.number_from("distance_box_iou", "eps", eps, 0)
    return torch.ops.roikit.distance_box_iou(*_pairs("distance_box_iou", boxes1, boxes2), eps)


def complete_box_iou(boxes1, boxes2, eps=1e-7):
    """The distance IoU less a penalty for different aspect ratios, for every pair.

    Args:
        boxes1: (N, 4), as in `box_iou`.
        boxes2: (M, 4), likewise.
        eps: as in `distance_box_iou`; also added to the denominator of alpha.

    Returns:
        (N, M) float32 or float64 in [-2, 1], off by at most 1e-6 or 2e-15; 0 where a box is not finite. Differentiable
        in both; alpha, the weight of the penalty, is a constant for the gradient, as in the paper and its peers.

    Raises:
        TypeError, ValueError, BackendError: as in `distance_box_iou`.

    Source: Zheng et al., AAAI 2020, equations 9 to 12.
    """
    eps = _check.number_from("complete_box_iou", "eps", eps, 0)
    return torch.ops.roikit.complete_box_iou(*_pairs("complete_box_iou", boxes1, boxes2), eps)


def _pairs(op, boxes1, boxes2):
    a, b = as_boxes(op, "boxes1", boxes1), as_boxes(op, "boxes2", boxes2)
    _check.same_device(op, boxes1=a, boxes2=b)
    return wider(a, b)


def _lean(mine, other, longest):
    """The part of a shared side's gradient that each corner of ``mine`` gets: 1 where it was chosen, 0.5 in a tie."""
    chosen = mine > other if longest else mine < other
    return chosen.to(mine.dtype) + 0.5 * (mine == other).to(mine.dtype)


def _penalty_gradients(op, a, b, eps, grad, iou, union, sides):
    """The gradients of what an op takes off the IoU; 0 for pairs whose penalty is undefined.

    Returns:
        with respect to the areas, and minus that to the intersection: (N, M) or 0; to the sides of the hull (N, M, 2);
        to the centres of a, and minus that of b: (N, M, 2) or 0; to the angles of the diagonals likewise: (N, M) or 0.
    """
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).clamp(min=0)
    if op == "generalized_box_iou":
        area = hull.prod(-1)
        valid = (area > 0) & torch.isfinite(area) & torch.isfinite(union)
        area, union = torch.where(valid, area, 1), torch.where(valid, union, 0)
        hull = torch.where(valid.unsqueeze(-1), hull, 0)
        g_union = torch.where(valid, grad / area, 0)
        return g_union, (-g_union * union / area).unsqueeze(-1) * hull.flip(-1), 0, 0
    away = (a[..., :2] + a[..., 2:]) * 0.5 - (b[..., :2] + b[..., 2:]) * 0.5
    square, span = away.square().sum(-1), hull.square().sum(-1) + eps
    valid = torch.isfinite(square) & torch.isfinite(span) & (span > 0)
    some = torch.where(valid & (square <= span), grad, 0)
    square, span = torch.where(valid, square, 0), torch.where(valid, span, 1)
    away, hull = (torch.where(valid.unsqueeze(-1), x, 0) for x in (away, hull))
    g_hull = (some * square / (span * span)).unsqueeze(-1) * (2 * hull)
    g_centre = (-some / span).unsqueeze(-1) * (2 * away)
    if op == "distance_box_iou":
        return 0, g_hull, g_centre, 0
    angle_a, angle_b = (torch.atan2(side[..., 0], side[..., 1]) for side in sides)
    turn = angle_a - angle_b
    shape = 4 / math.pi**2 * turn.square()
    alpha = (shape / (1 - iou + shape + eps)).detach()
    valid = valid & torch.isfinite(alpha)
    return 0, g_hull, g_centre, torch.where(valid, -grad * alpha * (8 / math.pi**2) * turn, 0)


def _pairs_backward(op, grad, boxes1, boxes2, eps=0.0):
    """By the quotient rule. Where two sides are equal, each box gets half of the gradient of what they share."""
    a, b = boxes1.unsqueeze(1), boxes2.unsqueeze(0)  # (N, 1, 4), (1, M, 4)
    size = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    size = size.clamp(min=0)
    inter = size[..., 0] * size[..., 1]
    sides = sides_a, sides_b = [(x[..., 2:] - x[..., :2]).clamp(min=0) for x in (a, b)]
    whole = sides_a.prod(-1) + sides_b.prod(-1) - inter
    valid = (whole > 0) & torch.isfinite(whole)
    grad_iou = torch.where(valid, grad, 0)
    union = torch.where(valid, whole, 1)
    inter = torch.where(valid, inter, 0)
    g_inter = grad_iou * (union + inter) / (union * union)
    g_area = -grad_iou * inter / (union * union)
    if op != "box_iou":
        more, g_hull, g_centre, g_angle = _penalty_gradients(op, a, b, eps, grad, inter / union, whole, sides)
        g_area, g_inter = g_area + more, g_inter - more
    g_size = g_inter.unsqueeze(-1) * torch.where(size > 0, size.flip(-1), 0)
    grads = []
    for mine, other, span, axis, sign in ((a, b, sides_a, 1, 1), (b, a, sides_b, 0, -1)):
        low, high = mine[..., :2], mine[..., 2:]
        g_side = g_area.unsqueeze(-1) * torch.where(span > 0, span.flip(-1), 0)
        if op == "complete_box_iou":
            circle = span.square().sum(-1, keepdim=True)
            along = torch.stack([span[..., 1], -span[..., 0]], dim=-1) / torch.where(circle > 0, circle, 1)
            g_side = g_side + sign * g_angle.unsqueeze(-1) * torch.where(span > 0, along, 0)
        g_side = g_side.sum(axis)
        g_low = (-g_size * _lean(low, other[..., :2], True)).sum(axis) - g_side
        g_high = (g_size * _lean(high, other[..., 2:], False)).sum(axis) + g_side
        if op != "box_iou":
            centre = 0.5 * sign * g_centre
            g_low = g_low + (centre - g_hull * _lean(low, other[..., :2], False)).sum(axis)
            g_high = g_high + (centre + g_hull * _lean(high, other[..., 2:], True)).sum(axis)
        grads.append(torch.nan_to_num(torch.cat([g_low, g_high], dim=-1)))
    return tuple(grads)


def _register(op, more=""):
    """box_iou or one of its relatives: a matrix of pairs with its gradient to both sets of boxes."""

    def kernel(boxes1, boxes2, *eps):
        a, b = boxes1.contiguous(), boxes2.contiguous()
        out = a.new_empty((a.shape[0], b.shape[0]))
        getattr(backend(a, op), op)(view(a), view(b), *eps, view(out), launch(a))
        return out

    def fake(boxes1, boxes2, *eps):
        return boxes1.new_empty((boxes1.shape[0], boxes2.shape[0]))

    def context(ctx, inputs, output):
        boxes1, boxes2, *ctx.eps = inputs
        ctx.save_for_backward(boxes1, boxes2)

    def backward(ctx, grad):
        return (*_pairs_backward(op, grad, *ctx.saved_tensors, *ctx.eps), *(None for _ in ctx.eps))

    register(f"{op}(Tensor boxes1, Tensor boxes2{more}) -> Tensor", kernel, fake, backward=backward,
             setup_context=context)


_register("box_iou")
_register("generalized_box_iou")
_register("distance_box_iou", ", float eps")
_register("complete_box_iou", ", float eps")
