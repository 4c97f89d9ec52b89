"""Faster R-CNN and Mask R-CNN: the parts in the order in which an image meets them.

Sources: Ren et al. 2015, arXiv:1506.01497; He et al. 2017, arXiv:1703.06870. Parts and parameters
carry torchvision's names, so that its state dicts fit.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from roikit.errors import BackendError
from roikit.models.box_head import Samples, box_losses, sample_proposals, select_detections
from roikit.models.config import BoxConfig, MaskConfig
from roikit.models.fused import FusedConv2d
from roikit.models.graphs import between_graphs, outside_graphs
from roikit.models.image import ImageBatch, ImageTransform, Truth, rescale_boxes
from roikit.models.mask_head import mask_losses, paste

__all__ = ["FasterRCNN", "MaskRCNN", "RoIHeads"]

Detections = list[dict[str, Any]]


class RoIHeads(nn.Module):
    """What happens to proposals: boxes and classes, and masks where the mask parts are given.

    Args:
        box_roi_pool: as `PyramidRoIAlign`.
        box_head: pooled features -> representation.
        box_predictor: representation -> class logits (R, C), box deltas (R, 4C).
        box: thresholds and counts.
        mask_roi_pool, mask_head, mask_predictor, mask: the same for masks, all or none. Where `mask_predictor` has
            `logits_of`, as `MaskRCNNPredictor`, only the mask of each box's own class is computed.
    """

    def __init__(self, box_roi_pool: nn.Module, box_head: nn.Module, box_predictor: nn.Module,
                 box: BoxConfig, mask_roi_pool: nn.Module | None = None,
                 mask_head: nn.Module | None = None, mask_predictor: nn.Module | None = None,
                 mask: MaskConfig | None = None) -> None:
        super().__init__()
        given = [part is not None for part in (mask_roi_pool, mask_head, mask_predictor, mask)]
        if any(given) != all(given):
            raise ValueError("RoIHeads: mask_roi_pool, mask_head, mask_predictor and mask must be "
                             "given together")
        self.box_roi_pool = box_roi_pool
        self.box_head = box_head
        self.box_predictor = box_predictor
        self.box = box
        self.mask_roi_pool = mask_roi_pool
        self.mask_head = mask_head
        self.mask_predictor = mask_predictor
        self.mask = mask

    @between_graphs
    def forward(self, features: dict[str, Tensor], proposals: list[Tensor], batch: ImageBatch,
                truths: list[Truth] | None = None) -> tuple[Detections, dict[str, Tensor]]:
        """
        Args:
            features: the pyramid.
            proposals: for each image (P, 4) in pixels of the batch.
            truths: the objects of each image; their presence asks for the losses.

        Returns:
            Without `truths` one dict an image, `boxes` (D, 4) in pixels of the batch, `labels`,
            `scores`, and `masks` (D, 1, M, M) with a mask branch, and no losses. With them no
            detections, and `loss_classifier`, `loss_box_reg` and, with a mask branch, `loss_mask`.
        """
        if truths is None:
            detections = self._detect(features, proposals, batch)
            if self.mask is not None:
                self._add_masks(features, detections, batch)
            return detections, {}
        samples = self._sample(proposals, truths)
        logits, deltas = self._predict_boxes(features, [s.boxes for s in samples], batch)
        losses = self._box_losses(logits, deltas, samples, truths)
        if self.mask is not None:
            losses |= self._mask_losses(features, samples, truths, batch)
        return [], losses

    @between_graphs
    def _predict_boxes(self, features: dict[str, Tensor], boxes: list[Tensor], batch: ImageBatch
                       ) -> tuple[Tensor, Tensor]:
        return self._box_layers(self.box_roi_pool(features, boxes, batch.padded_size))

    def _box_layers(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        logits, deltas = self.box_predictor(self.box_head(pooled))
        # Boxes, scores and losses are float32 under autocast and for half models as well.
        kind = torch.promote_types(logits.dtype, torch.float32)
        return logits.to(kind), deltas.to(kind)

    @between_graphs
    def _detect(self, features: dict[str, Tensor], proposals: list[Tensor], batch: ImageBatch
                ) -> Detections:
        logits, deltas = self._predict_boxes(features, proposals, batch)
        return self._select(logits, deltas, proposals, batch.sizes)

    @outside_graphs
    def _select(self, logits: Tensor, deltas: Tensor, proposals: list[Tensor], sizes: list[tuple[int, int]]
                ) -> Detections:
        counts = [boxes.shape[0] for boxes in proposals]
        return [select_detections(*image, self.box)
                for image in zip(logits.split(counts), deltas.split(counts), proposals, sizes, strict=True)]

    @outside_graphs
    def _sample(self, proposals: list[Tensor], truths: list[Truth]) -> list[Samples]:
        return [sample_proposals(boxes, truth, self.box) for boxes, truth in zip(proposals, truths, strict=True)]

    @outside_graphs
    def _box_losses(self, logits: Tensor, deltas: Tensor, samples: list[Samples], truths: list[Truth]
                    ) -> dict[str, Tensor]:
        self._check_labels(truths, logits.shape[1])
        return box_losses(logits, deltas, samples, truths, self.box)

    @between_graphs
    def _add_masks(self, features: dict[str, Tensor], detections: Detections, batch: ImageBatch
                   ) -> None:
        boxes, labels = self._found(detections)
        self._share(self._own_masks(features, boxes, labels, batch), detections)

    @staticmethod
    @outside_graphs
    def _found(detections: Detections) -> tuple[list[Tensor], Tensor]:
        return [found["boxes"] for found in detections], torch.cat([found["labels"] for found in detections])

    @staticmethod
    @outside_graphs
    def _share(logits: Tensor, detections: Detections) -> None:
        counts = [found["labels"].shape[0] for found in detections]
        for found, own in zip(detections, logits.sigmoid()[:, None].split(counts), strict=True):
            found["masks"] = own

    @between_graphs
    def _own_masks(self, features: dict[str, Tensor], boxes: list[Tensor], labels: Tensor,
                   batch: ImageBatch) -> Tensor:
        """(D, M, M) logits of each box's own class."""
        return self._mask_layers(self.mask_roi_pool(features, boxes, batch.padded_size), labels)

    def _mask_layers(self, pooled: Tensor, labels: Tensor) -> Tensor:
        hidden = self.mask_head(pooled)
        if hasattr(self.mask_predictor, "logits_of"):
            logits = self.mask_predictor.logits_of(hidden, labels)
        else:
            logits = self.mask_predictor(hidden)[torch.arange(len(labels), device=labels.device), labels]
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    @between_graphs
    def _mask_losses(self, features: dict[str, Tensor], samples: list[Samples],
                     truths: list[Truth], batch: ImageBatch) -> dict[str, Tensor]:
        boxes, labels = self._positives(samples)
        return mask_losses(self._own_masks(features, boxes, labels, batch), samples, truths, self.mask)

    @staticmethod
    @outside_graphs
    def _positives(samples: list[Samples]) -> tuple[list[Tensor], Tensor]:
        rows = [sample.positives() for sample in samples]
        boxes = [sample.boxes[own] for sample, own in zip(samples, rows, strict=True)]
        labels = torch.cat([sample.labels[own] for sample, own in zip(samples, rows, strict=True)])
        return boxes, labels

    @staticmethod
    def _check_labels(truths: list[Truth], num_classes: int) -> None:
        for index, truth in enumerate(truths):
            labels = truth.labels
            if len(labels) and not 1 <= labels.min() <= labels.max() < num_classes:
                raise ValueError(f"detector: targets[{index}]['labels'] must be between 1 and "
                                 f"{num_classes - 1}, got {sorted(set(labels.tolist()))}")


