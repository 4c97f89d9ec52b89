"""RoIAlign of rotated boxes in every dtype."""

import torch

from roikit import ops

from ._case import DTYPES, map_and_rois, pooling


def turned_rois(rois):
    degrees = 30.0 * (torch.arange(len(rois)) % 13)[:, None]
    sides = rois[:, 3:] - rois[:, 1:3]
    return torch.cat([rois[:, :1], rois[:, 1:3] + sides / 2, sides, degrees], 1)


def align(x, boxes):
    return ops.roi_align_rotated(x, boxes, 4, 0.5)


CASES = [case for dtype in DTYPES
         for case in pooling("roi_align_rotated", align, map_and_rois(12, dtype, of=turned_rois), (12, 4, 4), False)]
