"""Region proposal network. Source: Ren et al. 2015, arXiv:1506.01497; one head for all levels."""

import torch
from torch import Tensor, nn

from roikit.models.config import RpnConfig
from roikit.models.image import ImageBatch, Truth
from roikit.models.losses import box_regression_loss, objectness_loss
from roikit.models.sampling import sample_balanced
from roikit.ops import (
    batched_nms,
    cell_anchors,
    clip_boxes_to_image,
    decode_boxes,
    encode_boxes,
    grid_anchors,
    match_boxes,
    remove_small_boxes,
)

__all__ = ["RPNHead", "RegionProposalNetwork"]

# Proposals with a shorter side than this many pixels are dropped.
_MIN_SIDE = 1e-3


class RPNHead(nn.Module):
    """3x3 convolutions, then an objectness logit and four deltas for every anchor of a cell."""

    def __init__(self, in_channels: int, num_anchors: int, conv_depth: int = 1) -> None:
        super().__init__()
        self.conv = nn.Sequential(*(
            nn.Sequential(nn.Conv2d(in_channels, in_channels, 3, padding=1), nn.ReLU(inplace=True))
            for _ in range(conv_depth)))
        self.cls_logits = nn.Conv2d(in_channels, num_anchors, 1)
        self.bbox_pred = nn.Conv2d(in_channels, num_anchors * 4, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each (N, C, H, W) level: logits (N, H*W*A) and deltas (N, H*W*A, 4), the order of
        `grid_anchors`."""
        logits, deltas = [], []
        for level in levels:
            hidden = self.conv(level)
            logits.append(self.cls_logits(hidden).permute(0, 2, 3, 1).flatten(1))
            deltas.append(self.bbox_pred(hidden).permute(0, 2, 3, 1).reshape(len(level), -1, 4))
        return logits, deltas


class RegionProposalNetwork(nn.Module):
    """Proposals from a pyramid, and the two losses of the proposals when training.

    Args:
        head: as `RPNHead`.
        config: anchors, thresholds, counts.
    """

    def __init__(self, head: nn.Module, config: RpnConfig) -> None:
        super().__init__()
        self.head = head
        self.config = config

    def forward(self, features: dict[str, Tensor], batch: ImageBatch,
                truths: list[Truth] | None = None) -> tuple[list[Tensor], dict[str, Tensor]]:
        """
        Args:
            features: dict of (N, C, H/s, W/s) levels, finest first.
            batch: the images they came from.
            truths: the objects of each image; their presence asks for the losses.

        Returns:
            For each image (P, 4) proposals in pixels of the batch, best first, without gradient;
            and `loss_objectness` and `loss_rpn_box_reg`, or an empty dict.
        """
        levels = list(features.values())
        logits, deltas = self.head(levels)
        # Boxes are float32 under autocast and for half models as well: a half coordinate is a
        # whole pixel beyond 1024.
        kind = torch.promote_types(logits[0].dtype, torch.float32)
        logits = [level.to(kind) for level in logits]
        deltas = [level.to(kind) for level in deltas]
        anchors = self.anchors(levels, batch.padded_size, kind)
        proposals = self.propose(logits, deltas, anchors, batch.sizes)
        if truths is None:
            return proposals, {}
        return proposals, self.losses(torch.cat(logits, 1), torch.cat(deltas, 1),
                                      torch.cat(anchors), truths)

    def anchors(self, levels: list[Tensor], padded_size: tuple[int, int],
                dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """(H*W*A, 4) anchors of each level; its stride is the padded size // the level's size."""
        grids = []
        for level, sizes in zip(levels, self.config.anchor_sizes, strict=True):
            height, width = level.shape[-2:]
            cell = cell_anchors(sizes, self.config.aspect_ratios, dtype=dtype, device=level.device,
                                rounded=self.config.rounded_anchors)
            grids.append(grid_anchors(cell, (height, width),
                                      (padded_size[0] // height, padded_size[1] // width)))
        return grids

    @torch.no_grad()
    def propose(self, logits: list[Tensor], deltas: list[Tensor], anchors: list[Tensor],
                sizes: list[tuple[int, int]]) -> list[Tensor]:
        """The best anchors of each level, moved by their deltas, clipped, thinned by NMS."""
        config = self.config
        before = config.keep_before_nms_train if self.training else config.keep_before_nms_test
        after = config.keep_after_nms_train if self.training else config.keep_after_nms_test
        best, boxes, owners = [], [], []
        # Only the best of each level are decoded, a hundredth of all anchors.
        for level, (score, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
            top, index = score.topk(min(before, score.shape[1]), dim=1)
            chosen = delta.gather(1, index[:, :, None].expand(-1, -1, 4))
            moved = decode_boxes(chosen.reshape(-1, 4), anchor[index.flatten()])
            best.append(top)
            boxes.append(moved.view_as(chosen))
            owners.append(torch.full_like(index, level))
        scores = torch.cat(best, 1).sigmoid()
        return [self._thin(*image, after)
                for image in zip(torch.cat(boxes, 1), scores, torch.cat(owners, 1), sizes,
                                 strict=True)]

    def _thin(self, boxes: Tensor, scores: Tensor, levels: Tensor, size: tuple[int, int],
              count: int) -> Tensor:
        boxes = clip_boxes_to_image(boxes, size)
        keep = remove_small_boxes(boxes, _MIN_SIDE)
        keep = keep[scores[keep] >= self.config.score_threshold]
        boxes, scores, levels = boxes[keep], scores[keep], levels[keep]
        return boxes[batched_nms(boxes, scores, levels, self.config.nms_threshold)[:count]]

    def losses(self, logits: Tensor, deltas: Tensor, anchors: Tensor, truths: list[Truth]
               ) -> dict[str, Tensor]:
        """Losses over sampled anchors; `logits` (N, A), `deltas` (N, A, 4), `anchors` (A, 4)."""
        config = self.config
        picked_logits, picked_labels, picked_deltas, targets = [], [], [], []
        for image, truth in enumerate(truths):
            truth_boxes = truth.boxes.to(anchors.dtype)
            index, label, _ = match_boxes(anchors, truth_boxes, config.foreground_iou,
                                          config.background_iou, allow_low_quality=True)
            positive, negative = sample_balanced(label, config.samples_per_image,
                                                 config.positive_fraction)
            picked = torch.cat((positive, negative))
            picked_logits.append(logits[image, picked])
            picked_labels.append(label[picked].to(logits.dtype))
            picked_deltas.append(deltas[image, positive])
            targets.append(encode_boxes(truth_boxes[index[positive]], anchors[positive]))
        sampled = torch.cat(picked_logits)
        return {
            "loss_objectness": objectness_loss(sampled, torch.cat(picked_labels)),
            "loss_rpn_box_reg": box_regression_loss(
                torch.cat(picked_deltas), torch.cat(targets), config.box_beta, len(sampled)),
        }
