"""Detectors made of roikit's ops: Faster R-CNN, Mask R-CNN and their family; segmenters beside them."""

from roikit.models.bodies.darknet import Darknet53
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
    yolact_config,
    yolact_darknet53_fpn,
    yolact_plus_resnet50_fpn,
    yolact_plus_resnet101_fpn,
    yolact_resnet50_fpn,
    yolact_resnet101_fpn,
)
from roikit.models.calibration import measure_ranges
from roikit.models.configs import (
    AuxiliaryConfig,
    BackboneConfig,
    BoxConfig,
    CascadeConfig,
    DenseConfig,
    DetectorConfig,
    FCNHeadConfig,
    HybridConfig,
    ImageConfig,
    IntegralConfig,
    IterativeConfig,
    KeypointConfig,
    MaskConfig,
    MaskScoreConfig,
    PanopticConfig,
    PyramidPoolingConfig,
    RescoringConfig,
    RpnConfig,
    SegmenterConfig,
    SelectionConfig,
    SemanticConfig,
    SemanticFPNConfig,
    SkipsConfig,
    StageConfig,
    WindowConfig,
    rotated_config,
)
from roikit.models.dense.head import DenseHead, ProtoNet
from roikit.models.dense.rescoring import MaskRescorer
from roikit.models.detectors.panoptic import PanopticFPN
from roikit.models.detectors.two_stage import FasterRCNN, KeypointRCNN, MaskRCNN
from roikit.models.detectors.yolact import YOLACT
from roikit.models.inference import prepare_for_inference
from roikit.models.necks.fpn import BackboneWithFPN, FeaturePyramidNetwork
from roikit.models.necks.single import BackboneWithoutNeck
from roikit.models.parts.detector import Detector
from roikit.models.parts.image import ImageTransform
from roikit.models.parts.norm import FrozenBatchNorm2d
from roikit.models.parts.winograd import with_winograd
from roikit.models.plan import InferencePlan
from roikit.models.proposals.rpn import RegionProposalNetwork, RPNHead
from roikit.models.ranges import InferenceRanges
from roikit.models.roi.box import AverageHead, FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from roikit.models.roi.heads import RoIHeads
from roikit.models.roi.keypoint import KeypointRCNNHeads, KeypointRCNNPredictor
from roikit.models.roi.mask import MaskRCNNHeads, MaskRCNNPredictor
from roikit.models.roi.mask_score import MaskScoreHead
from roikit.models.roi.pooling import PyramidRoIAlign, PyramidRoIAlignRotated, PyramidRoIPool
from roikit.models.segmentation.build import build_segmenter
from roikit.models.segmentation.builders import (
    fcn_resnet50,
    fcn_resnet101,
    fcn_vgg16_8s,
    fcn_vgg16_16s,
    fcn_vgg16_32s,
    pspnet_resnet50,
    pspnet_resnet101,
    semantic_fpn_resnet18,
)
from roikit.models.segmentation.fcn import FCNHead, FCNSkipHead
from roikit.models.segmentation.pspnet import PSPHead
from roikit.models.segmentation.segmenter import Segmenter
from roikit.models.segmentation.semantic_fpn import SemanticFPNHead
from roikit.models.weights.checkpoint import LoadReport, load_backbone, load_checkpoint
from roikit.models.weights.detectron2_zoo import detectron2_model
from roikit.models.weights.mmdetection_zoo import mmdetection_model
from roikit.models.weights.published import Published, published
from roikit.models.weights.published_model import load_published
from roikit.models.weights.save import save_checkpoint

__all__ = [
    "AuxiliaryConfig",
    "AverageHead",
    "BackboneConfig",
    "BackboneWithFPN",
    "BackboneWithoutNeck",
    "BoxConfig",
    "CascadeConfig",
    "Darknet53",
    "DenseConfig",
    "DenseHead",
    "Detector",
    "DetectorConfig",
    "EfficientNetLite0",
    "FCNHead",
    "FCNHeadConfig",
    "FCNSkipHead",
    "FastRCNNConvFCHead",
    "FastRCNNPredictor",
    "FasterRCNN",
    "FeaturePyramidNetwork",
    "FrozenBatchNorm2d",
    "HybridConfig",
    "ImageConfig",
    "ImageTransform",
    "InferencePlan",
    "InferenceRanges",
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
    "MaskRescorer",
    "MaskScoreConfig",
    "MaskScoreHead",
    "PSPHead",
    "PanopticConfig",
    "PanopticFPN",
    "ProtoNet",
    "Published",
    "PyramidPoolingConfig",
    "PyramidRoIAlign",
    "PyramidRoIAlignRotated",
    "PyramidRoIPool",
    "RPNHead",
    "RegionProposalNetwork",
    "ResNet",
    "RescoringConfig",
    "RoIHeads",
    "RpnConfig",
    "Segmenter",
    "SegmenterConfig",
    "SelectionConfig",
    "SemanticConfig",
    "SemanticFPNConfig",
    "SemanticFPNHead",
    "SkipsConfig",
    "StageConfig",
    "TimmBody",
    "TwoMLPHead",
    "VGG16",
    "WindowConfig",
    "YOLACT",
    "build_backbone",
    "build_detector",
    "build_segmenter",
    "detector_config",
    "detectron2_model",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fcn_resnet101",
    "fcn_resnet50",
    "fcn_vgg16_16s",
    "fcn_vgg16_32s",
    "fcn_vgg16_8s",
    "keypointrcnn_resnet50_fpn",
    "load_backbone",
    "load_checkpoint",
    "load_published",
    "maskrcnn_efficientnet_lite0_fpn",
    "maskrcnn_resnet18_fpn",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_resnet50_fpn_v2",
    "mmdetection_model",
    "measure_ranges",
    "prepare_for_inference",
    "pspnet_resnet101",
    "pspnet_resnet50",
    "published",
    "rotated_config",
    "rotated_fasterrcnn_resnet50_fpn",
    "rotated_maskrcnn_resnet50_fpn",
    "save_checkpoint",
    "semantic_fpn_resnet18",
    "with_winograd",
    "yolact_config",
    "yolact_darknet53_fpn",
    "yolact_plus_resnet101_fpn",
    "yolact_plus_resnet50_fpn",
    "yolact_resnet101_fpn",
    "yolact_resnet50_fpn",
]
