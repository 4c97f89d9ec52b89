"""Works of anchors: those of an FPN, level by level."""

from functools import partial

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Work, only, plain
from ._boxes import TIMES_ANCHORS, everywhere, goals

__all__ = ["works"]

STRIDES, SIZES = (4, 8, 16, 32, 64), (32, 64, 128, 256, 512)


def works(peers, device):
    tv, d2 = peers.get("torchvision"), peers.get("detectron2")
    if tv:
        from torchvision.models.detection.anchor_utils import AnchorGenerator
        from torchvision.models.detection.image_list import ImageList
    if d2:
        from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
    for times in TIMES_ANCHORS:
        height, width = round(inputs.HEIGHT * times**0.5), round(inputs.WIDTH * times**0.5)
        shapes = [(-(-height // s), -(-width // s)) for s in STRIDES]

        def cells(device):
            return tuple(ops.cell_anchors((size,), (0.5, 1.0, 2.0), rounded=True, device=device) for size in SIZES)

        def ours(*cells, shapes=shapes):
            return [ops.grid_anchors(*level) for level in zip(cells, shapes, STRIDES, strict=True)]

        def torchvision(*cells, shapes=shapes, height=height, width=width):
            grid, device = AnchorGenerator(tuple((s,) for s in SIZES), ((0.5, 1.0, 2.0),) * 5), cells[0].device
            maps = [torch.empty(1, 1, *shape, device=device) for shape in shapes]
            return partial(grid, ImageList(torch.empty(1, 3, height, width, device=device), [(height, width)]), maps)

        def detectron2(*cells, shapes=shapes):
            grid = DefaultAnchorGenerator(sizes=[[s] for s in SIZES], aspect_ratios=[[0.5, 1.0, 2.0]],
                                          strides=list(STRIDES)).to(cells[0].device)
            return partial(grid, [torch.empty(1, 1, *shape, device=cells[0].device) for shape in shapes])

        yield Work("anchors", f"anchors {3 * sum(h * w for h, w in shapes)}", cells, plain(ours),
                   only(torchvision=tv and torchvision, detectron2=d2 and detectron2), counts="anchors written once",
                   goals=goals(2, cuda_floor=None if times == 1 else 2), note="torchvision joins the levels",
                   **everywhere(times == 1))
