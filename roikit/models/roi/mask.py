"""The mask branch: layers, loss, and masks of detections.

Source: He et al. 2017, arXiv:1703.06870, section 3: a small fully convolutional network on a
14 x 14 RoIAlign, one sigmoid map a class, loss on the true class alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from roikit.models.configs import MaskConfig
from roikit.models.parts.geometry import UPRIGHT, RotatedBoxes, UprightBoxes
from roikit.models.parts.graphs import between_graphs, outside_graphs
from roikit.models.parts.image import ImageBatch, Truth
from roikit.models.parts.losses import mask_loss
from roikit.models.parts.norm import ConvBlock
from roikit.models.roi.samples import Samples, positives

__all__ = ["MaskBranch", "MaskRCNNHeads", "MaskRCNNPredictor", "found_boxes", "mask_losses", "own_logits", "paste",
           "positive_targets", "share"]


class MaskRCNNHeads(nn.Sequential):
    """3x3 convolutions, each with a bias or a normalisation, and ReLU."""

    def __init__(self, in_channels: int, layers: Sequence[int],
                 make_norm: Callable[[int], nn.Module] | None = None) -> None:
        blocks = []
        for channels in layers:
            conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=make_norm is None)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            if make_norm is None:
                nn.init.zeros_(conv.bias)
                block = ConvBlock(conv, nn.ReLU(inplace=True))
            else:
                block = ConvBlock(conv, make_norm(channels), nn.ReLU(inplace=True))
            blocks.append(block)
            in_channels = channels
        super().__init__(*blocks)


class MaskRCNNPredictor(nn.Sequential):
    """(R, in_channels, P, P) -> (R, num_classes, 2P, 2P) logits."""

    def __init__(self, in_channels: int, deconv_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv5_mask = nn.ConvTranspose2d(in_channels, deconv_channels, 2, 2)
        self.relu = nn.ReLU(inplace=True)
        self.mask_fcn_logits = nn.Conv2d(deconv_channels, num_classes, 1)
        for layer in (self.conv5_mask, self.mask_fcn_logits):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def logits_of(self, x: Tensor, labels: Tensor) -> Tensor:
        """(R, 2P, 2P) logits of the class `labels[r]` of each box alone: the other filters are not applied."""
        hidden = self.relu(self.conv5_mask(x))
        # index_select adds up its gradient row by row: in the same order whatever the number of threads.
        filters = self.mask_fcn_logits.weight.flatten(1).index_select(0, labels)
        biases = self.mask_fcn_logits.bias.index_select(0, labels)
        logits = torch.bmm(filters[:, None], hidden.flatten(2))[:, 0] + biases[:, None]
        return logits.unflatten(1, hidden.shape[2:])


class MaskBranch:
    """Asks a mask of each box. Its layers are `mask_roi_pool`, `mask_head` and `mask_predictor` of the `RoIHeads`, its
    configuration is `mask`."""

    @between_graphs
    def losses(self, heads: Any, features: dict[str, Tensor], samples: list[Samples], truths: list[Truth],
               batch: ImageBatch) -> dict[str, Tensor]:
        boxes, labels = positives(samples)
        return mask_losses(self.logits(heads, features, boxes, labels, batch), samples, truths, heads.mask)

    @between_graphs
    def add(self, heads: Any, detections: list[dict[str, Any]], features: dict[str, Tensor], batch: ImageBatch) -> None:
        boxes, labels = found_boxes(detections)
        share("masks", self.logits(heads, features, boxes, labels, batch).sigmoid()[:, None], detections)

    def finish(self, found: dict[str, Any], size: tuple[int, int], original: tuple[int, int]) -> dict[str, Any]:
        # `MaskRCNN` pastes them, in the format that it is asked for.
        return found

    @between_graphs
    def logits(self, heads: Any, features: dict[str, Tensor], boxes: list[Tensor], labels: Tensor, batch: ImageBatch
               ) -> Tensor:
        """(R, M, M) logits of each box's own class."""
        return self._layers(heads, self.pool(heads, features, boxes, batch), labels)

    @between_graphs
    def pool(self, heads: Any, features: dict[str, Tensor], boxes: list[Tensor], batch: ImageBatch) -> Tensor:
        return heads.mask_roi_pool(features, boxes, batch.padded_size)

    def _layers(self, heads: Any, pooled: Tensor, labels: Tensor) -> Tensor:
        return own_logits(heads.mask_predictor, heads.mask_head(heads.shared(pooled)), labels, heads.mask)


