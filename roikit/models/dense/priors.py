"""Priors: the boxes that deltas are counted from, at the centre of every cell; and which of them has which object.

Sources: Liu et al. 2016, arXiv:1512.02325, section 2.2 (priors, matching); Bolya et al. 2019, arXiv:1904.02689, and
the authors' code (one size a level, squares, objects in the order of their best overlap).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from roikit.models.configs import DenseConfig
from roikit.ops import box_iou, cell_anchors, grid_anchors

__all__ = ["Matched", "match_priors", "priors_of"]


def priors_of(levels: Sequence[tuple[int, int]], size: tuple[int, int], config: DenseConfig, dtype: torch.dtype,
              device: torch.device) -> Tensor:
    """(P, 4) xyxy in pixels of the batch, rows in the order level, y, x, size, ratio.

    Args:
        levels: (height, width) of each level, finest first.
        size: (height, width) of the batch, which the cells of every level share out evenly.
    """
    grids = []
    for (height, width), sizes in zip(levels, config.prior_sizes, strict=True):
        if config.square_priors:
            sides = [one / ratio ** 0.5 for one in sizes for ratio in config.prior_ratios]
            cell = cell_anchors(sides, (1.0,), dtype=dtype, device=device)
        else:
            cell = cell_anchors(sizes, config.prior_ratios, order="size", dtype=dtype, device=device)
        grids.append(grid_anchors(cell, (height, width), (size[0] / height, size[1] / width), offset=0.5))
    return torch.cat(grids)


@dataclass(frozen=True)
class Matched:
    """The priors of one image and its objects.

    Attributes:
        labels: (P,) int64: the object's from 1, 0 for background, -1 for what has no loss.
        objects: (P,) int64, row of the object; of use where the label is above 0.
    """

    labels: Tensor
    objects: Tensor

    def positives(self) -> Tensor:
        """Rows of the priors that have an object."""
        return (self.labels > 0).nonzero()[:, 0]


@torch.no_grad()
def match_priors(priors: Tensor, boxes: Tensor, labels: Tensor, foreground_iou: float, background_iou: float
                 ) -> Matched:
    """Give each prior the object that it overlaps most, and each object a prior of its own.

    A prior is positive from `foreground_iou` on and background below `background_iou`; between the two it has no loss.
    Then objects, the largest overlap first, take the prior that they overlap most among those that none has taken, and
    it is theirs whatever the overlap is; an object that overlaps none of them goes without.

    Args:
        priors: (P, 4) and boxes (N, 4) in the same pixels.
        labels: (N,) int64 from 1.
    """
    if len(boxes) == 0:
        nothing = torch.zeros(len(priors), dtype=torch.int64, device=priors.device)
        return Matched(nothing, nothing)
    overlaps = box_iou(boxes.to(priors.dtype), priors)
    best, objects = overlaps.max(0)
    best_of_object, prior_of_object = overlaps.max(1)
    for _ in range(min(overlaps.shape)):
        row = int(best_of_object.argmax())
        if best_of_object[row] <= 0:
            break
        column = int(prior_of_object[row])
        objects[column], best[column] = row, 2.0
        overlaps[:, column], best_of_object[row] = -1.0, -1.0
        # Others whose best it was look again.
        again = ((prior_of_object == column) & (best_of_object > 0)).nonzero()[:, 0]
        if len(again):
            best_of_object[again], prior_of_object[again] = overlaps[again].max(1)
    found = labels[objects]
    found = torch.where(best < foreground_iou, -1, found)
    return Matched(torch.where(best < background_iou, 0, found), objects)
