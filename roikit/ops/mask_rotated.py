"""Masks and rotated boxes on tensors: targets in the frame of the box, and pasting; without gradient."""

import numpy as np
import torch

from roikit import _check, _config, _core, _rle
from roikit._check import mask_paste as paste_checks
from roikit._check import mask_target as target_checks
from roikit.ops._arguments import float32_at_least, wider
from roikit.ops._derivatives import refuse_tangent
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import register
from roikit.ops._masks import INTEGERS, as_bytes, check_matched, counted_runs, targets_of_runs, zeros

__all__ = ["mask_targets_rotated", "paste_masks_rotated", "paste_masks_rotated_rle"]


def mask_targets_rotated(masks, boxes, matched, size, *, rule="soft", image_size=None):
    """Crop and average, for each rotated box, the mask that it is matched to, in the frame of the box.

    Args:
        masks: the objects' masks in the image, one of
            - bitmaps (N, H, W), bool or integer, where not 0 is inside, on the boxes' device;
            - a list of N RLE dicts;
            - a list of N objects, each a list of polygons [x0, y0, x1, y1, ...] in pixels.
        boxes: (R, 5) floating, cx, cy, w, h in pixels and degrees counter-clockwise; half is cast to float32.
        matched: (R,) integer on the same device, which mask belongs to each box.
        size: S, cells along each side; rows lie along the box's height, from its upper side where the angle is 0.
        rule: "soft": the average, or "binary": 1 where it is at least 0.5. Both have the samples of
            `roi_align_rotated` with adaptive sampling, whose positions are cut to 2^-14 of a pixel.
        image_size: (H, W); needed by polygons, which do not know it.

    Returns:
        float32 (R, S, S) in [0, 1], without gradient; exact by both rules. RLE and polygons give exactly what their
        bitmaps give, and are never decoded whole. A box that is empty, reversed or not finite gives 0.

    For boxes on a GPU, RLE and polygons become runs on the host, all of them, and are copied there.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence; a malformed RLE
            or polygon among the masks that are matched.
        IndexError: ``matched`` names no mask. On a GPU the target is 0 then, unless ROIKIT_DEBUG=1.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: He et al. 2017, arXiv:1703.06870, section 3.1; Ma et al. 2017, arXiv:1703.01086, section IV.
    """
    op = "mask_targets_rotated"
    listed = isinstance(masks, (list, tuple))
    size, binary, frame = target_checks.target(op, masks, boxes, matched, size, rule, image_size, INTEGERS, 5)
    _check.same_device(op, **({} if listed else {"masks": masks}), boxes=boxes, matched=matched)
    boxes, matched = float32_at_least(boxes), matched.long()
    if listed:
        refuse_tangent(op, "boxes", boxes)
        return targets_of_runs(op, masks, boxes, matched, size, binary, frame)
    return torch.ops.roikit.mask_targets_rotated(masks, boxes, matched, size, binary)


def _of_boxes(op, masks, boxes):
    """Masks (N, M, M) and boxes (N, 5) of the wider dtype, on one device."""
    _check.array(op, "masks", masks)
    _check.tensor(op, "masks", masks)
    square = paste_checks.masks(op, masks, boxes, columns=5)
    _check.same_device(op, masks=masks, boxes=boxes)
    return wider(square, boxes)


def paste_masks_rotated(masks, boxes, image_size, *, threshold=0.5):
    """Resample each mask into its rotated box, in an image of its own.

    Args:
        masks: (N, M, M) or (N, 1, M, M) floating, the probability of each cell; rows lie along the box's height.
        boxes: (N, 5) floating, cx, cy, w, h in pixels and degrees counter-clockwise, on the same device. T is the wider
            dtype of the two, half being cast to float32.
        image_size: (H, W).
        threshold: above 0: a pixel is inside where its value is at least this, rounded to T; or
            None for the values themselves.

    Returns:
        (N, H, W) bool, or T with ``threshold=None``. Exact; without gradient. At angle 0 the result is that of
        `paste_masks` by the rule "continuous" for the corners cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h.
        On the CPU, memory is touched only where masks are. A box that is empty, reversed or not finite, or is outside
        the image, gives an empty mask.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: He et al. 2017, arXiv:1703.06870, section 3; Ma et al. 2017, arXiv:1703.01086, section IV.
    """
    op = "paste_masks_rotated"
    masks, boxes = _of_boxes(op, masks, boxes)
    height, width = _check.pair(op, "image_size", image_size, 0)
    limit = None if threshold is None else paste_checks.threshold(op, threshold, masks)
    return torch.ops.roikit.paste_masks_rotated(masks, boxes, height, width, limit)


