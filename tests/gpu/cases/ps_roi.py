"""Position-sensitive pooling in every dtype."""

from roikit import ops

from ._case import DTYPES, map_and_rois, pooling


def ps_align(x, boxes):
    return ops.ps_roi_align(x, boxes, (2, 3), 0.5)


def ps_pool(x, boxes):
    return ops.ps_roi_pool(x, boxes, (2, 3), 0.5)


CASES = [case for dtype in DTYPES for name, call in (("ps_roi_align", ps_align), ("ps_roi_pool", ps_pool))
         for case in pooling(name, call, map_and_rois(12, dtype), (2, 2, 3), True)]
