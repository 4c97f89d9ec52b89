"""Masks on the host: run-length encoding and polygons, with pycocotools.mask's names and results.

Needs NumPy only. ``roikit.masks.polygon.rasterize`` draws polygons into a bitmap, ``roikit.masks.frames`` moves masks
into windows and larger pictures; the rest are the seven functions that ``pycocotools.mask`` has.
"""

from roikit.masks import frames, polygon, rle
from roikit.masks.polygon import frPyObjects
from roikit.masks.rle import area, decode, encode, iou, merge, toBbox

__all__ = [
    "area",
    "decode",
    "encode",
    "frPyObjects",
    "frames",
    "iou",
    "merge",
    "polygon",
    "rle",
    "toBbox",
]
