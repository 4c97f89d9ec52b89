"""From configs to modules: the only file that knows both sides. One function a part."""

from collections.abc import Callable

import torch
from torch import nn

from roikit.models.bodies.efficientnet import EfficientNetLite0
from roikit.models.bodies.resnet import RESNETS, ResNet
from roikit.models.configs import BackboneConfig, BoxConfig, DetectorConfig, KeypointConfig, MaskConfig, RpnConfig
from roikit.models.detectors.two_stage import FasterRCNN, KeypointRCNN, MaskRCNN
from roikit.models.necks.fpn import BackboneWithFPN, FeaturePyramidNetwork
from roikit.models.parts.image import ImageTransform
from roikit.models.parts.norm import norm_layer
from roikit.models.proposals.rpn import RegionProposalNetwork, RPNHead
from roikit.models.roi.box import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from roikit.models.roi.heads import RoIHeads
from roikit.models.roi.keypoint import KeypointBranch, KeypointRCNNHeads, KeypointRCNNPredictor
from roikit.models.roi.mask import MaskRCNNHeads, MaskRCNNPredictor
from roikit.models.roi.pooling import PyramidRoIAlign, PyramidRoIPool
from roikit.models.roi.samples import BalancedSampler, HardestSampler

__all__ = ["build_backbone", "build_detector"]

_SAMPLERS = {"balanced": BalancedSampler, "hardest": HardestSampler}


def build_detector(config: DetectorConfig) -> FasterRCNN:
    """A detector with random weights: a `MaskRCNN` where there are masks, else a `KeypointRCNN` where there are
    keypoints, else a `FasterRCNN`.

    The result keeps `config` as its attribute of that name.
    """
    backbone = build_backbone(config.backbone)
    rpn = build_rpn(config.rpn, config.backbone, backbone.out_channels)
    heads = build_heads(config, backbone.out_channels)
    transform = ImageTransform(config.image)
    if config.mask is not None:
        model = MaskRCNN(transform, backbone, rpn, heads, config.mask.mask_format)
    else:
        kind = FasterRCNN if config.keypoint is None else KeypointRCNN
        model = kind(transform, backbone, rpn, heads)
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
    box, mask, strides = config.box, config.mask, config.backbone.strides
    parts = (build_pooler(box, strides), build_box_head(box, channels),
             FastRCNNPredictor(box.representation, config.num_classes, box.class_agnostic), box)
    heads = RoIHeads(*parts, *build_mask_parts(mask, config, channels), sampler=_SAMPLERS[box.sampler]())
    if config.keypoint is not None:
        add_keypoints(heads, config.keypoint, strides, channels)
    return heads


def build_pooler(config: BoxConfig | KeypointConfig | MaskConfig, strides: tuple[int, ...]) -> nn.Module:
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


def add_keypoints(heads: RoIHeads, config: KeypointConfig, strides: tuple[int, ...], channels: int) -> None:
    """The keypoint branch, on maps of so many channels."""
    heads.add_branch(KeypointBranch(), keypoint_roi_pool=build_pooler(config, strides),
                     keypoint_head=KeypointRCNNHeads(channels, config.layers),
                     keypoint_predictor=KeypointRCNNPredictor(config.layers[-1], config.num_keypoints), keypoint=config)
