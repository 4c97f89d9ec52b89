"""A residual block whose 3x3 convolution looks where it finds it worth looking.

Sources: Dai et al. 2017, arXiv:1703.06211 (version 1, offsets); Zhu et al. 2019, arXiv:1811.11168 (version 2, a weight
for each sample as well). Names in the state dict are detectron2's: `conv2_offset` beside `conv2`.
"""

from torch import Tensor, nn

from roikit.models.bodies.resnet import Bottleneck, MakeNorm, ResNetSpec
from roikit.models.parts.norm import conv_norm
from roikit.ops import DeformConv2d

__all__ = ["DeformableBottleneck", "OffsetConv2d"]

_TAPS = 9


class OffsetConv2d(nn.Conv2d):
    """A convolution that starts with zeros, so that a deformable one starts as a plain one (v2: half of it)."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


class DeformableBottleneck(Bottleneck):
    """A `Bottleneck` with a deformable 3x3 convolution.

    Args:
        inputs, planes, stride, spec, make_norm, dilation: as those of `Bottleneck`.
        version: 1, or 2 with a weight between 0 and 1 for each sample (modulated).
        groups: groups of channels with offsets of their own; they divide the width of the 3x3 convolution.

    `conv2_offset` gives 18 * groups channels, y then x of each tap, and in version 2 the logits of 9 * groups weights
    after them.
    """

    def __init__(self, inputs: int, planes: int, stride: int, spec: ResNetSpec, make_norm: MakeNorm, dilation: int = 1,
                 *, version: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, planes, stride, spec, make_norm, dilation)
        width = self.conv2.in_channels
        if width % groups:
            raise ValueError(f"DeformableBottleneck: groups must divide the {width} channels of the 3x3 convolution, "
                             f"got {groups}")
        self.version = version
        self.offsets = 2 * _TAPS * groups
        plain = self.conv2
        self.conv2_offset = OffsetConv2d(width, self.offsets // 2 * (1 + version), 3, plain.stride, plain.padding,
                                         plain.dilation)
        self.conv2 = DeformConv2d(width, width, 3, plain.stride, plain.padding, plain.dilation, plain.groups,
                                  bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = conv_norm(self.conv1, self.bn1, x, activation=self.relu)
        out = self.relu(self.bn2(self._deformed(out)))
        onto = x if self.downsample is None else conv_norm(*self.downsample, x)
        return conv_norm(self.conv3, self.bn3, out, onto, self.relu)

    def _deformed(self, x: Tensor) -> Tensor:
        found = self.conv2_offset(x)
        if self.version == 1:
            return self.conv2(x, found)
        return self.conv2(x, found[:, :self.offsets], found[:, self.offsets:].sigmoid())
