"""The mask branch as the other rows of the Mask R-CNN paper's table 2 have it: fully connected layers in place of
convolutions (2e), and classes that compete for a cell in place of a sigmoid each (2b).

Source: He et al. 2017, arXiv:1703.06870, section 4.2.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.configs import MaskConfig
from roikit.models.parts.graphs import between_graphs, outside_graphs
from roikit.models.parts.image import ImageBatch, Truth
from roikit.models.roi.mask import MaskBranch, positive_targets
from roikit.models.roi.samples import Samples, positives

__all__ = ["MaskMLPHead", "MaskMLPPredictor", "SoftmaxMaskBranch"]

# Width of the two fully connected layers.
_WIDTH = 1024


class MaskMLPHead(nn.Sequential):
    """(R, in_channels, P, P) -> (R, 1024): two fully connected layers with ReLU."""

    def __init__(self, in_channels: int, pool_size: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(in_channels * pool_size ** 2, _WIDTH), nn.ReLU(inplace=True),
                         nn.Linear(_WIDTH, _WIDTH), nn.ReLU(inplace=True))


class MaskMLPPredictor(nn.Module):
    """(R, 1024) -> (R, num_classes, size, size) logits."""

    def __init__(self, num_classes: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.mask_logits = nn.Linear(_WIDTH, num_classes * size ** 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.mask_logits(x).unflatten(1, (-1, self.size, self.size))


class SoftmaxMaskBranch(MaskBranch):
    """A mask branch whose classes, background among them, share out the probability of each cell."""

    @between_graphs
    def losses(self, heads: Any, features: dict[str, Tensor], samples: list[Samples], truths: list[Truth],
               batch: ImageBatch) -> dict[str, Tensor]:
        boxes, labels = positives(samples)
        logits = self._all_layers(heads, self.pool(heads, features, boxes, batch))
        return _losses(logits, labels, samples, truths, heads.mask)

    def _layers(self, heads: Any, pooled: Tensor, labels: Tensor) -> Tensor:
        logits = self._all_layers(heads, pooled)
        index = labels[:, None, None, None].expand(-1, 1, *logits.shape[2:])
        others = logits.scatter(1, index, float("-inf"))
        # The logit whose sigmoid is the softmax's probability.
        # Not logsumexp, of which torch.export wants to know whether there are boxes.
        largest = others.amax(1)
        return logits.gather(1, index)[:, 0] - largest - (others - largest[:, None]).exp().sum(1).log()

    def _all_layers(self, heads: Any, pooled: Tensor) -> Tensor:
        logits = heads.mask_predictor(heads.mask_head(heads.shared(pooled)))
        return logits.to(torch.promote_types(logits.dtype, torch.float32))


@outside_graphs
def _losses(logits: Tensor, labels: Tensor, samples: list[Samples], truths: list[Truth], config: MaskConfig
            ) -> dict[str, Tensor]:
    """`loss_mask`: mean cross-entropy of the cells, whose class is the object's or background.

    Args:
        logits: (P, C, M, M) of the positives, image after image.
        labels: (P,) their classes.
    """
    if len(labels) == 0:
        return {"loss_mask": logits.sum() * 0.0}
    target = positive_targets(samples, truths, logits[:, 0], config) >= 0.5
    return {"loss_mask": F.cross_entropy(logits, torch.where(target, labels[:, None, None], 0))}
