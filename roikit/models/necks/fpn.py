"""Feature pyramid network on top of a body.

Source: Lin et al. 2017, arXiv:1612.03144: a lateral 1x1 convolution on each stage, the coarser
level doubled by nearest neighbour and added, a 3x3 convolution on each sum; the fifth level takes
every second cell of the fourth. Dense detectors have P6 and P7 by convolutions of stride 2 in its place (Lin et al.
2017, arXiv:1708.02002).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.necks.formats import WithFormats
from roikit.models.parts.norm import ConvBlock

__all__ = ["BackboneWithFPN", "FeaturePyramidNetwork", "enlarged", "with_extra_levels"]

MakeNorm = Callable[[int], nn.Module]
# The levels that convolutions make of the last one.
_EXTRA = ("p6", "p7")


def _conv_norm(inputs: int, outputs: int, kernel: int, make_norm: MakeNorm | None, stride: int = 1) -> ConvBlock:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=make_norm is None)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if make_norm is None:
        nn.init.zeros_(conv.bias)
        return ConvBlock(conv)
    return ConvBlock(conv, make_norm(outputs))


class FeaturePyramidNetwork(nn.Module):
    """Maps of one width from maps of several.

    Args:
        in_channels: channels of the input maps, finest first.
        out_channels: channels of every output map.
        make_norm: a normalisation after each convolution instead of a bias, or None.
        extra: "pool", one more level of every second cell, or "conv", two more by 3x3 convolutions of stride 2.
        upsample: "nearest" or "bilinear".
        relu: whether a ReLU follows the 3x3 convolution of each of the given levels.

    `forward` takes a dict of maps, finest first, and returns one with the same keys and "pool", or "p6" and "p7".
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int,
                 make_norm: MakeNorm | None = None, *, extra: str = "pool", upsample: str = "nearest",
                 relu: bool = False) -> None:
        super().__init__()
        self.extra, self.upsample, self.relu = extra, upsample, relu
        self.inner_blocks = nn.ModuleList(
            _conv_norm(channels, out_channels, 1, make_norm) for channels in in_channels)
        self.layer_blocks = nn.ModuleList(
            _conv_norm(out_channels, out_channels, 3, make_norm) for _ in in_channels)
        if extra == "conv":
            self.extra_blocks = nn.ModuleList(
                _conv_norm(out_channels, out_channels, 3, make_norm, stride=2) for _ in _EXTRA)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        names = list(features)
        outputs: dict[str, Tensor] = {}
        coarser = None
        for name, inner, layer in zip(reversed(names), reversed(self.inner_blocks),
                                      reversed(self.layer_blocks), strict=True):
            own = features[name]
            if coarser is None:
                level = inner(own)
            else:
                level = inner.added(own, enlarged(coarser, own.shape[-2:], self.upsample))
            outputs[name] = F.relu(layer(level)) if self.relu else layer(level)
            coarser = level
        return with_extra_levels({name: outputs[name] for name in names}, self)


def enlarged(level: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """A level at the size (H, W) of a finer one."""
    return F.interpolate(level, size=size, mode=mode, align_corners=None if mode == "nearest" else False)


def with_extra_levels(pyramid: dict[str, Tensor], fpn: nn.Module) -> dict[str, Tensor]:
    """The levels and what follows the last of them, by the `extra` of a pyramid and its `extra_blocks`."""
    level = pyramid[next(reversed(pyramid))]
    if fpn.extra == "pool":
        return pyramid | {"pool": F.max_pool2d(level, kernel_size=1, stride=2)}
    for name, block in zip(_EXTRA, fpn.extra_blocks, strict=True):
        pyramid[name] = level = block(level)
    return pyramid


class BackboneWithFPN(WithFormats):
    """A body and the pyramid on top of it.

    Args:
        body: (N, C, H, W) -> dict of maps, finest first.
        fpn: that dict -> dict of levels.
        out_channels: width of every level.
        body_format, fpn_format: the memory format in which each takes and gives its maps in training on a CPU.
            Otherwise maps stay as they come: what is detected has the bits of contiguous maps, and
            `prepare_for_inference` is there for speed.
    """

    formats = ("body_format", "fpn_format")

    def __init__(self, body: nn.Module, fpn: nn.Module, out_channels: int,
                 body_format: torch.memory_format = torch.contiguous_format,
                 fpn_format: torch.memory_format = torch.contiguous_format) -> None:
        super().__init__()
        self.body = body
        self.fpn = fpn
        self.out_channels = out_channels
        self.body_format = body_format
        self.fpn_format = fpn_format

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        if x.device.type != "cpu" or not (self.training and torch.is_grad_enabled()):
            return self.fpn(self.body(x))
        maps = self.body(x.contiguous(memory_format=self.body_format))
        return self.fpn({name: level.contiguous(memory_format=self.fpn_format) for name, level in maps.items()})
