"""Mask targets on NumPy arrays. The compiled face of roikit.reference.mask_target."""

import numpy as np

from roikit import _check, _core, _polygon, _rle
from roikit.kernels._arrays import as_array, as_boxes, launch, result, view

__all__ = ["mask_targets"]

RULES = ("soft", "binary")


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


def mask_targets(masks, boxes, matched, size, *, rule="soft", image_size=None, out=None, threads=None):
    """Crop and average, for each box, the mask that it is matched to.

    Args:
        masks: the objects' masks in the image: bitmaps (N, H, W), bool or integer, where not 0 is inside; or a list
            of N COCO RLE dicts; or a list of N lists of polygons (flat x, y). Nothing is decoded whole, and all
            three give the same bits.
        boxes: (R, 4) float16, float32 or float64, x1 y1 x2 y2 in pixels; half is cast to float32.
        matched: (R,) integer, which mask belongs to each box.
        size: S, cells along each side.
        rule: "soft" (torchvision's: RoIAlign, not aligned, adaptive) or "binary" (detectron2's: aligned, and at
            least half).
        image_size: (H, W), for polygons.
        out: (R, S, S) float32 array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        (R, S, S) float32 in [0, 1].

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence; a malformed RLE or polygon.
        IndexError: ``matched`` names no mask.

    Source: He et al. 2017, arXiv:1703.06870, section 3.1.
    """
    op = "mask_targets"
    boxes = as_boxes(op, "boxes", boxes)
    matched = as_array(op, "matched", matched)
    if matched.dtype.kind not in "iu":
        raise TypeError(f"{op}: matched must be integers, got {matched.dtype}")
    _check.vector(op, "matched", matched, len(boxes), "boxes")
    matched = np.ascontiguousarray(matched, np.int64)
    size = _check.whole(op, "size", size, 1)
    _check.choice(op, "rule", rule, RULES)
    out = result(op, out, (len(boxes), size, size), np.dtype(np.float32))
    rest = (view(boxes), view(matched), rule == "binary", view(out), launch(op, threads))
    if isinstance(masks, (list, tuple)):
        _core.mask_targets_of_runs(*map(view, _runs(op, masks, image_size)), *rest)
        return out
    masks = as_array(op, "masks", masks)
    _check.rank(op, "masks", masks, ("N", "H", "W"))
    if masks.dtype.kind not in "biu":
        raise TypeError(f"{op}: masks must be bool or integer, got {masks.dtype}")
    if masks.dtype not in (np.uint8, np.bool_):
        masks = masks != 0
    _core.mask_targets(view(np.ascontiguousarray(masks)), *rest)
    return out
