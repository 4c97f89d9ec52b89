"""mask_targets: its arguments, its bound, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.mask_target import TOLERANCE
from roikit.testing import strategies as some
from roikit.testing.draws import SAMPLED, boxes_of
from roikit.testing.judged.roi_align import axis_samples, geometry, sample_count
from roikit.testing.judging import Op
from roikit.testing.variants import combine, trait

__all__ = ["OPS"]


@st.composite
def mask_targets(draw, awkward):
    count = draw(st.integers(1, 3))
    masks = draw(some.bitmaps(n=count, size=(draw(st.integers(1, 9)), draw(st.integers(1, 9)))))
    boxes = boxes_of(draw, awkward, np.float32, max_size=3, kinds=SAMPLED if awkward else None)
    matched = draw(st.lists(st.integers(0, count - 1), min_size=len(boxes), max_size=len(boxes)))
    return {"masks": masks, "boxes": boxes, "matched": np.array(matched, np.int64), "size": draw(st.integers(1, 4)),
            "rule": draw(st.sampled_from(["soft", "binary"]))}


def target_model(case, got, *, aligned=None, binary=None, strict=False, grid="ceil", plus=0, edge="replicate",
                 least=True):
    masks, boxes, size = case["masks"], case["boxes"], case["size"]
    boxes = boxes.astype(np.result_type(boxes, np.float32))
    real = boxes.dtype.type
    binary = case["rule"] == "binary" if binary is None else binary
    aligned = case["rule"] == "binary" if aligned is None else (case["rule"] != "binary" if aligned == "flipped"
                                                                 else aligned == "on")
    targets = np.zeros((len(boxes), size, size), np.float32)
    for r, ((x1, y1, x2, y2), index) in enumerate(zip(boxes, case["matched"], strict=True)):
        if not np.isfinite(boxes[r]).all():
            continue
        mask = masks[index] != 0
        (top, dy), (left, dx) = (geometry(low, high, size, real(1), aligned, least, plus)
                                 for low, high in ((y1, y2), (x1, x2)))
        gh, gw = sample_count(dy, -1, grid, dx), sample_count(dx, -1, grid, dy)
        if gh <= 0 or gw <= 0:
            continue
        vertical = axis_samples(top, dy, gh, size, mask.shape[0], edge)[0].sum(axis=1)
        horizontal = axis_samples(left, dx, gw, size, mask.shape[1], edge)[0].sum(axis=1)
        column, total = np.zeros((size, mask.shape[1]), boxes.dtype), np.zeros((size, size), boxes.dtype)
        for y in range(mask.shape[0]):
            column += vertical[:, y, None] * mask[y]
        for x in range(mask.shape[1]):
            total += column[:, x, None] * horizontal[:, x]
        value = total / (real(gh) * real(gw))
        targets[r] = value if not binary else value > 0.5 if strict else value >= 0.5
    return targets


MASK_TARGETS = combine(target_model, (
    trait("soft-rule", "torchvision's soft targets (not aligned), whatever is asked", needs="rule", aligned="off",
          binary=False),
    trait("binary-rule", "detectron2's binary targets (aligned, at least 0.5), whatever is asked", aligned="on",
          binary=True),
    trait("aligned-on", "always aligned: shifted by half a pixel", aligned="on"),
    trait("aligned-off", "never aligned: no shift by half a pixel", needs="rule", aligned="off"),
    trait("aligned-flipped", "soft targets are aligned and binary ones are not", needs="rule", aligned="flipped"),
    trait("strict-threshold", "a cell is inside above 0.5: > instead of >=", needs="rule", strict=True),
    trait("grid-2x2", "2 x 2 samples a cell instead of the adaptive grid", grid="two"),
    trait("grid-1x1", "1 sample a cell instead of the adaptive grid", grid="one"),
    trait("edge-zeros", "taps outside the mask are 0: the edge is not replicated", edge="zeros"),
    trait("plus-one", "boxes include their last pixel: they end at x2 + 1", plus=1),
))


OPS = (
    Op("mask_targets", reference.mask_targets, "soft targets are not aligned, binary ones are aligned and inside from "
       "0.5 on (>=); adaptive grid", MASK_TARGETS, 4,
       lambda case, expected: TOLERANCE if case["rule"] == "soft" else 0.0, arguments=mask_targets),
)
