"""Detectors made of roikit's ops: Faster R-CNN, Mask R-CNN and their family."""

from roikit.models.bodies.efficientnet import EfficientNetLite0
from roikit.models.bodies.resnet import ResNet
from roikit.models.bodies.timm_body import TimmBody
from roikit.models.bodies.vgg import VGG16
from roikit.models.build import build_backbone, build_detector
from roikit.models.builders import (
    detector_config,
    fasterrcnn_resnet50_fpn,
    fasterrcnn_resnet50_fpn_v2,
    keypointrcnn_resnet50_fpn,
    maskrcnn_efficientnet_lite0_fpn,
    maskrcnn_resnet18_fpn,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn_v2,
    rotated_fasterrcnn_resnet50_fpn,
    rotated_maskrcnn_resnet50_fpn,
)
from roikit.models.configs import (
    BackboneConfig,
    BoxConfig,
    CascadeConfig,
    DetectorConfig,
    HybridConfig,
    ImageConfig,
    IntegralConfig,
    IterativeConfig,
    KeypointConfig,
    MaskConfig,
    MaskScoreConfig,
    RpnConfig,
    SelectionConfig,
    SemanticConfig,
    StageConfig,
    rotated_config,
)
from roikit.models.detectors.two_stage import FasterRCNN, KeypointRCNN, MaskRCNN
from roikit.models.inference import prepare_for_inference
from roikit.models.necks.fpn import BackboneWithFPN, FeaturePyramidNetwork
from roikit.models.necks.single import BackboneWithoutNeck
from roikit.models.parts.image import ImageTransform
from roikit.models.parts.norm import FrozenBatchNorm2d
from roikit.models.proposals.rpn import RegionProposalNetwork, RPNHead
from roikit.models.roi.box import AverageHead, FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from roikit.models.roi.heads import RoIHeads
from roikit.models.roi.keypoint import KeypointRCNNHeads, KeypointRCNNPredictor
from roikit.models.roi.mask import MaskRCNNHeads, MaskRCNNPredictor
from roikit.models.roi.mask_score import MaskScoreHead
from roikit.models.roi.pooling import PyramidRoIAlign, PyramidRoIAlignRotated, PyramidRoIPool
from roikit.models.weights.checkpoint import LoadReport, load_backbone, load_checkpoint
from roikit.models.weights.detectron2_zoo import detectron2_model
from roikit.models.weights.mmdetection_zoo import mmdetection_model
from roikit.models.weights.published import Published, published
from roikit.models.weights.published_model import load_published
from roikit.models.weights.save import save_checkpoint

__all__ = [
    "AverageHead",
    "BackboneConfig",
    "BackboneWithFPN",
    "BackboneWithoutNeck",
    "BoxConfig",
    "CascadeConfig",
    "DetectorConfig",
    "EfficientNetLite0",
    "FastRCNNConvFCHead",
    "FastRCNNPredictor",
    "FasterRCNN",
    "FeaturePyramidNetwork",
    "FrozenBatchNorm2d",
    "HybridConfig",
    "ImageConfig",
    "ImageTransform",
    "IntegralConfig",
    "IterativeConfig",
    "KeypointConfig",
    "KeypointRCNN",
    "KeypointRCNNHeads",
    "KeypointRCNNPredictor",
    "LoadReport",
    "MaskConfig",
    "MaskRCNN",
    "MaskRCNNHeads",
    "MaskRCNNPredictor",
    "MaskScoreConfig",
    "MaskScoreHead",
    "Published",
    "PyramidRoIAlign",
    "PyramidRoIAlignRotated",
    "PyramidRoIPool",
    "RPNHead",
    "RegionProposalNetwork",
    "ResNet",
    "RoIHeads",
    "RpnConfig",
    "SelectionConfig",
    "SemanticConfig",
    "StageConfig",
    "TimmBody",
    "TwoMLPHead",
    "VGG16",
    "build_backbone",
    "build_detector",
    "detector_config",
    "detectron2_model",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "keypointrcnn_resnet50_fpn",
    "load_backbone",
    "load_checkpoint",
    "load_published",
    "maskrcnn_efficientnet_lite0_fpn",
    "maskrcnn_resnet18_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "mmdetection_model",
    "prepare_for_inference",
    "published",
    "rotated_config",
    "rotated_fasterrcnn_resnet50_fpn",
    "rotated_maskrcnn_resnet50_fpn",
    "save_checkpoint",
]
