"""Pasting predicted masks into images, on NumPy arrays. The compiled face of roikit.reference.mask_paste."""

import numpy as np

from roikit import _check, _core, _rle
from roikit.kernels._arrays import as_array, as_boxes, launch, result, view

__all__ = ["paste_masks", "paste_masks_rle"]

RULES = ("continuous", "integer")


def _inputs(op, masks, boxes, rule):
    """masks (N, M, M) and boxes (N, 4), contiguous and both of the wider dtype; the rule's number."""
    masks = as_array(op, "masks", masks)
    _check.dtype(op, "masks", masks)
    if masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"{op}: masks must have shape (N, M, M) or (N, 1, M, M), "
                         f"got {_check.shape_text(masks)}")
    boxes = as_boxes(op, "boxes", boxes)
    if len(boxes) != len(masks):
        raise ValueError(f"{op}: boxes must have one row a mask ({len(masks)}), got {len(boxes)}")
    _check.choice(op, "rule", rule, RULES)
    dtype = np.result_type(masks, boxes)
    return np.ascontiguousarray(masks, dtype), boxes.astype(dtype, copy=False), RULES.index(rule)


def _threshold(op, threshold, dtype):
    value = _check.number(op, "threshold", threshold)
    if not dtype.type(value) > 0:
        raise ValueError(f"{op}: threshold must be above 0, got {threshold}")
    return value


def paste_masks(masks, boxes, image_size, *, threshold=0.5, rule="continuous", out=None,
                threads=None):
    """Resample each mask into its box, in an image of its own.

    Args:
        masks: (N, M, M) or (N, 1, M, M) float16, float32 or float64, the probability of each cell.
        boxes: (N, 4) likewise, x1 y1 x2 y2 in pixels. T is the wider dtype of the two, half being
            cast to float32.
        image_size: (H, W).
        threshold: above 0: a pixel is inside where its value is at least this, rounded to T; or
            None for the values themselves.
        rule: "continuous" (detectron2's) or "integer" (torchvision's).
        out: (N, H, W) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (N, H, W) bool, or T with ``threshold=None``. Exact. Memory is touched only where masks
        are: a fresh result's other pages stay untouched zeros. A box that is not finite, or is
        outside the image, gives an empty mask.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.

    Source: He et al. 2017, arXiv:1703.06870, section 3; the rules are detectron2's and
    torchvision's.
    """
    op = "paste_masks"
    masks, boxes, number = _inputs(op, masks, boxes, rule)
    size = _check.pair(op, "image_size", image_size, 0)
    limit = 0.0 if threshold is None else _threshold(op, threshold, masks.dtype)
    dtype = masks.dtype if threshold is None else np.dtype(bool)
    if out is None:
        out = np.zeros((len(masks), *size), dtype)
    else:
        result(op, out, (len(masks), *size), dtype).fill(0)
    _core.paste_masks(view(masks), view(boxes), limit, number, view(out), launch(op, threads))
    return out


def paste_masks_rle(masks, boxes, image_size, *, threshold=0.5, rule="continuous", threads=None):
    """`paste_masks` as COCO run lengths, without an image: memory follows the inputs and the runs.

    Args:
        As in `paste_masks`; ``threshold`` cannot be None, and H * W must be below 2^32.

    Returns:
        list of N dicts {"size": [H, W], "counts": bytes}: exactly `roikit.masks.encode` of what
        `paste_masks` gives.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.
    """
    op = "paste_masks_rle"
    masks, boxes, number = _inputs(op, masks, boxes, rule)
    height, width = _rle.image_size(op, *_check.pair(op, "image_size", image_size, 0))
    limit = _threshold(op, threshold, masks.dtype)
    offsets = np.empty(len(masks) + 1, np.int64)
    counts = _core.paste_masks_rle(view(masks), view(boxes), height, width, limit, number,
                                   view(offsets), launch(op, threads))
    strings = _rle.strings_from_counts(counts, offsets)
    return [{"size": [height, width], "counts": text} for text in strings]
