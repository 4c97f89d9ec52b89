"""A detector rearranged for inference on a CPU: the same detections in less time.

What is done: a norm with fixed statistics goes into the weights of its convolution; weights lie in oneDNN's own order,
made once; ReLU and the addition of a residual happen while a convolution writes its result, the addition in place;
maps stay channels-last from the first convolution to the last. Sums are taken in another order than by the model
itself, hence differences of float32's last digits.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roikit.models.bodies.efficientnet import EfficientNetLite0, InvertedResidual
from roikit.models.bodies.resnet import BasicBlock, Bottleneck, ResNet
from roikit.models.detectors.two_stage import FasterRCNN
from roikit.models.necks.fpn import BackboneWithFPN, FeaturePyramidNetwork
from roikit.models.parts.fused import FusedConv2d, fuse, require_bf16
from roikit.models.parts.linear import linear
from roikit.models.proposals.rpn import RegionProposalNetwork, RPNHead
from roikit.models.roi.box import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from roikit.models.roi.heads import RoIHeads
from roikit.models.roi.keypoint import KeypointRCNNHeads, KeypointRCNNPredictor, doubled
from roikit.models.roi.mask import MaskRCNNHeads, MaskRCNNPredictor
from roikit.models.roi.pooling import PyramidRoIAlign, PyramidRoIPool

__all__ = ["prepare_for_inference"]

# Values of a hidden map of the mask predictor that are made at a time: 16 MiB, which the C library's allocator keeps
# for the next part, where a larger block would be given back and its pages faulted in again.
_MASK_VALUES = 4 << 20

# Whose result has the size that they tell.
_POOLERS = (PyramidRoIAlign, PyramidRoIPool)


def prepare_for_inference(model: FasterRCNN, precision: str = "float32") -> FasterRCNN:
    """A copy of a detector that gives its detections in less time on a CPU.

    Args:
        model: a float32 detector on the CPU. It is left as it is, and may be trained on.
        precision: "float32", or "bf16": weights and maps of the network in bfloat16; boxes, scores and the last layer
            of the box head in float32. Needs a CPU for which oneDNN has bfloat16 (on x86 one with AVX-512), and pays
            on one that multiplies it in hardware.

    Returns:
        A model of the same class with the same `config`, in evaluation mode, called in the same way. It has the weights
        as they were at this call, no gradients and no state to load or save; asked to train, it raises RuntimeError.
        Parts that are not of `roikit.models` are copied as they are, and run in float32.

    Raises:
        TypeError: `model` is no detector, has weights other than float32, or `precision` is "bf16" and a part is not of
        `roikit.models`.
        ValueError: `precision` is unknown, or `model` is not on the CPU.
        BackendError: `precision` is "bf16" and this processor, or what ONEDNN_MAX_CPU_ISA leaves of it, has too little
        for oneDNN's bfloat16. A prepared model that is unpickled on such a processor raises it as well.
    """
    if precision not in ("float32", "bf16"):
        raise ValueError(f"prepare_for_inference: precision must be one of float32, bf16, got {precision!r}")
    if not isinstance(model, FasterRCNN):
        raise TypeError(f"prepare_for_inference: model must be a FasterRCNN or MaskRCNN, got {type(model).__name__}")
    for name, weight in model.named_parameters():
        if weight.device.type != "cpu":
            raise ValueError(f"prepare_for_inference: model must be on the CPU, got {name} on {weight.device}")
        if weight.dtype != torch.float32:
            raise TypeError(f"prepare_for_inference: model must be float32, got {name} of {weight.dtype}")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    if precision == "bf16":
        require_bf16("prepare_for_inference")
    with torch.no_grad():
        prepared = _prepare(model, dtype)
    for module in prepared.modules():
        module.training = False
    return prepared


def _prepare(module: Any, dtype: torch.dtype) -> Any:
    """The prepared counterpart of a part, by its exact class: a subclass may compute something else."""
    if isinstance(module, FasterRCNN):
        return _twin(module, transform=copy.deepcopy(module.transform), backbone=_prepare(module.backbone, dtype),
                     rpn=_prepare(module.rpn, dtype), roi_heads=_prepare(module.roi_heads, dtype))
    kind = type(module)
    if kind is BackboneWithFPN:
        return _twin(module, body=_prepare(module.body, dtype), fpn=_prepare(module.fpn, dtype))
    if kind is ResNet:
        return _resnet(module, dtype)
    if kind is EfficientNetLite0:
        return _efficientnet(module, dtype)
    if kind is FeaturePyramidNetwork:
        return PreparedFPN(module, dtype)
    if kind is RegionProposalNetwork:
        return _twin(module, head=_prepare(module.head, dtype))
    if kind is RPNHead:
        return PreparedRPNHead(module, dtype)
    if kind is RoIHeads:
        return _roi_heads(module, dtype)
    if kind is MaskRCNNHeads:
        return nn.Sequential(*(_conv_block(block, dtype, "relu") for block in module))
    if kind is MaskRCNNPredictor:
        return PreparedMaskPredictor(module, dtype)
    if kind is KeypointRCNNHeads:
        return nn.Sequential(*(fuse(layer, None, "relu", dtype) for layer in module if isinstance(layer, nn.Conv2d)))
    if kind is KeypointRCNNPredictor:
        return PreparedKeypointPredictor(module, dtype)
    if module is not None and dtype != torch.float32 and kind not in (*_POOLERS, FastRCNNPredictor):
        raise TypeError(f"prepare_for_inference: with precision 'bf16' every part must be of roikit.models, "
                        f"got a {kind.__name__}")
    return copy.deepcopy(module)


def _twin(module: nn.Module, **parts: nn.Module | None) -> Any:
    """A module like `module` with other parts; the original's own tables of parts stay as they are."""
    twin = copy.copy(module)
    for table in ("_modules", "_parameters", "_buffers"):
        setattr(twin, table, dict(getattr(module, table)))
    twin._modules.update(parts)
    return twin


