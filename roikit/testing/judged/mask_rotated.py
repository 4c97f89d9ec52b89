"""Masks of rotated boxes: their arguments, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some
from roikit.testing.draws import DTYPES, PLAIN
from roikit.testing.judged.rle import RUNS, encode_model
from roikit.testing.judged.rotated import ANGLES, as_degrees
from roikit.testing.judged.rotated_align import ALIGNED
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


def boxes_of(draw, awkward, kinds=some.ROTATED_KINDS):
    one = some.rotated_box(kinds if awkward else PLAIN, copies=False)
    rows = draw(st.lists(one, min_size=0 if awkward else 1, max_size=3))
    return some.as_rotated_boxes(rows, draw(DTYPES))


@st.composite
def mask_targets_rotated(draw, awkward):
    count = draw(st.integers(1, 3))
    masks = draw(some.bitmaps(n=count, size=(draw(st.integers(1, 9)), draw(st.integers(1, 9)))))
    boxes = boxes_of(draw, awkward, ALIGNED)
    matched = draw(st.lists(st.integers(0, count - 1), min_size=len(boxes), max_size=len(boxes)))
    return {"masks": masks, "boxes": boxes, "matched": np.array(matched, np.int64), "size": draw(st.integers(1, 4)),
            "rule": draw(st.sampled_from(["soft", "binary"]))}


@st.composite
def paste_masks_rotated(draw, awkward):
    boxes = boxes_of(draw, awkward)
    masks = draw(some.soft_masks(n=len(boxes), dtype=boxes.dtype))
    side = st.integers(0 if awkward else 1, 16)
    size = draw(side), draw(side)
    with np.errstate(all="ignore"):
        values = reference.paste_masks_rotated(masks, boxes, size, threshold=None)
    reached = sorted(set(values[values > 0].astype(float).tolist()))  # thresholds that some pixel reaches exactly
    threshold = st.sampled_from([0.5, None, *([reached[len(reached) // 2]] if reached else [])])
    return {"masks": masks, "boxes": boxes, "image_size": size, "threshold": draw(threshold)}


@st.composite
def paste_masks_rotated_rle(draw, awkward):
    case = draw(paste_masks_rotated(awkward))
    return {**case, "threshold": case["threshold"] or 0.5}


def other(boxes, convention):
    """Boxes of another convention as the reference's, in their dtype; untouched where it is the same."""
    return as_degrees(boxes, **convention).astype(boxes.dtype) if convention else boxes


def targets_model(case, got, *, rule=None, strict=False, upside=False, shift=0.0, **convention):
    boxes = other(case["boxes"], convention)
    if shift:
        boxes = boxes + np.array([shift, shift, 0, 0, 0], boxes.dtype)
    rule = rule or case["rule"]
    given = case["masks"], boxes, case["matched"], case["size"]
    with np.errstate(all="ignore"):
        if strict and rule == "binary":
            targets = (reference.mask_targets_rotated(*given) > 0.5).astype(np.float32)
        else:
            targets = reference.mask_targets_rotated(*given, rule=rule)
    return targets[:, ::-1] if upside else targets


MASK_TARGETS_ROTATED = combine(targets_model, (
    *ANGLES,
    trait("soft-rule", "soft targets, whatever is asked", needs="rule", rule="soft"),
    trait("binary-rule", "binary targets, whatever is asked", rule="binary"),
    trait("strict-threshold", "a cell is inside above 0.5: > instead of >=", needs="rule", strict=True),
    trait("rows-upwards", "the rows of a target go from the box's lower side to its upper one", upside=True),
    trait("aligned-off", "no shift by half a pixel", shift=0.5),
))


def paste_model(case, got, *, strict=False, soft=False, upside=False, **convention):
    masks = case["masks"]
    masks = masks[..., ::-1, :] if upside else masks
    with np.errstate(all="ignore"):
        values = reference.paste_masks_rotated(masks, other(case["boxes"], convention), case["image_size"],
                                               threshold=None)
    if case["threshold"] is None or soft:
        return values
    threshold = values.dtype.type(case["threshold"])
    return values > threshold if strict else values >= threshold


PASTE = (
    *ANGLES,
    trait("strict-threshold", "a pixel is inside above the threshold: > instead of >=", strict=True),
    trait("rows-upwards", "the rows of a mask go from the box's lower side to its upper one", upside=True),
)
PASTE_MASKS_ROTATED = combine(paste_model, (
    *PASTE, trait("always-soft", "the values themselves are returned, whatever the threshold", soft=True, alone=True)))


def paste_rle_model(case, got, *, rows=False, swapped=False, **flags):
    return [encode_model({"mask": mask.astype(np.uint8)}, None, rows=rows, swapped=swapped)
            for mask in paste_model(case, None, **flags)]


PASTE_MASKS_ROTATED_RLE = combine(paste_rle_model, (*RUNS, *PASTE))


OPS = (
    Op("mask_targets_rotated", reference.mask_targets_rotated, "cx, cy, w, h and degrees counter-clockwise; "
       "roi_align_rotated's samples, adaptive; binary targets are inside from 0.5 on (>=)", MASK_TARGETS_ROTATED, 4,
       arguments=mask_targets_rotated),
    Op("paste_masks_rotated", reference.paste_masks_rotated, "cx, cy, w, h and degrees counter-clockwise; "
       "paste_masks's continuous rule in the frame of the box; a pixel is inside from the threshold on (>=)",
       PASTE_MASKS_ROTATED, 3, arguments=paste_masks_rotated),
    Op("paste_masks_rotated_rle", reference.paste_masks_rotated_rle, "paste_masks_rotated's conventions; runs go down "
       "the columns, zeros first", PASTE_MASKS_ROTATED_RLE, 3, arguments=paste_masks_rotated_rle),
)
