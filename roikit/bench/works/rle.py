"""Works of COCO's run lengths."""

from functools import cache, partial

import numpy as np

import roikit.masks

from .. import inputs
from ..work import Cost, Work, only, plain
from .mask_paste import SIZE

__all__ = ["works"]


def works(peers, device):
    coco = peers.get("pycocotools")
    count = 100
    crowd = [0] * count

    @cache
    def images():
        bitmaps = inputs.ellipses(inputs.boxes(count, 24, 500, 6, height=SIZE[0], width=SIZE[1]), *SIZE)
        return np.asfortranarray(bitmaps.numpy().transpose(1, 2, 0))

    @cache
    def runs():
        return roikit.masks.encode(images())

    one = {"devices": ("cpu",), "host": True, "goals": {"cpu": ("ratio", 2)}, "note": "one thread"}

    def rivals(call):
        return plain(partial(call, roikit.masks)), only(pycocotools=coco and plain(partial(call, coco)))

    yield Work("rle", "rle encode 100 of 800x1333", lambda device: (images(),),
               *rivals(lambda library, m: library.encode(m)), lambda given, out: Cost(images().nbytes),
               "pixels read", **one)
    yield Work("rle", "rle decode 100 of 800x1333", lambda device: (runs(),),
               *rivals(lambda library, r: library.decode(r)), lambda given, out: Cost(0, images().nbytes),
               "pixels written", **one)
    yield Work("rle", "rle iou 100 x 100", lambda device: (runs(),),
               *rivals(lambda library, r: library.iou(r, r, crowd)), None,
               "none: it walks the runs of the pairs whose boxes meet", **one)
