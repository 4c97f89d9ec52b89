"""How good an assembled mask is: a small network on the mask alone, without the features that it came from.

Source: Bolya et al. 2019, arXiv:1912.06218, section 5.1 (fast mask re-scoring).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.configs import RescoringConfig
from roikit.models.dense.head import initialise
from roikit.models.dense.masks import LearntMasks

__all__ = ["MaskRescorer", "rescoring_loss"]


class MaskRescorer(nn.Module):
    """Cropped masks at the size of the prototypes -> the IoU that each has with an object of each class, at least 0.

    Args:
        num_classes: with the background, which has no score.
        config: its layers.

    `forward` takes (D, 1, H, W) and returns (D, num_classes - 1). A map that is too small for all strides is framed by
    zeros below and at the right.
    """

    def __init__(self, num_classes: int, config: RescoringConfig) -> None:
        super().__init__()
        self.num_classes = num_classes
        widths = (1, *config.layers)
        self.convs = nn.Sequential(*(
            nn.Sequential(nn.Conv2d(inputs, outputs, 3, 2), nn.ReLU(inplace=True))
            for inputs, outputs in zip(widths, widths[1:], strict=False)))
        self.predictor = nn.Conv2d(widths[-1], num_classes - 1, 1)
        initialise(self)

    def forward(self, masks: Tensor) -> Tensor:
        least = 2 ** (len(self.convs) + 1) - 1
        height, width = masks.shape[2:]
        if min(height, width) < least:
            masks = F.pad(masks, (0, max(least - width, 0), 0, max(least - height, 0)))
        return F.relu(self.predictor(self.convs(masks))).amax((2, 3))


def rescoring_loss(rescorer: MaskRescorer, learnt: list[LearntMasks], prototypes: Tensor, count: int,
                   config: RescoringConfig) -> dict[str, Tensor]:
    """`loss_mask_score`: smooth L1 from the predicted IoU to that of the prediction with the object, summed and divided
    by the number of positives.

    Args:
        learnt: what the masks were learnt from; the uncropped objects count.
        prototypes: (N, K, H, W), whose size the masks have where there are none.
        count: of the positives.
    """
    masks, targets, labels = [prototypes.new_zeros((0, *prototypes.shape[2:]))], [], []
    for own in learnt:
        chosen = own.targets.sum((1, 2)) > config.min_area
        found, true = (own.logits.sigmoid() * own.inside)[chosen], own.targets[chosen]
        hard = found > 0.5
        both = (hard & true).sum((1, 2))
        masks.append(found)
        targets.append(both / (hard.sum((1, 2)) + true.sum((1, 2)) - both))
        labels.append(own.labels[chosen])
    scores = rescorer(torch.cat(masks)[:, None])
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    loss = scores.sum() * 0.0
    if targets:
        own = scores.gather(1, torch.cat(labels)[:, None] - 1)[:, 0]
        loss = loss + F.smooth_l1_loss(own, torch.cat(targets).to(own.dtype), reduction="sum")
    return {"loss_mask_score": loss * (config.loss_weight / count)}
