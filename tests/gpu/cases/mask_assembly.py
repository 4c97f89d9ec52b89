"""Masks of several blocks, as bits, as numbers and as runs, of an image that covers all cells or some."""

import torch

from roikit import ops

from ._case import SIZE, Case, boxes, generator

OPTIONS = {"assemble_masks": [{"threshold": None}, {"extent": (4.5, 6.0)}],
           "assemble_masks_rle": [{"extent": (4.5, 6.0)}]}


def parts(seed):
    g = generator(seed)
    return torch.rand(19, 21, 34, generator=g), torch.rand(21, 19, generator=g) * 2 - 1, boxes(21, seed)


CASES = [
    *(Case(f"assemble_masks {'soft' if threshold is None else 'bool'}", parts,
           lambda p, c, b, threshold=threshold: ops.assemble_masks(p, c, b, SIZE, threshold=threshold))
      for threshold in (0.5, None)),
    Case("assemble_masks_rle", parts, lambda p, c, b: [ops.assemble_masks_rle(p, c, b, SIZE)], fixed=False),
]
