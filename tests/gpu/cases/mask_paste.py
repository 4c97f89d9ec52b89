"""Masks of several blocks, by both rules, as bits, as numbers and as runs."""

import torch

from roikit import ops

from ._case import SIZE, Case, boxes, generator

OPTIONS = {"paste_masks": [{"rule": "integer"}, {"threshold": None}], "paste_masks_rle": [{"rule": "integer"}]}


def masks_and_boxes(seed):
    return torch.rand(21, 14, 14, generator=generator(seed)), boxes(21, seed)


CASES = [
    *(Case(f"paste_masks {rule} {'soft' if threshold is None else 'bool'}", masks_and_boxes,
           lambda m, b, rule=rule, threshold=threshold: ops.paste_masks(m, b, SIZE, threshold=threshold, rule=rule))
      for rule, threshold in (("continuous", 0.5), ("integer", 0.5), ("continuous", None))),
    Case("paste_masks_rle", masks_and_boxes, lambda m, b: [ops.paste_masks_rle(m, b, SIZE)], fixed=False),
]
