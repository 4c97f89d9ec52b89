"""Models of mmdetection by the names of its configurations: those as roikit's.

The facts are those of its `configs` folder (3.3). A name says all: "mask-rcnn_r50-caffe_fpn_1x_coco" is a system, a
body with its style, and the rest, most of which is about training.
"""

import os
import re
from dataclasses import replace
from typing import Any

from roikit.models.build import build_detector
from roikit.models.configs import (
    BackboneConfig,
    BoxConfig,
    CascadeConfig,
    DetectorConfig,
    HybridConfig,
    ImageConfig,
    MaskConfig,
    MaskScoreConfig,
    RpnConfig,
    SelectionConfig,
    StageConfig,
)
from roikit.models.detectors.two_stage import FasterRCNN
from roikit.models.weights.changes import changed, unknown
from roikit.models.weights.checkpoint import load_checkpoint
from roikit.models.weights.published import published

__all__ = ["MMDETECTION_NAMES", "mmdetection_config", "mmdetection_model"]

# Configurations for which no weights are published.
_MORE = (
    "faster_rcnn/faster-rcnn_r50-caffe_fpn_90k_coco", "faster_rcnn/faster-rcnn_r50-caffe_fpn_ms-1x_coco",
    "faster_rcnn/faster-rcnn_r50-caffe_fpn_ms-90k_coco", "faster_rcnn/faster-rcnn_r50_fpn_ciou_1x_coco",
    "faster_rcnn/faster-rcnn_r50_fpn_ohem_1x_coco", "faster_rcnn/faster-rcnn_r50_fpn_soft-nms_1x_coco",
    "mask_rcnn/mask-rcnn_r50-caffe-c4_1x_coco", "mask_rcnn/mask-rcnn_r50-caffe_fpn_ms-1x_coco",
    "mask_rcnn/mask-rcnn_r50-caffe_fpn_ms-poly-1x_coco", "mask_rcnn/mask-rcnn_r50_fpn_poly-1x_coco",
    "htc/htc-without-semantic_r50_fpn_1x_coco", "ms_rcnn/ms-rcnn_r50_fpn_1x_coco",
)
MMDETECTION_NAMES = (*(entry.name for entry in published() if entry.source == "mmdetection"), *_MORE)

_NAME = re.compile(
    r"(?P<family>\w+)/(?P<system>faster-rcnn|mask-rcnn|cascade-rcnn|cascade-mask-rcnn|ms-rcnn|htc|htc-without-semantic)"
    r"_(?P<body>r50|r101|x101[-_]32x4d|x101[-_]64x4d|x101-32x8d)(?P<rest>[-_].*)")
_BODIES = {"r50": "resnet50", "r101": "resnet101", "x101-32x4d": "resnext101_32x4d",
           "x101-64x4d": "resnext101_64x4d", "x101-32x8d": "resnext101_32x8d"}

# Caffe's body with the pixels of the others.
_CAFFE_WITH_RGB = "faster_rcnn/faster-rcnn_r101-caffe_fpn_ms-3x_coco"

# RGB, of 0..1; mmdetection states them of 0..255, and for Caffe's weights as BGR.
_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
_NO_STD, _STD = (1 / 255,) * 3, (58.395 / 255, 57.12 / 255, 57.375 / 255)

# mmdetection keeps proposals with w > 0 and h > 0: from the smallest float32 on that is stored with all its digits.
_NO_AREA = 2.0 ** -126

# One over the deviations of the deltas, which are stated with three decimals.
_STAGES = tuple(StageConfig(iou, (1 / xy, 1 / xy, 1 / wh, 1 / wh), loss_weight) for iou, xy, wh, loss_weight in
                ((0.5, 0.1, 0.2, 1.0), (0.6, 0.05, 0.1, 0.5), (0.7, 0.033, 0.067, 0.25)))


def mmdetection_model(name: str, weights: str | os.PathLike | None = None, **changes: Any) -> FasterRCNN:
    """A detector of mmdetection, with its conventions; images and labels are roikit's.

    Args:
        name: its configuration's path below mmdetection's `configs`, "htc/htc_r50_fpn_1x_coco" say.
        weights: its file (`.pth`), or None for random weights.
        **changes: `min_size`, `max_size`, `num_classes` (with the background; the predictors are then new),
            `score_threshold`, `detections_per_image`.

    Box losses of training are on deltas; configurations that take an IoU of decoded boxes give the same detector. A
    Hybrid Task Cascade's mask is the last stage's, as in mmdetection 3.3; the paper and mmdetection 2, with which the
    published AP were measured, take the mean of all stages: `HybridConfig(masks="mean")`.

    Raises:
        ValueError: no such name, with names that are near; or weights of another system.
        TypeError: another change.
        OSError: the file cannot be read.
    """
    model = build_detector(changed(mmdetection_config(name), "mmdetection_model", changes))
    if weights is not None:
        load_checkpoint(model, weights, allow_new_classes="num_classes" in changes)
    return model


