"""Paste the masks of detections into images, by one of two rules. The result is exact.

T is the wider dtype of masks and boxes (half is cast to float32); both are cast to T, and
everything is computed in T in the order written, without fused multiply-add.

Rule "continuous" (detectron2's), for pixel i of an axis of the image, a box side [b0, b1) and M
mask cells:

- u = ((i + 0.5) - b0) / (b1 - b0) * M - 0.5; i0 = floor(u), f = u - i0; the taps are i0 and
  i0 + 1, of which those outside [0, M) have value 0. Only pixels with -1 <= i0 <= M - 1 on both
  axes are covered; all others are 0. So is the whole image unless 0 < b1 - b0 < infinity on both
  axes.

Rule "integer" (torchvision's):

- The mask gains one cell of zeros on every side. The box grows about its centre: half = (b1 - b0)
  * 0.5 * ((M + 2) / M), centre = (b1 + b0) * 0.5; the corners centre -+ half are truncated toward
  zero, limited to +-2**30, and become integers i1, i2.
- length = max(i2 - i1 + 1, 1). The pixels from i1 to i2 that are in the image are covered: with
  d = pixel - i1, u = (d + 0.5) * ((M + 2) / length) - 0.5, u = u < 0 ? 0 : u; i0 = floor(u),
  f = u - i0; the taps are i0 and min(i0 + 1, M + 1) of the padded mask.

Both: horizontally first. With a row's t(y) = m[y][left] * (1 - f) + m[y][right] * f, the value is
t(top) * (1 - g) + t(bottom) * g. The bool result is value >= T(threshold), false for NaN. A box
with a NaN or infinite coordinate (after growing, too) gives an empty mask, as one outside the image
does.

Source: the rules are those of Detectron1 (Girshick et al. 2018), kept by torchvision, and of
detectron2 (Wu et al. 2019), whose formula is that of bilinear sampling at pixel centres.
"""

import numpy as np

from roikit.reference import rle
from roikit.reference.arguments import as_boxes, as_floats

__all__ = ["paste_masks", "paste_masks_rle"]

CORNER_LIMIT = 2**30


def continuous_taps(low, high, cells, extent):
    """Taps of each image pixel along an axis, as indices into a mask padded by one zero cell.

    Returns:
        covered bool (extent,), first and second int64 (extent,) in [0, cells + 1], fraction T.
    """
    real = low.dtype.type
    with np.errstate(all="ignore"):
        centre = np.arange(extent, dtype=low.dtype) + real(0.5)
        u = (centre - low) / (high - low) * real(cells) - real(0.5)
        floor = np.floor(u)
        covered = (high > low) & np.isfinite(high - low) & (floor >= -1) & (floor <= cells - 1)
        fraction = np.where(covered, u - floor, real(0))
    first = np.where(covered, floor, 0).astype(np.int64) + 1
    return covered, first, np.minimum(first + 1, cells + 1), fraction


def integer_taps(low, high, cells, extent):
    """As ``continuous_taps``, by the integer rule."""
    real = low.dtype.type
    pixel = np.arange(extent)
    with np.errstate(all="ignore"):
        half = (high - low) * real(0.5) * (real(cells + 2) / real(cells))
        centre = (high + low) * real(0.5)
        corners = np.array([centre - half, centre + half])
    if not np.isfinite(corners).all():
        return np.zeros(extent, bool), pixel * 0, pixel * 0, np.zeros(extent, low.dtype)
    start, end = (int(c) for c in np.clip(np.trunc(corners), -CORNER_LIMIT, CORNER_LIMIT))
    covered = (pixel >= start) & (pixel <= end)
    step = real(cells + 2) / real(max(end - start + 1, 1))
    u = ((pixel - start).astype(low.dtype) + real(0.5)) * step - real(0.5)
    u = np.where(covered & (u > 0), u, real(0))
    first = np.floor(u).astype(np.int64)
    return covered, first, np.minimum(first + 1, cells + 1), u - np.floor(u)


def paste_masks(masks, boxes, image_size, *, threshold=0.5, rule="continuous"):
    """Resample each mask into its box in an image of its own.

    Args:
        masks: (N, M, M) or (N, 1, M, M) float, the probability of each cell.
        boxes: (N, 4) float, x1 y1 x2 y2 in pixels.
        image_size: (H, W).
        threshold: above 0, or None for the values themselves. (At 0 all pixels outside the box
            would be inside the mask.)
        rule: "continuous" or "integer"; the module states both.

    Returns:
        bool (N, H, W), or T (N, H, W) with ``threshold=None``.
    """
    op = "paste_masks"
    masks, boxes = as_floats(op, "masks", masks), as_boxes(op, "boxes", boxes)
    if masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(
            f"{op}: masks must have shape (N, M, M) or (N, 1, M, M), got {masks.shape}")
    if len(masks) != len(boxes):
        raise ValueError(f"{op}: boxes must have one row a mask ({len(masks)}), got {len(boxes)}")
    if rule not in ("continuous", "integer"):
        raise ValueError(f"{op}: rule must be 'continuous' or 'integer', got {rule!r}")
    dtype = np.result_type(masks, boxes)
    if threshold is not None and not dtype.type(threshold) > 0:
        raise ValueError(f"{op}: threshold must be above 0 or None, got {threshold}")
    height, width = image_size
    cells = masks.shape[1]
    one = dtype.type(1)
    taps = continuous_taps if rule == "continuous" else integer_taps
    padded = np.pad(masks.astype(dtype), ((0, 0), (1, 1), (1, 1)))
    values = np.zeros((len(masks), height, width), dtype)
    for n, (x1, y1, x2, y2) in enumerate(boxes.astype(dtype)):
        if cells == 0 or not np.isfinite(boxes[n]).all():
            continue
        in_x, left, right, fx = taps(x1, x2, cells, width)
        in_y, top, bottom, fy = taps(y1, y2, cells, height)
        with np.errstate(all="ignore"):
            rows = padded[n][:, left] * (one - fx) + padded[n][:, right] * fx
            value = rows[top] * (one - fy)[:, None] + rows[bottom] * fy[:, None]
        values[n] = np.where(in_y[:, None] & in_x[None, :], value, dtype.type(0))
    return values if threshold is None else values >= dtype.type(threshold)


def paste_masks_rle(masks, boxes, image_size, *, threshold=0.5, rule="continuous"):
    """``paste_masks`` as COCO run lengths.

    Args:
        masks, boxes, image_size, rule: as in `paste_masks`.
        threshold: above 0.

    Returns:
        list of N dicts {"size": [H, W], "counts": bytes}, COCO's compressed form.
    """
    if threshold is None:
        raise ValueError("paste_masks_rle: threshold must be above 0, got None")
    pasted = paste_masks(masks, boxes, image_size, threshold=threshold, rule=rule)
    return [{"size": list(mask.shape), "counts": rle.string_from_counts(rle.encode(mask))}
            for mask in pasted]
