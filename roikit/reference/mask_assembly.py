"""Assemble the masks of detections from prototypes of the whole image. The result is exact.

T is the widest dtype of the three arguments (half is cast to float32); all are cast to T, and everything is computed
in T in the order written, without fused multiply-add. exp is ``exp_fixed`` of `soft_nms` on every floor.

Cells. Along an axis E of the cells (``extent``) cover the L pixels of the image: step = E / L. A box side [b0, b1]
takes the cells j with b0 * step - 1 <= j < b1 * step + 1: its own and a margin of one. A cell (j, i) of the box has

- z = 0, then for k = 0 ... K - 1: z = z + prototypes[k][j][i] * coefficients[n][k];
- the value 1 / (1 + exp(0 - z)).

Every other cell has the value 0; all have, where a coordinate of the box is not finite or b1 < b0.

Pixels. Pixel i of an axis lies at u = (i + 0.5) * step - 0.5, limited to [0, cells - 1]; with c = floor(u) and
f = u - c it takes 1 - f of cell c and f of cell c + 1, which is 0 beyond the last. Horizontally first: with a row's
t(y) = v[y][c] * (1 - f) + v[y][c + 1] * f, the value is t(c') * (1 - f') + t(c' + 1) * f'. A pixel is inside where that
is above T(threshold); where no prototype fires, it is exactly a half. NaN is outside.

Source: Bolya et al. 2019, arXiv:1904.02689, section 3.2; margin, resampling and the strict comparison are those of the
authors' code.
"""

import numpy as np

from roikit.reference import rle
from roikit.reference.arguments import as_boxes, as_floats
from roikit.reference.soft_nms import exp_fixed

__all__ = ["assemble_masks", "assemble_masks_rle"]


def covered_cells(low, high, step, cells):
    """bool (cells,): those of a box and its margin along an axis."""
    real = low.dtype.type
    place = np.arange(cells, dtype=low.dtype)
    return (high >= low) & (place >= low * step - real(1)) & (place < high * step + real(1))


def pixel_taps(step, cells, pixels):
    """Of each pixel of an axis the cell (pixels,) int64 and the part (pixels,) T that the next cell has."""
    real = step.dtype.type
    u = (np.arange(pixels, dtype=step.dtype) + real(0.5)) * step - real(0.5)
    u = np.where(u < 0, real(0), u)
    u = np.where(u > real(cells - 1), real(cells - 1), u)
    cell = np.floor(u)
    return cell.astype(np.int64), u - cell


def assemble_masks(prototypes, coefficients, boxes, image_size, *, extent=None, threshold=0.5):
    """Combine the prototypes for each box, crop by the box, and resample to the image.

    Args:
        prototypes: (K, h, w) float.
        coefficients: (N, K) float.
        boxes: (N, 4) float, x1 y1 x2 y2 in pixels of the image.
        image_size: (H, W).
        extent: rows and columns of cells that the image covers, from the first on; None for all.
        threshold: at least 0, or None for the values themselves.

    Returns:
        bool (N, H, W), or T (N, H, W) with ``threshold=None``.
    """
    op = "assemble_masks"
    prototypes, coefficients = as_floats(op, "prototypes", prototypes), as_floats(op, "coefficients", coefficients)
    boxes = as_boxes(op, "boxes", boxes)
    if prototypes.ndim != 3:
        raise ValueError(f"{op}: prototypes must have shape (K, h, w), got {prototypes.shape}")
    if coefficients.ndim != 2 or coefficients.shape[1] != len(prototypes):
        raise ValueError(f"{op}: coefficients must have shape (N, {len(prototypes)}), got {coefficients.shape}")
    if len(boxes) != len(coefficients):
        raise ValueError(f"{op}: boxes must have one row for each of the coefficients ({len(coefficients)}), "
                         f"got {len(boxes)}")
    dtype = np.result_type(np.float32, prototypes, coefficients, boxes)
    if threshold is not None and not dtype.type(threshold) >= 0:
        raise ValueError(f"{op}: threshold must be at least 0, or None, got {threshold}")
    prototypes, coefficients, boxes = (x.astype(dtype) for x in (prototypes, coefficients, boxes))
    cells, size = prototypes.shape[1:], tuple(image_size)
    for covered, whole in zip(cells if extent is None else extent, cells, strict=True):
        if not (0 < covered <= whole or covered == whole):
            raise ValueError(f"{op}: extent must be above 0 and at most the prototypes' {cells}, got {extent}")
    values = np.zeros((len(boxes), *size), dtype)
    if 0 in cells or 0 in size:
        return values if threshold is None else values > dtype.type(threshold)
    steps = [dtype.type(covered) / dtype.type(pixels)
             for covered, pixels in zip(cells if extent is None else extent, size, strict=True)]
    (top, down), (left, across) = (pixel_taps(*axis) for axis in zip(steps, cells, size, strict=True))
    one = dtype.type(1)
    for n, box in enumerate(boxes):
        if not np.isfinite(box).all():
            continue
        with np.errstate(all="ignore"):
            rows, columns = (covered_cells(box[axis], box[axis + 2], steps[1 - axis], cells[1 - axis])
                             for axis in (1, 0))
            z = np.zeros(cells, dtype)
            for prototype, coefficient in zip(prototypes, coefficients[n], strict=True):
                z = z + prototype * coefficient
            cell = np.where(rows[:, None] & columns[None, :], one / (one + exp_fixed(dtype.type(0) - z)),
                            dtype.type(0))
            cell = np.pad(cell, ((0, 1), (0, 1)))
            t = cell[:, left] * (one - across) + cell[:, left + 1] * across
            values[n] = t[top] * (one - down)[:, None] + t[top + 1] * down[:, None]
    return values if threshold is None else values > dtype.type(threshold)


def assemble_masks_rle(prototypes, coefficients, boxes, image_size, *, extent=None, threshold=0.5):
    """``assemble_masks`` as COCO run lengths.

    Args:
        prototypes, coefficients, boxes, image_size, extent: as in `assemble_masks`.
        threshold: at least 0.

    Returns:
        list of N dicts {"size": [H, W], "counts": bytes}, COCO's compressed form.
    """
    if threshold is None:
        raise ValueError("assemble_masks_rle: threshold must be at least 0, got None")
    masks = assemble_masks(prototypes, coefficients, boxes, image_size, extent=extent, threshold=threshold)
    return [{"size": list(mask.shape), "counts": rle.string_from_counts(rle.encode(mask))} for mask in masks]
