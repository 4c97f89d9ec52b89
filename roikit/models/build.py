"""From configs to modules: the only file that knows both sides. One function a part."""

from collections.abc import Callable

import torch
from torch import nn

from roikit.models.bodies.efficientnet import EfficientNetLite0
from roikit.models.bodies.resnet import RESNETS, ResNet
from roikit.models.configs import BackboneConfig, BoxConfig, DetectorConfig, MaskConfig, RpnConfig
from roikit.models.detectors.cascade import CascadeRoIHeads
from roikit.models.detectors.hybrid import HybridRoIHeads, MaskFlow
from roikit.models.detectors.integral import IntegralPredictor, IntegralRoIHeads
from roikit.models.detectors.iterative import IterativeRoIHeads
from roikit.models.detectors.two_stage import FasterRCNN, MaskRCNN
from roikit.models.necks.fpn import BackboneWithFPN, FeaturePyramidNetwork
from roikit.models.parts.image import ImageTransform
from roikit.models.parts.norm import norm_layer
from roikit.models.proposals.rpn import RegionProposalNetwork, RPNHead
from roikit.models.roi.box import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from roikit.models.roi.heads import RoIHeads
from roikit.models.roi.mask import MaskRCNNHeads, MaskRCNNPredictor
from roikit.models.roi.pooling import PyramidRoIAlign, PyramidRoIPool
from roikit.models.roi.samples import BalancedSampler, HardestSampler
from roikit.models.roi.semantic import SemanticHead, SemanticRoIPool

__all__ = ["build_backbone", "build_detector"]

_SAMPLERS = {"balanced": BalancedSampler, "hardest": HardestSampler}


def build_detector(config: DetectorConfig) -> FasterRCNN:
    """A detector with random weights: a `MaskRCNN`, or a `FasterRCNN` where `config.mask` is None.

    The result keeps `config` as its attribute of that name.
    """
    backbone = build_backbone(config.backbone)
    rpn = build_rpn(config.rpn, config.backbone, backbone.out_channels)
    heads = build_heads(config, backbone.out_channels)
    transform = ImageTransform(config.image)
    if config.mask is None:
        model = FasterRCNN(transform, backbone, rpn, heads)
    else:
        model = MaskRCNN(transform, backbone, rpn, heads, config.mask.mask_format)
    model.config = config
    return model


def build_backbone(config: BackboneConfig) -> BackboneWithFPN:
    """A body and its pyramid, with the parts before `trainable_layers` frozen."""
    make_norm = norm_layer(config.norm, eps=config.norm_eps, groups=config.norm_groups)
    if config.name == "efficientnet_lite0":
        body = EfficientNetLite0(make_norm)
    elif config.name in RESNETS:
        body = ResNet(RESNETS[config.name], make_norm)
    else:
        raise ValueError(f"build_backbone: name must be one of {', '.join(RESNETS)}, "
                         f"efficientnet_lite0, got {config.name!r}")
    for part in body.parts()[:5 - config.trainable_layers]:
        for module in part:
            module.requires_grad_(False)
    fpn = FeaturePyramidNetwork(body.channels, config.fpn_channels, _norm(config.fpn_norm, config.norm_groups))
    return BackboneWithFPN(body, fpn, config.fpn_channels, _map_format(config.norm), _map_format(config.fpn_norm))


def _norm(kind: str, groups: int) -> Callable[[int], nn.Module] | None:
    """What makes the norms of a head or a pyramid; None where a bias stands in their place."""
    return None if kind == "none" else norm_layer(kind, groups=groups)


def _map_format(norm: str) -> torch.memory_format:
    """How maps lie best in training on a CPU: oneDNN's convolutions train a quarter faster on channels-last ones.

    torch's GroupNorm of those takes the variance as a difference of two large numbers, which lost three digits where a
    channel's mean is far from 0.
    """
    return torch.contiguous_format if norm == "group" else torch.channels_last


def build_rpn(config: RpnConfig, backbone: BackboneConfig, channels: int) -> RegionProposalNetwork:
    head = RPNHead(channels, config.anchors_per_cell, config.conv_depth)
    return RegionProposalNetwork(head, config, backbone.proposal_strides if config.nominal_strides else None)


def build_heads(config: DetectorConfig, channels: int) -> RoIHeads:
    """The stages and branches of a detector, on maps of so many channels."""
    if config.cascade is not None:
        heads = build_cascade(config, channels)
    elif config.integral is not None:
        heads = build_integral(config, channels)
    elif config.iterative is not None:
        heads = IterativeRoIHeads(*build_stage_parts(config, channels), iterative=config.iterative,
                                  sampler=_SAMPLERS[config.box.sampler]())
    else:
        heads = RoIHeads(*build_stage_parts(config, channels), sampler=_SAMPLERS[config.box.sampler]())
    return heads


