"""Detectors made of roikit's ops: configuration, bodies and the feature pyramid."""

from roikit.models.config import (
    BackboneConfig,
    BoxConfig,
    DetectorConfig,
    ImageConfig,
    MaskConfig,
    RpnConfig,
)
from roikit.models.efficientnet import EfficientNetLite0
from roikit.models.fpn import BackboneWithFPN, FeaturePyramidNetwork
from roikit.models.norm import FrozenBatchNorm2d
from roikit.models.resnet import ResNet

__all__ = [
    "BackboneConfig",
    "BackboneWithFPN",
    "BoxConfig",
    "DetectorConfig",
    "EfficientNetLite0",
    "FeaturePyramidNetwork",
    "FrozenBatchNorm2d",
    "ImageConfig",
    "MaskConfig",
    "ResNet",
    "RpnConfig",
]
