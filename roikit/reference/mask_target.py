"""Mask targets: the matched object's mask, cropped to a box and averaged to S x S cells.

The average is RoIAlign's (``roi_align``: geometry, samples, validity), adaptive, scale 1, with its
sums in a fixed order so that the decisions of "binary" are exact. T is the wider of float32 and the
dtype of the boxes. With the undivided axis weights W of T and m in {0, 1}:

- column[p, x] = sum over y ascending of Wy[p, y] * m[y, x], from 0;
- total[p, q] = sum over x ascending of column[p, x] * Wx[q, x], from 0;
- value = total / (T(gh) * T(gw)); 0 where gh or gw is 0.

Pixels outside the object or of weight 0 add nothing, so runs of a column can be added as they
stand. "soft" is value in float32, within TOLERANCE of this reference (values lie in [0, 1]; the
bound is roi_align's). "binary" is value >= 0.5, exact.

Source: He et al. 2017, arXiv:1703.06870, section 3.1; "soft" is torchvision's target (aligned
False), "binary" that of detectron2 for bitmaps (aligned True).
"""

import numpy as np

from roikit.reference import polygon, rle
from roikit.reference.arguments import as_boxes
from roikit.reference.roi_align import axis_weights

__all__ = ["mask_targets"]

TOLERANCE = 1e-5


def bitmap_of(masks, index, image_size):
    """Mask ``index`` as a bool array (H, W), whatever kind ``masks`` is."""
    mask = masks[index]
    if isinstance(mask, dict):
        height, width = mask["size"]
        counts = mask["counts"]
        if isinstance(counts, str):
            counts = counts.encode("ascii")
        if isinstance(counts, bytes):
            counts = rle.counts_from_string(counts, height, width)
        if sum(int(run) for run in counts) != height * width:
            raise ValueError("mask_targets: runs of masks must sum to height * width")
        return rle.decode(counts, height, width) != 0
    if isinstance(masks, np.ndarray):
        return mask != 0
    if image_size is None:
        raise ValueError("mask_targets: image_size must be given with polygons, got None")
    return polygon.rasterize(mask, *image_size) != 0


def crop(mask, box, size, aligned):
    """The value of each cell: T (size, size)."""
    real = box.dtype.type
    total = np.zeros((size, size), box.dtype)
    if not np.isfinite(box).all():
        return total
    x1, y1, x2, y2 = box
    height, width = mask.shape
    vertical, gh = axis_weights(y1, y2, size, height, real(1), -1, aligned)
    horizontal, gw = axis_weights(x1, x2, size, width, real(1), -1, aligned)
    column = np.zeros((size, width), box.dtype)
    for y in range(height):
        column += vertical[:, y, None] * mask[y]
    for x in range(width):
        total += column[:, x, None] * horizontal[:, x]
    return total / max(real(gh) * real(gw), real(1))


def mask_targets(masks, boxes, matched, size, *, rule="soft", image_size=None):
    """Crop and average, for each box, the mask that it is matched to.

    Args:
        masks: the objects' masks in the image: bitmaps (N, H, W), bool or integer, where not 0 is
            inside; or a list of N RLE dicts; or a list of N objects, each a list of polygons
            [x0, y0, x1, y1, ...] in pixels.
        boxes: (R, 4) float, x1 y1 x2 y2 in pixels.
        matched: (R,) integer, which mask belongs to each box.
        size: S, cells along each side.
        rule: "soft" (aligned False) or "binary" (aligned True, value >= 0.5).
        image_size: (H, W); needed by polygons alone, which do not know it.

    Returns:
        float32 (R, S, S), values in [0, 1]. RLE and polygons give what their bitmaps give.

    Raises:
        IndexError: ``matched`` names no mask.
        ValueError: polygons without ``image_size``, or a malformed RLE.
    """
    op = "mask_targets"
    boxes, matched = as_boxes(op, "boxes", boxes), np.asarray(matched)
    if isinstance(masks, np.ndarray):
        if masks.ndim != 3:
            raise ValueError(f"{op}: masks must have shape (N, H, W), got {masks.shape}")
        if masks.dtype.kind not in "biu":
            raise TypeError(f"{op}: masks must be bool or integer, got {masks.dtype}")
    if matched.dtype.kind not in "iu":
        raise TypeError(f"{op}: matched must be integers, got {matched.dtype}")
    if matched.shape != (len(boxes),):
        raise ValueError(f"{op}: matched must have shape ({len(boxes)},), got {matched.shape}")
    if rule not in ("soft", "binary"):
        raise ValueError(f"{op}: rule must be 'soft' or 'binary', got {rule!r}")
    targets = np.zeros((len(boxes), size, size), np.float32)
    for r, (box, index) in enumerate(zip(boxes, matched, strict=True)):
        if not 0 <= index < len(masks):
            raise IndexError(f"{op}: matched must lie in [0, {len(masks)}), got {index}")
        value = crop(bitmap_of(masks, index, image_size), box, size, rule == "binary")
        targets[r] = value if rule == "soft" else value >= 0.5
    return targets
