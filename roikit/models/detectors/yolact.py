"""YOLACT: masks as combinations of a few prototypes, in one pass.

    images --> body --> P3 ... P7 --> head --> for every prior: classes, deltas, coefficients
                        |                                 |
                        P3 --> protonet --> prototypes    Fast NMS
                                              |           |
    masks: sigmoid(prototypes x coefficients), cropped by the box, resized, thresholded

In training priors are matched with objects; besides, a layer on P3 learns a class for each cell. YOLACT++ has
deformable convolutions in the body, more priors, and a network that predicts how good each mask is.

Sources: Bolya et al. 2019, arXiv:1904.02689 and arXiv:1912.06218. What their code does is followed where it says more
than the papers or something else (`DenseConfig`); boxes here are not truncated to whole pixels at the end.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from roikit.models.configs import BoxConfig, DenseConfig, MaskConfig
from roikit.models.dense.assembly import assembled, cropped_masks
from roikit.models.dense.losses import class_and_box_losses, count_positives, semantic_cells_loss
from roikit.models.dense.masks import combined_mask_loss
from roikit.models.dense.priors import match_priors, priors_of
from roikit.models.dense.rescoring import rescoring_loss
from roikit.models.dense.selection import select_priors
from roikit.models.parts.detector import Detections, Detector
from roikit.models.parts.graphs import between_graphs, outside_graphs
from roikit.models.parts.image import ImageBatch, Truth, rescale_boxes

__all__ = ["YOLACT"]

# Of one image or of several: logits (N, P, C), deltas (N, P, 4), coefficients (N, P, K).
Predictions = tuple[Tensor, Tensor, Tensor]


class YOLACT(Detector):
    """Boxes, classes and masks of objects, without proposals.

    Args:
        transform: as `ImageTransform`.
        backbone: (N, C, H, W) -> dict of pyramid levels, as `BackboneWithFPN`.
        head: as `DenseHead`.
        protonet: as `ProtoNet`; it takes the finest level.
        box, dense, mask: thresholds, counts and weights; `DenseConfig` says what of them counts.
        semantic_head: (N, C, h, w) -> (N, num_classes - 1, h, w), or None.
        mask_score_head: as `MaskRescorer`, or None.

    Attributes:
        mask_format: what `masks` of the detections are: "soft" float (D, 1, H, W) probabilities, "bool" (D, 1, H, W),
            or "rle", a list of D COCO RLE dicts, made without an (H, W) array. May be set at any time.

    Raises:
        ValueError: parts do not fit each other: another number of prototypes than of coefficients, other channels than
        the pyramid's, another number of classes.
    """

    only_trained = ("semantic_head",)

    def __init__(self, transform: nn.Module, backbone: nn.Module, head: nn.Module, protonet: nn.Module, box: BoxConfig,
                 dense: DenseConfig, mask: MaskConfig, semantic_head: nn.Module | None = None,
                 mask_score_head: nn.Module | None = None) -> None:
        super().__init__(transform, backbone)
        _check_parts(backbone, head, protonet, mask_score_head)
        self.head = head
        self.protonet = protonet
        self.semantic_head = semantic_head
        self.mask_score_head = mask_score_head
        self.box, self.dense, self.mask = box, dense, mask
        self.mask_format = mask.mask_format

    @between_graphs
    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]] | None = None
                ) -> dict[str, Tensor] | Detections:
        """
        Args:
            images: as of `FasterRCNN`.
            targets: as of `FasterRCNN`, with `masks`.

        Returns:
            When training a dict of scalar losses. Otherwise a list of dicts: `boxes` (D, 4) in pixels of the image as
            given, `labels` (D,) int64 from 1, `scores` (D,), best first, `masks`, and with a `mask_score_head`
            `mask_scores` (D,): the score times the IoU that is predicted for the mask.

        Raises:
            TypeError, ValueError, BackendError: as of `FasterRCNN`.
        """
        self._check_call(images, targets)
        if len(images) == 0:
            return []
        batch, truths = self._batch(images, targets if self.training else None)
        levels = list(self._features(batch.tensor).values())
        found, prototypes = self._predict(levels)
        priors = self._priors(levels, batch.padded_size, found[0].dtype)
        if self.training:
            return self._learn(found, prototypes, self._semantic(levels[0]), priors, batch, truths)
        detections = self._select(found, prototypes, priors, batch)
        if self.mask_score_head is not None:
            self._rescore(detections, batch)
        return self._finish_all(detections, batch)

    def _predict(self, levels: list[Tensor]) -> tuple[Predictions, Tensor]:
        """What the head says of every prior, and prototypes (N, K, H, W)."""
        found, prototypes = self.head(levels), self.protonet(levels[0])
        # Boxes, scores and losses are float32 under autocast and for half models as well.
        kind = torch.promote_types(prototypes.dtype, torch.float32)
        return tuple(value.to(kind) for value in found), prototypes.to(kind)

    def _semantic(self, level: Tensor) -> Tensor | None:
        return None if self.semantic_head is None else self.semantic_head(level)

    @outside_graphs
    def _priors(self, levels: list[Tensor], size: tuple[int, int], dtype: torch.dtype) -> Tensor:
        shapes = [(level.shape[2], level.shape[3]) for level in levels]
        return priors_of(shapes, size, self.dense, dtype, levels[0].device)

    @outside_graphs
    def _learn(self, found: Predictions, prototypes: Tensor, semantic: Tensor | None, priors: Tensor, batch: ImageBatch,
               truths: list[Truth]) -> dict[str, Tensor]:
        logits, deltas, coefficients = found
        size, box = batch.padded_size, self.box
        _check_labels(truths, logits.shape[2])
        matched = [match_priors(priors, truth.boxes, truth.labels, box.foreground_iou, box.background_iou)
                   for truth in truths]
        count = count_positives(matched)
        losses = class_and_box_losses(logits, deltas, priors, matched, truths, box, self.dense)
        masks, learnt = combined_mask_loss(prototypes, coefficients, matched, truths, size, count, self.dense)
        losses |= masks
        if semantic is not None:
            losses |= semantic_cells_loss(semantic, truths, size, self.dense)
        if self.mask_score_head is not None:
            losses |= rescoring_loss(self.mask_score_head, learnt, prototypes, count, self.dense.rescoring)
        return losses

    @outside_graphs
    def _select(self, found: Predictions, prototypes: Tensor, priors: Tensor, batch: ImageBatch) -> Detections:
        """Detections of each image, with the prototypes that their coefficients belong to, and the part of the cells
        that the image covers."""
        detections = []
        (height, width), cells = batch.padded_size, prototypes.shape[2:]
        for logits, deltas, coefficients, maps, size in zip(*found, prototypes, batch.sizes, strict=True):
            own = select_priors(logits, deltas, coefficients, priors, size, self.box, self.dense.threshold_on)
            extent = (cells[0] * size[0] / height, cells[1] * size[1] / width)
            detections.append(own | {"prototypes": maps, "extent": extent})
        return detections

    @between_graphs
    def _rescore(self, detections: Detections, batch: ImageBatch) -> None:
        for found, size in zip(detections, batch.sizes, strict=True):
            masks = cropped_masks(found["prototypes"], found["coefficients"], found["boxes"], found["extent"], size)
            overlaps = self.mask_score_head(masks[:, None]).to(masks.dtype)
            found["mask_scores"] = found["scores"] * overlaps.gather(1, found["labels"][:, None] - 1)[:, 0]

    def finish(self, found: dict[str, Any], size: tuple[int, int], original: tuple[int, int]) -> dict[str, Any]:
        found = dict(found)
        prototypes, coefficients, extent = (found.pop(name) for name in ("prototypes", "coefficients", "extent"))
        boxes = rescale_boxes(found["boxes"], size, original)
        masks = assembled(prototypes, coefficients, boxes, extent, original, self.mask.threshold, self.mask_format)
        return found | {"boxes": boxes, "masks": masks}


def _check_parts(backbone: nn.Module, head: nn.Module, protonet: nn.Module, mask_score_head: nn.Module | None) -> None:
    if protonet.out_channels != head.num_coefficients:
        raise ValueError("YOLACT: protonet must give a prototype for each of the head's coefficients, "
                         f"{head.num_coefficients}, got {protonet.out_channels}")
    for name, part in (("head", head), ("protonet", protonet)):
        if part.in_channels != backbone.out_channels:
            raise ValueError(f"YOLACT: {name} must take the backbone's {backbone.out_channels} channels, "
                             f"got {part.in_channels}")
    if mask_score_head is not None and mask_score_head.num_classes != head.num_classes:
        raise ValueError(f"YOLACT: mask_score_head must score the head's {head.num_classes} classes, "
                         f"got {mask_score_head.num_classes}")


def _check_labels(truths: Sequence[Truth], num_classes: int) -> None:
    for index, truth in enumerate(truths):
        labels = truth.labels
        if len(labels) and not 1 <= labels.min() <= labels.max() < num_classes:
            raise ValueError(f"detector: targets[{index}]['labels'] must be between 1 and {num_classes - 1}, "
                             f"got {sorted(set(labels.tolist()))}")
