"""A prepared model on 8-bit integers: layers on codes, and codes from layer to layer where no other part reads them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from roikit.models.bodies.resnet import ResNet
from roikit.models.necks.fpn import BackboneWithFPN
from roikit.models.parts.fused import FusedConv2d
from roikit.models.parts.int8 import Coding, Quantized, QuantizedConv2d, QuantizedLinear
from roikit.models.prepared.bodies import PreparedBlock, PreparedFPN
from roikit.models.prepared.dense import PreparedDenseHead
from roikit.models.prepared.heads import PreparedRPNHead
from roikit.models.ranges import InferenceRanges, coded_layers

__all__ = ["quantize"]


def quantize(model: nn.Module, ranges: InferenceRanges) -> None:
    """Have the layers of a float32 prepared model compute on 8-bit integers; those without ranges stay as they are."""
    made: dict[nn.Module, Quantized] = {}
    gave: dict[nn.Module, Coding] = {}
    for name, layer in coded_layers(model):
        if name in ranges.inputs:
            takes = Coding.of(*ranges.inputs[name])
            made[layer] = (QuantizedConv2d if isinstance(layer, FusedConv2d) else QuantizedLinear)(layer, takes)
            gave[made[layer]] = Coding.of(*ranges.results[name])
    _replace(model, made)
    _replace(model, {block: QuantizedBlock(block, gave) for block in model.modules()
                     if type(block) is PreparedBlock and _is_whole(block)})
    for part in list(model.modules()):
        _LINKS.get(type(part), lambda part: None)(part)


def _replace(model: nn.Module, made: dict[Any, Any]) -> None:
    for parent in list(model.modules()):
        for name, part in parent._modules.items():
            if part in made:
                parent._modules[name] = made[part]


def _linked(*layers: nn.Module | None) -> bool:
    return all(isinstance(layer, Quantized) and layer.links for layer in layers)


def _is_whole(block: PreparedBlock) -> bool:
    side = () if block.shortcut is None else (block.shortcut,)
    return _linked(*block.layers, *side) and all(layer.takes == block.layers[0].takes for layer in side)


class QuantizedBlock(PreparedBlock):
    """A residual block from codes, or float32, to codes, or float32 where `layers[-1].gives` is None."""

    def __init__(self, block: PreparedBlock, gave: dict[nn.Module, Coding]) -> None:
        super().__init__(list(block.layers), block.shortcut, block.residual)
        self._side = None if block.shortcut is None else gave[block.shortcut]
        _chain(self.layers)

    def give(self, coding: Coding) -> None:
        """Give the result as codes."""
        last = self.layers[-1]
        last.gives, last.adds = coding, self.layers[0].takes
        if self.shortcut is not None:
            self.shortcut.gives = last.adds = self._side

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers[0].coded(x)
        out = x
        for layer in self.layers[:-1]:
            out = layer(out)
        last = self.layers[-1]
        if not self.residual:
            return last(out)
        if self.shortcut is not None:
            return last(out, onto=self.shortcut(x))
        return last(out, onto=x if last.gives is not None else self.layers[0].takes.decode(x))


class CodedPool(nn.Module):
    """An `nn.MaxPool2d` of codes; the greatest code is that of the greatest number."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.rule = ([pool.kernel_size] * 2, [pool.stride] * 2, [pool.padding] * 2, [pool.dilation] * 2, pool.ceil_mode)

    def forward(self, x: Tensor) -> Tensor:
        # torch's own takes bytes for numbers of cells as well, and refuses maps of more than 255.
        return torch.ops.quantized.max_pool2d(x, *self.rule)


def _chain(layers: Any) -> None:
    """Codes from each layer to the next one."""
    layers = list(layers)
    for layer, following in zip(layers, layers[1:], strict=False):
        if _linked(layer, following):
            layer.gives = following.takes


def _head(head: PreparedRPNHead | PreparedDenseHead) -> None:
    _chain([*head.conv, head.predict])


def _backbone(backbone: BackboneWithFPN) -> None:
    body, pyramid = backbone.body, backbone.fpn
    if type(pyramid) is not PreparedFPN:
        return
    inner = list(pyramid.inner_blocks)
    if type(body) is ResNet:
        _body(body, inner if _linked(*inner) else None)
    if _linked(*inner, *pyramid.layer_blocks) and pyramid.upsample == "nearest":
        coarser = None
        for lateral, layer in zip(reversed(inner), reversed(pyramid.layer_blocks), strict=True):
            lateral.gives, lateral.adds = layer.takes, coarser
            coarser = layer.takes


def _body(body: ResNet, inner: list[Any] | None) -> None:
    """Codes from block to block, and to the pyramid's lateral convolutions, `inner`, if they take them."""
    blocks = [block for name in body.stages for block in getattr(body, name)]
    readers: list[list[Any]] = [[following.layers[0] if type(following) is QuantizedBlock else None]
                                for following in blocks[1:]] + [[]]
    last = -1
    for index, name in enumerate(body.stages):
        last += len(getattr(body, name))
        if index in body.maps:
            readers[last].append(None if inner is None else inner[body.maps.index(index)])
    for block, layers in zip(blocks, readers, strict=True):
        if type(block) is QuantizedBlock and _linked(*layers) and len({layer.takes for layer in layers}) == 1:
            block.give(layers[0].takes)
    first, pool = blocks[0], body.maxpool
    if (type(first) is QuantizedBlock and _linked(body.conv1) and type(pool) is nn.MaxPool2d
            and hasattr(torch.ops.quantized, "max_pool2d")):
        body.conv1.gives = first.layers[0].takes
        body._modules["maxpool"] = CodedPool(pool)


# How codes go from layer to layer in a part; elsewhere each layer takes and gives float32.
_LINKS: dict[type, Callable[[Any], None]] = {
    nn.Sequential: _chain, PreparedRPNHead: _head, PreparedDenseHead: _head, BackboneWithFPN: _backbone}
