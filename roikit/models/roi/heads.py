"""What happens to proposals: a stage that gives boxes and classes, then branches that are asked of each detection."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from roikit.models.configs import BoxConfig, MaskConfig
from roikit.models.parts.geometry import UPRIGHT, RotatedBoxes, UprightBoxes
from roikit.models.parts.graphs import between_graphs, outside_graphs
from roikit.models.parts.image import ImageBatch, Truth
from roikit.models.roi.box import box_losses
from roikit.models.roi.mask import MaskBranch
from roikit.models.roi.samples import BalancedSampler, Samples
from roikit.models.roi.selection import select_detections

__all__ = ["Branch", "Detections", "RoIHeads"]

Detections = list[dict[str, Any]]


class Branch(Protocol):
    """What is asked of a box whose class and place are known: a mask, keypoints, ...

    A branch has no layers of its own. Its layers and its configuration are attributes of the `RoIHeads` that it is
    given to, as `mask_head` is, because there torchvision's state dicts and users look for them.
    """

    def losses(self, heads: "RoIHeads", features: dict[str, Tensor], samples: list[Samples], truths: list[Truth],
               batch: ImageBatch) -> dict[str, Tensor]:
        """Its losses over the positives among the samples."""

    def add(self, heads: "RoIHeads", detections: Detections, features: dict[str, Tensor], batch: ImageBatch) -> None:
        """Puts its results into each image's detections, in pixels of the batch."""

    def finish(self, found: dict[str, Any], size: tuple[int, int], original: tuple[int, int]) -> dict[str, Any]:
        """The detections of an image of `size` (H, W) in the batch with the branch's results in the frame of the
        `original` image; their boxes are there already."""


