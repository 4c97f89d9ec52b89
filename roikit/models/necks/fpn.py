"""Feature pyramid network on top of a body.

Source: Lin et al. 2017, arXiv:1612.03144: a lateral 1x1 convolution on each stage, the coarser
level doubled by nearest neighbour and added, a 3x3 convolution on each sum; the fifth level takes
every second cell of the fourth.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.necks.formats import WithFormats

__all__ = ["BackboneWithFPN", "FeaturePyramidNetwork"]

MakeNorm = Callable[[int], nn.Module]


def _conv_norm(inputs: int, outputs: int, kernel: int, make_norm: MakeNorm | None) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=make_norm is None)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if make_norm is None:
        nn.init.zeros_(conv.bias)
        return nn.Sequential(conv)
    return nn.Sequential(conv, make_norm(outputs))


class FeaturePyramidNetwork(nn.Module):
    """Maps of one width from maps of several.

    Args:
        in_channels: channels of the input maps, finest first.
        out_channels: channels of every output map.
        make_norm: a normalisation after each convolution instead of a bias, or None.

    `forward` takes a dict of maps, finest first, and returns one with the same keys and "pool".
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int,
                 make_norm: MakeNorm | None = None) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(
            _conv_norm(channels, out_channels, 1, make_norm) for channels in in_channels)
        self.layer_blocks = nn.ModuleList(
            _conv_norm(out_channels, out_channels, 3, make_norm) for _ in in_channels)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        names = list(features)
        outputs: dict[str, Tensor] = {}
        coarser = None
        for name, inner, layer in zip(reversed(names), reversed(self.inner_blocks),
                                      reversed(self.layer_blocks), strict=True):
            level = inner(features[name])
            if coarser is not None:
                level += F.interpolate(coarser, size=level.shape[-2:], mode="nearest")
            outputs[name] = layer(level)
            coarser = level
        pyramid = {name: outputs[name] for name in names}
        pyramid["pool"] = F.max_pool2d(pyramid[names[-1]], kernel_size=1, stride=2)
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
