"""From configs to modules: the only file that knows both sides. One function a part."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from roikit.models.bodies.darknet import Darknet53
from roikit.models.bodies.deformable import DeformableBottleneck
from roikit.models.bodies.efficientnet import EfficientNetLite0
from roikit.models.bodies.resnet import RESNETS, ResNet, ResNetSpec, resnet_stage
from roikit.models.bodies.timm_body import TimmBody
from roikit.models.bodies.vgg import VGG16
from roikit.models.configs import BackboneConfig, BoxConfig, DetectorConfig, KeypointConfig, MaskConfig
from roikit.models.configs.body import LEVELS
from roikit.models.configs.segmenter import SemanticFPNConfig
from roikit.models.dense.head import DenseHead, ProtoNet, initialise
from roikit.models.dense.rescoring import MaskRescorer
from roikit.models.detectors.cascade import CascadeRoIHeads
from roikit.models.detectors.hybrid import HybridRoIHeads, MaskFlow
from roikit.models.detectors.integral import IntegralPredictor, IntegralRoIHeads
from roikit.models.detectors.iterative import IterativeRoIHeads
from roikit.models.detectors.panoptic import PanopticFPN
from roikit.models.detectors.two_stage import FasterRCNN, KeypointRCNN, MaskRCNN
from roikit.models.detectors.yolact import YOLACT
from roikit.models.necks.fpn import BackboneWithFPN, FeaturePyramidNetwork
from roikit.models.necks.single import BackboneWithoutNeck
from roikit.models.parts.detector import Detector
from roikit.models.parts.geometry import geometry_of
from roikit.models.parts.image import ImageTransform
from roikit.models.parts.norm import norm_layer
from roikit.models.proposals.rpn import RegionProposalNetwork, RPNHead
from roikit.models.roi.box import AverageHead, FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from roikit.models.roi.heads import RoIHeads
from roikit.models.roi.keypoint import KeypointBranch, KeypointRCNNHeads, KeypointRCNNPredictor
from roikit.models.roi.mask import MaskBranch, MaskRCNNHeads, MaskRCNNPredictor
from roikit.models.roi.mask_score import MaskScoreHead, ScoredMaskBranch
from roikit.models.roi.mask_variants import MaskMLPHead, MaskMLPPredictor, SoftmaxMaskBranch
from roikit.models.roi.pooling import PyramidRoIAlign, PyramidRoIAlignRotated, PyramidRoIPool
from roikit.models.roi.samples import BalancedSampler, HardestSampler
from roikit.models.roi.semantic import SemanticHead, SemanticRoIPool
from roikit.models.segmentation.semantic_fpn import SemanticFPNHead

__all__ = ["build_backbone", "build_detector", "build_semantic_head"]

_SAMPLERS = {"balanced": BalancedSampler, "hardest": HardestSampler}


def build_detector(config: DetectorConfig) -> Detector:
    """A detector with random weights: a `YOLACT` where it is dense, else a `PanopticFPN` where that is asked, else a
    `MaskRCNN` where there are masks, else a `KeypointRCNN` where there are keypoints, else a `FasterRCNN`.

    The result keeps `config` as its attribute of that name.
    """
    model = build_two_stages(config) if config.dense is None else build_dense(config)
    model.config = config
    return model


def build_dense(config: DetectorConfig) -> YOLACT:
    """Head and prototypes on the levels of a pyramid."""
    backbone, dense = build_backbone(config.backbone), config.dense
    channels, make_norm = backbone.out_channels, _norm(dense.norm, dense.norm_groups)
    head = DenseHead(channels, dense.priors_per_cell, config.num_classes, dense.prototypes, dense.head_layers,
                     make_norm)
    protonet = ProtoNet(channels, dense.proto_layers, dense.proto_fine_layers, dense.prototypes, make_norm)
    semantic = rescorer = None
    if dense.semantic_weight > 0:
        semantic = nn.Conv2d(channels, config.num_classes - 1, 1)
        initialise(semantic)
    if dense.rescoring is not None:
        rescorer = MaskRescorer(config.num_classes, dense.rescoring)
    return YOLACT(ImageTransform(config.image), backbone, head, protonet, config.box, dense, config.mask, semantic,
                  rescorer)


def build_two_stages(config: DetectorConfig) -> FasterRCNN:
    """Proposals, and what is asked of them."""
    backbone = build_backbone(config.backbone)
    rpn = build_rpn(config, backbone.out_channels)
    heads = build_heads(config, backbone.out_channels)
    transform = ImageTransform(config.image, geometry_of(config))
    if config.panoptic is not None:
        return build_panoptic(config, transform, backbone, rpn, heads)
    if config.mask is not None:
        return MaskRCNN(transform, backbone, rpn, heads, config.mask.mask_format)
    return (FasterRCNN if config.keypoint is None else KeypointRCNN)(transform, backbone, rpn, heads)


def build_panoptic(config: DetectorConfig, transform: nn.Module, backbone: nn.Module, rpn: nn.Module,
                   heads: nn.Module) -> PanopticFPN:
    """A Mask R-CNN's parts with a semantic head on the levels that come from the body."""
    panoptic, levels = config.panoptic, len(config.backbone.levels)
    head = build_semantic_head(panoptic.head, backbone.out_channels, panoptic.num_stuff_classes + 1, levels)
    return PanopticFPN(transform, backbone, rpn, heads, head, panoptic, levels, config.num_classes - 1,
                       config.mask.mask_format)


