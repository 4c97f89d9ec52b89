"""Masks and rotated boxes: targets in the frame of the box, and masks pasted into images. All of it is exact.

Boxes are cx, cy, w, h in pixels and degrees counter-clockwise (``rotated``); sin and cos are those of
``rotated.sin_cos_degrees``, rounded to T. Everything else is computed in T, in the order written,
without fused multiply-add.

Targets. The object's mask m in {0, 1} is averaged over the samples of ``rotated_align`` in each of
S x S bins: geometry and samples as there, scale 1, adaptive. T is the wider of float32 and the dtype
of the boxes. A sample counts as there; it is then put on the map, and its position cut to whole
2**-14 pixels, so that the sums are of whole numbers, whatever their order:

- y = min(trunc(max(row, 0) * 2**14), (H - 1) * 2**14); i, p = divmod(y, 2**14); x, j, q likewise;
- with one = 2**14, total += (one - p) * ((one - q) * m[i, j] + q * m[i, j + 1])
  + p * ((one - q) * m[i + 1, j] + q * m[i + 1, j + 1]), the pixels beyond the map having no weight;
- value = total / (gv * gu * 2**28), in double; 0 where the RoI gives 0, and where there are no samples.

"soft" is value rounded to float32, "binary" is value >= 0.5.

Pasting. T is the wider dtype of masks and boxes, float32 at least. With lo = cx - 0.5 * w,
length = (cx + 0.5 * w) - lo and k = cx - (cx * cos - cy * sin), likewise lo', length' of cy and h and
k' = cy - (cx * sin + cy * cos), the pixel centre X = i + 0.5, Y = j + 0.5 lies at

    u = (((X * cos - Y * sin) + k) - lo) / length * M - 0.5
    v = (((X * sin + Y * cos) + k') - lo') / length' * M - 0.5

and takes its value there as in ``mask_paste`` by the rule "continuous": horizontally first, cells
outside the mask being 0, pixels with floor(u) or floor(v) outside [-1, M - 1] being 0. So is every
pixel where a length is not above 0, or a number of the box or of these is not finite. At angle 0 the
result is that of ``mask_paste`` for the corners lo, cx + 0.5 * w.

Source: He et al. 2017, arXiv:1703.06870, section 3.1; Ma et al. 2017, arXiv:1703.01086, section IV.
"""

import numpy as np

from roikit.reference import rle
from roikit.reference.arguments import as_boxes, as_floats
from roikit.reference.mask_target import bitmap_of
from roikit.reference.rotated import sin_cos_degrees
from roikit.reference.rotated_align import SIZE_LIMIT, offsets

__all__ = ["mask_targets_rotated", "paste_masks_rotated", "paste_masks_rotated_rle"]

ONE = 2**14  # a pixel, in the units of positions


def on_the_map(at, extent):
    """Pixels and parts, int64, of positions in [-1, extent]."""
    units = (np.maximum(at, at.dtype.type(0)) * at.dtype.type(ONE)).astype(np.int64)
    return np.divmod(np.minimum(units, (extent - 1) * ONE), ONE)


def crop(mask, box, size):
    """The value of each cell: float64 (size, size)."""
    real, half, value = box.dtype.type, box.dtype.type(0.5), np.zeros((size, size))
    height, width = mask.shape
    with np.errstate(over="ignore", invalid="ignore"):
        x, y, (w, h) = box[0] - half, box[1] - half, box[2:4]
    if not (np.abs([x, y, w, h]) < SIZE_LIMIT).all() or not np.isfinite(box[4]) or min(w, h) <= 0 or 0 in mask.shape:
        return value
    sin, cos = (v.astype(box.dtype) for v in sin_cos_degrees(np.float64(box[4])))
    m = np.pad(mask, ((0, 1), (0, 1))).astype(np.int64)
    # The map's corners in the box's axes, with room for every rounding: samples beyond them do not count.
    at_x, at_y = np.meshgrid(np.array([-1, width]) - np.float64(x), np.array([-1, height]) - np.float64(y))
    along_v, along_u = at_x * sin + at_y * cos, at_x * cos - at_y * sin
    room = 64 * np.finfo(real).eps * (float(w) + float(h) + abs(float(x)) + abs(float(y)) + height + width)
    vs, gv = offsets(h, size, -1, along_v.min() - room, along_v.max() + room)
    us, gu = offsets(w, size, -1, along_u.min() - room, along_u.max() + room)
    for p, q in np.ndindex(size, size):
        v, u = vs[p][:, None], us[q][None, :]
        column, row = (v * sin + u * cos) + x, (v * cos - u * sin) + y
        counts = (column >= -1) & (column <= width) & (row >= -1) & (row <= height)
        (i, down), (j, across) = on_the_map(row[counts], height), on_the_map(column[counts], width)
        total = ((ONE - down) * ((ONE - across) * m[i, j] + across * m[i, j + 1])
                 + down * ((ONE - across) * m[i + 1, j] + across * m[i + 1, j + 1])).sum()
        if total:  # a box whose side is too small for bins has no samples
            value[p, q] = float(total) / (float(gv) * float(gu) * ONE**2)
    return value


