"""Time and peak memory of growing works: the curves of `roikit bench --scaling` at powers of ten.

asv's peak is the process's, inputs and result included; `roikit bench --scaling` tells what is beyond them.
"""

import math

from roikit.bench.curves import curves

CURVES = {curve.name: curve for curve in curves({})}
# Beyond these a result exceeds 1 GB, or a run takes seconds.
LARGEST = {"box_iou, n x 1000": 100_000, "roi_align, 7x7 of 256x200x336": 10_000, "paste_masks, 800x1333": 100,
           "paste_masks, 8000x8000": 10, "paste_masks_rle, 8000x8000": 1000}
SIZES = {name: [n for n in curve.sizes if math.log10(n).is_integer() and n <= LARGEST.get(name, n)]
         for name, curve in CURVES.items()}


class Scaling:
    params = [list(SIZES), sorted({n for sizes in SIZES.values() for n in sizes})]
    param_names = ["work", "n"]

    def setup(self, work, n):
        if n not in SIZES[work]:
            raise NotImplementedError(f"{work} is followed at {', '.join(map(str, SIZES[work]))}")
        self.call = CURVES[work].ours(*CURVES[work].make(n))

    def time_work(self, work, n):
        self.call()

    def peakmem_work(self, work, n):
        self.call()