class RoIHeads(nn.Module):
    """What happens to proposals: boxes and classes, and masks where the mask parts are given.

    Args:
        box_roi_pool: as `PyramidRoIAlign`.
        box_head: pooled features -> representation.
        box_predictor: representation -> class logits (R, C), box deltas (R, 4C) or (R, 4).
        box: thresholds and counts.
        mask_roi_pool, mask_head, mask_predictor, mask: the same for masks, all or none. Where `mask_predictor` has
            `logits_of`, as `MaskRCNNPredictor`, only the mask of each box's own class is computed.
        res5: layers that every pooled box passes before any head, or None.
        sampler: as `BalancedSampler`.
        geometry: what kind of boxes these are; rotated ones have 5 numbers where upright ones have 4.
    """

    def __init__(self, box_roi_pool: nn.Module, box_head: nn.Module, box_predictor: nn.Module,
                 box: BoxConfig, mask_roi_pool: nn.Module | None = None,
                 mask_head: nn.Module | None = None, mask_predictor: nn.Module | None = None,
                 mask: MaskConfig | None = None, *, res5: nn.Module | None = None,
                 sampler: Any = None, geometry: UprightBoxes | RotatedBoxes = UPRIGHT) -> None:
        super().__init__()
        given = [part is not None for part in (mask_roi_pool, mask_head, mask_predictor, mask)]
        if any(given) != all(given):
            raise ValueError("RoIHeads: mask_roi_pool, mask_head, mask_predictor and mask must be "
                             "given together")
        if res5 is not None:
            self.res5 = res5
        self.box_roi_pool = box_roi_pool
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.box = box
        self.geometry = geometry
        self.mask_roi_pool = mask_roi_pool
        self.mask_head = mask_head
        self.mask_predictor = mask_predictor
        self.mask = mask
        self.sampler = BalancedSampler() if sampler is None else sampler
        self.branches: tuple[Branch, ...] = () if mask is None else (MaskBranch(),)

    def add_branch(self, branch: Branch, **attributes: Any) -> None:
        """A further branch, asked after those that there are, with its layers and its configuration."""
        for name, value in attributes.items():
            setattr(self, name, value)
        self.branches = (*self.branches, branch)

    @between_graphs
    def forward(self, features: dict[str, Tensor], proposals: list[Tensor], batch: ImageBatch,
                truths: list[Truth] | None = None) -> tuple[Detections, dict[str, Tensor]]:
        """
        Args:
            features: the maps.
            proposals: for each image (P, 4) in pixels of the batch.
            truths: the objects of each image; their presence asks for the losses.

        Returns:
            Without `truths` one dict an image, `boxes` (D, 4) in pixels of the batch, `labels`,
            `scores`, and what the branches add, `masks` (D, 1, M, M) say, and no losses. With them no
            detections, and `loss_classifier`, `loss_box_reg` and the losses of the branches.
        """
        if truths is None:
            detections = self.detect(features, proposals, batch)
            for branch in self.branches:
                branch.add(self, detections, features, batch)
            return detections, {}
        samples, losses = self.learn(features, proposals, batch, truths)
        for branch in self.branches:
            losses |= branch.losses(self, features, samples, truths, batch)
        return [], losses

    @between_graphs
    def detect(self, features: dict[str, Tensor], proposals: list[Tensor], batch: ImageBatch) -> Detections:
        """Boxes, labels and scores of each image."""
        logits, deltas = self._predict_boxes(features, proposals, batch)
        return self._select(logits, deltas, proposals, batch.sizes)

    @between_graphs
    def learn(self, features: dict[str, Tensor], proposals: list[Tensor], batch: ImageBatch, truths: list[Truth]
              ) -> tuple[list[Samples], dict[str, Tensor]]:
        """The samples of each image for the branches to learn from, and the losses of boxes and classes."""
        samples = self._sample(proposals, truths)
        logits, deltas = self._predict_boxes(features, [s.boxes for s in samples], batch)
        return self._learn(samples, logits, deltas, truths)

    @between_graphs
    def _predict_boxes(self, features: dict[str, Tensor], boxes: list[Tensor], batch: ImageBatch
                       ) -> tuple[Tensor, Tensor]:
        return self._box_layers(self.box_roi_pool(features, boxes, batch.padded_size))

    def _box_layers(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self.box_predictor(self.box_head(self.shared(pooled)))
        # Boxes, scores and losses are float32 under autocast and for half models as well.
        kind = torch.promote_types(logits.dtype, torch.float32)
        return logits.to(kind), deltas.to(kind)

    def shared(self, pooled: Tensor) -> Tensor:
        """Pooled boxes after the layers that all heads share, where there are such."""
        return self.res5(pooled) if hasattr(self, "res5") else pooled

    @outside_graphs
    def _select(self, logits: Tensor, deltas: Tensor, proposals: list[Tensor], sizes: list[tuple[int, int]]
                ) -> Detections:
        counts = [boxes.shape[0] for boxes in proposals]
        return [select_detections(*image, self.box, self.geometry)
                for image in zip(logits.softmax(-1).split(counts), deltas.split(counts), proposals, sizes,
                                 strict=True)]

    @outside_graphs
    def _sample(self, proposals: list[Tensor], truths: list[Truth]) -> list[Samples]:
        return [self.sampler.draw(boxes, truth, self.box) for boxes, truth in zip(proposals, truths, strict=True)]

    @outside_graphs
    def _learn(self, samples: list[Samples], logits: Tensor, deltas: Tensor, truths: list[Truth]
               ) -> tuple[list[Samples], dict[str, Tensor]]:
        self._check_labels(truths, logits.shape[1])
        samples, logits, deltas = self.sampler.keep(samples, logits, deltas, truths, self.box)
        return samples, box_losses(logits, deltas, samples, truths, self.box)

    @staticmethod
    def _check_labels(truths: Sequence[Truth], num_classes: int) -> None:
        for index, truth in enumerate(truths):
            labels = truth.labels
            if len(labels) and not 1 <= labels.min() <= labels.max() < num_classes:
                raise ValueError(f"detector: targets[{index}]['labels'] must be between 1 and "
                                 f"{num_classes - 1}, got {sorted(set(labels.tolist()))}")
