"""Boxes around bitmaps, which have the same bits on every device."""

import torch

from roikit import ops

from ._case import SIZE, Case, generator


def bitmaps(seed):
    return (torch.rand(33, *SIZE, generator=generator(seed)) < 0.02,)


CASES = [Case("min_area_boxes", bitmaps, lambda m: ops.min_area_boxes(m, dtype=torch.float64))]