class FasterRCNN(nn.Module):
    """Boxes and classes of objects.

    Args:
        transform: as `ImageTransform`.
        backbone: (N, C, H, W) -> dict of pyramid levels, as `BackboneWithFPN`.
        rpn: as `RegionProposalNetwork`.
        roi_heads: as `RoIHeads`.
    """

    def __init__(self, transform: nn.Module, backbone: nn.Module, rpn: nn.Module,
                 roi_heads: nn.Module) -> None:
        super().__init__()
        self.transform = transform
        self.backbone = backbone
        self.rpn = rpn
        self.roi_heads = roi_heads

    @between_graphs
    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]] | None = None
                ) -> dict[str, Tensor] | Detections:
        """
        Args:
            images: (C, H, W) tensors of the weights' dtype with values in [0, 1], of any sizes, on their device;
                under autocast of any floating dtype where neither is float64.
            targets: needed when training, not looked at otherwise; for each image a dict with
                `boxes` (N, 4) float xyxy in pixels with x1 < x2, y1 < y2, `labels` (N,) int64 from
                1, and for masks `masks`: (N, H, W) uint8 or bool, or a list of N COCO RLE dicts or
                lists of polygons. N may be 0.

        Returns:
            When training a dict of scalar losses. Otherwise a list of dicts: `boxes` (D, 4) in
            pixels of the image as given, `labels` (D,) int64, `scores` (D,), best first, and
            `masks` where the model has them.

        Raises:
            TypeError, ValueError: an image or a target of the wrong kind, dtype, shape, device or value, by its
            index.
            BackendError: the model is on a device that is neither a CPU nor a CUDA GPU.
        """
        if self.training and targets is None:
            raise ValueError(f"{type(self).__name__}: targets must be given when training")
        if len(images) == 0:
            if self.training:
                raise ValueError(f"{type(self).__name__}: images must not be empty when training")
            return []
        batch, truths = self._batch(images, targets if self.training else None)
        features = self._features(batch.tensor)
        proposals, proposal_losses = self.rpn(features, batch, truths)
        detections, losses = self.roi_heads(features, proposals, batch, truths)
        if self.training:
            return losses | proposal_losses
        return self._finish_all(detections, batch)

    def _features(self, x: Tensor) -> dict[str, Tensor]:
        return self.backbone(x)

    @outside_graphs
    def _batch(self, images: Sequence[Tensor], targets: Sequence[dict[str, Any]] | None
               ) -> tuple[ImageBatch, list[Truth] | None]:
        self._check_place(images)
        return self.transform(images, targets)

    def _check_place(self, images: Sequence[Tensor]) -> None:
        """Images have the dtype and the device of the backbone's first convolution, and roikit has kernels there.

        A fused convolution casts by itself. Nothing is known of a backbone without convolutions, nor where a transform
        of another class or a hook, FSDP's for one, may cast or move them on the way.
        """
        hooks = any(part._forward_pre_hooks for part in (self, self.transform, self.backbone))
        if type(self.transform) is not ImageTransform or hooks:
            return
        first = next((part for part in self.backbone.modules() if isinstance(part, (nn.Conv2d, FusedConv2d))), None)
        if not isinstance(first, nn.Conv2d):
            return
        weight, name = first.weight, type(self).__name__
        if weight.device.type not in ("cpu", "cuda"):
            raise BackendError(f"{name}: the model is on {weight.device.type}, for which roikit has no kernels; it has "
                               "them for the CPU and for CUDA")
        # autocast takes images and weights of any floating dtype but float64.
        cast = torch.is_autocast_enabled(weight.device.type)
        for index, image in enumerate(images):
            if not isinstance(image, Tensor):
                continue  # which the transform will say
            if image.device != weight.device:
                raise ValueError(f"{name}: images[{index}] must be on {weight.device}, as the model's weights are, "
                                 f"got {image.device}")
            fits = image.dtype == weight.dtype or cast and torch.float64 not in (image.dtype, weight.dtype)
            if image.is_floating_point() and not fits:
                raise TypeError(f"{name}: images[{index}] must be {weight.dtype}, as the model's weights are, "
                                f"got {image.dtype}")

    @outside_graphs
    def _finish_all(self, detections: Detections, batch: ImageBatch) -> Detections:
        return [self.finish(found, size, original) for found, size, original
                in zip(detections, batch.sizes, batch.original_sizes, strict=True)]

    def finish(self, found: dict[str, Any], size: tuple[int, int], original: tuple[int, int]
               ) -> dict[str, Any]:
        """Detections of an image of `size` (H, W) in the batch, in the frame of the `original`."""
        return found | {"boxes": rescale_boxes(found["boxes"], size, original)}


class MaskRCNN(FasterRCNN):
    """Faster R-CNN whose `roi_heads` have a mask branch.

    Attributes:
        mask_format: what `masks` of the detections are: "soft" float (D, 1, H, W) probabilities,
            "bool" (D, 1, H, W), or "rle", a list of D COCO RLE dicts, made without an (H, W)
            array. May be set at any time.
    """

    def __init__(self, transform: nn.Module, backbone: nn.Module, rpn: nn.Module,
                 roi_heads: nn.Module, mask_format: str = "soft") -> None:
        super().__init__(transform, backbone, rpn, roi_heads)
        if roi_heads.mask is None:
            raise ValueError("MaskRCNN: roi_heads must have a mask branch")
        self.mask_format = mask_format

    def finish(self, found: dict[str, Any], size: tuple[int, int], original: tuple[int, int]
               ) -> dict[str, Any]:
        found = super().finish(found, size, original)
        masks = paste(found["masks"], found["boxes"], original, self.roi_heads.mask,
                      self.mask_format)
        return found | {"masks": masks}
