"""assemble_masks and assemble_masks_rle: their arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.mask_assembly import covered_cells, pixel_taps
from roikit.reference.soft_nms import exp_fixed
from roikit.testing.draws import DTYPES, boxes_of
from roikit.testing.judged.rle import RUNS, encode_model
from roikit.testing.judging import Op
from roikit.testing.variants import combine, rounded_apart, trait

__all__ = ["OPS"]


@st.composite
def assemble_masks(draw, awkward):
    dtype = draw(DTYPES)
    boxes = boxes_of(draw, awkward, dtype, max_size=3)
    count, cells = draw(st.integers(1, 3)), (draw(st.integers(2, 7)), draw(st.integers(2, 7)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prototypes = np.maximum(rng.integers(-4, 9, (count, *cells)) / 4, 0).astype(dtype)
    coefficients = (rng.integers(-8, 9, (len(boxes), count)) / 8).astype(dtype)
    side = st.integers(0 if awkward else 1, 16)
    size = draw(side), draw(side)
    extent = draw(st.sampled_from([None, None, tuple(n - 0.5 for n in cells)]))
    return {"prototypes": prototypes, "coefficients": coefficients, "boxes": boxes, "image_size": size,
            "extent": extent, "threshold": draw(st.sampled_from([0.5, None, 0.625]))}


@st.composite
def assemble_masks_rle(draw, awkward):
    case = draw(assemble_masks(awkward))
    return {**case, "threshold": case["threshold"] or 0.5}


def taps(step, cells, pixels, rule):
    """Two cells of each pixel and the part of the second, by the reference's rule or another."""
    real = step.dtype.type
    if rule == "centre":
        cell, part = pixel_taps(step, cells, pixels)
    else:  # the corner cells' centres are the corner pixels'
        u = np.arange(pixels, dtype=step.dtype) * (real(cells - 1) / real(max(pixels - 1, 1)))
        u = np.minimum(u, real(cells - 1))
        cell = np.floor(u).astype(np.int64)
        part = u - np.floor(u)
    return cell, np.minimum(cell + 1, cells - 1), part


def box_cells(low, high, step, cells, margin):
    if margin == 1:
        return covered_cells(low, high, step, cells)
    place = np.arange(cells, dtype=low.dtype)
    return (high >= low) & (place >= low * step) & (place < high * step)


def model(case, got, *, margin=1, inclusive=False, pixel="centre", nearest=False, crop="cells", extent="as asked",
          soft=False):
    prototypes, coefficients, boxes = (case[name] for name in ("prototypes", "coefficients", "boxes"))
    dtype = np.result_type(np.float32, prototypes, coefficients, boxes)
    prototypes, coefficients, boxes = (x.astype(dtype) for x in (prototypes, coefficients, boxes))
    size, cells, one = case["image_size"], prototypes.shape[1:], dtype.type(1)
    reached = case["extent"] if case["extent"] is not None and extent == "as asked" else cells
    values = np.zeros((len(boxes), *size), dtype)
    if 0 not in size:
        steps = [dtype.type(part) / dtype.type(pixels) for part, pixels in zip(reached, size, strict=True)]
        (top, bottom, down), (left, right, across) = (
            taps(*axis, pixel) for axis in zip(steps, cells, size, strict=True))
        if nearest:
            down, across = ((part >= 0.5).astype(dtype) for part in (down, across))
        for n, box in enumerate(boxes):
            if not np.isfinite(box).all():
                continue
            with np.errstate(all="ignore"):
                z = np.zeros(cells, dtype)
                for prototype, coefficient in zip(prototypes, coefficients[n], strict=True):
                    z = z + prototype * coefficient
                cell = one / (one + exp_fixed(dtype.type(0) - z))
                rows, columns = (box_cells(box[axis], box[axis + 2], steps[1 - axis], cells[1 - axis], margin)
                                 for axis in (1, 0))
                if crop == "cells":
                    cell = np.where(rows[:, None] & columns[None, :], cell, dtype.type(0))
                t = cell[:, left] * (one - across) + cell[:, right] * across
                value = t[top] * (one - down)[:, None] + t[bottom] * down[:, None]
                if crop == "pixels":
                    y, x = (np.arange(length, dtype=dtype) for length in size)
                    inside = ((y >= box[1]) & (y < box[3]))[:, None] & ((x >= box[0]) & (x < box[2]))[None, :]
                    value = np.where(inside, value, dtype.type(0))
            values[n] = value
    if case["threshold"] is None or soft:
        return values
    threshold = dtype.type(case["threshold"])
    return values >= threshold if inclusive else values > threshold


ASSEMBLE = (
    trait("no-margin", "the box is cropped without a margin of one cell", margin=0),
    trait("inclusive-threshold", "a pixel is inside from the threshold on: >= instead of >", inclusive=True),
    trait("aligned-corners", "the corner cells' centres are the corner pixels' (align_corners=True)",
          pixel="aligned corners"),
    trait("nearest", "the nearest cell is taken, not the bilinear value", nearest=True),
    trait("cropped-after", "the mask is resized whole, and its pixels outside of the box are 0", crop="pixels"),
    trait("not-cropped", "the mask is not cropped by its box", crop="no"),
    trait("whole-extent", "the image covers all cells, whatever is asked", needs="extent", extent="all"),
)
ASSEMBLE_MASKS = (*combine(model, (
    *ASSEMBLE,
    trait("always-soft", "the values themselves are returned, whatever the threshold", soft=True, alone=True),
)), rounded_apart(reference.assemble_masks))


def rle_model(case, got, *, rows=False, swapped=False, **flags):
    return [encode_model({"mask": mask.astype(np.uint8)}, None, rows=rows, swapped=swapped)
            for mask in model(case, None, **flags)]


OPS = (
    Op("assemble_masks", reference.assemble_masks, "the sigmoid in the box's cells and a margin of one, enlarged "
       "bilinearly by pixel centres; a pixel is inside above the threshold (>)", ASSEMBLE_MASKS, 3,
       arguments=assemble_masks),
    Op("assemble_masks_rle", reference.assemble_masks_rle, "assemble_masks's conventions; runs go down the columns, "
       "zeros first", combine(rle_model, (*RUNS, *ASSEMBLE)), 3, arguments=assemble_masks_rle),
)
