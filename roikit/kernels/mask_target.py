"""Mask targets on NumPy arrays. The compiled face of roikit.reference.mask_target."""

import numpy as np

from roikit import _check, _core, _polygon
from roikit.kernels._arrays import as_array, as_boxes, launch, result, view

__all__ = ["mask_targets"]

RULES = ("soft", "binary")
INTEGERS = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")


def _bitmaps(op, masks):
    """(N, H, W) as bytes with rows in one piece, where not 0 is inside."""
    masks = as_array(op, "masks", masks)
    _check.dtype(op, "masks", masks, INTEGERS)
    _check.rank(op, "masks", masks, ("N", "H", "W"))
    if masks.itemsize > 1:
        return masks != 0
    masks = masks.view(np.uint8)
    return masks if masks.strides[2] == 1 or masks.shape[2] <= 1 else np.ascontiguousarray(masks)


def mask_targets(masks, boxes, matched, size, *, rule="soft", image_size=None, out=None,
                 threads=None):
    """Crop and average, for each box, the mask that it is matched to.

    Args:
        masks: the objects' masks in the image, one of
            - bitmaps (N, H, W), bool or integer, where not 0 is inside;
            - a list of N RLE dicts;
            - a list of N objects, each a list of polygons [x0, y0, x1, y1, ...] in pixels.
        boxes: (R, 4) float16, float32 or float64, x1 y1 x2 y2 in pixels; half is cast to float32.
        matched: (R,) integer, which mask belongs to each box.
        size: S, cells along each side.
        rule: "soft" (torchvision's: RoIAlign, aligned False, adaptive) or "binary" (detectron2's:
            aligned True, 1 where the average is at least 0.5).
        image_size: (H, W); needed by polygons, which do not know it.
        out: float32 (R, S, S) array for the result.
        threads: how many threads may work; the result does not depend on it.

    Returns:
        float32 (R, S, S) in [0, 1]. RLE and polygons give exactly what their bitmaps give, and are
        never decoded. A box that is not finite gives 0.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence; a malformed RLE or
            polygon among the masks that are matched.
        IndexError: ``matched`` names no mask.

    Source: He et al. 2017, arXiv:1703.06870, section 3.1.
    """
    op = "mask_targets"
    boxes, matched = as_boxes(op, "boxes", boxes), as_array(op, "matched", matched)
    listed = isinstance(masks, (list, tuple))
    if not listed:
        masks = _bitmaps(op, masks)
    _check.dtype(op, "matched", matched, INTEGERS[1:])
    _check.vector(op, "matched", matched, len(boxes), "boxes")
    cells = _check.whole(op, "size", size, 1)
    _check.choice(op, "rule", rule, RULES)
    frame = None if image_size is None else _check.pair(op, "image_size", image_size, 0)
    out = result(op, out, (len(boxes), cells, cells), np.float32)
    matched = np.ascontiguousarray(matched, np.int64)
    last = rule == "binary", view(out), launch(op, threads)
    if not listed:
        _core.mask_targets(view(masks), view(boxes), view(matched), *last)
        return out
    used, matched = np.unique(matched, return_inverse=True)
    for index in used[[0, -1]] if len(used) else ():
        if not 0 <= index < len(masks):
            raise IndexError(f"{op}: matched must lie in [0, {len(masks)}), got {index}")
    runs = _polygon.runs_of_masks([masks[i] for i in used], frame, op)
    matched = matched.reshape(-1).astype(np.int64, copy=False)
    _core.mask_targets_of_runs(*map(view, runs), view(boxes), view(matched), *last)
    return out
