"""mmcv.ops: bbox_overlaps and box_iou_rotated."""

import torch

import roikit.ops
from roikit.compat._arguments import shaped
from roikit.compat.mmcv._conventions import degrees, grown, wide

__all__ = ["bbox_overlaps", "box_iou_rotated"]

ROWS = 64  # of matched rotated boxes, so many at once are compared with each other


def _mode(op, mode):
    if mode not in ("iou", "iof"):
        raise ValueError(f"{op}: mode must be \"iou\" or \"iof\", got {mode!r}")


def _matched(op, bboxes1, bboxes2):
    if len(bboxes1) != len(bboxes2):
        raise ValueError(f"{op}: aligned boxes must be as many, got {len(bboxes1)} and {len(bboxes2)}")


def bbox_overlaps(bboxes1, bboxes2, mode="iou", aligned=False, offset=0):
    """mmcv.ops.bbox_overlaps.

    Args:
        bboxes1: (M, 4) xyxy floating, or empty of any shape.
        bboxes2: (N, 4), likewise; N = M if aligned.
        mode: "iou", or "iof": the shared area over that of the box of bboxes1.
        aligned: only the pairs of equal rows.
        offset: 0 or 1: added to widths and heights.

    Returns:
        (M, N), or (M,) if aligned, the dtype of bboxes1; 0 for a pair with an empty box. Differentiable.

    Raises:
        TypeError, ValueError, BackendError: as roikit.ops.box_iou; another mode or offset.
    """
    _mode("bbox_overlaps", mode)
    for name, boxes in (("bboxes1", bboxes1), ("bboxes2", bboxes2)):
        if not isinstance(boxes, torch.Tensor) or len(boxes):
            shaped("bbox_overlaps", name, boxes, "N", 4)
    if aligned:
        _matched("bbox_overlaps", bboxes1, bboxes2)
    if len(bboxes1) == 0 or len(bboxes2) == 0:
        return bboxes1.new_zeros(len(bboxes1) if aligned else (len(bboxes1), len(bboxes2)))
    a, b = grown(bboxes1, offset), grown(bboxes2, offset)
    if mode == "iou" and not aligned:
        return roikit.ops.box_iou(a, b).to(bboxes1.dtype)
    a, b = wide(a), wide(b)
    first = a if aligned else a[:, None]
    size = (torch.minimum(first[..., 2:], b[:, 2:]) - torch.maximum(first[..., :2], b[:, :2])).clamp(min=0)
    inter = size.prod(-1)
    whole = roikit.ops.box_area(first.reshape(-1, 4)).reshape(first.shape[:-1])
    if mode == "iou":
        whole = whole + roikit.ops.box_area(b) - inter
    met = inter > 0
    return torch.where(met, inter / torch.where(met, whole, 1), 0).to(bboxes1.dtype)


def box_iou_rotated(bboxes1, bboxes2, mode="iou", aligned=False, clockwise=True):
    """mmcv.ops.box_iou_rotated.

    Args:
        bboxes1: (N, 5) floating: cx, cy, w, h, radians.
        bboxes2: (M, 5), likewise; M = N if aligned.
        mode: "iou", or "iof": the shared area over that of the box of bboxes1.
        aligned: only the pairs of equal rows.
        clockwise: the direction of the angles.

    Returns:
        (N, M), or (N,) if aligned, the dtype of bboxes1; 0 for a pair with an empty box.

    Raises:
        TypeError, ValueError, BackendError: as roikit.ops.box_iou_rotated; another mode.
    """
    _mode("box_iou_rotated", mode)
    shaped("box_iou_rotated", "bboxes1", bboxes1, "N", 5)
    shaped("box_iou_rotated", "bboxes2", bboxes2, "M", 5)
    a, b = degrees(bboxes1, clockwise), degrees(bboxes2, clockwise)
    if mode == "iof":
        a, b = a.double(), b.double()
    if aligned:
        _matched("box_iou_rotated", bboxes1, bboxes2)
        parts = zip(a.split(ROWS), b.split(ROWS), strict=True)
        iou = torch.cat([a.new_empty(0)] + [roikit.ops.box_iou_rotated(*part).diagonal() for part in parts])
    else:
        iou = roikit.ops.box_iou_rotated(a, b)
    if mode == "iof":  # from iou = inter / (area1 + area2 - inter)
        area1, area2 = a[:, 2] * a[:, 3], b[:, 2] * b[:, 3]
        area1 = area1 if aligned else area1[:, None]
        met = iou > 0
        inter = iou * (area1 + area2) / (1 + iou)
        iou = torch.where(met, inter / torch.where(met, area1, 1), 0).clamp(max=1)
    return iou.to(bboxes1.dtype)