def mmdetection_config(name: str) -> DetectorConfig:
    """The configuration of a name of `MMDETECTION_NAMES`.

    Raises:
        ValueError: no such name, with names that are near.
    """
    found = _NAME.fullmatch(name) if name in MMDETECTION_NAMES else None
    if found is None:
        raise unknown("mmdetection_model", name, MMDETECTION_NAMES)
    rest, system = found["rest"], found["system"]
    config = _on_body(_base(), _BODIES[found["body"].replace("_", "-")], rest)
    if "faster" in system or system == "cascade-rcnn":
        config = replace(config, mask=None)
    if system == "ms-rcnn":
        config = replace(config, mask_score=MaskScoreConfig())
    if "cascade" in system or "htc" in system:
        config = _cascade(config)
    if "htc" in system:
        # What 3.3 computes; the authors' AP is with `masks="mean"`.
        hybrid = HybridConfig(masks="last")
        hybrid = hybrid if system == "htc" else replace(hybrid, semantic=None)
        config = replace(config, hybrid=hybrid, box=replace(config.box, score_threshold=0.001))
    if "gn-all" in rest:
        config = _with_group_norm(config, rest)
    if name == _CAFFE_WITH_RGB:
        config = replace(config, image=replace(config.image, std=_STD))
    if "ohem" in rest:
        config = replace(config, box=replace(config.box, sampler="hardest"))
    if "soft-nms" in rest:
        config = replace(config, box=replace(config.box, selection=SelectionConfig("soft_nms")))
    return config


def _base() -> DetectorConfig:
    """Mask R-CNN on ResNet-50 with FPN, pytorch style."""
    box = BoxConfig(sampling_ratio=0, aligned=True, clip_below=True, min_side=0.0, box_beta=0.0)
    mask = MaskConfig(sampling_ratio=0, aligned=True, target_rule="binary", paste_rule="continuous")
    rpn = RpnConfig(rounded_anchors=False, nominal_strides=True, clip_below=True, min_side=_NO_AREA, box_beta=0.0,
                    keep_after_nms_train=1000)
    # Batch norms keep their statistics in training there; their weights are frozen here, too.
    backbone = BackboneConfig("resnet50", norm="frozen", trainable_layers=3)
    return DetectorConfig(81, ImageConfig(_MEAN, _STD), backbone, rpn, box, mask)


def _on_body(config: DetectorConfig, body: str, rest: str) -> DetectorConfig:
    caffe = "caffe" in rest
    backbone = replace(config.backbone, name=body, stride_in_1x1=caffe)
    if "dconv" in rest:
        backbone = replace(backbone, deform_stages=("c3", "c4", "c5"), deform_version=2 if "mdconv" in rest else 1,
                           deform_groups=4 if "group4" in rest else 1)
    # The ResNeXt-101 32x8d came from Caffe as well, but with deviations.
    image = replace(config.image, std=_NO_STD) if caffe else config.image
    config = replace(config, backbone=backbone, image=image)
    single = re.search("[-_](c4|dc5)", rest)
    return _on_one_map(config, single[1].removeprefix("d")) if single else config


def _on_one_map(config: DetectorConfig, level: str) -> DetectorConfig:
    """C4, or the dilated C5, in place of a pyramid."""
    backbone = replace(config.backbone, neck="none", levels=(level,), dilated_c5=level == "c5")
    rpn = replace(config.rpn, anchor_sizes=((32.0, 64.0, 128.0, 256.0, 512.0),), keep_before_nms_train=12000,
                  keep_before_nms_test=6000, keep_after_nms_train=2000)
    box, mask = config.box, config.mask
    if level == "c4":
        box, mask = replace(box, head="res5", pool_size=14), replace(mask, layers=(), pool_size=14)
    return replace(config, backbone=backbone, rpn=rpn, box=box, mask=mask)


def _cascade(config: DetectorConfig) -> DetectorConfig:
    cascade = CascadeConfig(_STAGES, score="mean_logit", resample=True, gradient_scale=1.0,
                            mask_stages="last" if config.mask is None else "every")
    return replace(config, cascade=cascade, box=replace(config.box, class_agnostic=True, box_beta=1.0),
                   rpn=replace(config.rpn, keep_after_nms_train=2000, box_beta=1 / 9))


def _with_group_norm(config: DetectorConfig, rest: str) -> DetectorConfig:
    """GroupNorm everywhere; those called "contrib" did not start from Caffe's weights."""
    image = config.image if "contrib" in rest else replace(config.image, std=_NO_STD)
    return replace(config, image=image, mask=replace(config.mask, norm="group"),
                   backbone=replace(config.backbone, norm="group", fpn_norm="group"),
                   box=replace(config.box, conv_layers=(256,) * 4, fc_layers=1, norm="group"))
