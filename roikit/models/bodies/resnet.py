"""ResNet and ResNeXt bodies: four stages with strides 4, 8, 16, 32.

Source: He et al. 2015, arXiv:1512.03385; Xie et al. 2016, arXiv:1611.05431. Parameters carry torchvision's names, so
that its classification weights fit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from roikit.models.parts.norm import conv_norm
from roikit.ops import DeformConv2d

__all__ = ["RESNETS", "BasicBlock", "Bottleneck", "ResNet", "ResNetSpec", "resnet_stage"]

MakeNorm = Callable[[int], nn.Module]
# (inputs, planes, stride, spec, make_norm, dilation) -> a residual block
MakeBlock = Callable[..., nn.Module]
# the number of a block in its stage -> what makes it; None for the spec's own
ChooseBlock = Callable[[int], MakeBlock | None]


@dataclass(frozen=True)
class ResNetSpec:
    """Depths of the four stages; `bottleneck` blocks have `groups` groups of `width` / 64.

    Their stride stands on the 3x3 convolution ("v1.5"), or on the first 1x1 one (`stride_in_1x1`). With `dilated_c5`
    the last stage has no stride, and all its 3x3 convolutions are dilated by 2, the first block's as well (as
    detectron2's; torchvision's `replace_stride_with_dilation` leaves that one undilated).

    No map has a stride above `output_stride`, 8, 16 or 32: a stage that would have one is dilated in place of its
    stride. A 3x3 convolution that would have that stride keeps the dilation of the stage before, as with torchvision's
    `replace_stride_with_dilation`, so that every cell sees what it saw: the maps are those of the undilated network,
    for more places.
    """

    depths: tuple[int, int, int, int]
    bottleneck: bool
    groups: int = 1
    width: int = 64
    stride_in_1x1: bool = False
    dilated_c5: bool = False
    output_stride: int = 32

    @property
    def expansion(self) -> int:
        """Channels of a stage's map over its planes (64, 128, 256, 512)."""
        return 4 if self.bottleneck else 1


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


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 * dilation, dilation, groups, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int, make_norm: MakeNorm) -> nn.Module | None:
    """What brings a block's input to the shape of its output; None where it has it already."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), make_norm(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and -34); `dilation` is the first one's, `second` the other's."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, spec: ResNetSpec, make_norm: MakeNorm,
                 dilation: int = 1, *, second: int = 1) -> None:
        super().__init__()
        if dilation > second:
            raise ValueError(f"BasicBlock: dilation must be 1, got {dilation}")
        self.conv1 = _conv(inputs, planes, 3, stride, dilation=dilation)
        self.bn1 = make_norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(planes, planes, 3, dilation=second)
        self.bn2 = make_norm(planes)
        self.downsample = _shortcut(inputs, planes, stride, make_norm)

    def forward(self, x: Tensor) -> Tensor:
        out = conv_norm(self.conv1, self.bn1, x, activation=self.relu)
        onto = x if self.downsample is None else conv_norm(*self.downsample, x)
        return conv_norm(self.conv2, self.bn2, out, onto, self.relu)


class Bottleneck(nn.Module):
    """1x1, 3x3 (grouped in a ResNeXt), 1x1 with four times the planes, and a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, spec: ResNetSpec, make_norm: MakeNorm,
                 dilation: int = 1) -> None:
        super().__init__()
        width = planes * spec.width // 64 * spec.groups
        outputs = planes * self.expansion
        first, second = (stride, 1) if spec.stride_in_1x1 else (1, stride)
        self.conv1 = _conv(inputs, width, 1, first)
        self.bn1 = make_norm(width)
        self.conv2 = _conv(width, width, 3, second, spec.groups, dilation)
        self.bn2 = make_norm(width)
        self.conv3 = _conv(width, outputs, 1)
        self.bn3 = make_norm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, outputs, stride, make_norm)

    def forward(self, x: Tensor) -> Tensor:
        out = conv_norm(self.conv1, self.bn1, x, activation=self.relu)
        out = conv_norm(self.conv2, self.bn2, out, activation=self.relu)
        onto = x if self.downsample is None else conv_norm(*self.downsample, x)
        return conv_norm(self.conv3, self.bn3, out, onto, self.relu)