def mask_targets_rotated(masks, boxes, matched, size, *, rule="soft", image_size=None):
    """Crop and average, for each rotated box, the mask that it is matched to, in the frame of the box.

    Args:
        masks: the objects' masks in the image: bitmaps (N, H, W), RLE dicts or polygons, as in `mask_targets`.
        boxes: (R, 5) float, cx, cy, w, h in pixels and degrees counter-clockwise.
        matched: (R,) integer, which mask belongs to each box.
        size: S, cells along each side; rows lie along the box's height.
        rule: "soft" or "binary".
        image_size: (H, W); needed by polygons alone, which do not know it.

    Returns:
        float32 (R, S, S), values in [0, 1]. RLE and polygons give what their bitmaps give.

    Raises:
        IndexError: ``matched`` names no mask.
        ValueError: polygons without ``image_size``, or a malformed RLE.
    """
    op = "mask_targets_rotated"
    boxes, matched = as_boxes(op, "boxes", boxes, 5), np.asarray(matched)
    if isinstance(masks, np.ndarray) and (masks.ndim != 3 or masks.dtype.kind not in "biu"):
        raise ValueError(f"{op}: masks must be bool or integer of shape (N, H, W), got {masks.dtype} {masks.shape}")
    if matched.dtype.kind not in "iu" or matched.shape != (len(boxes),):
        raise ValueError(f"{op}: matched must be integers of shape ({len(boxes)},), got {matched.dtype} "
                         f"{matched.shape}")
    if rule not in ("soft", "binary"):
        raise ValueError(f"{op}: rule must be 'soft' or 'binary', got {rule!r}")
    targets = np.zeros((len(boxes), size, size), np.float32)
    for r, (box, index) in enumerate(zip(boxes, matched, strict=True)):
        if not 0 <= index < len(masks):
            raise IndexError(f"{op}: matched must lie in [0, {len(masks)}), got {index}")
        value = crop(bitmap_of(masks, index, image_size), box, size)
        targets[r] = value if rule == "soft" else value >= 0.5
    return targets


def values_in(mask, box, height, width):
    """The value of each pixel: T (height, width)."""
    real, cells = box.dtype.type, len(mask)
    nothing = np.zeros((height, width), box.dtype)
    if cells == 0 or not np.isfinite(box).all():
        return nothing
    x, y, w, h = box[:4]
    half, one = real(0.5), real(1)
    sin, cos = (v.astype(box.dtype) for v in sin_cos_degrees(np.float64(box[4])))
    with np.errstate(all="ignore"):
        x_low, y_low = x - half * w, y - half * h
        x_length, y_length = (x + half * w) - x_low, (y + half * h) - y_low
        x_shift, y_shift = x - (x * cos - y * sin), y - (x * sin + y * cos)
        numbers = np.array([x_low, y_low, x_length, y_length, x_shift, y_shift])
        if not np.isfinite(numbers).all() or not min(x_length, y_length) > 0:
            return nothing
        at_x, at_y = (np.arange(n).astype(box.dtype) + half for n in (width, height))
        at_x, at_y = at_x[None, :], at_y[:, None]
        u = (((at_x * cos - at_y * sin) + x_shift) - x_low) / x_length * real(cells) - half
        v = (((at_x * sin + at_y * cos) + y_shift) - y_low) / y_length * real(cells) - half
        covered = (u >= -1) & (u < cells) & (v >= -1) & (v < cells)
        u, v = np.where(covered, u, real(0)), np.where(covered, v, real(0))
        fx, fy = u - np.floor(u), v - np.floor(v)
        left, top = (np.floor(c).astype(np.int64) + 1 for c in (u, v))  # in the mask with a frame of zeros
        m = np.pad(mask, ((1, 1), (1, 1)))
        upper = m[top, left] * (one - fx) + m[top, left + 1] * fx
        lower = m[top + 1, left] * (one - fx) + m[top + 1, left + 1] * fx
        return np.where(covered, upper * (one - fy) + lower * fy, real(0))


def paste_masks_rotated(masks, boxes, image_size, *, threshold=0.5):
    """Resample each mask into its rotated box, in an image of its own.

    Args:
        masks: (N, M, M) or (N, 1, M, M) float, the probability of each cell; rows lie along the box's height.
        boxes: (N, 5) float, cx, cy, w, h in pixels and degrees counter-clockwise.
        image_size: (H, W).
        threshold: above 0, or None for the values themselves.

    Returns:
        bool (N, H, W), or T (N, H, W) with ``threshold=None``.
    """
    op = "paste_masks_rotated"
    masks, boxes = as_floats(op, "masks", masks), as_boxes(op, "boxes", boxes, 5)
    if masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"{op}: masks must have shape (N, M, M) or (N, 1, M, M), got {masks.shape}")
    if len(masks) != len(boxes):
        raise ValueError(f"{op}: boxes must have one row a mask ({len(masks)}), got {len(boxes)}")
    dtype = np.result_type(masks, boxes)
    if threshold is not None and not dtype.type(threshold) > 0:
        raise ValueError(f"{op}: threshold must be above 0 or None, got {threshold}")
    values = np.zeros((len(masks), *image_size), dtype)
    for n, box in enumerate(boxes.astype(dtype)):
        values[n] = values_in(masks[n].astype(dtype), box, *image_size)
    return values if threshold is None else values >= dtype.type(threshold)


def paste_masks_rotated_rle(masks, boxes, image_size, *, threshold=0.5):
    """``paste_masks_rotated`` as COCO run lengths.

    Args:
        masks, boxes, image_size: as in `paste_masks_rotated`.
        threshold: above 0.

    Returns:
        list of N dicts {"size": [H, W], "counts": bytes}, COCO's compressed form.
    """
    if threshold is None:
        raise ValueError("paste_masks_rotated_rle: threshold must be above 0, got None")
    pasted = paste_masks_rotated(masks, boxes, image_size, threshold=threshold)
    return [{"size": list(mask.shape), "counts": rle.string_from_counts(rle.encode(mask))} for mask in pasted]
