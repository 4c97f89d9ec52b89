"""The semantic branch: a class for each cell of one level, and a map that boxes are pooled from beside the pyramid.

    level 0 --> 1x1 --.
    level 1 --> 1x1 --+--> 3x3, four times --+--> 1x1 --> class logits
    level 2 --> 1x1 --|                      '--> 1x1 --> embedding
     ...     resized -'

Source: Chen et al. 2019, arXiv:1901.07518, section 3.3. The order of resizing and convolution, ReLU after each
convolution but that of the logits, and the loss are mmdetection's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.configs import SemanticConfig
from roikit.models.parts.graphs import outside_graphs
from roikit.models.parts.image import Truth

__all__ = ["EMBEDDING", "SemanticHead", "SemanticRoIPool", "label_maps", "semantic_loss"]

# The name of the embedding among the maps.
EMBEDDING = "semantic"


class SemanticHead(nn.Module):
    """Class logits and an embedding of the size of one level, from all levels.

    Args:
        channels: of the levels, and of the embedding.
        levels: how many there are.
        config: classes, widths, and which level gives the size.
    """

    def __init__(self, channels: int, levels: int, config: SemanticConfig) -> None:
        super().__init__()
        self.fusion_level = config.fusion_level
        self.lateral = nn.ModuleList(_conv(channels, channels, 1) for _ in range(levels))
        widths = (channels, *config.layers)
        self.convs = nn.ModuleList(_conv(*pair, 3) for pair in zip(widths[:-1], widths[1:], strict=True))
        self.embedding = _conv(widths[-1], channels, 1)
        self.predictor = nn.Conv2d(widths[-1], config.num_classes, 1)
        _initialise(self.predictor)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """(N, C, H_l, W_l) levels, finest first -> logits (N, num_classes, H, W), embedding (N, C, H, W)."""
        own = levels[self.fusion_level]
        x = self.lateral[self.fusion_level](own)
        for index, (level, lateral) in enumerate(zip(levels, self.lateral, strict=True)):
            if index != self.fusion_level:
                x = x + lateral(F.interpolate(level, size=own.shape[-2:], mode="bilinear", align_corners=True))
        for conv in self.convs:
            x = conv(x)
        return self.predictor(x), self.embedding(x)


class SemanticRoIPool(nn.Module):
    """A pooler that adds what it pools of the embedding, averaged to fewer cells where it takes fewer.

    Args:
        pool: as `PyramidRoIAlign`, of the levels.
        semantic_pool: as `PyramidRoIAlign`, of the embedding alone.

    `forward` is that of `pool`; the maps hold the embedding as well, by the name `EMBEDDING`.
    """

    def __init__(self, pool: nn.Module, semantic_pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool
        self.semantic_pool = semantic_pool

    @outside_graphs
    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], padded_size: tuple[int, int]) -> Tensor:
        levels = {name: level for name, level in features.items() if name != EMBEDDING}
        pooled = self.pool(levels, boxes, padded_size)
        semantic = self.semantic_pool({EMBEDDING: features[EMBEDDING]}, boxes, padded_size)
        return pooled + F.adaptive_avg_pool2d(semantic, pooled.shape[-2:])


@outside_graphs
def semantic_loss(logits: Tensor, truths: list[Truth], padded_size: tuple[int, int], config: SemanticConfig
                  ) -> dict[str, Tensor]:
    """`loss_semantic`: cross-entropy, summed and divided by all cells, those of the ignored label among them.

    Args:
        logits: (N, num_classes, h, w).
        truths: with `semantic` (H, W) labels of each image; what lies beside an image in the batch is ignored.
        padded_size: (height, width) of the batch. A cell has the label of its first pixel, as `mode="nearest"` of
            `F.interpolate` takes it.
    """
    rows, columns = (torch.arange(cells, device=logits.device) * pixels // cells
                     for cells, pixels in zip(logits.shape[-2:], padded_size, strict=True))
    target = label_maps(truths, padded_size, config.num_classes, config.ignored_label)[:, rows[:, None], columns]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = F.cross_entropy(logits, target, ignore_index=config.ignored_label, reduction="sum") / target.numel()
    return {"loss_semantic": loss * config.loss_weight}


def label_maps(truths: list[Truth], size: tuple[int, int], num_classes: int, ignored: int) -> Tensor:
    """(N, height, width) int64 labels in the frame of a batch of that size; what lies beside an image is ignored.

    Raises:
        ValueError: a truth without a label map, or with a label that is neither below `num_classes` nor `ignored`.
    """
    found = []
    for index, truth in enumerate(truths):
        if truth.semantic is None:
            raise ValueError(f"detector: targets[{index}] must have the key 'semantic' when training")
        labels = truth.semantic.long()
        wrong = (labels != ignored) & ((labels < 0) | (labels >= num_classes))
        if wrong.any():
            raise ValueError(f"detector: targets[{index}]['semantic'] must hold labels from 0 to {num_classes - 1} or "
                             f"{ignored}, got {int(labels[wrong][0])}")
        height, width = labels.shape
        found.append(F.pad(labels, (0, size[1] - width, 0, size[0] - height), value=ignored))
    return torch.stack(found)


def _conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    _initialise(conv)
    return nn.Sequential(conv, nn.ReLU(inplace=True))


def _initialise(conv: nn.Conv2d) -> None:
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(conv.bias)
