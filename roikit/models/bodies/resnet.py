"""ResNet and ResNeXt bodies: four stages with strides 4, 8, 16, 32.

Source: He et al. 2015, arXiv:1512.03385; Xie et al. 2016, arXiv:1611.05431. Parameters carry torchvision's names, so
that its classification weights fit.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from roikit.models.parts.norm import conv_norm

__all__ = ["RESNETS", "BasicBlock", "Bottleneck", "ResNet", "ResNetSpec"]

MakeNorm = Callable[[int], nn.Module]


@dataclass(frozen=True)
class ResNetSpec:
    """Depths of the four stages; `bottleneck` blocks have `groups` groups of `width` / 64.

    Their stride stands on the 3x3 convolution ("v1.5"), or on the first 1x1 one (`stride_in_1x1`).
    """

    depths: tuple[int, int, int, int]
    bottleneck: bool
    groups: int = 1
    width: int = 64
    stride_in_1x1: bool = False


RESNETS = {
    "resnet18": ResNetSpec((2, 2, 2, 2), bottleneck=False),
    "resnet34": ResNetSpec((3, 4, 6, 3), bottleneck=False),
    "resnet50": ResNetSpec((3, 4, 6, 3), bottleneck=True),
    "resnet101": ResNetSpec((3, 4, 23, 3), bottleneck=True),
    "resnext50_32x4d": ResNetSpec((3, 4, 6, 3), bottleneck=True, groups=32, width=4),
    "resnext101_32x4d": ResNetSpec((3, 4, 23, 3), bottleneck=True, groups=32, width=4),
    "resnext101_32x8d": ResNetSpec((3, 4, 23, 3), bottleneck=True, groups=32, width=8),
    "resnext101_64x4d": ResNetSpec((3, 4, 23, 3), bottleneck=True, groups=64, width=4),
    "resnet152": ResNetSpec((3, 8, 36, 3), bottleneck=True),
    "resnext152_32x8d": ResNetSpec((3, 8, 36, 3), bottleneck=True, groups=32, width=8),
}


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int, make_norm: MakeNorm) -> nn.Module | None:
    """What brings a block's input to the shape of its output; None where it has it already."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), make_norm(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34)."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, spec: ResNetSpec,
                 make_norm: MakeNorm) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, planes, 3, stride)
        self.bn1 = make_norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(planes, planes, 3)
        self.bn2 = make_norm(planes)
        self.downsample = _shortcut(inputs, planes, stride, make_norm)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(conv_norm(self.conv1, self.bn1, x))
        out = conv_norm(self.conv2, self.bn2, out)
        out += x if self.downsample is None else conv_norm(*self.downsample, x)
        return self.relu(out)


class Bottleneck(nn.Module):
    """1x1, 3x3 (grouped in a ResNeXt), 1x1 with four times the planes, and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, spec: ResNetSpec,
                 make_norm: MakeNorm) -> None:
        super().__init__()
        width = planes * spec.width // 64 * spec.groups
        outputs = planes * self.expansion
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = make_norm(width)
        self.conv2 = _conv(width, width, 3, stride, spec.groups)
        self.bn2 = make_norm(width)
        self.conv3 = _conv(width, outputs, 1)
        self.bn3 = make_norm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride, make_norm)

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(conv_norm(self.conv1, self.bn1, x))
        out = self.relu(conv_norm(self.conv2, self.bn2, out))
        out = conv_norm(self.conv3, self.bn3, out)
        out += x if self.downsample is None else conv_norm(*self.downsample, x)
        return self.relu(out)


class ResNet(nn.Module):
    """A ResNet without its classifier.

    Args:
        spec: an entry of `RESNETS`.
        make_norm: from a number of channels to a normalisation layer.

    `forward` takes (N, 3, H, W) and returns a dict "0" to "3" of (N, channels[i], ceil(H/s),
    ceil(W/s)) maps with strides s = 4, 8, 16, 32.
    """

    def __init__(self, spec: ResNetSpec, make_norm: MakeNorm) -> None:
        super().__init__()
        block = Bottleneck if spec.bottleneck else BasicBlock
        self.channels = tuple(planes * block.expansion for planes in (64, 128, 256, 512))
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = make_norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = 64
        for stage, depth in enumerate(spec.depths):
            planes = 64 << stage
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(inputs, planes, stride, spec, make_norm))
                inputs = planes * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def parts(self) -> list[list[nn.Module]]:
        """Stem and four stages, in order: the units of `trainable_layers`."""
        return [[self.conv1, self.bn1], [self.layer1], [self.layer2], [self.layer3], [self.layer4]]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.maxpool(self.relu(conv_norm(self.conv1, self.bn1, x)))
        features = {}
        for index, stage in enumerate((self.layer1, self.layer2, self.layer3, self.layer4)):
            x = stage(x)
            features[str(index)] = x
        return features
