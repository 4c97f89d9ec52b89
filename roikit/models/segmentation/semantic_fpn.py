"""The semantic head of a pyramid: every level brought to the finest one's stride, added up, and scored.

    stride 4  --> 3x3 ----------------------------------.
    stride 8  --> 3x3, x2 ------------------------------+--> 1x1 --> class logits of stride 4
    stride 16 --> 3x3, x2, 3x3, x2 ---------------------|
    stride 32 --> 3x3, x2, 3x3, x2, 3x3, x2 ------------'

It is a segmenter's head, and stands beside the branches of a detector on the same pyramid.

Source: Kirillov et al. 2019, arXiv:1901.02446, section 3.1.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.parts.norm import ConvBlock

__all__ = ["SemanticFPNHead"]

MakeNorm = Callable[[int], nn.Module]


class SemanticFPNHead(nn.Module):
    """Class logits of the finest level's size, from all levels.

    Args:
        in_channels: of every level.
        num_classes: channels of the result.
        levels: how many there are; each has half the size of the one before, rounded in any way.
        channels: width of the convolutions.
        make_norm: from a number of channels to a normalisation layer after each convolution; None for a bias.
        fusion: "sum" or "concat" of the levels.
        dropout: part of the values left out before the last convolution.

    `levels.I.K.0` is the K-th convolution of level I, `levels.I.K.1` its norm, `predictor` the last one.
    """

    takes_maps = True

    def __init__(self, in_channels: int, num_classes: int, levels: int = 4, channels: int = 128,
                 make_norm: MakeNorm | None = None, fusion: str = "sum", dropout: float = 0.0) -> None:
        super().__init__()
        self.fusion = fusion
        self.levels = nn.ModuleList(
            nn.Sequential(*(_block(in_channels if k == 0 else channels, channels, make_norm)
                            for k in range(max(level, 1)))) for level in range(levels))
        self.drop = nn.Dropout2d(dropout)
        self.predictor = nn.Conv2d(channels * (1 if fusion == "sum" else levels), num_classes, 1)
        nn.init.normal_(self.predictor.weight, std=0.01)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, in_channels, H_l, W_l) levels, finest first -> (N, num_classes, H_0, W_0)."""
        sizes = [level.shape[-2:] for level in maps]
        found = []
        for index, (x, blocks) in enumerate(zip(maps, self.levels, strict=True)):
            for step, block in enumerate(blocks, start=1):
                x = block(x)
                if index:
                    x = F.interpolate(x, size=sizes[index - step], mode="bilinear", align_corners=False)
            found.append(x)
        if self.fusion == "concat":
            return self.predictor(self.drop(torch.cat(found, 1)))
        total = found[0]
        for x in found[1:]:
            total = total + x
        return self.predictor(self.drop(total))


def _block(inputs: int, outputs: int, make_norm: MakeNorm | None) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=make_norm is None)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if make_norm is None:
        nn.init.zeros_(conv.bias)
        return ConvBlock(conv, nn.ReLU(inplace=True))
    return ConvBlock(conv, make_norm(outputs), nn.ReLU(inplace=True))
