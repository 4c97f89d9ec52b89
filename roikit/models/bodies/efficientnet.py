"""EfficientNet-Lite0 body: four pyramid stages with strides 4, 8, 16, 32.

Source: Tan and Le 2019, arXiv:1905.11946, and the TensorFlow model garden's "lite" variant, which
has no squeeze-and-excitation and ReLU6 for swish. Padding is TensorFlow's SAME, which the
published weights were trained with: at stride 2 an even side gets its extra zero at the bottom or
the right.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from roikit.models.parts.conv import SameConv2d
from roikit.models.parts.norm import conv_norm

__all__ = ["EfficientNetLite0", "InvertedResidual"]

MakeNorm = Callable[[int], nn.Module]

# repeats, kernel, stride, expansion, input channels, output channels
_GROUPS = ((1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80),
           (3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320))
# The last block of each pyramid stage: what has stride 4, 8, 16 and 32.
_STAGE_ENDS = (2, 4, 10, 15)
_CHANNELS = (24, 40, 112, 320)


class InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, project by 1x1; the input is added where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int,
                 make_norm: MakeNorm) -> None:
        super().__init__()
        width = inputs * expansion
        self.has_skip = stride == 1 and inputs == outputs
        self.act = nn.ReLU6(inplace=True)
        self.expand_conv = SameConv2d(inputs, width, 1) if expansion > 1 else None
        self.expand_norm = make_norm(width) if expansion > 1 else None
        self.depthwise_conv = SameConv2d(width, width, kernel, stride, groups=width)
        self.depthwise_norm = make_norm(width)
        self.project_conv = SameConv2d(width, outputs, 1)
        self.project_norm = make_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        if self.expand_conv is not None:
            out = self.act(conv_norm(self.expand_conv, self.expand_norm, out))
        out = self.act(conv_norm(self.depthwise_conv, self.depthwise_norm, out))
        out = conv_norm(self.project_conv, self.project_norm, out)
        return out + x if self.has_skip else out


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its classifier.

    Args:
        make_norm: from a number of channels to a normalisation layer; eps 1e-3 for the published
            weights.
        maps: which of the maps c2 to c5 are given, as indices 0 to 3; blocks after the last of them are not built.

    `forward` takes (N, 3, H, W), normalised as (x - 127) / 128 of 0..255 for those weights, and
    returns a dict of (N, C, ceil(H/s), ceil(W/s)) maps, "0" to "3" with s = 4, 8, 16, 32; `channels` are those of the
    maps that are given.
    """

    def __init__(self, make_norm: MakeNorm, maps: Sequence[int] = (0, 1, 2, 3)) -> None:
        super().__init__()
        self.maps = tuple(maps)
        self.channels = tuple(_CHANNELS[stage] for stage in self.maps)
        self.stem_conv = SameConv2d(3, 32, 3, 2)
        self.stem_norm = make_norm(32)
        self.act = nn.ReLU6(inplace=True)
        self.blocks = nn.ModuleList()
        for repeats, kernel, stride, expansion, inputs, outputs in _GROUPS:
            for index in range(repeats):
                if len(self.blocks) > _STAGE_ENDS[self.maps[-1]]:
                    continue
                first = index == 0
                self.blocks.append(InvertedResidual(
                    inputs if first else outputs, outputs, kernel, stride if first else 1,
                    expansion, make_norm))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def unbuilt(self) -> tuple[str, ...]:
        """How the names of a whole network's tensors begin that this one does without."""
        return tuple(f"blocks.{index}." for index in range(len(self.blocks), _STAGE_ENDS[-1] + 1))

    def parts(self) -> list[list[nn.Module]]:
        """Stem and stages, in order: the units of `trainable_layers`."""
        starts = (0, *(end + 1 for end in _STAGE_ENDS[:self.maps[-1] + 1]))
        stages = [list(self.blocks[a:b]) for a, b in zip(starts, starts[1:], strict=False)]
        return [[self.stem_conv, self.stem_norm], *stages]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.act(conv_norm(self.stem_conv, self.stem_norm, x))
        features = {}
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _STAGE_ENDS and _STAGE_ENDS.index(index) in self.maps:
                features[str(_STAGE_ENDS.index(index))] = x
        return features
