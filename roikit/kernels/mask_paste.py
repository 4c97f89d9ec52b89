"""Pasting predicted masks into images, on NumPy arrays. The compiled face of roikit.reference.mask_paste."""

import numpy as np

from roikit import _check, _core, _rle
from roikit._check import mask_paste as checks
from roikit.kernels._arguments import as_array, wider
from roikit.kernels._launch import launch, result, view

__all__ = ["paste_masks", "paste_masks_rle"]


def _of_boxes(op, masks, boxes, rule):
    """Masks (N, M, M) and boxes (N, 4), contiguous and both of the wider dtype."""
    masks, boxes = as_array(op, "masks", masks), as_array(op, "boxes", boxes)
    return wider(checks.masks(op, masks, boxes, rule), boxes)


def paste_masks(masks, boxes, image_size, *, threshold=0.5, rule="continuous", out=None, threads=None):
    """Resample each mask into its box, in an image of its own: `roikit.ops.paste_masks` for arrays.

    Args:
        masks: (N, M, M) or (N, 1, M, M) float16, float32 or float64.
        boxes: (N, 4), likewise, xyxy.
        image_size: (H, W).
        threshold, rule: as in `roikit.ops.paste_masks`.
        out: (N, H, W), for the result; all of it is written.
        threads: how many may work.

    Returns:
        (N, H, W) bool, or with ``threshold=None`` float32 or float64. Of a fresh result, pages without a mask stay
        untouched zeros.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "paste_masks"
    masks, boxes = _of_boxes(op, masks, boxes, rule)
    size = _check.pair(op, "image_size", image_size, 0)
    limit = 0.0 if threshold is None else checks.threshold(op, threshold, masks)
    dtype = masks.dtype if threshold is None else np.dtype(bool)
    if out is None:
        out = np.zeros((len(masks), *size), dtype)
    else:
        result(op, out, (len(masks), *size), dtype).fill(0)
    _core.paste_masks(view(masks), view(boxes), limit, checks.RULES.index(rule), view(out), launch(op, threads))
    return out


def paste_masks_rle(masks, boxes, image_size, *, threshold=0.5, rule="continuous", threads=None):
    """`paste_masks` as COCO run lengths, without an image: `roikit.ops.paste_masks_rle` for arrays.

    Args:
        masks, boxes, rule, threads: as in `paste_masks`.
        image_size: (H, W), with H * W below 2^32.
        threshold: above 0.

    Returns:
        list of N dicts {"size": [H, W], "counts": bytes}.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "paste_masks_rle"
    masks, boxes = _of_boxes(op, masks, boxes, rule)
    height, width = _rle.image_size(op, *_check.pair(op, "image_size", image_size, 0))
    limit = checks.threshold(op, threshold, masks)
    offsets = np.empty(len(masks) + 1, np.int64)
    counts = _core.paste_masks_rle(view(masks), view(boxes), height, width, limit, checks.RULES.index(rule),
                                   view(offsets), launch(op, threads))
    strings = _rle.strings_from_counts(counts, offsets)
    return [{"size": [height, width], "counts": text} for text in strings]
