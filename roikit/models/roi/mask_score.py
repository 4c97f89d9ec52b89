"""How good a mask is: layers that predict its IoU with the object, and the mask branch that asks them.

    pooled 14 x 14 ---- mask head ---- predictor ---- masks 28 x 28
         |                                               | own class, sigmoid, 2 x 2 maximum
         '------------------- concatenated --------------'
                                   |
            3x3 convolutions, the last with stride 2; two layers; an IoU for each class

Source: Huang et al. 2019, arXiv:1903.00241. Where the paper leaves it open mmdetection is followed, which has published
weights: the predicted IoU is not clamped, and gradients pass from it into the mask.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.masks import area, frPyObjects, merge
from roikit.models.configs import MaskConfig, MaskScoreConfig
from roikit.models.parts.graphs import between_graphs, outside_graphs
from roikit.models.parts.image import ImageBatch, Truth
from roikit.models.roi.mask import MaskBranch, found_boxes, mask_losses, own_logits, positive_targets, share
from roikit.models.roi.samples import Samples, positives

__all__ = ["MaskScoreHead", "ScoredMaskBranch"]


class MaskScoreHead(nn.Module):
    """(R, C, P, P) pooled maps and (R, 2P, 2P) probabilities -> (R, num_classes) IoUs."""

    def __init__(self, in_channels: int, pool_size: int, num_classes: int, config: MaskScoreConfig) -> None:
        super().__init__()
        convs, channels, last = [], in_channels + 1, len(config.layers) - 1
        for index, width in enumerate(config.layers):
            conv = nn.Conv2d(channels, width, 3, stride=2 if index == last else 1, padding=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)
            convs.append(nn.Sequential(conv, nn.ReLU(inplace=True)))
            channels = width
        self.convs = nn.Sequential(*convs)
        self.fc1 = nn.Linear(channels * ((pool_size + 1) // 2) ** 2, config.representation)
        self.fc2 = nn.Linear(config.representation, config.representation)
        self.predictor = nn.Linear(config.representation, num_classes)
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.predictor.weight, std=0.01)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, pooled: Tensor, masks: Tensor) -> Tensor:
        x = self.convs(torch.cat((pooled, F.max_pool2d(masks[:, None].to(pooled.dtype), 2)), 1))
        return self.predictor(self.fc2(self.fc1(x.flatten(1)).relu()).relu())


class ScoredMaskBranch(MaskBranch):
    """The mask branch, and a score for each mask: the score of its box times the IoU that `mask_score_head` predicts.

    Detections get `mask_scores` (D,); their order and `scores` stay the boxes'. The configuration is `mask_score`.
    """

    @between_graphs
    def losses(self, heads: Any, features: dict[str, Tensor], samples: list[Samples], truths: list[Truth],
               batch: ImageBatch) -> dict[str, Tensor]:
        boxes, labels = positives(samples)
        logits, ious = self._layers_and_scores(heads, self.pool(heads, features, boxes, batch), labels)
        return mask_losses(logits, samples, truths, heads.mask) | mask_score_losses(
            logits, ious, samples, truths, heads.mask, heads.mask_score)

    @between_graphs
    def add(self, heads: Any, detections: list[dict[str, Any]], features: dict[str, Tensor], batch: ImageBatch) -> None:
        boxes, labels = found_boxes(detections)
        logits, ious = self._layers_and_scores(heads, self.pool(heads, features, boxes, batch), labels)
        share("masks", logits.sigmoid()[:, None], detections)
        share("mask_scores", ious, detections)
        _times_scores(detections)

    def _layers_and_scores(self, heads: Any, pooled: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(R, M, M) logits of each box's own class, and (R,) its predicted IoU."""
        logits = own_logits(heads.mask_predictor, heads.mask_head(pooled), labels, heads.mask)
        ious = heads.mask_score_head(pooled, logits.sigmoid()).to(logits.dtype)
        return logits, ious.gather(1, labels[:, None])[:, 0]


@outside_graphs
def _times_scores(detections: list[dict[str, Any]]) -> None:
    for found in detections:
        found["mask_scores"] = found["mask_scores"] * found["scores"]


@outside_graphs
def mask_score_losses(logits: Tensor, ious: Tensor, samples: list[Samples], truths: list[Truth], mask: MaskConfig,
                      config: MaskScoreConfig) -> dict[str, Tensor]:
    """`loss_mask_score`: half the mean square of what the predicted IoUs are off, over masks that meet their object.

    Args:
        logits: (P, M, M) of the positives' own classes, image after image.
        ious: (P,) predicted for them.
    """
    target = mask_ious(logits.detach(), positive_targets(samples, truths, logits, mask),
                       shares_inside(samples, truths, logits), config.target_logit)
    met = target > 0
    if not met.any():
        return {"loss_mask_score": ious.sum() * 0.0}
    return {"loss_mask_score": config.loss_weight * 0.5 * F.mse_loss(ious[met], target[met])}


def mask_ious(logits: Tensor, targets: Tensor, inside: Tensor, threshold: float) -> Tensor:
    """(P,) IoUs of predicted masks with whole objects (section 3.2 of the paper).

    Args:
        logits: (P, M, M); a cell belongs to the mask above `threshold`.
        targets: (P, M, M) the objects within the boxes, in [0, 1]; a cell belongs to them from 0.5 on, so that a mask
            can have an IoU of 1 with averages (`MaskConfig.target_rule` "soft") as well.
        inside: (P,) the share of each object that its box holds.
    """
    predicted, targets = (cells.to(targets.dtype) for cells in (logits > threshold, targets >= 0.5))
    common = (predicted * targets).sum((1, 2))
    whole = targets.sum((1, 2)) / (inside + 1e-7)
    return common / (predicted.sum((1, 2)) + whole - common).clamp(min=1e-7)


def shares_inside(samples: list[Samples], truths: list[Truth], like: Tensor) -> Tensor:
    """(P,) for each positive of all images the share of its object's pixels that lie in the box.

    The box's corners are cut to whole pixels, and it has at least one, as in mmdetection.
    """
    shares = []
    for sample, truth in zip(samples, truths, strict=True):
        rows = sample.positives()
        boxes = truth.boxes_in_mask_frame(sample.boxes[rows]).long().clamp(min=0)
        objects = sample.matched[rows].tolist()
        whole: dict[int, tuple[Any, float]] = {}
        for (x1, y1, x2, y2), index in zip(boxes.tolist(), objects, strict=True):
            if index not in whole:
                whole[index] = _pixels(truth, index)
            mask, pixels = whole[index]
            width, height = max(x2 - x1, 1), max(y2 - y1, 1)
            if isinstance(mask, Tensor):
                inside = float(mask[y1:y1 + height, x1:x1 + width].sum())
            else:
                frame = frPyObjects([[x1, y1, width, height]], *truth.mask_size)
                inside = float(area(merge([mask, *frame], True)))
            shares.append(inside / (pixels + 1e-7))
    return torch.tensor(shares, dtype=like.dtype, device=like.device)


def _pixels(truth: Truth, index: int) -> tuple[Any, float]:
    """An object's bitmap or runs, and how many pixels it has."""
    mask = truth.masks[index]
    if isinstance(mask, Tensor):
        return mask, float(mask.sum())
    if not isinstance(mask, dict):
        mask = merge(frPyObjects(mask, *truth.mask_size))
    elif isinstance(mask["counts"], list):
        mask = frPyObjects(mask, *truth.mask_size)
    return mask, float(area(mask))