def _conv_block(block: nn.Sequential, dtype: torch.dtype, activation: str = "none") -> nn.Module:
    """A Sequential of a convolution, perhaps a norm, and perhaps a ReLU, which `activation` stands for."""
    layers = [layer for layer in block if not isinstance(layer, nn.ReLU)]
    return fuse(layers[0], layers[1] if len(layers) > 1 else None, activation, dtype)


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


def _block(block: nn.Module, dtype: torch.dtype) -> nn.Module:
    return (_residual_block if type(block) in (BasicBlock, Bottleneck) else _prepare)(block, dtype)


def _residual_block(block: BasicBlock | Bottleneck, dtype: torch.dtype) -> PreparedBlock:
    pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    if isinstance(block, Bottleneck):
        pairs.append((block.conv3, block.bn3))
    shortcut = None if block.downsample is None else _conv_block(block.downsample, dtype)
    return PreparedBlock([fuse(conv, norm, "relu", dtype) for conv, norm in pairs], shortcut)


def _resnet(body: ResNet, dtype: torch.dtype) -> ResNet:
    # A block without a layer in its shortcut overwrites its input. That is never a map that the body returns: after
    # one of those follows a block with a stride.
    stages = {name: nn.Sequential(*(_block(block, dtype) for block in getattr(body, name))) for name in body.stages}
    return _twin(body, conv1=fuse(body.conv1, body.bn1, "relu", dtype), bn1=nn.Identity(), relu=nn.Identity(),
                 maxpool=copy.deepcopy(body.maxpool), **stages)


def _efficientnet(body: EfficientNetLite0, dtype: torch.dtype) -> EfficientNetLite0:
    return _twin(body, stem_conv=fuse(body.stem_conv, body.stem_norm, "relu6", dtype), stem_norm=nn.Identity(),
                 act=nn.Identity(), blocks=nn.ModuleList(_inverted(block, dtype) for block in body.blocks))


def _inverted(block: InvertedResidual, dtype: torch.dtype) -> PreparedBlock:
    # As in a ResNet, what follows a returned map has a stride and thus no skip that would overwrite it.
    layers = [] if block.expand_conv is None else [fuse(block.expand_conv, block.expand_norm, "relu6", dtype)]
    layers += [fuse(block.depthwise_conv, block.depthwise_norm, "relu6", dtype),
               fuse(block.project_conv, block.project_norm, "none", dtype)]
    return PreparedBlock(layers, None, block.has_skip)


