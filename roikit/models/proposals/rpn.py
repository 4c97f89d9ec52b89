"""Region proposal network. Source: Ren et al. 2015, arXiv:1506.01497; one head for all levels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.configs import RpnConfig
from roikit.models.parts.geometry import UPRIGHT, RotatedBoxes, UprightBoxes
from roikit.models.parts.graphs import between_graphs, outside_graphs
from roikit.models.parts.image import ImageBatch, Truth
from roikit.models.parts.losses import box_regression_loss, objectness_loss
from roikit.models.parts.sampling import sample_balanced
from roikit.ops import grid_anchors

__all__ = ["AnchorSamples", "RPNHead", "RegionProposalNetwork"]

class RPNHead(nn.Module):
    """3x3 convolutions, then an objectness logit and a delta for each number of a box for every anchor of a cell."""

    def __init__(self, in_channels: int, num_anchors: int, conv_depth: int = 1, box_numbers: int = 4) -> None:
        super().__init__()
        self.conv = nn.Sequential(*(
            nn.Sequential(nn.Conv2d(in_channels, in_channels, 3, padding=1), nn.ReLU(inplace=True))
            for _ in range(conv_depth)))
        self.cls_logits = nn.Conv2d(in_channels, num_anchors, 1)
        self.bbox_pred = nn.Conv2d(in_channels, num_anchors * box_numbers, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    @property
    def box_numbers(self) -> int:
        """Numbers of a box: 4, or 5 of a rotated one."""
        return self.bbox_pred.out_channels // self.cls_logits.out_channels

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For each (N, C, H, W) level: logits (N, H*W*A) and deltas (N, H*W*A, 4), or 5, the order of
        `grid_anchors`."""
        logits, deltas = [], []
        for level in levels:
            hidden = self.conv(level)
            logits.append(self.cls_logits(hidden).permute(0, 2, 3, 1).flatten(1))
            deltas.append(self.bbox_pred(hidden).permute(0, 2, 3, 1).reshape(len(level), -1, self.box_numbers))
        return logits, deltas

    def of_anchors(self, levels: list[Tensor], images: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives for some anchors, computed at their cells alone.

        Args:
            levels: as in `forward`.
            images: (S,) int64, the image of each anchor.
            anchors: (S,) int64, its row among the H*W*A anchors of all levels, finest first.

        Returns:
            Logits (S,) and deltas (S, 4), or 5.
        """
        per_cell = self.cls_logits.out_channels
        reach = len(self.conv)  # cells around it that a result depends on
        patches, inside, places, start = [], [], [], 0
        for level in levels:
            end = start + level.shape[2] * level.shape[3] * per_cell
            place = ((anchors >= start) & (anchors < end)).nonzero()[:, 0]
            patch = _patches(level, images[place], (anchors[place] - start) // per_cell, reach)
            places.append(place)
            patches.append(patch[0])
            inside.append(patch[1])
            start = end
        back = torch.cat(places).argsort()
        hidden, known = torch.cat(patches)[back], torch.cat(inside)[back]
        for block in self.conv:
            conv, activation = block
            hidden = activation(_convolved(hidden, conv))
            # Beyond the map the next convolution finds zeros, not what this one would give there.
            known = known[:, :, 1:-1, 1:-1]
            hidden = hidden.masked_fill(~known, 0)
        own = anchors[:, None] % per_cell
        logits = self.cls_logits(hidden).flatten(1).gather(1, own)[:, 0]
        deltas = self.bbox_pred(hidden).view(-1, per_cell, self.box_numbers)
        return logits, deltas.gather(1, own[:, :, None].expand(-1, -1, self.box_numbers))[:, 0]


def _convolved(patches: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 3x3 convolution of (S, C, K, K) patches without padding.

    Where one cell comes of it, it is a product of matrices: oneDNN's backward of such a convolution takes twice as long
    at 128 channels, and at 1024 five times as long in float32 and 20 times in bfloat16.
    """
    if patches.shape[2] > 3:
        return F.conv2d(patches, conv.weight, conv.bias)
    rows, weights = (tensor.permute(0, 2, 3, 1).flatten(1) for tensor in (patches, conv.weight))
    return F.linear(rows, weights, conv.bias)[..., None, None]


def _patches(level: Tensor, images: Tensor, cells: Tensor, reach: int) -> tuple[Tensor, Tensor]:
    """The neighbourhoods of some cells of a (N, C, H, W) map, 0 beyond it.

    Returns:
        (S, C, K, K) with K = 2 * reach + 1, and (S, 1, K, K) bool, which of them lie on the map.
    """
    channels, height, width = level.shape[1:]
    around = torch.arange(-reach, reach + 1, device=level.device)
    y = (cells // width)[:, None, None] + around[:, None]
    x = (cells % width)[:, None, None] + around
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    row = (images[:, None, None] * height + y.clamp(0, height - 1)) * width + x.clamp(0, width - 1)
    # index_select adds up its gradient row by row: in the same order whatever the number of threads.
    found = level.permute(0, 2, 3, 1).reshape(-1, channels).index_select(0, row.flatten())
    patches = found.view(*row.shape, channels).permute(0, 3, 1, 2)
    inside = inside[:, None]
    return patches.masked_fill(~inside, 0), inside


@dataclass(frozen=True)
class AnchorSamples:
    """The anchors of one image that its losses are taken over.

    Attributes:
        anchors: (S,) int64 rows of the anchors of all levels, positives first.
        labels: (S,) 1 or 0.
        targets: (P, 4) deltas of the positives, or 5.
    """

    anchors: Tensor
    labels: Tensor
    targets: Tensor


class RegionProposalNetwork(nn.Module):
    """Proposals from a pyramid, and the two losses of the proposals when training.

    Args:
        head: as `RPNHead`.
        config: anchors, thresholds, counts.
        strides: of the levels; None takes the batch's size // the level's size, as torchvision does.
        geometry: what kind of boxes are proposed.
    """

    def __init__(self, head: nn.Module, config: RpnConfig, strides: Sequence[int] | None = None,
                 geometry: UprightBoxes | RotatedBoxes = UPRIGHT) -> None:
        super().__init__()
        self.head = head
        self.config = config
        self.strides = None if strides is None else tuple(strides)
        self.geometry = geometry

    @between_graphs
    def forward(self, features: dict[str, Tensor], batch: ImageBatch,
                truths: list[Truth] | None = None) -> tuple[list[Tensor], dict[str, Tensor]]:
        """
        Args:
            features: dict of (N, C, H/s, W/s) levels, finest first.
            batch: the images they came from.
            truths: the objects of each image; their presence asks for the losses.

        Returns:
            For each image (P, 4) proposals, or 5, in pixels of the batch, best first, without gradient;
            and `loss_objectness` and `loss_rpn_box_reg`, or an empty dict.
        """
        levels = list(features.values())
        # The losses look at a few hundred anchors, so all of them are computed without a gradient and those few again
        # with one: the backward pass then has a few cells to visit in place of every map. By the head's exact class,
        # because a subclass may compute something else.
        few = truths is not None and type(self.head) is RPNHead
        with torch.set_grad_enabled(torch.is_grad_enabled() and not few):
            logits, deltas = self._predict(levels)
        if few:
            # Some versions of torch would take weights from it that were cast without a gradient.
            torch.clear_autocast_cache()
        anchors = self.anchors(levels, batch.padded_size, logits[0].dtype)
        proposals = self.propose(logits, deltas, anchors, batch.sizes)
        if truths is None:
            return proposals, {}
        return proposals, self._losses_of_samples(levels, logits, deltas, torch.cat(anchors), truths, few)

    def _predict(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = self.head(levels)
        # Boxes are float32 under autocast and for half models as well: a half coordinate is a
        # whole pixel beyond 1024.
        kind = torch.promote_types(logits[0].dtype, torch.float32)
        return [level.to(kind) for level in logits], [level.to(kind) for level in deltas]

    @outside_graphs
    def _losses_of_samples(self, levels: list[Tensor], logits: list[Tensor], deltas: list[Tensor], anchors: Tensor,
                           truths: list[Truth], few: bool) -> dict[str, Tensor]:
        samples = self.sample(anchors, truths)
        images = torch.cat([torch.full_like(s.anchors, i) for i, s in enumerate(samples)])
        picked = torch.cat([s.anchors for s in samples])
        if few:
            found = self.head.of_anchors(levels, images, picked)
            own_logits, own_deltas = (t.to(logits[0].dtype) for t in found)
        else:
            own_logits, own_deltas = torch.cat(logits, 1)[images, picked], torch.cat(deltas, 1)[images, picked]
        return self.losses(own_logits, own_deltas, samples)

    @outside_graphs
    def anchors(self, levels: list[Tensor], padded_size: tuple[int, int],
                dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """(H*W*A, 4) anchors of each level, or 5."""
        grids = []
        for index, (level, sizes) in enumerate(zip(levels, self.config.anchor_sizes, strict=True)):
            height, width = level.shape[-2:]
            cell = self.geometry.cell(sizes, self.config, dtype, level.device)
            if self.strides is None:
                stride = (padded_size[0] // height, padded_size[1] // width)
            else:
                stride = (self.strides[index],) * 2
            grids.append(grid_anchors(cell, (height, width), stride))
        return grids

    @outside_graphs
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
            top, index = score.topk(torch.sym_min(before, score.shape[1]), dim=1)
            numbers = self.geometry.numbers
            chosen = delta.gather(1, index[:, :, None].expand(-1, -1, numbers))
            moved = self.geometry.decode(chosen.reshape(-1, numbers), anchor[index.flatten()],
                                         clip_below=config.clip_below)
            best.append(top)
            boxes.append(moved.view_as(chosen))
            owners.append(torch.full_like(index, level))
        scores = torch.cat(best, 1).sigmoid()
        return [self._thin(*image, after)
                for image in zip(torch.cat(boxes, 1), scores, torch.cat(owners, 1), sizes,
                                 strict=True)]

    def _thin(self, boxes: Tensor, scores: Tensor, levels: Tensor, size: tuple[int, int],
              count: int) -> Tensor:
        boxes = self.geometry.clip(boxes, size)
        keep = self.geometry.large(boxes, self.config.min_side)
        keep = keep[scores[keep] >= self.config.score_threshold]
        boxes, scores, levels = boxes[keep], scores[keep], levels[keep]
        return boxes[self.geometry.suppress(boxes, scores, levels, self.config.nms_threshold)[:count]]

    @torch.no_grad()
    def sample(self, anchors: Tensor, truths: list[Truth]) -> list[AnchorSamples]:
        """Label all `anchors` (A, 4), or 5, by overlap and draw the training samples of each image."""
        config = self.config
        samples = []
        for truth in truths:
            truth_boxes = truth.boxes.to(anchors.dtype)
            index, label = self.geometry.match(anchors, truth_boxes, config.foreground_iou, config.background_iou,
                                               allow_low_quality=True)
            positive, negative = sample_balanced(label, config.samples_per_image,
                                                 config.positive_fraction)
            picked = torch.cat((positive, negative))
            targets = self.geometry.encode(truth_boxes[index[positive]], anchors[positive])
            samples.append(AnchorSamples(picked, label[picked], targets))
        return samples

    def losses(self, logits: Tensor, deltas: Tensor, samples: list[AnchorSamples]) -> dict[str, Tensor]:
        """Losses of the samples of all images, image after image; `logits` (S,), `deltas` (S, 4), or 5."""
        labels = torch.cat([sample.labels for sample in samples])
        targets = torch.cat([sample.targets for sample in samples])
        return {
            "loss_objectness": objectness_loss(logits, labels.to(logits.dtype)),
            "loss_rpn_box_reg": box_regression_loss(deltas[labels >= 1], targets, self.config.box_beta,
                                                    len(logits)),
        }
