"""Works of weighted_boxes_fusion: what four models find in one image. No peer has it on tensors."""

import torch

import roikit.ops as ops

from .. import inputs
from ..work import Work, made, plain
from ._boxes import everywhere

__all__ = ["works"]

# (boxes, centres, classes, of --quick and the CPU)
DETECTIONS = ((1000, 50, 80, True), (10_000, 500, 80, True), (10_000, 500, 1, True), (50_000, 2000, 80, False))


def works(peers, device):
    for n, centres, classes, standard in DETECTIONS:
        b, s = inputs.clusters(n, centres)
        labels = torch.randint(0, classes, (n,), generator=inputs.generator(4))
        given = made(b, s, labels, torch.arange(n) % 4)
        yield Work("weighted_boxes_fusion", f"weighted_boxes_fusion {n} in {classes} classes", given,
                   plain(ops.weighted_boxes_fusion), cost=None, **everywhere(standard))