def resnet_stage(spec: ResNetSpec, stage: int, make_norm: MakeNorm) -> nn.Sequential:
    """One stage by itself: the fourth one stands in the heads of the C4 systems.

    Args:
        spec: an entry of `RESNETS`.
        stage: 0 to 3, for the maps c2 to c5.
        make_norm: from a number of channels to a normalisation layer.
    """
    blocks = _stage(spec, stage, make_norm, None)
    _initialise(blocks)
    return blocks


def _stage(spec: ResNetSpec, stage: int, make_norm: MakeNorm, choose: ChooseBlock | None) -> nn.Sequential:
    planes = 64 << stage
    outputs = planes * spec.expansion
    stride, before, dilation = _steps(spec, stage)
    second = 1 if spec.dilated_c5 else dilation  # that form is the bottlenecks' alone
    own = Bottleneck if spec.bottleneck else partial(BasicBlock, second=second)
    makers = [(choose and choose(index)) or own for index in range(spec.depths[stage])]
    first = makers[0](64 if stage == 0 else outputs // 2, planes, stride, spec, make_norm, before)
    others = [make(outputs, planes, 1, spec, make_norm, dilation) for make in makers[1:]]
    return nn.Sequential(first, *others)


def _steps(spec: ResNetSpec, stage: int) -> tuple[int, int, int]:
    """The stride of a stage's first block, the dilation of that block, and of the others."""
    if spec.dilated_c5 and stage == 3:
        return 1, 2, 2
    before, dilation = (max(stride // spec.output_stride, 1) for stride in (2 << stage, 4 << stage))
    if spec.stride_in_1x1:  # the 3x3 convolution of that block is after the stride
        before = dilation
    return 1 if stage == 0 or dilation > 1 else 2, before, dilation


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        # By exact class: the convolutions of offsets start with zeros.
        if type(module) in (nn.Conv2d, DeformConv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class ResNet(nn.Module):
    """A ResNet without its classifier.

    Args:
        spec: an entry of `RESNETS`.
        make_norm: from a number of channels to a normalisation layer.
        maps: which of the maps c2 to c5 are given, as indices 0 to 3; stages after the last of them are not built.
        special: for a stage, 0 to 3, from a block's number in it to what makes it, where that is not the spec's own,
            or None; arguments as those of `Bottleneck`.

    `forward` takes (N, 3, H, W) and returns a dict of (N, C, ceil(H/s), ceil(W/s)) maps, "0" to "3" with strides s = 4,
    8, 16, 32 (16 for "3" with `dilated_c5`; at most `output_stride`); `channels` are those of the maps that are given.
    """

    def __init__(self, spec: ResNetSpec, make_norm: MakeNorm, maps: Sequence[int] = (0, 1, 2, 3),
                 special: Mapping[int, ChooseBlock] | None = None) -> None:
        super().__init__()
        self.maps = tuple(maps)
        self.channels = tuple((64 << stage) * spec.expansion for stage in self.maps)
        self.stages = tuple(f"layer{stage + 1}" for stage in range(self.maps[-1] + 1))
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = make_norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        for stage, name in enumerate(self.stages):
            self.add_module(name, _stage(spec, stage, make_norm, (special or {}).get(stage)))
        _initialise(self)

    @property
    def unbuilt(self) -> tuple[str, ...]:
        """How the names of a whole network's tensors begin that this one does without."""
        return tuple(f"layer{stage + 1}." for stage in range(len(self.stages), 4))

    def parts(self) -> list[list[nn.Module]]:
        """Stem and stages, in order: the units of `trainable_layers`."""
        return [[self.conv1, self.bn1], *([getattr(self, name)] for name in self.stages)]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.maxpool(conv_norm(self.conv1, self.bn1, x, activation=self.relu))
        features = {}
        for index, name in enumerate(self.stages):
            x = getattr(self, name)(x)
            if index in self.maps:
                features[str(index)] = x
        return features
