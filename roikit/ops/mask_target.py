"""Mask targets on tensors: what the mask head is trained towards. Without gradient."""

import torch

from roikit import _check, _config, _core
from roikit._check import mask_target as checks
from roikit.ops._arguments import float32_at_least
from roikit.ops._derivatives import refuse_tangent
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import register
from roikit.ops._masks import INTEGERS, as_bytes, check_matched, targets_of_runs

__all__ = ["mask_targets"]


def mask_targets(masks, boxes, matched, size, *, rule="soft", image_size=None):
    """Crop and average, for each box, the mask that it is matched to.

    Args:
        masks: the objects' masks in the image, one of
            - bitmaps (N, H, W), bool or integer, where not 0 is inside, on the boxes' device;
            - a list of N RLE dicts;
            - a list of N objects, each a list of polygons [x0, y0, x1, y1, ...] in pixels.
        boxes: (R, 4) floating, x1 y1 x2 y2 in pixels; half is cast to float32.
        matched: (R,) integer on the same device, which mask belongs to each box.
        size: S, cells along each side.
        rule: "soft" (torchvision's: RoIAlign, aligned False, adaptive) or "binary" (detectron2's:
            aligned True, 1 where the average is at least 0.5).
        image_size: (H, W); needed by polygons, which do not know it.

    Returns:
        float32 (R, S, S) in [0, 1], without gradient. RLE and polygons give exactly what their
        bitmaps give, and are never decoded. A box that is not finite gives 0.

    For boxes on a GPU, RLE and polygons become runs on the host, all of them, and are copied there.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence; a malformed RLE
            or polygon among the masks that are matched.
        IndexError: ``matched`` names no mask. On a GPU the target is 0 then, unless ROIKIT_DEBUG=1.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: He et al. 2017, arXiv:1703.06870, section 3.1.
    """
    op = "mask_targets"
    listed = isinstance(masks, (list, tuple))
    size, binary, frame = checks.target(op, masks, boxes, matched, size, rule, image_size, INTEGERS)
    _check.same_device(op, **({} if listed else {"masks": masks}), boxes=boxes, matched=matched)
    boxes, matched = float32_at_least(boxes), matched.long()
    if listed:
        refuse_tangent(op, "boxes", boxes)
        return targets_of_runs(op, masks, boxes, matched, size, binary, frame)
    return torch.ops.roikit.mask_targets(masks, boxes, matched, size, binary)


def _mask_targets_kernel(masks, boxes, matched, size, binary):
    core = backend(boxes, "mask_targets")
    masks, boxes, matched = as_bytes(masks), boxes.contiguous(), matched.contiguous()
    out = boxes.new_empty((boxes.shape[0], size, size), dtype=torch.float32)
    if core is not _core and _config.debug():
        check_matched("mask_targets", matched, masks.shape[0])
    core.mask_targets(view(masks), view(boxes), view(matched), binary, view(out), launch(boxes))
    return out


def _mask_targets_fake(masks, boxes, matched, size, binary):
    return boxes.new_empty((boxes.shape[0], size, size), dtype=torch.float32)


register("mask_targets(Tensor masks, Tensor boxes, Tensor matched, SymInt size, bool binary) "
         "-> Tensor", _mask_targets_kernel, _mask_targets_fake)