def build_semantic_head(config: SemanticFPNConfig, channels: int, num_classes: int, levels: int) -> SemanticFPNHead:
    """The semantic head of a pyramid of so many levels, each of `channels`."""
    return SemanticFPNHead(channels, num_classes, levels, config.channels, _norm(config.norm, config.norm_groups),
                           config.fusion, config.dropout)


def build_backbone(config: BackboneConfig) -> BackboneWithFPN | BackboneWithoutNeck | nn.Module:
    """A body and its pyramid, a body and its one map, or the body alone, with the parts before `trainable_layers`
    frozen."""
    body = build_body(config)
    for part in body.parts()[:5 - config.trainable_layers]:
        for module in part:
            module.requires_grad_(False)
    if config.neck == "maps":
        return body
    body_format = body_format_of(body, config)
    if config.neck == "none":
        return BackboneWithoutNeck(body, body.channels[0], body_format)
    fpn = FeaturePyramidNetwork(body.channels, config.fpn_channels, _norm(config.fpn_norm, config.norm_groups),
                                extra=config.fpn_extra, upsample=config.fpn_upsample, relu=config.fpn_relu)
    return BackboneWithFPN(body, fpn, config.fpn_channels, body_format, _map_format(config.fpn_norm))


def body_format_of(body: nn.Module, config: BackboneConfig) -> torch.memory_format:
    """How a body's maps lie best in training on a CPU."""
    has_groups = any(isinstance(module, nn.GroupNorm) for module in body.modules())
    return _map_format("group" if has_groups else config.norm)


def build_body(config: BackboneConfig) -> nn.Module:
    """The network that gives the maps `config.levels`, all of it trainable."""
    maps = [LEVELS.index(level) for level in config.levels]
    _check_body(config)
    if config.name.startswith("timm:"):
        return TimmBody(config.name.removeprefix("timm:"), maps, config.norm)
    if config.name == "vgg16":
        return VGG16(maps)
    if config.name == "darknet53":
        return Darknet53(_body_norm(config), maps)
    if config.name == "efficientnet_lite0":
        return EfficientNetLite0(_body_norm(config), maps)
    block = partial(DeformableBottleneck, version=config.deform_version, groups=config.deform_groups)
    every = config.deform_interval
    special = {LEVELS.index(stage): lambda index: block if index % every == 0 else None
               for stage in config.deform_stages}
    return ResNet(_spec(config), _body_norm(config), maps, special)


