"""The integral loss: classifiers for several overlaps beside one regressor.

    proposals B0 --> pool --> head --> C at 0.5, C at 0.6, C at 0.7, and B1
    detections: B1, scored by the mean of the classifiers' probabilities

Each classifier learns which samples are positive from its own overlap on, and the losses are added; samples are drawn,
and boxes learnt, at the overlap of the plain detector.

Sources: Zagoruyko et al. 2016, arXiv:1604.02135; Cai and Vasconcelos 2018, arXiv:1712.00726, section 3.3
and figure 3c, for which it is a baseline.
"""

from typing import Any

import torch
from torch import Tensor, nn

from roikit.models.configs import IntegralConfig
from roikit.models.parts.graphs import outside_graphs
from roikit.models.parts.image import Truth
from roikit.models.parts.losses import classification_loss
from roikit.models.roi.box import box_losses
from roikit.models.roi.heads import Detections, RoIHeads
from roikit.models.roi.samples import Samples, match_proposals
from roikit.models.roi.selection import select_detections

__all__ = ["IntegralPredictor", "IntegralRoIHeads"]


class IntegralPredictor(nn.Module):
    """(R, in_channels) -> class logits (R, U, C) of U classifiers and box deltas (R, 4C), or (R, 4)."""

    def __init__(self, in_channels: int, num_classes: int, class_agnostic: bool, classifiers: int,
                 box_numbers: int = 4) -> None:
        super().__init__()
        self.cls_score = nn.ModuleList(nn.Linear(in_channels, num_classes) for _ in range(classifiers))
        self.bbox_pred = nn.Linear(in_channels, box_numbers if class_agnostic else num_classes * box_numbers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.stack([layer(x) for layer in self.cls_score], 1), self.bbox_pred(x)


class IntegralRoIHeads(RoIHeads):
    """`RoIHeads` whose predictor is an `IntegralPredictor`; `loss_classifier` is the sum over its classifiers.

    Args:
        parts, named: as of `RoIHeads`.
        integral: the classifiers' overlaps.
    """

    def __init__(self, *parts: Any, integral: IntegralConfig, **named: Any) -> None:
        super().__init__(*parts, **named)
        self.integral = integral

    @outside_graphs
    def _select(self, logits: Tensor, deltas: Tensor, proposals: list[Tensor], sizes: list[tuple[int, int]]
                ) -> Detections:
        counts = [boxes.shape[0] for boxes in proposals]
        probabilities = logits.softmax(-1).mean(1)
        return [select_detections(*image, self.box, self.geometry)
                for image in zip(probabilities.split(counts), deltas.split(counts), proposals, sizes, strict=True)]

    @outside_graphs
    def _learn(self, samples: list[Samples], logits: Tensor, deltas: Tensor, truths: list[Truth]
               ) -> tuple[list[Samples], dict[str, Tensor]]:
        self._check_labels(truths, logits.shape[-1])
        # The sampler keeps what it has drawn: hard samples would be others for each classifier.
        losses = box_losses(logits[:, 0], deltas, samples, truths, self.box)
        losses["loss_classifier"] = sum(
            classification_loss(own, self._labels(samples, truths, iou))
            for own, iou in zip(logits.unbind(1), self.integral.ious, strict=True))
        return samples, losses

    @staticmethod
    def _labels(samples: list[Samples], truths: list[Truth], iou: float) -> Tensor:
        """(S,) labels of the samples of all images for the classifier of this overlap."""
        return torch.cat([match_proposals(sample.boxes, truth, iou, iou)[0].labels
                          for sample, truth in zip(samples, truths, strict=True)])