def build_stage_parts(config: DetectorConfig, channels: int) -> tuple:
    """What `RoIHeads` takes of one stage and a mask branch."""
    box = config.box
    return (build_pooler(box, config.backbone.strides), *build_box_parts(config, channels), box,
            *build_mask_parts(config.mask, config, channels))


def build_box_parts(config: DetectorConfig, channels: int) -> tuple[nn.Module, nn.Module]:
    """Head and predictor of one stage."""
    box = config.box
    return (build_box_head(box, channels),
            FastRCNNPredictor(box.representation, config.num_classes, box.class_agnostic))


def build_integral(config: DetectorConfig, channels: int) -> IntegralRoIHeads:
    pool, head, _, *rest = build_stage_parts(config, channels)
    predictor = IntegralPredictor(config.box.representation, config.num_classes, config.box.class_agnostic,
                                  len(config.integral.ious))
    return IntegralRoIHeads(pool, head, predictor, *rest, integral=config.integral,
                            sampler=_SAMPLERS[config.box.sampler]())


def build_cascade(config: DetectorConfig, channels: int) -> CascadeRoIHeads:
    """The stages of a cascade, with one mask branch or one in every stage; with what makes a hybrid one of it."""
    count, hybrid = len(config.cascade.stages), config.hybrid
    heads, predictors = zip(*(build_box_parts(config, channels) for _ in range(count)), strict=True)
    pool = build_pooler(config.box, config.backbone.strides)
    masks = build_mask_parts(config.mask, config, channels)
    if config.cascade.mask_stages == "every":
        more = [build_mask_parts(config.mask, config, channels) for _ in range(count - 1)]
        masks = (masks[0], *([own[part] for own in (masks, *more)] for part in (1, 2)), config.mask)
    if hybrid is not None and hybrid.semantic is not None:
        pool, masks = build_semantic_pooler(pool, config), (build_semantic_pooler(masks[0], config), *masks[1:])
    parts, sampler = (pool, heads, predictors, config.box, config.cascade, *masks), _SAMPLERS[config.box.sampler]()
    if hybrid is None:
        return CascadeRoIHeads(*parts, sampler=sampler)
    return HybridRoIHeads(*parts, hybrid=hybrid, **build_hybrid_parts(config, channels), sampler=sampler)


def build_hybrid_parts(config: DetectorConfig, channels: int) -> dict[str, object]:
    """The layers that a hybrid cascade has and a cascade has not."""
    hybrid, mask, parts = config.hybrid, config.mask, {}
    if hybrid.mask_flow:
        width = mask.layers[-1] if mask.layers else channels
        parts["mask_flow"] = [MaskFlow(width, channels) for _ in config.cascade.stages[1:]]
    if hybrid.semantic is not None:
        parts["semantic_head"] = SemanticHead(channels, len(config.backbone.proposal_strides), hybrid.semantic)
    return parts


def build_semantic_pooler(pool: nn.Module, config: DetectorConfig) -> SemanticRoIPool:
    """A pooler with the embedding of the semantic branch, of which as many cells are pooled as for a mask."""
    mask, stride = config.mask, config.backbone.proposal_strides[config.hybrid.semantic.fusion_level]
    return SemanticRoIPool(pool, PyramidRoIAlign(mask.pool_size, mask.sampling_ratio, mask.aligned, (stride,)))


def build_pooler(config: BoxConfig | MaskConfig, strides: tuple[int, ...]) -> nn.Module:
    if config.pool_kind == "roi_align":
        return PyramidRoIAlign(config.pool_size, config.sampling_ratio, config.aligned, strides, config.pool_reduce)
    return PyramidRoIPool(config.pool_size, config.pool_kind, config.pool_reduce, strides)


def build_box_head(config: BoxConfig, channels: int) -> nn.Module:
    if not config.conv_layers and config.fc_layers == 2:
        return TwoMLPHead(channels * config.pool_size ** 2, config.representation)
    return FastRCNNConvFCHead(channels, config.pool_size, config.conv_layers,
                              (config.representation,) * config.fc_layers, _norm(config.norm, config.norm_groups))


def build_mask_parts(config: MaskConfig | None, detector: DetectorConfig, channels: int) -> tuple:
    """Pooler, head, predictor and configuration of a mask branch; nothing without one."""
    if config is None:
        return ()
    head = MaskRCNNHeads(channels, config.layers, _norm(config.norm, config.norm_groups))
    classes = 1 if config.class_agnostic else detector.num_classes
    predictor = MaskRCNNPredictor(config.layers[-1] if config.layers else channels, config.deconv_channels, classes)
    return build_pooler(config, detector.backbone.strides), head, predictor, config