def _check_body(config: BackboneConfig) -> None:
    """ValueError where the body cannot have what the other fields ask for."""
    name = config.name
    others = ("darknet53", "vgg16", "efficientnet_lite0")
    if name not in RESNETS and name not in others and not name.startswith("timm:"):
        raise ValueError(f"build_backbone: BackboneConfig.name must be one of {', '.join((*RESNETS, *others))}, or "
                         f"begin with 'timm:', got {name!r}")
    if (config.norm == "none") != (name == "vgg16"):
        raise ValueError("build_backbone: BackboneConfig.norm must be 'none' for the name 'vgg16', which has no norms, "
                         f"and for no other, got norm {config.norm!r} and name {name!r}")
    if name.startswith("timm:") and config.norm == "group":
        raise ValueError("build_backbone: BackboneConfig.norm must be one of batch (the network's own norms), frozen, "
                         f"sync, for the name {name!r}, got 'group'")
    asked = [field for field in ("stride_in_1x1", "dilated_c5", "deform_stages") if getattr(config, field)]
    if asked and not (name in RESNETS and RESNETS[name].bottleneck):
        raise ValueError(f"build_backbone: BackboneConfig.{asked[0]} is for bottlenecks, which the name {name!r} has "
                         "none of; a ResNet of 50 layers or more and a ResNeXt have them")
    if config.output_stride != 32 and name not in RESNETS:
        raise ValueError(f"build_backbone: BackboneConfig.output_stride must be 32 for the name {name!r}, which is "
                         f"neither a ResNet nor a ResNeXt, got {config.output_stride}")
    for stage in config.deform_stages:
        spec, planes = RESNETS[name], 64 << LEVELS.index(stage)
        width = planes * spec.width // 64 * spec.groups
        if width % config.deform_groups:
            raise ValueError(f"build_backbone: BackboneConfig.deform_groups must divide the {width} channels of the "
                             f"3x3 convolutions of {stage} of {name!r}, got {config.deform_groups}")


def _spec(config: BackboneConfig) -> ResNetSpec:
    return replace(RESNETS[config.name], stride_in_1x1=config.stride_in_1x1, dilated_c5=config.dilated_c5,
                   output_stride=config.output_stride)


def _body_norm(config: BackboneConfig) -> Callable[[int], nn.Module]:
    return norm_layer(config.norm, eps=config.norm_eps, groups=config.norm_groups)


def build_res5(config: BackboneConfig) -> nn.Sequential:
    """The stage of c5, for every pooled box: (R, C, P, P) -> (R, 2C, P/2, P/2); the last part of `trainable_layers`."""
    stage = resnet_stage(_spec(config), 3, _body_norm(config))
    return stage.requires_grad_(config.trainable_layers > 0)


def _norm(kind: str, groups: int) -> Callable[[int], nn.Module] | None:
    """What makes the norms of a head or a pyramid; None where a bias stands in their place."""
    return None if kind == "none" else norm_layer(kind, groups=groups)


def _map_format(norm: str) -> torch.memory_format:
    """How maps lie best in training on a CPU: oneDNN's convolutions train a quarter faster on channels-last ones.

    Not so with GroupNorm: the values of a group lie side by side in contiguous ones, and are read again from the cache.
    """
    return torch.contiguous_format if norm == "group" else torch.channels_last


def build_rpn(config: DetectorConfig, channels: int) -> RegionProposalNetwork:
    rpn, geometry = config.rpn, geometry_of(config)
    head = RPNHead(channels, rpn.anchors_per_cell, rpn.conv_depth, geometry.numbers)
    strides = config.backbone.proposal_strides if rpn.nominal_strides else None
    return RegionProposalNetwork(head, rpn, strides, geometry)


def build_heads(config: DetectorConfig, channels: int) -> RoIHeads:
    """The stages and branches of a detector, on maps of so many channels."""
    heads = build_cascade(config, channels) if config.cascade is not None else build_stage(config, channels)
    if config.keypoint is not None:
        add_keypoints(heads, config, channels)
    return heads


def build_stage(config: DetectorConfig, channels: int) -> RoIHeads:
    box, width, geometry = config.box, config.box.representation, geometry_of(config)
    named = {"sampler": _SAMPLERS[box.sampler](), "geometry": geometry}
    if box.head == "res5":
        named["res5"] = build_res5(config.backbone)
        width = channels = 2 * channels
    # Head before predictor: a seed gives the weights that it always gave.
    head, kind, agnostic = build_box_head(box, channels), RoIHeads, box.class_agnostic
    predictor = FastRCNNPredictor(width, config.num_classes, agnostic, geometry.numbers)
    if config.integral is not None:
        kind, named["integral"] = IntegralRoIHeads, config.integral
        predictor = IntegralPredictor(width, config.num_classes, agnostic, len(config.integral.ious),
                                      geometry.numbers)
    elif config.iterative is not None:
        kind, named["iterative"] = IterativeRoIHeads, config.iterative
    heads = kind(build_pooler(box, config), head, predictor, box, **named)
    if config.mask is not None:
        add_mask_branch(heads, config, channels)
    return heads


def build_box_parts(config: DetectorConfig, channels: int) -> tuple[nn.Module, nn.Module]:
    """Head and predictor of one stage."""
    box = config.box
    return (build_box_head(box, channels),
            FastRCNNPredictor(box.representation, config.num_classes, box.class_agnostic,
                              geometry_of(config).numbers))


