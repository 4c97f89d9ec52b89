"""Panoptic FPN: a Mask R-CNN and a semantic head on one pyramid, and one map of what both see.

    maps --+--> proposals --> boxes, classes, masks --.
           |                                          +--> merge --> segments
           '--> semantic head --> classes of pixels --'

Source: Kirillov et al. 2019, arXiv:1901.02446; weights of losses and the merge are detectron2's.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.configs import PanopticConfig
from roikit.models.detectors.two_stage import MaskRCNN
from roikit.models.parts.graphs import between_graphs, outside_graphs
from roikit.models.parts.image import ImageBatch, Truth
from roikit.models.roi.heads import Detections
from roikit.models.roi.mask import paste
from roikit.models.roi.semantic import label_maps
from roikit.models.segmentation.losses import pixel_loss
from roikit.models.segmentation.panoptic import merge_panoptic

__all__ = ["PanopticFPN"]

Size = tuple[int, int]


class PanopticFPN(MaskRCNN):
    """`MaskRCNN` with a semantic head on the levels of its pyramid.

    Args:
        transform, backbone, rpn, roi_heads, mask_format: as of `MaskRCNN`.
        sem_seg_head: as `SemanticFPNHead`, of `num_stuff_classes` + 1 classes.
        panoptic: weights of the losses, thresholds of the merge; may be set at any time.
        levels: how many of the maps the semantic head takes, the finest ones.
        num_things: classes of things, without the background.

    Its targets have the key `semantic`, (H, W) uint8 or int64: 0 for a pixel of a thing, 1, 2, ... for stuff, and
    `ignored_label`; its losses `loss_semantic`. Its results have three keys more: `classes` (H, W) int64, as in
    `semantic`; `panoptic` (H, W) int32, the id of the segment at every pixel or 0; and `segments`, which
    `merge_panoptic` explains.
    """

    def __init__(self, transform: nn.Module, backbone: nn.Module, rpn: nn.Module, roi_heads: nn.Module,
                 sem_seg_head: nn.Module, panoptic: PanopticConfig, levels: int, num_things: int,
                 mask_format: str = "soft") -> None:
        super().__init__(transform, backbone, rpn, roi_heads, mask_format)
        self.sem_seg_head = sem_seg_head
        self.panoptic = panoptic
        self.levels = levels
        self.num_things = num_things

    @between_graphs
    def _through(self, features: dict[str, Tensor], batch: ImageBatch, truths: list[Truth] | None
                 ) -> tuple[Detections, dict[str, Tensor]]:
        logits = self.sem_seg_head(list(features.values())[:self.levels])
        proposals, proposal_losses = self.rpn(features, batch, truths)
        detections, losses = self.roi_heads(features, proposals, batch, truths)
        if truths is None:
            _add_classes(detections, logits, batch)
            return detections, {}
        losses = {name: loss * self.panoptic.instance_loss_weight for name, loss in losses.items()}
        return [], losses | proposal_losses | _semantic_loss(logits, truths, batch, self.panoptic)

    def finish(self, found: dict[str, Any], size: Size, original: Size) -> dict[str, Any]:
        result = super().finish(found, size, original)
        masks = paste(found["masks"], result["boxes"], original, self.roi_heads.mask, "rle")
        panoptic, segments = merge_panoptic(masks, result["labels"], result["scores"], result["classes"],
                                            self.num_things, self.panoptic)
        return result | {"panoptic": panoptic, "segments": segments}


@outside_graphs
def _add_classes(detections: Detections, logits: Tensor, batch: ImageBatch) -> None:
    """The class of each pixel of the images as they were given.

    Args:
        logits: (N, C, h, w). They are resized to the batch, and what lies in the image from there to the image's own
            size, as detectron2 does: two steps of rounding, where one would give other classes at borders.
    """
    for found, own, size, original in zip(detections, logits, batch.sizes, batch.original_sizes, strict=True):
        own = own[None].to(torch.promote_types(own.dtype, torch.float32))
        own = _resized(own, batch.padded_size)[..., :size[0], :size[1]]
        found["classes"] = _resized(own, original)[0].argmax(0)


@outside_graphs
def _semantic_loss(logits: Tensor, truths: list[Truth], batch: ImageBatch, config: PanopticConfig
                   ) -> dict[str, Tensor]:
    labels = label_maps(truths, batch.padded_size, config.num_stuff_classes + 1, config.ignored_label)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = pixel_loss(_resized(logits, batch.padded_size), labels, config.ignored_label)
    return {"loss_semantic": loss * config.loss_weight}


def _resized(maps: Tensor, size: Size) -> Tensor:
    return maps if maps.shape[-2:] == size else F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
