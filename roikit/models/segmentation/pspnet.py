"""PSPNet's head: a map beside its means over grids of 1, 2, 3 and 6 cells on a side.

Source: Zhao et al. 2017, arXiv:1612.01105, section 3.2. Interpolation is bilinear between the cells' centres
(`align_corners=False`), where the authors' code aligns corners. The body is torchvision's ResNet, whose ImageNet
weights fit; the authors' has three 3x3 convolutions in place of the 7x7 one.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.parts.norm import BatchNorm2d, ConvBlock

__all__ = ["PSPHead", "PyramidPooling"]

MakeNorm = Callable[[int], nn.Module]


class PyramidPooling(nn.Module):
    """(N, C, H, W) -> (N, 2C, H, W) where the number of bins divides C: the map, and what its means tell of it.

    Args:
        channels: of the map.
        bins: cells on a side of each grid.
        make_norm: from a number of channels to a normalisation layer.
    """

    def __init__(self, channels: int, bins: Sequence[int], make_norm: MakeNorm) -> None:
        super().__init__()
        self.bins = tuple(bins)
        width = channels // len(self.bins)
        self.stages = nn.ModuleList(
            ConvBlock(nn.Conv2d(channels, width, 1, bias=False), make_norm(width), nn.ReLU(inplace=True))
            for _ in self.bins)
        self.out_channels = channels + width * len(self.bins)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for cells, stage in zip(self.bins, self.stages, strict=True):
            mean = stage(F.adaptive_avg_pool2d(x, cells))
            parts.append(F.interpolate(mean, size=x.shape[-2:], mode="bilinear", align_corners=False).to(x.dtype))
        return torch.cat(parts, 1)


class PSPHead(nn.Sequential):
    """Pyramid pooling, 3x3 convolution, norm, ReLU, dropout, 1x1 convolution; arguments as those of `FCNHead`.

    Args:
        bins: as in `PyramidPooling`.
    """

    def __init__(self, in_channels: int, num_classes: int, channels: int = 512, make_norm: MakeNorm = BatchNorm2d,
                 dropout: float = 0.1, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        pooling = PyramidPooling(in_channels, bins, make_norm)
        super().__init__(pooling, nn.Conv2d(pooling.out_channels, channels, 3, padding=1, bias=False),
                         make_norm(channels), nn.ReLU(inplace=True), nn.Dropout2d(dropout),
                         nn.Conv2d(channels, num_classes, 1))
