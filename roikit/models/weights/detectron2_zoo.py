"""Models of detectron2's zoo by their names: its configurations as roikit's.

The facts are those of its `configs` folder (main of 2026). Out of scope are RetinaNet, RegNet and purely semantic
models, and Fast R-CNN, which takes its proposals from a file.
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
    ImageConfig,
    KeypointConfig,
    MaskConfig,
    PanopticConfig,
    RpnConfig,
)
from roikit.models.detectors.two_stage import FasterRCNN
from roikit.models.weights.changes import changed, unknown
from roikit.models.weights.checkpoint import load_checkpoint

__all__ = ["DETECTRON2_NAMES", "detectron2_config", "detectron2_model"]

_LVIS = "mask_rcnn_R_50_FPN_1x mask_rcnn_R_101_FPN_1x mask_rcnn_X_101_32x8d_FPN_1x"
# Names below a folder of `configs`.
_NAMES = {
    "COCO-Detection":
        "faster_rcnn_R_50_C4_1x faster_rcnn_R_50_C4_3x faster_rcnn_R_50_DC5_1x faster_rcnn_R_50_DC5_3x "
        "faster_rcnn_R_50_FPN_1x faster_rcnn_R_50_FPN_3x faster_rcnn_R_101_C4_3x faster_rcnn_R_101_DC5_3x "
        "faster_rcnn_R_101_FPN_3x faster_rcnn_X_101_32x8d_FPN_3x",
    "COCO-InstanceSegmentation":
        "mask_rcnn_R_50_C4_1x mask_rcnn_R_50_C4_3x mask_rcnn_R_50_DC5_1x mask_rcnn_R_50_DC5_3x "
        "mask_rcnn_R_50_FPN_1x mask_rcnn_R_50_FPN_3x mask_rcnn_R_50_FPN_1x_giou mask_rcnn_R_101_C4_3x "
        "mask_rcnn_R_101_DC5_3x mask_rcnn_R_101_FPN_3x mask_rcnn_X_101_32x8d_FPN_3x",
    "COCO-PanopticSegmentation": "panoptic_fpn_R_50_1x panoptic_fpn_R_50_3x panoptic_fpn_R_101_3x",
    "new_baselines":
        "mask_rcnn_R_50_FPN_50ep_LSJ mask_rcnn_R_50_FPN_100ep_LSJ mask_rcnn_R_50_FPN_200ep_LSJ "
        "mask_rcnn_R_50_FPN_400ep_LSJ mask_rcnn_R_101_FPN_100ep_LSJ mask_rcnn_R_101_FPN_200ep_LSJ "
        "mask_rcnn_R_101_FPN_400ep_LSJ",
    "COCO-Keypoints":
        "keypoint_rcnn_R_50_FPN_1x keypoint_rcnn_R_50_FPN_3x keypoint_rcnn_R_101_FPN_3x "
        "keypoint_rcnn_X_101_32x8d_FPN_3x",
    "LVISv0.5-InstanceSegmentation": _LVIS,
    "LVISv1-InstanceSegmentation": _LVIS,
    "Cityscapes": "mask_rcnn_R_50_FPN",
    "PascalVOC-Detection": "faster_rcnn_R_50_C4 faster_rcnn_R_50_FPN",
    "Misc":
        "mask_rcnn_R_50_FPN_1x_cls_agnostic mask_rcnn_R_50_FPN_1x_dconv_c3-c5 mask_rcnn_R_50_FPN_3x_dconv_c3-c5 "
        "cascade_mask_rcnn_R_50_FPN_1x cascade_mask_rcnn_R_50_FPN_3x mask_rcnn_R_50_FPN_3x_syncbn "
        "mask_rcnn_R_50_FPN_3x_gn scratch_mask_rcnn_R_50_FPN_3x_gn scratch_mask_rcnn_R_50_FPN_9x_gn "
        "scratch_mask_rcnn_R_50_FPN_9x_syncbn cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv "
        "panoptic_fpn_R_101_dconv_cascade_gn_3x",
    "Detectron1-Comparisons":
        "faster_rcnn_R_50_FPN_noaug_1x mask_rcnn_R_50_FPN_noaug_1x keypoint_rcnn_R_50_FPN_1x",
}
DETECTRON2_NAMES = tuple(f"{folder}/{name}" for folder, names in _NAMES.items() for name in names.split())

# Classes without the background, where they are not COCO's 80.
_CLASSES = {"COCO-Keypoints": 1, "LVISv0.5-InstanceSegmentation": 1230, "LVISv1-InstanceSegmentation": 1203,
            "Cityscapes": 8, "PascalVOC-Detection": 20}

# RGB, of 0..1; detectron2 states them as BGR of 0..255. Its residual networks of 2015 have no deviation.
_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
_NO_STD, _STD = (1 / 255,) * 3, (58.395 / 255, 57.12 / 255, 57.375 / 255)

# detectron2 keeps proposals with w > 0 and h > 0: from the smallest float32 on that is stored with all its digits.
_NO_AREA = 2.0 ** -126

_BODIES = {"R_50": "resnet50", "R_101": "resnet101", "X_101_32x8d": "resnext101_32x8d",
           "X_152_32x8d": "resnext152_32x8d"}


def detectron2_model(name: str, weights: str | os.PathLike | None = None, **changes: Any) -> FasterRCNN:
    """A detector of detectron2's model zoo, with detectron2's conventions; images and labels are roikit's.

    Args:
        name: its path below detectron2's `configs`, "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x" say.
        weights: its file (`.pkl`, `.pth`), or None for random weights.
        **changes: `min_size`, `max_size`, `num_classes` (with the background; the predictors are then new),
            `score_threshold`, `detections_per_image`.

    Raises:
        ValueError: no such name, with names that are near; or weights of another system.
        TypeError: another change.
        OSError: the file cannot be read.
    """
    model = build_detector(changed(detectron2_config(name), "detectron2_model", changes))
    if weights is not None:
        load_checkpoint(model, weights, allow_new_classes="num_classes" in changes)
    return model


def detectron2_config(name: str) -> DetectorConfig:
    """The configuration of a name of `DETECTRON2_NAMES`.

    Raises:
        ValueError: no such name, with names that are near.
    """
    if name not in DETECTRON2_NAMES:
        raise unknown("detectron2_model", name, DETECTRON2_NAMES)
    folder, model = name.split("/")
    system, rest = re.split("_rcnn_|_fpn_", model)
    body = next(known for known in _BODIES if rest.startswith(f"{known}_"))
    # What has no word for it has a pyramid.
    kind = next((word for word in rest.split("_") if word in ("C4", "DC5")), "FPN")
    config = _keypoints(_base(body, kind)) if system == "keypoint" else _base(body, kind)
    if system == "faster":
        config = replace(config, mask=None)
    if "cascade" in model:
        config = replace(config, cascade=CascadeConfig(), box=replace(config.box, class_agnostic=True),
                         rpn=replace(config.rpn, keep_after_nms_train=2000))
    for word, change in _CHANGES.items():
        if word in name:
            config = change(config)
    return replace(config, num_classes=_CLASSES.get(folder, config.num_classes - 1) + 1)


def _base(body: str, kind: str) -> DetectorConfig:
    """Mask R-CNN on a body; `kind` is "FPN", "C4" or "DC5"."""
    old = body.startswith("R_")
    box = BoxConfig(sampling_ratio=0, aligned=True, min_side=0.0, box_beta=0.0)
    mask = MaskConfig(sampling_ratio=0, aligned=True, target_rule="binary", paste_rule="continuous")
    rpn = RpnConfig(rounded_anchors=False, anchor_order="size", nominal_strides=True, min_side=_NO_AREA, box_beta=0.0,
                    keep_after_nms_train=1000)
    backbone = BackboneConfig(_BODIES[body], norm="frozen", trainable_layers=3, stride_in_1x1=old)
    image = ImageConfig(_MEAN, _NO_STD if old or body == "X_152_32x8d" else _STD, (640, 672, 704, 736, 768, 800))
    if kind != "FPN":
        backbone = replace(backbone, neck="none", levels=("c4",) if kind == "C4" else ("c5",),
                           dilated_c5=kind == "DC5")
        rpn = replace(rpn, anchor_sizes=((32.0, 64.0, 128.0, 256.0, 512.0),), keep_before_nms_train=12000,
                      keep_before_nms_test=6000, keep_after_nms_train=2000)
        image = replace(image, size_divisible=1)
    if kind == "C4":
        box, mask = replace(box, head="res5", pool_size=14), replace(mask, layers=())
    return DetectorConfig(81, image, backbone, rpn, box, mask)


def _keypoints(config: DetectorConfig) -> DetectorConfig:
    return replace(config, num_classes=2, mask=None, box=replace(config.box, box_beta=0.5),
                   keypoint=KeypointConfig(sampling_ratio=0, aligned=True, score_rule="probability"),
                   rpn=replace(config.rpn, keep_after_nms_train=1500))


def _normed(config: DetectorConfig, norm: str, *, body: bool = True) -> DetectorConfig:
    """With a norm in the heads, four convolutions in the box head, and with `body` the norm there, too."""
    backbone = replace(config.backbone, norm=norm, fpn_norm=norm) if body else config.backbone
    return replace(config, backbone=backbone, mask=replace(config.mask, norm=norm),
                   box=replace(config.box, conv_layers=(256,) * 4, fc_layers=1, norm=norm))


def _with_backbone(config: DetectorConfig, **fields: Any) -> DetectorConfig:
    return replace(config, backbone=replace(config.backbone, **fields))


def _group(config: DetectorConfig) -> DetectorConfig:
    if config.backbone.name == "resnext152_32x8d":
        wide = replace(config, mask=replace(config.mask, layers=(256,) * 8))
        return _normed(wide, "group", body=False)
    return _with_backbone(_normed(config, "group"), stride_in_1x1=False)


def _panoptic(config: DetectorConfig) -> DetectorConfig:
    """With a semantic head, and the box head without norms and convolutions."""
    box = replace(config.box, conv_layers=(), fc_layers=2, norm="none")
    return replace(config, box=box, panoptic=PanopticConfig())


def _of_detectron1(config: DetectorConfig) -> DetectorConfig:
    """Detectron's losses, and its RoIAlign with two samples a side."""
    pooled = {part: replace(getattr(config, part), sampling_ratio=2, aligned=False)
              for part in ("box", "mask", "keypoint") if getattr(config, part) is not None}
    config = replace(config, **pooled)
    return replace(config, box=replace(config.box, box_beta=1.0), rpn=replace(config.rpn, box_beta=0.1111))


