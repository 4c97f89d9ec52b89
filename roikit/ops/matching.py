"""Ground truth for anchors on tensors. Nothing here is differentiable."""

import torch

from roikit import _check, _core
from roikit._check.matching import thresholds
from roikit.ops._arguments import as_boxes, wider
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register

__all__ = ["match_boxes"]


def match_boxes(anchors, gt_boxes, high, low, *, allow_low_quality=True):
    """Give each anchor its best ground truth and a label, in O(N + M) memory.

    Args:
        anchors: (N, 4) floating, xyxy; half is cast to float32.
        gt_boxes: (M, 4), likewise, on the same device; the two are computed in the wider dtype.
        high: the IoU from which an anchor is positive.
        low: the IoU from which an anchor that is not positive is ignored; at most ``high``.
        allow_low_quality: also make positive, for each ground truth whose best IoU is above 0, every anchor that has
            exactly that IoU with it; the anchor keeps its own best ground truth and IoU.

    Returns:
        index (N,) int64: the ground truth with the largest IoU, the lowest of equals; -1 without ground truth.
        label (N,) int8: 1 positive, 0 negative, -1 ignored.
        iou (N,) float32 or float64: the IoU with that ground truth.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device; low is above high.
        BackendError: CUDA tensors, and no CUDA module.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.2.
    """
    op = "match_boxes"
    anchors, gt_boxes = as_boxes(op, "anchors", anchors), as_boxes(op, "gt_boxes", gt_boxes)
    _check.same_device(op, anchors=anchors, gt_boxes=gt_boxes)
    rule = *thresholds(op, high, low), bool(allow_low_quality)
    return torch.ops.roikit.match_boxes(*wider(anchors, gt_boxes), *rule)


def _match_boxes_kernel(anchors, gt_boxes, high, low, allow_low_quality):
    a, b = anchors.contiguous(), gt_boxes.contiguous()
    index, label, iou = _match_boxes_fake(a, b, high, low, allow_low_quality)
    core = backend(a, "match_boxes")
    scratch = None if core is _core else workspace(a, core.match_boxes_workspace(view(b), allow_low_quality))
    core.match_boxes(view(a), view(b), high, low, allow_low_quality, view(index), view(label), view(iou),
                     launch(a, scratch))
    return index, label, iou


def _match_boxes_fake(anchors, gt_boxes, high, low, allow_low_quality):
    n = anchors.shape[0]
    return (anchors.new_empty(n, dtype=torch.int64), anchors.new_empty(n, dtype=torch.int8), anchors.new_empty(n))


register("match_boxes(Tensor anchors, Tensor gt_boxes, float high, float low, bool allow_low_quality)"
         " -> (Tensor, Tensor, Tensor)", _match_boxes_kernel, _match_boxes_fake)
