"""Mask targets on tensors: what the mask branch is trained towards; without gradient."""

import numpy as np
import torch

from roikit import _check, _core, _polygon, _rle
from roikit.errors import BackendError
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import register

__all__ = ["mask_targets"]

RULES = ("soft", "binary")
INTEGERS = ("bool", "uint8", "int8", "int16", "int32", "int64")


def mask_targets(masks, boxes, matched, size, *, rule="soft", image_size=None):
    """Crop and average, for each box, the mask that it is matched to.

    Args:
        masks: the objects' masks in the image: a tensor of bitmaps (N, H, W), bool or integer, where not 0 is
            inside; or a list of N COCO RLE dicts; or a list of N lists of polygons (flat x, y). Nothing is decoded
            whole, and all three give the same bits.
        boxes: (R, 4) floating, x1 y1 x2 y2 in pixels; half is cast to float32.
        matched: (R,) integer, which mask belongs to each box.
        size: S, cells along each side.
        rule: "soft" (torchvision's: RoIAlign, not aligned, adaptive) or "binary" (detectron2's: aligned, and at
            least half).
        image_size: (H, W), for polygons.

    Returns:
        (R, S, S) float32 in [0, 1], on the device of the boxes.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence; a malformed RLE or polygon.
        IndexError: ``matched`` names no mask.
        BackendError: CUDA tensors, for which there is no kernel.

    Source: He et al. 2017, arXiv:1703.06870, section 3.1.
    """
    op = "mask_targets"
    _check.boxes(op, "boxes", boxes)
    if boxes.dtype in (torch.float16, torch.bfloat16):
        boxes = boxes.float()
    _check.array(op, "matched", matched)
    _check.dtype(op, "matched", matched, INTEGERS[1:])
    _check.vector(op, "matched", matched, boxes.shape[0], "boxes")
    _check.same_device(op, boxes=boxes, matched=matched)
    size = _check.whole(op, "size", size, 1)
    _check.choice(op, "rule", rule, RULES)
    matched, binary = matched.to(torch.int64), rule == "binary"
    if isinstance(masks, (list, tuple)):
        return _of_runs(op, _runs(op, masks, image_size), boxes, matched, size, binary)
    _check.array(op, "masks", masks)
    _check.dtype(op, "masks", masks, INTEGERS)
    _check.rank(op, "masks", masks, ("N", "H", "W"))
    _check.same_device(op, masks=masks, boxes=boxes)
    if masks.dtype not in (torch.uint8, torch.bool):
        masks = masks != 0
    return torch.ops.roikit.mask_targets(masks, boxes, matched, size, binary)


def _runs(op, masks, image_size):
    """counts, offsets and sizes of a list of RLE dicts or of polygon lists, which are never decoded."""
    if len(masks) and isinstance(masks[0], dict):
        return _rle.runs_of(masks, op)
    if len(masks) and image_size is None:
        raise ValueError(f"{op}: image_size must be given with polygons, which do not carry one")
    size = (0, 0) if image_size is None else _check.pair(op, "image_size", image_size, 0)
    counts = [_polygon.counts_from_polygons(polygons, *size, op) for polygons in masks]
    offsets = np.cumsum([0, *map(len, counts)], dtype=np.int64)
    sizes = np.tile(np.array(size, np.int64), (len(masks), 1))
    return np.concatenate([np.empty(0, np.uint32), *counts]), offsets, sizes


def _of_runs(op, runs, boxes, matched, size, binary):
    if boxes.device.type != "cpu":
        raise BackendError(f"{op}: boxes are on {boxes.device}; RLE and polygon masks have a kernel on the CPU alone")
    boxes, matched = boxes.detach().contiguous(), matched.contiguous()
    out = boxes.new_empty((boxes.shape[0], size, size), dtype=torch.float32)
    _core.mask_targets_of_runs(*map(_core.View, runs), view(boxes), view(matched), binary, view(out), launch(boxes))
    return out


def _kernel(masks, boxes, matched, size, binary):
    masks, boxes, matched = masks.contiguous(), boxes.contiguous(), matched.contiguous()
    out = boxes.new_empty((boxes.shape[0], size, size), dtype=torch.float32)
    backend(boxes, "mask_targets").mask_targets(view(masks), view(boxes), view(matched), binary, view(out),
                                                launch(boxes))
    return out


def _fake(masks, boxes, matched, size, binary):
    return boxes.new_empty((boxes.shape[0], size, size), dtype=torch.float32)


register("mask_targets(Tensor masks, Tensor boxes, Tensor matched, int size, bool binary) -> Tensor", _kernel, _fake)
