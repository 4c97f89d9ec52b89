"""RoIAlign of rotated boxes in every dtype."""

import torch

from roikit import ops

from ._case import DTYPES, map_and_rois, maps, pooling, rois

SCALES = [1 / 2, 1 / 4, 1 / 8]


def turned_rois(rois):
    degrees = 30.0 * (torch.arange(len(rois)) % 13)[:, None]
    sides = rois[:, 3:] - rois[:, 1:3]
    return torch.cat([rois[:, :1], rois[:, 1:3] + sides / 2, sides, degrees], 1)


def align(x, boxes):
    return ops.roi_align_rotated(x, boxes, 4, 0.5)


CASES = [case for dtype in DTYPES
         for case in pooling("roi_align_rotated", align, map_and_rois(12, dtype, of=turned_rois), (12, 4, 4), False)]


def multiscale(*inputs):
    return ops.multiscale_roi_align_rotated(inputs[:3], inputs[3], 3, SCALES, canonical_scale=12, canonical_level=2)


def pyramid(last):
    return lambda seed: (*(maps((2, 12, 32 >> i, 40 >> i), seed + i, last=last) for i in range(3)),
                         turned_rois(rois(40, 2, seed)))


CASES += [case for last in (False, True)
          for case in pooling("multiscale_roi_align_rotated", multiscale, pyramid(last), (12, 3, 3), False)]
