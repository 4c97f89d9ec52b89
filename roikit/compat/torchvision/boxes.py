"""torchvision.ops.boxes on roikit's kernels.

roikit's own functions take floating (N, 4) xyxy boxes. These also take what torchvision's take: whole numbers, leading
axes, other formats, and give its dtypes. Answers to empty, reversed and non-finite boxes stay roikit's.
"""

import torch

import roikit.ops
from roikit.compat._arguments import class_indices
from roikit.compat.torchvision._arguments import choice, each, floating, last_axis, nothing, rows
from roikit.ops import nms

__all__ = ["batched_nms", "box_area", "box_convert", "box_iou", "clip_boxes_to_image", "complete_box_iou",
           "distance_box_iou", "generalized_box_iou", "masks_to_boxes", "nms", "remove_small_boxes"]

UPRIGHT = ("xyxy", "xywh", "cxcywh")
ROTATED = ("xywhr", "cxcywhr", "xyxyxyxy")


def _columns(fmt):
    return 4 if fmt in UPRIGHT else 8 if fmt == "xyxyxyxy" else 5


def box_area(boxes, fmt="xyxy"):
    """The areas (...) of boxes (..., 4) in the format "xyxy", "xywh" or "cxcywh"; a reversed side counts as 0.

    Returns:
        float32 or float64, half giving float32; int32 or int64 of whole numbers.

    Raises:
        TypeError, ValueError: another format; boxes is not a tensor (..., 4).
    """
    choice("box_area", "fmt", fmt, UPRIGHT, f"Unsupported Bounding Box area for given format {fmt}")
    last_axis("box_area", 4, boxes=boxes)
    if boxes.dtype not in (torch.float32, torch.float64, torch.int32, torch.int64):
        boxes = boxes.float() if boxes.is_floating_point() else boxes.int()
    sides = boxes[..., 2:] - boxes[..., :2] if fmt == "xyxy" else boxes[..., 2:]
    sides = sides.clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def box_convert(boxes, in_fmt, out_fmt):
    """Boxes (..., K) from one format to another, both upright ("xyxy", "xywh", "cxcywh") or both rotated.

    The rotated ones: "xywhr" is the box's own top left corner, its size, and degrees counter-clockwise; "cxcywhr" has
    the centre instead; "xyxyxyxy" lists the corners top left, top right, bottom right, bottom left.

    Returns:
        the dtype of the boxes; whole numbers give float32 where "cxcywh" is one of the formats, and are rounded where
        the formats are rotated.

    Raises:
        TypeError, ValueError: an unknown format; boxes is not a tensor of its columns.
        NotImplementedError: one upright format and one rotated.
    """
    theirs = f"Unsupported Bounding Box Conversions for given in_fmt {in_fmt} and out_fmt {out_fmt}"
    choice("box_convert", "in_fmt", in_fmt, UPRIGHT + ROTATED, theirs)
    choice("box_convert", "out_fmt", out_fmt, UPRIGHT + ROTATED, theirs)
    last_axis("box_convert", _columns(in_fmt), boxes=boxes)
    if in_fmt == out_fmt:
        return boxes.clone()
    if (in_fmt in ROTATED) != (out_fmt in ROTATED):
        raise NotImplementedError(f"box_convert: {theirs}; they must both be upright or both rotated")
    out, dtype = roikit.ops.box_convert(rows(boxes), in_fmt, out_fmt), boxes.dtype
    if not boxes.is_floating_point():
        out = out.round() if in_fmt in ROTATED else out
        dtype = torch.get_default_dtype() if "cxcywh" in (in_fmt, out_fmt) else dtype
    return out.to(dtype).reshape(*boxes.shape[:-1], out.shape[-1])


def clip_boxes_to_image(boxes, size):
    """Boxes (..., 4) xyxy, in their dtype, with x moved into [0, W] and y into [0, H]; ``size`` is (H, W)."""
    last_axis("clip_boxes_to_image", 4, boxes=boxes)
    return roikit.ops.clip_boxes_to_image(rows(boxes), size).to(boxes.dtype).reshape(boxes.shape)


def remove_small_boxes(boxes, min_size):
    """Indices (K,) int64 of the boxes (N, 4) whose width and height are both at least ``min_size``."""
    last_axis("remove_small_boxes", 4, boxes=boxes)
    return roikit.ops.remove_small_boxes(floating(boxes), min_size)


def batched_nms(boxes, scores, idxs, iou_threshold):
    """`roikit.ops.batched_nms`, whose classes may also be floats.

    Boxes without an entry, of any shape and dtype, give no indices whatever the other arguments are.
    """
    if nothing(boxes):
        return boxes.new_empty(0, dtype=torch.int64)
    return roikit.ops.batched_nms(boxes, scores, class_indices(idxs), iou_threshold)


def masks_to_boxes(masks, *, inclusive=True):
    """`roikit.ops.masks_to_boxes`; what is not (N, H, W) and has no entry counts as no masks."""
    if nothing(masks) and masks.dim() != 3:
        masks = masks.reshape(0, 0, 0)
    return roikit.ops.masks_to_boxes(masks, inclusive=inclusive)


def box_iou(boxes1, boxes2, fmt="xyxy"):
    """Intersection over union of every pair of boxes (..., N, K) and (..., M, K): (..., N, M).

    ``fmt`` is any format of `box_convert`; rotated boxes have no gradient.
    """
    choice("box_iou", "fmt", fmt, UPRIGHT + ROTATED, f"Unsupported format '{fmt}'")
    last_axis("box_iou", _columns(fmt), 2, boxes1=boxes1, boxes2=boxes2)
    op, known = (roikit.ops.box_iou_rotated, "cxcywhr") if fmt in ROTATED else (roikit.ops.box_iou, "xyxy")
    if fmt == known:
        return each("box_iou", op, boxes1, boxes2)
    return each("box_iou", lambda a, b: op(box_convert(a, fmt, known), box_convert(b, fmt, known)), boxes1, boxes2)


def _pairs(op, boxes1, boxes2, *rest):
    last_axis(op.__name__, 4, 2, boxes1=boxes1, boxes2=boxes2)
    return each(op.__name__, lambda a, b: op(a, b, *rest), boxes1, boxes2)


def generalized_box_iou(boxes1, boxes2):
    """`roikit.ops.generalized_box_iou` on boxes (..., N, 4) and (..., M, 4)."""
    return _pairs(roikit.ops.generalized_box_iou, boxes1, boxes2)


def distance_box_iou(boxes1, boxes2, eps=1e-7):
    """`roikit.ops.distance_box_iou` on boxes (..., N, 4) and (..., M, 4)."""
    return _pairs(roikit.ops.distance_box_iou, boxes1, boxes2, eps)


def complete_box_iou(boxes1, boxes2, eps=1e-7):
    """`roikit.ops.complete_box_iou` on boxes (..., N, 4) and (..., M, 4)."""
    return _pairs(roikit.ops.complete_box_iou, boxes1, boxes2, eps)
