"""Masks and rotated boxes on NumPy arrays: targets and pasting. The compiled face of roikit.reference.mask_rotated."""

import numpy as np

from roikit import _check, _core, _polygon, _rle
from roikit._check import mask_paste as paste_checks
from roikit._check import mask_target as target_checks
from roikit.kernels._arguments import INTEGERS, as_array, as_bytes, float32_at_least, wider
from roikit.kernels._launch import launch, result, view

__all__ = ["mask_targets_rotated", "paste_masks_rotated", "paste_masks_rotated_rle"]


def mask_targets_rotated(masks, boxes, matched, size, *, rule="soft", image_size=None, out=None, threads=None):
    """Crop and average, for each rotated box, the mask that it is matched to: `roikit.ops.mask_targets_rotated`.

    Args:
        masks: bitmaps (N, H, W), bool or integer; or a list of N RLE dicts; or a list of N lists of polygons.
        boxes: (R, 5) float16, float32 or float64: cx, cy, w, h, degrees.
        matched: (R,) integer.
        size: S, cells along each side.
        rule: "soft" or "binary".
        image_size: (H, W), for polygons.
        out: float32 (R, S, S), for the result.
        threads: how many may work.

    Returns:
        float32 (R, S, S) in [0, 1].

    Raises: TypeError or ValueError for a wrong kind, shape or value, or for a malformed RLE or polygon among the masks
    that are matched; IndexError where ``matched`` names no mask.
    """
    op = "mask_targets_rotated"
    boxes, matched = as_array(op, "boxes", boxes), as_array(op, "matched", matched)
    listed = isinstance(masks, (list, tuple))
    masks = masks if listed else as_array(op, "masks", masks)
    size, binary, frame = target_checks.target(op, masks, boxes, matched, size, rule, image_size, INTEGERS, 5)
    boxes, matched = float32_at_least(boxes), np.ascontiguousarray(matched, np.int64)
    out = result(op, out, (len(boxes), size, size), np.float32)
    last = binary, view(out), launch(op, threads)
    if not listed:
        _core.mask_targets_rotated(view(as_bytes(masks)), view(boxes), view(matched), *last)
        return out
    used, matched = np.unique(matched, return_inverse=True)
    target_checks.named(op, used.tolist(), len(masks))
    runs = _polygon.runs_of_masks([masks[i] for i in used], frame, op)
    matched = matched.reshape(-1).astype(np.int64, copy=False)
    _core.mask_targets_rotated_of_runs(*map(view, runs), view(boxes), view(matched), *last)
    return out


def _of_boxes(op, masks, boxes):
    """Masks (N, M, M) and boxes (N, 5), contiguous and both of the wider dtype."""
    masks, boxes = as_array(op, "masks", masks), as_array(op, "boxes", boxes)
    return wider(paste_checks.masks(op, masks, boxes, columns=5), boxes)


def paste_masks_rotated(masks, boxes, image_size, *, threshold=0.5, out=None, threads=None):
    """Resample each mask into its rotated box, in an image of its own: `roikit.ops.paste_masks_rotated` for arrays.

    Args:
        masks: (N, M, M) or (N, 1, M, M) float16, float32 or float64.
        boxes: (N, 5), likewise: cx, cy, w, h, degrees.
        image_size: (H, W).
        threshold: as in `roikit.ops.paste_masks_rotated`.
        out: (N, H, W), for the result; all of it is written.
        threads: how many may work.

    Returns:
        (N, H, W) bool, or with ``threshold=None`` float32 or float64. Of a fresh result, pages without a mask stay
        untouched zeros.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "paste_masks_rotated"
    masks, boxes = _of_boxes(op, masks, boxes)
    size = _check.pair(op, "image_size", image_size, 0)
    limit = 0.0 if threshold is None else paste_checks.threshold(op, threshold, masks)
    dtype = masks.dtype if threshold is None else np.dtype(bool)
    if out is None:
        out = np.zeros((len(masks), *size), dtype)
    else:
        result(op, out, (len(masks), *size), dtype).fill(0)
    _core.paste_masks_rotated(view(masks), view(boxes), limit, view(out), launch(op, threads))
    return out


def paste_masks_rotated_rle(masks, boxes, image_size, *, threshold=0.5, threads=None):
    """`paste_masks_rotated` as COCO run lengths, without an image.

    Args:
        masks, boxes, threads: as in `paste_masks_rotated`.
        image_size: (H, W), with H * W below 2^32.
        threshold: above 0.

    Returns:
        list of N dicts {"size": [H, W], "counts": bytes}.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "paste_masks_rotated_rle"
    masks, boxes = _of_boxes(op, masks, boxes)
    height, width = _rle.image_size(op, *_check.pair(op, "image_size", image_size, 0))
    limit = paste_checks.threshold(op, threshold, masks)
    offsets = np.empty(len(masks) + 1, np.int64)
    counts = _core.paste_masks_rotated_rle(view(masks), view(boxes), height, width, limit, view(offsets),
                                           launch(op, threads))
    strings = _rle.strings_from_counts(counts, offsets)
    return [{"size": [height, width], "counts": text} for text in strings]