class PreparedFPN(nn.Module):
    """A `FeaturePyramidNetwork` whose lateral convolutions add to the enlarged coarser level in place."""

    def __init__(self, fpn: FeaturePyramidNetwork, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(_conv_block(block, dtype) for block in fpn.inner_blocks)
        self.layer_blocks = nn.ModuleList(_conv_block(block, dtype) for block in fpn.layer_blocks)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        names = list(features)
        outputs: dict[str, Tensor] = {}
        coarser = None
        for name, inner, layer in zip(reversed(names), reversed(self.inner_blocks),
                                      reversed(self.layer_blocks), strict=True):
            own = features[name]
            onto = None if coarser is None else F.interpolate(coarser, size=own.shape[-2:], mode="nearest")
            coarser = inner(own, onto=onto)
            outputs[name] = layer(coarser)
        pyramid = {name: outputs[name] for name in names}
        pyramid["pool"] = F.max_pool2d(pyramid[names[-1]], kernel_size=1, stride=2)
        return pyramid


class PreparedRPNHead(nn.Module):
    """An `RPNHead` whose two 1x1 convolutions are one: the hidden map is read once."""

    def __init__(self, head: RPNHead, dtype: torch.dtype) -> None:
        super().__init__()
        self.anchors = head.cls_logits.out_channels
        self.conv = nn.Sequential(*(_conv_block(block, dtype, "relu") for block in head.conv))
        self.predict = FusedConv2d(torch.cat((head.cls_logits.weight, head.bbox_pred.weight)),
                                   torch.cat((head.cls_logits.bias, head.bbox_pred.bias)), dtype=dtype)

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, deltas = [], []
        for level in levels:
            both = self.predict(self.conv(level)).permute(0, 2, 3, 1)
            logits.append(both[..., :self.anchors].flatten(1))
            deltas.append(both[..., self.anchors:].reshape(len(level), -1, 4))
        return logits, deltas


def _roi_heads(heads: RoIHeads, dtype: torch.dtype) -> RoIHeads:
    parts = {name: _prepare(part, dtype) for name, part in heads._modules.items() if name != "box_head"}
    return _twin(heads, box_head=_box_head(heads.box_head, heads.box_roi_pool, dtype), **parts)


def _box_head(head: nn.Module, pooler: nn.Module, dtype: torch.dtype) -> nn.Module:
    if type(pooler) in _POOLERS and type(head) is TwoMLPHead:
        return PreparedBoxHead([], [head.fc6, head.fc7], pooler.output_size, dtype)
    if type(pooler) in _POOLERS and type(head) is FastRCNNConvFCHead:
        convs = [_conv_block(block, dtype, "relu") for block in head if isinstance(block, nn.Sequential)]
        layers = [layer for layer in head if isinstance(layer, nn.Linear)]
        return PreparedBoxHead(convs, layers, pooler.output_size, dtype)
    return _prepare(head, dtype)


class PreparedBoxHead(nn.Module):
    """A `TwoMLPHead` or a `FastRCNNConvFCHead`, which takes a pooled box as it lies in memory, channels last, and
    returns float32.

    Args:
        convs: fused convolutions.
        layers: fully connected ones; the first one sees all cells of a box.
        pool_size: cells on each side.
    """

    def __init__(self, convs: list[nn.Module], layers: list[nn.Linear], pool_size: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.convs = nn.Sequential(*convs)
        self.dtype = dtype
        self.count = len(layers)
        for i, layer in enumerate(layers):
            weight = layer.weight
            if i == 0:
                weight = weight.unflatten(1, (-1, pool_size, pool_size)).permute(0, 2, 3, 1).flatten(1)
            for name, value in ((f"weight{i}", weight), (f"bias{i}", layer.bias)):
                self.register_buffer(name, value.detach().to(dtype, copy=True), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # Products, not convolutions of 1x1 maps, which are the same and took ten times as long in oneDNN.
        x = self.convs(x).permute(0, 2, 3, 1).flatten(1).to(self.dtype)
        for i in range(self.count):
            x = linear(x, getattr(self, f"weight{i}"), getattr(self, f"bias{i}")).relu_()
        return x.float()


class PreparedKeypointPredictor(nn.Module):
    """A `KeypointRCNNPredictor` whose transposed convolution of 4x4 and stride 2 is a 3x3 one with four results a cell.

    Along an axis, the first result of a cell takes rows 3 and 1 of the filter for the cell before and its own, the
    second rows 2 and 0 for its own and the next.
    """

    def __init__(self, predictor: KeypointRCNNPredictor, dtype: torch.dtype) -> None:
        super().__init__()
        lowres = predictor.kps_score_lowres
        taps = lowres.weight.new_zeros((2, 3, 4))  # result, neighbour, row of the filter
        taps[0, 0, 3] = taps[0, 1, 1] = taps[1, 1, 2] = taps[1, 2, 0] = 1
        weight = torch.einsum("iokl,ayk,bxl->oabiyx", lowres.weight, taps, taps).flatten(0, 2)
        self.lowres = FusedConv2d(weight, lowres.bias.repeat_interleave(4), padding=(1, 1), dtype=dtype)

    def forward(self, x: Tensor) -> Tensor:
        return doubled(F.pixel_shuffle(self.lowres(x).float(), 2))


class PreparedMaskPredictor(nn.Module):
    """A `MaskRCNNPredictor` for the class of each box alone.

    Its transposed convolution of stride 2 is a 1x1 convolution with four results a cell; they are put in their places
    only after the product with the class's filter, when one number is left of each.
    """

    def __init__(self, predictor: MaskRCNNPredictor, dtype: torch.dtype) -> None:
        super().__init__()
        weight = predictor.conv5_mask.weight.permute(2, 3, 1, 0).flatten(0, 2)
        self.hidden = FusedConv2d(weight[:, :, None, None], predictor.conv5_mask.bias.repeat(4), activation="relu",
                                  dtype=dtype)
        last = predictor.mask_fcn_logits
        self.register_buffer("weight", last.weight.flatten(1).to(dtype, copy=True), persistent=False)
        self.register_buffer("bias", last.bias.clone(), persistent=False)

    def logits_of(self, x: Tensor, labels: Tensor) -> Tensor:
        """As `MaskRCNNPredictor.logits_of`."""
        boxes, _, height, width = x.shape
        channels = self.weight.shape[1]
        at_once = max(_MASK_VALUES // (4 * channels * height * width), 1)
        parts = []
        for some, own in zip(x.split(at_once), self.weight[labels].split(at_once), strict=True):
            hidden = self.hidden(some).permute(0, 2, 3, 1).reshape(len(some), height * width * 4, channels)
            parts.append(torch.bmm(hidden, own[:, :, None]))
        logits = torch.cat(parts).float().view(boxes, height, width, 2, 2) + self.bias[labels].view(-1, 1, 1, 1, 1)
        return logits.transpose(2, 3).reshape(boxes, 2 * height, 2 * width)
