"""Targets and pasting of rotated boxes, which have the same bits on every device."""

import torch

from roikit import ops

from ._case import SIZE, Case, boxes, generator, turned


def bitmaps(seed):
    g = generator(seed)
    return (torch.rand(5, *SIZE, generator=g) < 0.6, turned(boxes(33, seed), seed),
            torch.randint(0, 5, (33,), generator=g))


def masks_and_boxes(seed):
    return torch.rand(21, 14, 14, generator=generator(seed)), turned(boxes(21, seed), seed)


OPTIONS = {"mask_targets_rotated": [{"rule": "binary"}], "paste_masks_rotated": [{"threshold": None}]}
CASES = [
    *(Case(f"mask_targets_rotated {rule}", bitmaps,
           lambda m, b, i, rule=rule: ops.mask_targets_rotated(m, b, i, 7, rule=rule)) for rule in ("soft", "binary")),
    *(Case(f"paste_masks_rotated {'soft' if threshold is None else 'bool'}", masks_and_boxes,
           lambda m, b, threshold=threshold: ops.paste_masks_rotated(m, b, SIZE, threshold=threshold))
      for threshold in (0.5, None)),
    Case("paste_masks_rotated_rle", masks_and_boxes, lambda m, b: [ops.paste_masks_rotated_rle(m, b, SIZE)],
         fixed=False),
]
