"""Bodies and the pyramid, prepared: fused convolutions, residuals added in place, maps channels-last."""

import copy

import torch
from torch import Tensor, nn

from roikit.models.bodies.darknet import LEAK, Darknet53, DarknetBlock, DarknetConv
from roikit.models.bodies.efficientnet import EfficientNetLite0, InvertedResidual
from roikit.models.bodies.resnet import BasicBlock, Bottleneck, ResNet
from roikit.models.bodies.vgg import VGG16
from roikit.models.necks.fpn import FeaturePyramidNetwork, enlarged, with_extra_levels
from roikit.models.parts.fused import FusedConv2d, fuse
from roikit.models.prepared.parts import InFloat32, conv_block, taken, twin

__all__ = ["PreparedBlock", "PreparedDarknetBlock", "PreparedFPN", "darknet", "efficientnet", "residual_block",
           "resnet", "vgg"]


class PreparedBlock(nn.Module):
    """A residual block of fused convolutions; the last one adds its result to the shortcut in place.

    Args:
        layers: fused convolutions, in order.
        shortcut: of the input; None where it is the input itself, which the block then overwrites.
        residual: whether there is a shortcut at all.
    """

    def __init__(self, layers: list[nn.Module], shortcut: nn.Module | None, residual: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.shortcut = shortcut
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for layer in self.layers[:-1]:
            out = layer(out)
        if not self.residual:
            return self.layers[-1](out)
        return self.layers[-1](out, onto=x if self.shortcut is None else self.shortcut(x))


def residual_block(block: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A block of a ResNet, by its exact class; others, deformable ones say, or with other activations stay as they are.
    """
    if type(block) not in (BasicBlock, Bottleneck) or type(block.relu) is not nn.ReLU:
        return InFloat32(block)
    pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    if isinstance(block, Bottleneck):
        pairs.append((block.conv3, block.bn3))
    shortcut = None if block.downsample is None else conv_block(block.downsample, dtype)
    return PreparedBlock([fuse(conv, norm, "relu", dtype) for conv, norm in pairs], shortcut)


def resnet(body: ResNet, dtype: torch.dtype) -> ResNet:
    # A block without a layer in its shortcut overwrites its input. That is never a map that the body returns: after
    # one of those follows a block with a stride.
    stages = {name: nn.Sequential(*(residual_block(block, dtype) for block in getattr(body, name)))
              for name in body.stages}
    activation, rest = taken(body.relu, nn.ReLU, "relu")
    return twin(body, conv1=fuse(body.conv1, body.bn1, activation, dtype), bn1=nn.Identity(), relu=rest,
                maxpool=copy.deepcopy(body.maxpool), **stages)


class PreparedDarknetBlock(nn.Module):
    """A `DarknetBlock` of fused convolutions, whose activation comes before the addition of the input."""

    def __init__(self, block: DarknetBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv1, self.conv2 = _leaky(block.conv1, dtype), _leaky(block.conv2, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x)).add_(x)


def _leaky(block: DarknetConv, dtype: torch.dtype) -> nn.Module:
    if type(block.act) is not nn.LeakyReLU or block.act.negative_slope != LEAK:
        return InFloat32(block)
    return fuse(block.conv, block.bn, "leaky", dtype)


def darknet(body: Darknet53, dtype: torch.dtype) -> Darknet53:
    def prepared(stage: nn.Sequential) -> nn.Sequential:
        return nn.Sequential(*(PreparedDarknetBlock(block, dtype) if type(block) is DarknetBlock else
                               _leaky(block, dtype) for block in stage))

    return twin(body, stem=prepared(body.stem), **{name: prepared(getattr(body, name)) for name in body.stages})


def efficientnet(body: EfficientNetLite0, dtype: torch.dtype) -> EfficientNetLite0:
    activation, rest = taken(body.act, nn.ReLU6, "relu6")
    return twin(body, stem_conv=fuse(body.stem_conv, body.stem_norm, activation, dtype), stem_norm=nn.Identity(),
                act=rest, blocks=nn.ModuleList(inverted(block, dtype) for block in body.blocks))


def inverted(block: InvertedResidual, dtype: torch.dtype) -> nn.Module:
    if type(block) is not InvertedResidual or type(block.act) is not nn.ReLU6:
        return InFloat32(block)
    # As in a ResNet, what follows a returned map has a stride and thus no skip that would overwrite it.
    layers = [] if block.expand_conv is None else [fuse(block.expand_conv, block.expand_norm, "relu6", dtype)]
    layers += [fuse(block.depthwise_conv, block.depthwise_norm, "relu6", dtype),
               fuse(block.project_conv, block.project_norm, "none", dtype)]
    return PreparedBlock(layers, None, block.has_skip)


def vgg(body: VGG16, dtype: torch.dtype) -> VGG16:
    # Every layer keeps its place, because a map is known by the number of its last one.
    layers: list[nn.Module] = []
    features = list(body.features)
    for before, layer, after in zip([None, *features], features, [*features[1:], None], strict=False):
        if isinstance(layer, nn.Conv2d):
            layers.append(fuse(layer, None, "relu" if type(after) is nn.ReLU else "none", dtype))
        else:
            done = isinstance(before, nn.Conv2d) and type(layer) is nn.ReLU
            layers.append(nn.Identity() if done else copy.deepcopy(layer))
    return twin(body, features=nn.Sequential(*layers))


class PreparedFPN(nn.Module):
    """A `FeaturePyramidNetwork` whose lateral convolutions add to the enlarged coarser level in place."""

    def __init__(self, fpn: FeaturePyramidNetwork, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(conv_block(block, dtype) for block in fpn.inner_blocks)
        self.layer_blocks = nn.ModuleList(_with_relu(block, dtype) if fpn.relu else conv_block(block, dtype)
                                          for block in fpn.layer_blocks)
        for inner, layer in zip(self.inner_blocks, self.layer_blocks, strict=True):
            if isinstance(inner, FusedConv2d):
                inner.followed_by(layer)
        self.extra, self.upsample = fpn.extra, fpn.upsample
        if fpn.extra == "conv":
            self.extra_blocks = nn.ModuleList(conv_block(block, dtype) for block in fpn.extra_blocks)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        names = list(features)
        outputs: dict[str, Tensor] = {}
        coarser = None
        for name, inner, layer in zip(reversed(names), reversed(self.inner_blocks),
                                      reversed(self.layer_blocks), strict=True):
            own = features[name]
            onto = None if coarser is None else enlarged(coarser, own.shape[-2:], self.upsample)
            coarser = inner(own, onto=onto)
            outputs[name] = layer(coarser)
        return with_extra_levels({name: outputs[name] for name in names}, self)


def _with_relu(block: nn.Sequential, dtype: torch.dtype) -> nn.Module:
    return conv_block(nn.Sequential(*block, nn.ReLU()), dtype)
