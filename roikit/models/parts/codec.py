"""From deltas to boxes, with the bound on both sides that some networks were trained with."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from roikit.ops import decode_boxes

__all__ = ["decode"]

_CLIP = math.log(1000 / 16)


def decode(deltas: Tensor, boxes: Tensor, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0), clip_below: bool = False
           ) -> Tensor:
    """(N, 4) `boxes` moved by (N, 4) `deltas`; see `roikit.ops.decode_boxes`.

    Args:
        clip_below: widths and heights shrink to 16 / 1000 of a box's at most, as they grow to 1000 / 16 at most.
    """
    if clip_below:
        least = deltas.new_tensor([-_CLIP * weights[2], -_CLIP * weights[3]])
        deltas = torch.cat((deltas[:, :2], torch.maximum(deltas[:, 2:], least)), 1)
    return decode_boxes(deltas, boxes, weights)
