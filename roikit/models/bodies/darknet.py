"""Darknet-53 body: a stem of stride 2 and four stages with strides 4, 8, 16, 32.

Source: Redmon and Farhadi 2018, arXiv:1804.02767, table 1. Leaky ReLU of slope 0.1, as in the authors' code.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from roikit.models.parts.norm import conv_norm

__all__ = ["LEAK", "Darknet53", "DarknetBlock", "DarknetConv"]

MakeNorm = Callable[[int], nn.Module]

# Slope of the activation below 0.
LEAK = 0.1
# Residual blocks and channels of the stages after the stem.
_DEPTHS = (2, 8, 8, 4)
_CHANNELS = (128, 256, 512, 1024)


class DarknetConv(nn.Module):
    """A convolution without bias, a norm and leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, make_norm: MakeNorm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.bn = make_norm(outputs)
        self.act = nn.LeakyReLU(LEAK, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(conv_norm(self.conv, self.bn, x))


class DarknetBlock(nn.Module):
    """1x1 to half the channels, 3x3 back, and the input added after the last activation."""

    def __init__(self, channels: int, make_norm: MakeNorm) -> None:
        super().__init__()
        self.conv1 = DarknetConv(channels, channels // 2, 1, 1, make_norm)
        self.conv2 = DarknetConv(channels // 2, channels, 3, 1, make_norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x)) + x


class Darknet53(nn.Module):
    """Darknet-53 without its classifier.

    Args:
        make_norm: from a number of channels to a normalisation layer.
        maps: which of the maps c2 to c5 are given, as indices 0 to 3; stages after the last of them are not built.

    `forward` takes (N, 3, H, W) and returns a dict of (N, C, ceil(H/s), ceil(W/s)) maps, "0" to "3" with s = 4, 8, 16,
    32; `channels` are those of the maps that are given.
    """

    def __init__(self, make_norm: MakeNorm, maps: Sequence[int] = (0, 1, 2, 3)) -> None:
        super().__init__()
        self.maps = tuple(maps)
        self.channels = tuple(_CHANNELS[stage] for stage in self.maps)
        self.stages = tuple(f"layer{stage + 1}" for stage in range(self.maps[-1] + 1))
        self.stem = nn.Sequential(DarknetConv(3, 32, 3, 1, make_norm), *_stage(32, 64, 1, make_norm))
        for stage, name in enumerate(self.stages):
            channels = _CHANNELS[stage]
            self.add_module(name, nn.Sequential(*_stage(channels // 2, channels, _DEPTHS[stage], make_norm)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, LEAK, "fan_out", "leaky_relu")

    @property
    def unbuilt(self) -> tuple[str, ...]:
        """How the names of a whole network's tensors begin that this one does without."""
        return tuple(f"layer{stage + 1}." for stage in range(len(self.stages), 4))

    def parts(self) -> list[list[nn.Module]]:
        """Stem and stages, in order: the units of `trainable_layers`."""
        return [[self.stem], *([getattr(self, name)] for name in self.stages)]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        features = {}
        for index, name in enumerate(self.stages):
            x = getattr(self, name)(x)
            if index in self.maps:
                features[str(index)] = x
        return features


def _stage(inputs: int, channels: int, blocks: int, make_norm: MakeNorm) -> list[nn.Module]:
    return [DarknetConv(inputs, channels, 3, 2, make_norm), *(DarknetBlock(channels, make_norm) for _ in range(blocks))]
