"""Works of the smallest rotated boxes around objects."""

import numpy as np

import roikit.ops as ops

from .. import inputs
from ..work import Work, made, plain
from .mask_paste import SIZE

__all__ = ["works"]


def works(peers, device):
    objects = inputs.boxes(20, 48, 500, 11, height=SIZE[0], width=SIZE[1])

    def make(device):
        return (inputs.ellipses(objects, *SIZE).to(device),)

    yield Work("rotated_boxes", "min_area_boxes 20 bitmaps", make, plain(ops.min_area_boxes),
               counts="bitmaps read")
    many, rng = inputs.boxes(500, 24, 500, 11, height=SIZE[0], width=SIZE[1]), np.random.default_rng(0)
    polygons = [[inputs.star(box, rng)] for box in many.tolist()]
    yield Work("rotated_boxes", "min_area_boxes 500 polygons", made(polygons), plain(ops.min_area_boxes), {}, None,
               "none: the work depends on the polygons' corners", devices=("cpu",))