def paste_masks_rotated_rle(masks, boxes, image_size, *, threshold=0.5):
    """`paste_masks_rotated` as COCO run lengths, without an image: memory follows the inputs and the runs.

    On a GPU runs are made there, and they alone are copied to the host, which waits for them.

    Args:
        masks: (N, M, M) or (N, 1, M, M), as in `paste_masks_rotated`.
        boxes: (N, 5), as in `paste_masks_rotated`.
        image_size: (H, W), with H * W below 2^32.
        threshold: above 0, as in `paste_masks_rotated`, but not None.

    Returns:
        list of N dicts {"size": [H, W], "counts": bytes}: exactly `roikit.masks.encode` of what `paste_masks_rotated`
        gives.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module in this build.
    """
    op = "paste_masks_rotated_rle"
    masks, boxes = _of_boxes(op, masks, boxes)
    height, width = _rle.image_size(op, *_check.pair(op, "image_size", image_size, 0))
    limit = paste_checks.threshold(op, threshold, masks)
    core = backend(masks, op)
    masks, boxes = masks.contiguous(), boxes.contiguous()
    if core is _core:
        offsets = np.empty(len(masks) + 1, np.int64)
        counts = core.paste_masks_rotated_rle(view(masks), view(boxes), height, width, limit, core.View(offsets),
                                              launch(masks))
    else:
        given = view(masks), view(boxes), height, width, limit
        counts, offsets = counted_runs(
            masks, core.paste_masks_rotated_rle_chunks(width),
            lambda changes: core.paste_masks_rotated_rle_count(*given, view(changes), launch(masks)),
            lambda *runs: core.paste_masks_rotated_rle_write(*given, *map(view, runs), launch(masks)))
    strings = _rle.strings_from_counts(counts, offsets)
    return [{"size": [height, width], "counts": text} for text in strings]


def _targets_kernel(masks, boxes, matched, size, binary):
    core = backend(boxes, "mask_targets_rotated")
    masks, boxes, matched = as_bytes(masks), boxes.contiguous(), matched.contiguous()
    out = boxes.new_empty((boxes.shape[0], size, size), dtype=torch.float32)
    if core is not _core and _config.debug():
        check_matched("mask_targets_rotated", matched, masks.shape[0])
    core.mask_targets_rotated(view(masks), view(boxes), view(matched), binary, view(out), launch(boxes))
    return out


def _targets_fake(masks, boxes, matched, size, binary):
    return boxes.new_empty((boxes.shape[0], size, size), dtype=torch.float32)


def _paste_kernel(masks, boxes, height, width, threshold):
    core = backend(masks, "paste_masks_rotated")
    masks, boxes = masks.contiguous(), boxes.contiguous()
    out = zeros(masks, (masks.shape[0], height, width), masks.dtype if threshold is None else torch.bool, core)
    core.paste_masks_rotated(view(masks), view(boxes), threshold or 0.0, view(out), launch(masks))
    return out


def _paste_fake(masks, boxes, height, width, threshold):
    dtype = masks.dtype if threshold is None else torch.bool
    return masks.new_empty((masks.shape[0], height, width), dtype=dtype)


register("mask_targets_rotated(Tensor masks, Tensor boxes, Tensor matched, SymInt size, bool binary) -> Tensor",
         _targets_kernel, _targets_fake)
register("paste_masks_rotated(Tensor masks, Tensor boxes, SymInt height, SymInt width, float? threshold) -> Tensor",
         _paste_kernel, _paste_fake)
