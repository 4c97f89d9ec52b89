"""Targets of both rules, which have the same bits on every device."""

import torch

from roikit import ops

from ._case import SIZE, Case, boxes, generator


def bitmaps(seed):
    g = generator(seed)
    return torch.rand(5, *SIZE, generator=g) < 0.6, boxes(33, seed), torch.randint(0, 5, (33,), generator=g)


OPTIONS = {"mask_targets": [{"rule": "binary"}]}
CASES = [Case(f"mask_targets {rule}", bitmaps, lambda m, b, i, rule=rule: ops.mask_targets(m, b, i, 7, rule=rule))
         for rule in ("soft", "binary")]
