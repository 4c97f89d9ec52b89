"""Detectors made of roikit's ops: Faster R-CNN and Mask R-CNN with a feature pyramid."""

from roikit.models.box_head import FastRCNNPredictor, TwoMLPHead
from roikit.models.build import (
    build_backbone,
    build_detector,
    detector_config,
    fasterrcnn_resnet50_fpn,
    maskrcnn_efficientnet_lite0_fpn,
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet50_fpn,
)
from roikit.models.checkpoint import LoadReport, load_backbone, load_checkpoint
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
from roikit.models.image import ImageTransform
from roikit.models.inference import prepare_for_inference
from roikit.models.mask_head import MaskRCNNHeads, MaskRCNNPredictor
from roikit.models.mask_rcnn import FasterRCNN, MaskRCNN, RoIHeads
from roikit.models.norm import FrozenBatchNorm2d
from roikit.models.pooling import PyramidRoIAlign
from roikit.models.resnet import ResNet
from roikit.models.rpn import RegionProposalNetwork, RPNHead

__all__ = [
    "BackboneConfig",
    "BackboneWithFPN",
    "BoxConfig",
    "DetectorConfig",
    "EfficientNetLite0",
    "FastRCNNPredictor",
    "FasterRCNN",
    "FeaturePyramidNetwork",
    "FrozenBatchNorm2d",
    "ImageConfig",
    "ImageTransform",
    "LoadReport",
    "MaskConfig",
    "MaskRCNN",
    "MaskRCNNHeads",
    "MaskRCNNPredictor",
    "PyramidRoIAlign",
    "RPNHead",
    "RegionProposalNetwork",
    "ResNet",
    "RoIHeads",
    "RpnConfig",
    "TwoMLPHead",
    "build_backbone",
    "build_detector",
    "detector_config",
    "fasterrcnn_resnet50_fpn",
    "load_backbone",
    "load_checkpoint",
    "maskrcnn_efficientnet_lite0_fpn",
    "maskrcnn_resnet18_fpn",
    "maskrcnn_resnet50_fpn",
    "prepare_for_inference",
]