def build_cascade(config: DetectorConfig, channels: int) -> CascadeRoIHeads:
    """The stages of a cascade, with one mask branch or one in every stage; with what makes a hybrid one of it."""
    count, hybrid = len(config.cascade.stages), config.hybrid
    heads, predictors = zip(*(build_box_parts(config, channels) for _ in range(count)), strict=True)
    pool = build_pooler(config.box, config)
    masks = ()
    if config.cascade.mask_stages == "every":
        layers = [build_mask_layers(config.mask, channels, config.num_classes) for _ in range(count)]
        masks = (build_pooler(config.mask, config), *map(list, zip(*layers, strict=True)), config.mask)
    if hybrid is not None and hybrid.semantic is not None:
        pool, masks = build_semantic_pooler(pool, config), (build_semantic_pooler(masks[0], config), *masks[1:])
    parts = (pool, heads, predictors, config.box, config.cascade, *masks)
    named = {"sampler": _SAMPLERS[config.box.sampler](), "geometry": geometry_of(config)}
    if hybrid is None:
        found = CascadeRoIHeads(*parts, **named)
        if config.mask is not None and not masks:
            add_mask_branch(found, config, channels)
        return found
    return HybridRoIHeads(*parts, hybrid=hybrid, **build_hybrid_parts(config, channels), **named)


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


def build_pooler(config: BoxConfig | KeypointConfig | MaskConfig, detector: DetectorConfig) -> nn.Module:
    """The pooler of one part of a detector."""
    strides = detector.backbone.strides
    if detector.boxes == "rotated":
        return PyramidRoIAlignRotated(config.pool_size, config.sampling_ratio, strides)
    if config.pool_kind == "roi_align":
        return PyramidRoIAlign(config.pool_size, config.sampling_ratio, config.aligned, strides, config.pool_reduce)
    return PyramidRoIPool(config.pool_size, config.pool_kind, config.pool_reduce, strides)


def build_box_head(config: BoxConfig, channels: int) -> nn.Module:
    if config.head == "res5":
        return AverageHead()
    if not config.conv_layers and config.fc_layers == 2:
        return TwoMLPHead(channels * config.pool_size ** 2, config.representation)
    return FastRCNNConvFCHead(channels, config.pool_size, config.conv_layers,
                              (config.representation,) * config.fc_layers, _norm(config.norm, config.norm_groups))


def add_mask_branch(heads: RoIHeads, config: DetectorConfig, channels: int) -> None:
    """A mask for each box, and where `mask_score` is given a score for each mask."""
    mask, score = config.mask, config.mask_score
    head, predictor = build_mask_layers(mask, channels, config.num_classes)
    layers = {"mask_roi_pool": build_pooler(mask, config), "mask_head": head,
              "mask_predictor": predictor, "mask": mask}
    if score is not None:
        heads.add_branch(ScoredMaskBranch(), **layers, mask_score=score, mask_score_head=MaskScoreHead(
            channels, mask.pool_size, config.num_classes, score))
    elif mask.loss == "softmax":
        heads.add_branch(SoftmaxMaskBranch(), **layers)
    else:
        heads.add_branch(MaskBranch(), **layers)


def build_mask_layers(config: MaskConfig, channels: int, num_classes: int) -> tuple[nn.Module, nn.Module]:
    """Head and predictor of a mask branch."""
    classes = 1 if config.class_agnostic else num_classes
    if config.head == "mlp":
        return MaskMLPHead(channels, config.pool_size), MaskMLPPredictor(classes, 2 * config.pool_size)
    head = MaskRCNNHeads(channels, config.layers, _norm(config.norm, config.norm_groups))
    return head, MaskRCNNPredictor(config.layers[-1] if config.layers else channels, config.deconv_channels, classes)


def add_keypoints(heads: RoIHeads, config: DetectorConfig, channels: int) -> None:
    """The keypoint branch, on maps of so many channels."""
    keypoint = config.keypoint
    heads.add_branch(KeypointBranch(), keypoint_roi_pool=build_pooler(keypoint, config),
                     keypoint_head=KeypointRCNNHeads(channels, keypoint.layers),
                     keypoint_predictor=KeypointRCNNPredictor(keypoint.layers[-1], keypoint.num_keypoints),
                     keypoint=keypoint)