def _min_sizes(*sizes: int, **fields: int) -> Any:
    return lambda config: replace(config, image=replace(config.image, min_size=sizes, **fields))


# What a part of a name changes, in this order.
_CHANGES = {
    "Detectron1": _of_detectron1,
    "noaug": _min_sizes(800),
    "dconv": lambda config: _with_backbone(config, deform_stages=("c3", "c4", "c5")),
    "_gn": _group,
    "syncbn": lambda config: _normed(config, "sync"),
    "panoptic": _panoptic,
    "scratch": lambda config: _with_backbone(config, trainable_layers=5, stride_in_1x1=False),
    "_9x_": lambda config: replace(config, image=replace(config.image, std=_STD)),
    "cls_agnostic": lambda config: replace(config, box=replace(config.box, class_agnostic=True),
                                           mask=replace(config.mask, class_agnostic=True)),
    # Resized by 0.1 to 2 and cropped to 1024 in training, which is the data pipeline's work.
    "LSJ": lambda config: _min_sizes(800)(_with_backbone(
        _normed(replace(config, rpn=replace(config.rpn, conv_depth=2)), "sync"), trainable_layers=5)),
    "LVIS": lambda config: replace(config, box=replace(config.box, score_threshold=0.0001,
                                                       detections_per_image=300)),
    "Cityscapes": _min_sizes(800, 832, 864, 896, 928, 960, 992, 1024, max_size=2048),
    "PascalVOC": _min_sizes(480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
}
