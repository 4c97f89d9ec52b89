"""Works of mask assembly: masks of 32 prototypes into images of 550 x 550, as images and as runs."""

import torch
from torch.nn import functional as F

import roikit.ops as ops

from .. import inputs
from ..work import Cost, Work, made, plain, size_of
from .mask_paste import coco_encoder

__all__ = ["works"]

SIZE = (550, 550)
CELLS, COUNT = 138, 32


def prototypes():
    """Smooth maps of the whole image, 0 in parts."""
    line = torch.linspace(0, 1, CELLS)
    y, x = torch.meshgrid(line, line, indexing="ij")
    g = inputs.generator(3)
    centre, size = torch.rand(2, COUNT, 1, 1, generator=g), 0.1 + 0.4 * torch.rand(COUNT, 1, 1, generator=g)
    return F.relu(3 - 3 * torch.hypot(y - centre[0], x - centre[1]) / size)


def plain_torch(p, c, b):
    """What the authors' code does: all cells, cropped, all pixels, compared. Bool (N, H, W)."""
    maps = torch.einsum("khw,nk->nhw", p, c).sigmoid()
    cells = b * (CELLS / SIZE[0])
    line = torch.arange(CELLS, device=p.device, dtype=p.dtype)
    columns = (line >= cells[:, :1] - 1) & (line < cells[:, 2:3] + 1)
    rows = (line >= cells[:, 1:2] - 1) & (line < cells[:, 3:] + 1)
    maps = maps * (rows[:, :, None] & columns[:, None, :])
    return F.interpolate(maps[None], SIZE, mode="bilinear", align_corners=False)[0] > 0.5


def works(peers, device):
    encode, how = coco_encoder(peers.get("pycocotools"))

    def inside(given, out):
        b = given[2] * (CELLS / SIZE[0])
        cells = float(((b[:, 2] - b[:, 0] + 2) * (b[:, 3] - b[:, 1] + 2)).sum())
        return Cost(size_of(given), 0, int(2 * COUNT * cells))

    boxes = inputs.boxes(100, 24, 275, 6, height=SIZE[0], width=SIZE[1])
    own = torch.tanh(torch.randn(100, COUNT, generator=inputs.generator(4)))
    given = made(prototypes(), own, boxes)
    yield Work("mask_assembly", "assemble_masks_rle 100", given, plain(lambda *g: ops.assemble_masks_rle(*g, SIZE)),
               {"torch": plain(lambda *g: encode(plain_torch(*g)))}, inside,
               "two operations a prototype for each cell inside a box, no image", host=True, note=how)
    yield Work("mask_assembly", "assemble_masks bool 100", given, plain(lambda *g: ops.assemble_masks(*g, SIZE)),
               {"torch": plain(plain_torch)}, counts="prototypes read, images written")
