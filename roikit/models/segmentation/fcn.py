"""Fully convolutional networks: the head of torchvision's FCN, and the network of 2015 with its skips.

Source: Long, Shelhamer and Darrell 2015, arXiv:1411.4038; the second one's layers, offsets and fixed deconvolutions are
those of the authors' published networks (voc-fcn32s, voc-fcn16s, voc-fcn8s).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.parts.norm import BatchNorm2d
from roikit.models.segmentation.segmenter import Segmenter

__all__ = ["FCNHead", "FCNSkipHead", "FCNSkips", "bilinear_filter"]

MakeNorm = Callable[[int], nn.Module]


class FCNHead(nn.Sequential):
    """3x3 convolution, norm, ReLU, dropout, 1x1 convolution: (N, in_channels, H, W) -> (N, num_classes, H, W).

    Its layers have torchvision's numbers, "0" to "4".

    Args:
        in_channels: of the map.
        num_classes: channels of the result.
        channels: width in between; None for a quarter of `in_channels`.
        make_norm: from a number of channels to a normalisation layer.
        dropout: part of the values left out.
    """

    def __init__(self, in_channels: int, num_classes: int, channels: int | None = None,
                 make_norm: MakeNorm = BatchNorm2d, dropout: float = 0.1) -> None:
        channels = in_channels // 4 if channels is None else channels
        super().__init__(nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), make_norm(channels),
                         nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Conv2d(channels, num_classes, 1))


def bilinear_filter(kernel: int) -> Tensor:
    """(kernel, kernel) weights with which a transposed convolution of stride kernel / 2 interpolates bilinearly."""
    factor = kernel // 2
    centre = factor - 0.5
    line = 1 - (torch.arange(kernel) - centre).abs() / factor
    return line[:, None] * line


class FCNSkipHead(nn.Module):
    """From VGG-16's maps to logits of every pixel.

    pool5 --> fc6 --> fc7 --> score_fr --> x2 --+-- x2 --+-- x8 --> cropped
    pool4 ------------------> score_pool4 ------'        |
    pool3 ------------------> score_pool3 ---------------'

    Args:
        in_channels: of pool3, pool4 and pool5.
        num_classes: channels of the result.
        stride: 32, 16 or 8: of the finest map that is looked at.
        channels: of fc6 and fc7.
        dropout: after each of the two.
        border: zeros that the images have on each side: 0, or 99 with fc6 unpadded.

    The scoring layers start with zeros, the transposed convolutions bilinear; the last of them stays so, for it is not
    trained.
    """

    takes_maps = True

    def __init__(self, in_channels: tuple[int, int, int], num_classes: int, stride: int = 8, channels: int = 4096,
                 dropout: float = 0.5, border: int = 99) -> None:
        super().__init__()
        pool3, pool4, pool5 = in_channels
        self.stride, self.border = stride, border
        self.fc6 = nn.Conv2d(pool5, channels, 7, padding=0 if border else 3)
        self.fc7 = nn.Conv2d(channels, channels, 1)
        self.drop = nn.Dropout2d(dropout)
        self.score_fr = _scores(channels, num_classes)
        if stride <= 16:
            self.score_pool4 = _scores(pool4, num_classes)
            self.upscore2 = _upscore(num_classes, 4)
        if stride == 8:
            self.score_pool3 = _scores(pool3, num_classes)
            self.upscore_pool4 = _upscore(num_classes, 4)
        self.add_module(f"upscore{stride}", _upscore(num_classes, 2 * stride).requires_grad_(False))
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> Tensor:
        """
        Args:
            maps: c2 to c5 of a `VGG16`, of images with the border.
            size: (height, width) of the images without it.

        Returns:
            (N, num_classes, height, width).
        """
        c2, c3, _, pool5 = maps
        # The body gives its maps before their poolings.
        x = self.drop(F.relu(self.fc6(pool5)))
        x = self.score_fr(self.drop(F.relu(self.fc7(x))))
        # Cell i of x begins at cell i * step - shift of a finer map, after doubling: see `_added`.
        shift = 5 if self.border else -1
        if self.stride <= 16:
            x = _added(self.upscore2(x), self.score_pool4(_pooled(c3)), shift)
            shift = 2 * max(shift, 0) - 1
        if self.stride == 8:
            x = _added(self.upscore_pool4(x), self.score_pool3(_pooled(c2)), shift)
        offset = {32: 19, 16: 27, 8: 31}[self.stride] if self.border else self.stride // 2
        x = getattr(self, f"upscore{self.stride}")(x)
        return x[..., offset:offset + size[0], offset:offset + size[1]]


def _added(coarse: Tensor, fine: Tensor, shift: int) -> Tensor:
    """`coarse`, whose cell j lies on cell j + shift of `fine`, and what of `fine` lies there."""
    coarse, fine = coarse[..., max(-shift, 0):, max(-shift, 0):], fine[..., max(shift, 0):, max(shift, 0):]
    height, width = (min(coarse.shape[axis], fine.shape[axis]) for axis in (-2, -1))
    return coarse[..., :height, :width] + fine[..., :height, :width]


def _pooled(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, 2, ceil_mode=True)


def _scores(channels: int, num_classes: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


def _upscore(num_classes: int, kernel: int) -> nn.ConvTranspose2d:
    """A bilinear transposed convolution, each class from itself."""
    conv = nn.ConvTranspose2d(num_classes, num_classes, kernel, kernel // 2, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[range(num_classes), range(num_classes)] = bilinear_filter(kernel)
    return conv


class FCNSkips(Segmenter):
    """A `Segmenter` whose classifier is an `FCNSkipHead`: images get its border, and the head gives every pixel."""

    def through_heads(self, x: Tensor, auxiliary: bool) -> dict[str, Tensor]:
        border = self.classifier.border
        maps = self.backbone(F.pad(x, (border, border, border, border)))
        return {"out": self.classifier(list(maps.values()), (x.shape[-2], x.shape[-1]))}