def own_logits(predictor: nn.Module, hidden: Tensor, labels: Tensor, config: MaskConfig) -> Tensor:
    """(R, M, M) logits of the class `labels[r]` of each box, of what the mask head gives."""
    if config.class_agnostic:
        labels = torch.zeros_like(labels)
    if hasattr(predictor, "logits_of"):
        logits = predictor.logits_of(hidden, labels)
    else:
        every = predictor(hidden)
        logits = every.gather(1, labels[:, None, None, None].expand(-1, 1, *every.shape[2:]))[:, 0]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@outside_graphs
def found_boxes(detections: list[dict[str, Any]]) -> tuple[list[Tensor], Tensor]:
    """The boxes of each image's detections, and their labels, image after image."""
    return [found["boxes"] for found in detections], torch.cat([found["labels"] for found in detections])


@outside_graphs
def share(key: str, values: Tensor, detections: list[dict[str, Any]]) -> None:
    """(D, ...) `values` of all images' detections, put into those of each."""
    counts = [found["labels"].shape[0] for found in detections]
    for found, own in zip(detections, values.split(counts), strict=True):
        found[key] = own


@outside_graphs
def mask_losses(logits: Tensor, samples: list[Samples], truths: list[Truth], config: MaskConfig
                ) -> dict[str, Tensor]:
    """`loss_mask` over the positive samples of all images.

    Args:
        logits: (P, M, M) of the positives' own classes, image after image.
    """
    return {"loss_mask": mask_loss(logits, positive_targets(samples, truths, logits, config))}


def positive_targets(samples: list[Samples], truths: list[Truth], logits: Tensor, config: MaskConfig) -> Tensor:
    """(P, M, M) target of each positive, image after image; as many and as large as the `logits`."""
    targets = []
    for index, (sample, truth) in enumerate(zip(samples, truths, strict=True)):
        if truth.masks is None:
            raise ValueError(f"detector: targets[{index}] must have the key 'masks' when training")
        rows = sample.positives()
        if len(rows):
            targets.append(_targets(truth, sample.boxes[rows], sample.matched[rows],
                                    logits.shape[-1], config.target_rule))
    return torch.cat(targets) if targets else logits.new_zeros((0, *logits.shape[-2:]))


def _targets(truth: Truth, boxes: Tensor, matched: Tensor, size: int, rule: str) -> Tensor:
    # Boxes go to the masks' frame, so that an RLE or a polygon is never resized or decoded whole.
    boxes = truth.boxes_in_mask_frame(boxes)
    frame = None if isinstance(truth.masks, Tensor) else truth.mask_size
    return truth.geometry.mask_targets(truth.masks, boxes, matched, size, rule, frame)


def paste(masks: Tensor, boxes: Tensor, size: tuple[int, int], config: MaskConfig,
          mask_format: str, geometry: UprightBoxes | RotatedBoxes = UPRIGHT) -> Tensor | list[dict[str, Any]]:
    """Masks of one image at its own size.

    Args:
        masks: (D, 1, M, M) probabilities.
        boxes: (D, 4) in pixels of the image.
        size: (height, width) of the image.
        mask_format: "soft" -> float (D, 1, H, W); "bool" -> bool (D, 1, H, W); "rle" -> a list of
            D COCO RLE dicts, without an (H, W) array on the way.
        geometry: of the boxes; rotated ones are (D, 5), and their masks lie in their frame.
    """
    masks = masks[:, 0].float() if masks.dtype != torch.float64 else masks[:, 0]
    if mask_format == "rle":
        return geometry.paste_rle(masks, boxes, size, config.threshold, config.paste_rule)
    if mask_format not in ("soft", "bool"):
        raise ValueError(f"MaskRCNN: mask_format must be one of soft, bool, rle, "
                         f"got {mask_format!r}")
    threshold = None if mask_format == "soft" else config.threshold
    return geometry.paste(masks, boxes, size, threshold, config.paste_rule)[:, None]
