"""Works of RoIPool, forward and backward."""

import roikit.ops as ops

from .. import inputs
from ..work import only
from ._pooling import C4, P2, Case, rows

__all__ = ["works"]


def works(peers, device):
    cases = [Case("1000 rois 7x7", [P2], inputs.rois(1000, 16, 224), samples=None, goals=(8, 8)),
             Case("C4 300 rois 14x14", [C4], inputs.rois(300, 32, 512, 2), 14, 1 / 16, None, quick=False),
             Case("8000 rois of 8 images", [P2], inputs.rois(8000, 16, 224, images=8), samples=None, images=8,
                  devices=("cuda",), quick=False)]
    for case in cases:
        def call(library, case=case):
            pool = library.roi_pool if library is ops else library.ops.roi_pool
            return lambda x, rois: pool(x, rois, case.size, case.scale)

        yield from rows("roi_pool", "roi_pool", case, call, only(torchvision=peers.get("torchvision")), device)
