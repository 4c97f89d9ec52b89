"""The boxes that a head gives, as candidates of the next one.

Source: Cai and Vasconcelos 2018, arXiv:1712.00726, sections 3.1 and 4.1.
"""

import torch
from torch import Tensor

from roikit.models.configs import BoxConfig
from roikit.models.parts.geometry import UPRIGHT, RotatedBoxes, UprightBoxes

__all__ = ["refined_boxes"]


@torch.no_grad()
def refined_boxes(boxes: Tensor, logits: Tensor, deltas: Tensor, size: tuple[int, int], config: BoxConfig,
                  labels: Tensor | None = None, geometry: UprightBoxes | RotatedBoxes = UPRIGHT) -> Tensor:
    """(P, 4) `boxes` of one image moved by their deltas and clipped to the image, without gradient.

    Args:
        boxes: (P, 4) in pixels of the batch.
        logits: (P, C) of the classes; class 0 is background.
        deltas: (P, 4) or (P, 4C). Of the latter a box takes those of its label or, where that is background or not
            known, those of the most probable class of objects, as mmdetection does.
        size: (height, width) of the image within the batch.
        config: with the regression weights of these deltas.
        labels: (P,) int64, or None where they are not known.
        geometry: of the boxes; rotated ones have 5 numbers where upright ones have 4.
    """
    by_class = deltas.unflatten(1, (-1, geometry.numbers))
    if by_class.shape[1] == 1:
        own = by_class[:, 0]
    else:
        best = logits[:, 1:].argmax(1) + 1
        chosen = best if labels is None else torch.where(labels > 0, labels, best)
        own = by_class[torch.arange(boxes.shape[0], device=boxes.device), chosen]
    return geometry.clip(geometry.decode(own, boxes, config.regression_weights, config.clip_below), size)
