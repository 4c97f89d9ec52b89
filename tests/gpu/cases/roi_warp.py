"""RoIWarp in every dtype."""

from roikit import ops

from ._case import DTYPES, map_and_rois, pooling

OPTIONS = {"roi_warp": [{"reduce": "mean"}]}


def warp(x, boxes):
    return ops.roi_warp(x, boxes, 4, 0.5)


def warp_mean(x, boxes):
    return ops.roi_warp(x, boxes, 4, 0.5, reduce="mean")


CASES = [case for dtype in DTYPES for name, call in (("roi_warp", warp), ("roi_warp mean", warp_mean))
         for case in pooling(name, call, map_and_rois(12, dtype), (12, 4, 4), True)]
