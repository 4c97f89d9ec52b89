"""Works of polygons: their runs."""

import numpy as np

import roikit.masks

from .. import inputs
from ..work import Work, made, only, plain
from .mask_paste import SIZE

__all__ = ["works"]


def works(peers, device):
    coco = peers.get("pycocotools")
    rng = np.random.default_rng(0)
    boxes = inputs.boxes(100, 24, 500, 6, height=SIZE[0], width=SIZE[1])
    polygons = [inputs.star(box, rng) for box in boxes.tolist()]

    def to_runs(library):
        return plain(lambda p: library.frPyObjects(p, *SIZE))

    yield Work("polygon", "polygon to rle 100 of 800x1333", made(polygons), to_runs(roikit.masks),
               only(pycocotools=coco and to_runs(coco)), None, "none: the work depends on the polygons' edges",
               devices=("cpu",), host=True, note="one thread")
