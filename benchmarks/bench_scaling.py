"""Time and peak memory of growing works: the curves of `roikit bench --scaling` at powers of ten.

asv's peak is the process's, inputs and result included; `roikit bench --scaling` tells what is beyond them.
"""

import math

from roikit.bench.curves import curves

CURVES = {curve.name: curve for curve in curves({})}
# Beyond these a result exceeds 1 GB, or a run takes seconds.
LARGEST = {"box_iou, n x 1000": 100_000, "roi_align, 7x7 of 256x200x336": 10_000, "paste_masks, 800x1333": 100,
           "paste_masks, 8000x8000": 10, "paste_masks_rle, 8000x8000": 1000}


def grid(op):
    """The parameters of an op's curves: their names and their sizes."""
    mine = [curve for curve in CURVES.values() if curve.op == op]
    return [[curve.name for curve in mine], [n for n in mine[0].sizes if math.log10(n).is_integer()]]


class Scaling:
    """What the classes share. It times nothing itself, so asv passes it over."""

    param_names = ["work", "n"]

    def setup(self, work, n):
        if n > LARGEST.get(work, n):
            raise NotImplementedError(f"{work} is followed up to {LARGEST[work]}")
        self.call = CURVES[work].ours(*CURVES[work].make(n))


class NmsScaling(Scaling):
    params = grid("nms")

    def time_nms(self, work, n):
        self.call()

    def peakmem_nms(self, work, n):
        self.call()


class BoxIouScaling(Scaling):
    params = grid("boxes")

    def time_box_iou(self, work, n):
        self.call()

    def peakmem_box_iou(self, work, n):
        self.call()


class MatchBoxesScaling(Scaling):
    params = grid("matching")

    def time_match_boxes(self, work, n):
        self.call()

    def peakmem_match_boxes(self, work, n):
        self.call()


class RoiAlignScaling(Scaling):
    params = grid("roi_align")

    def time_roi_align(self, work, n):
        self.call()

    def peakmem_roi_align(self, work, n):
        self.call()


class PasteMasksScaling(Scaling):
    params = grid("mask_paste")

    def time_paste_masks(self, work, n):
        self.call()

    def peakmem_paste_masks(self, work, n):
        self.call()
