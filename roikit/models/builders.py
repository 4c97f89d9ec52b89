"""Builders with torchvision's names and keyword arguments, and of YOLACT in their style.

Nothing is ever downloaded: `weights` and `weights_backbone` are paths of files.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from roikit.models.build import build_detector
from roikit.models.configs import (
    BackboneConfig,
    BoxConfig,
    DenseConfig,
    DetectorConfig,
    ImageConfig,
    KeypointConfig,
    MaskConfig,
    RescoringConfig,
    RpnConfig,
    SelectionConfig,
    rotated_config,
)
from roikit.models.detectors.two_stage import FasterRCNN, KeypointRCNN, MaskRCNN
from roikit.models.detectors.yolact import YOLACT
from roikit.models.parts.detector import Detector
from roikit.models.weights.checkpoint import load_backbone, load_checkpoint, published_norm_eps

__all__ = ["detector_config", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "keypointrcnn_resnet50_fpn",
           "maskrcnn_efficientnet_lite0_fpn", "maskrcnn_resnet18_fpn", "maskrcnn_resnet50_fpn",
           "maskrcnn_resnet50_fpn_v2", "rotated_fasterrcnn_resnet50_fpn", "rotated_maskrcnn_resnet50_fpn",
           "yolact_config", "yolact_darknet53_fpn", "yolact_plus_resnet101_fpn", "yolact_plus_resnet50_fpn",
           "yolact_resnet101_fpn", "yolact_resnet50_fpn"]

Weights = str | os.PathLike | None

# Published EfficientNet-Lite0 weights take (x - 127) / 128 of 0..255.
_LITE_MEAN = (127 / 255,) * 3
_LITE_STD = (128 / 255,) * 3
# Anchors for images of 250 to 500 pixels, half the usual sizes.
_SMALL_ANCHORS = ((16.0,), (32.0,), (64.0,), (128.0,), (256.0,))

# The shorter sides of torchvision's Keypoint R-CNN: one at random in training, the last one otherwise.
_KEYPOINT_SIZES = (640, 672, 704, 736, 768, 800)

# YOLACT's means and deviations of pixels, of 0..255; its Darknet-53 takes 0..1 as it is.
_YOLACT_MEAN = (123.68 / 255, 116.78 / 255, 103.94 / 255)
_YOLACT_STD = (58.40 / 255, 57.12 / 255, 57.38 / 255)
# The sizes of its priors at 550 pixels; at another size they are rounded down, as the authors do.
_YOLACT_SIZES = (24, 48, 96, 192, 384)


def detector_config(
    backbone: BackboneConfig,
    mask: MaskConfig | None,
    *,
    num_classes: int = 91,
    min_size: int | Sequence[int] = 800,
    max_size: int = 1333,
    image_mean: Sequence[float] | None = None,
    image_std: Sequence[float] | None = None,
    rpn_pre_nms_top_n_train: int = 2000,
    rpn_pre_nms_top_n_test: int = 1000,
    rpn_post_nms_top_n_train: int = 2000,
    rpn_post_nms_top_n_test: int = 1000,
    rpn_nms_thresh: float = 0.7,
    rpn_fg_iou_thresh: float = 0.7,
    rpn_bg_iou_thresh: float = 0.3,
    rpn_batch_size_per_image: int = 256,
    rpn_positive_fraction: float = 0.5,
    rpn_score_thresh: float = 0.0,
    box_score_thresh: float = 0.05,
    box_nms_thresh: float = 0.5,
    box_detections_per_img: int = 100,
    box_fg_iou_thresh: float = 0.5,
    box_bg_iou_thresh: float = 0.5,
    box_batch_size_per_image: int = 512,
    box_positive_fraction: float = 0.25,
    bbox_reg_weights: Sequence[float] | None = None,
    size_divisible: int = 32,
    rpn_anchor_sizes: Sequence[Sequence[float]] = RpnConfig.anchor_sizes,
    rpn_aspect_ratios: Sequence[float] = RpnConfig.aspect_ratios,
    box_representation: int = 1024,
) -> DetectorConfig:
    """A config from torchvision's keyword arguments, in their order and with their defaults.

    The last three are roikit's own; `DetectorConfig` documents what each one means. torchvision's
    arguments that are modules have no counterpart: give such parts to `MaskRCNN` itself.
    """
    image = ImageConfig(
        mean=tuple(image_mean) if image_mean is not None else ImageConfig.mean,
        std=tuple(image_std) if image_std is not None else ImageConfig.std,
        min_size=(min_size,) if isinstance(min_size, int) else tuple(min_size),
        max_size=max_size, size_divisible=size_divisible)
    rpn = RpnConfig(
        anchor_sizes=tuple(tuple(float(size) for size in sizes) for sizes in rpn_anchor_sizes),
        aspect_ratios=tuple(float(ratio) for ratio in rpn_aspect_ratios),
        keep_before_nms_train=rpn_pre_nms_top_n_train, keep_before_nms_test=rpn_pre_nms_top_n_test,
        keep_after_nms_train=rpn_post_nms_top_n_train, keep_after_nms_test=rpn_post_nms_top_n_test,
        nms_threshold=rpn_nms_thresh, score_threshold=rpn_score_thresh,
        foreground_iou=rpn_fg_iou_thresh, background_iou=rpn_bg_iou_thresh,
        samples_per_image=rpn_batch_size_per_image, positive_fraction=rpn_positive_fraction)
    weights = BoxConfig.regression_weights
    box = BoxConfig(
        representation=box_representation,
        regression_weights=weights if bbox_reg_weights is None else tuple(bbox_reg_weights),
        score_threshold=box_score_thresh, nms_threshold=box_nms_thresh,
        detections_per_image=box_detections_per_img, foreground_iou=box_fg_iou_thresh,
        background_iou=box_bg_iou_thresh, samples_per_image=box_batch_size_per_image,
        positive_fraction=box_positive_fraction)
    return DetectorConfig(num_classes, image, backbone, rpn, box, mask)


def maskrcnn_resnet50_fpn(*, weights: Weights = None, num_classes: int = 91,
                          weights_backbone: Weights = None,
                          trainable_backbone_layers: int | None = None,
                          mask_format: str = "soft", **kwargs: Any) -> MaskRCNN:
    """Mask R-CNN with ResNet-50 and FPN, as torchvision's builder of that name.

    Args:
        weights: file of the whole detector; `load_checkpoint` says which kinds.
        num_classes: classes including the background.
        weights_backbone: file of torchvision's ResNet-50 classifier; not looked at with `weights`.
        trainable_backbone_layers: 0 to 5, counted from the last stage; None is 3 with weights
            (their batch norms are frozen then) and 5 without.
        mask_format: see `MaskRCNN`.
        **kwargs: see `detector_config`.
    """
    backbone = _backbone("resnet50", weights, weights_backbone, trainable_backbone_layers)
    config = detector_config(backbone, MaskConfig(mask_format=mask_format),
                             num_classes=num_classes, **kwargs)
    return _with_weights(config, weights, weights_backbone)


def fasterrcnn_resnet50_fpn(*, weights: Weights = None, num_classes: int = 91,
                            weights_backbone: Weights = None,
                            trainable_backbone_layers: int | None = None,
                            **kwargs: Any) -> FasterRCNN:
    """Faster R-CNN with ResNet-50 and FPN, as torchvision's builder of that name.

    The arguments are those of `maskrcnn_resnet50_fpn`.
    """
    backbone = _backbone("resnet50", weights, weights_backbone, trainable_backbone_layers)
    config = detector_config(backbone, None, num_classes=num_classes, **kwargs)
    return _with_weights(config, weights, weights_backbone)


def keypointrcnn_resnet50_fpn(*, weights: Weights = None, num_classes: int = 2, num_keypoints: int = 17,
                              weights_backbone: Weights = None, trainable_backbone_layers: int | None = None,
                              **kwargs: Any) -> KeypointRCNN:
    """Keypoint R-CNN with ResNet-50 and FPN, as torchvision's builder of that name.

    Args:
        num_keypoints: of each object; 17 in COCO.
        The others are those of `maskrcnn_resnet50_fpn`; `min_size` is 640 to 800 in steps of 32 in training.
    """
    backbone = _backbone("resnet50", weights, weights_backbone, trainable_backbone_layers)
    config = detector_config(backbone, None, num_classes=num_classes, **({"min_size": _KEYPOINT_SIZES} | kwargs))
    config = replace(config, keypoint=KeypointConfig(num_keypoints))
    return _with_weights(config, weights, weights_backbone)


def fasterrcnn_resnet50_fpn_v2(*, weights: Weights = None, num_classes: int = 91,
                               weights_backbone: Weights = None,
                               trainable_backbone_layers: int | None = None,
                               **kwargs: Any) -> FasterRCNN:
    """Faster R-CNN with ResNet-50 and FPN in the form of Li et al. 2021, as torchvision's builder of that name.

    Batch norm in body, pyramid and box head, which stays batch norm with weights; two convolutions in the RPN; four
    convolutions and one fully connected layer in the box head.

    The arguments are those of `maskrcnn_resnet50_fpn`. Source: arXiv:2111.11429.
    """
    backbone = _backbone("resnet50", weights, weights_backbone, trainable_backbone_layers)
    config = detector_config(backbone, None, num_classes=num_classes, **kwargs)
    return _with_weights(_second_form(config), weights, weights_backbone)


def maskrcnn_resnet50_fpn_v2(*, weights: Weights = None, num_classes: int = 91,
                             weights_backbone: Weights = None,
                             trainable_backbone_layers: int | None = None,
                             mask_format: str = "soft", **kwargs: Any) -> MaskRCNN:
    """Mask R-CNN with ResNet-50 and FPN in the form of Li et al. 2021, as torchvision's builder of that name.

    `fasterrcnn_resnet50_fpn_v2` and a mask head with batch norm. The arguments are those of `maskrcnn_resnet50_fpn`.
    """
    backbone = _backbone("resnet50", weights, weights_backbone, trainable_backbone_layers)
    config = detector_config(backbone, MaskConfig(norm="batch", mask_format=mask_format), num_classes=num_classes,
                             **kwargs)
    return _with_weights(_second_form(config), weights, weights_backbone)


def rotated_fasterrcnn_resnet50_fpn(*, weights: Weights = None, num_classes: int = 91, weights_backbone: Weights = None,
                                    trainable_backbone_layers: int | None = None,
                                    angles: Sequence[float] = (-90.0, -60.0, -30.0), **kwargs: Any) -> FasterRCNN:
    """Faster R-CNN of rotated boxes with ResNet-50 and FPN: (N, 5) cx, cy, w, h and degrees counter-clockwise.

    Args:
        angles: of the anchors, degrees counter-clockwise.
        The others are those of `maskrcnn_resnet50_fpn`; `bbox_reg_weights` are four, that of the turn is 1.

    Source: Ma et al. 2017, arXiv:1703.01086, and detectron2's RRPN and RROIHeads.
    """
    backbone = _backbone("resnet50", weights, weights_backbone, trainable_backbone_layers)
    config = rotated_config(detector_config(backbone, None, num_classes=num_classes, **kwargs), angles)
    return _with_weights(config, weights, weights_backbone)


def rotated_maskrcnn_resnet50_fpn(*, weights: Weights = None, num_classes: int = 91, weights_backbone: Weights = None,
                                  trainable_backbone_layers: int | None = None,
                                  angles: Sequence[float] = (-90.0, -60.0, -30.0), mask_format: str = "soft",
                                  **kwargs: Any) -> MaskRCNN:
    """`rotated_fasterrcnn_resnet50_fpn` with masks, each predicted in the frame of its box and pasted into the image.

    The arguments are those of `rotated_fasterrcnn_resnet50_fpn`; mask_format: see `MaskRCNN`.
    """
    backbone = _backbone("resnet50", weights, weights_backbone, trainable_backbone_layers)
    mask = MaskConfig(mask_format=mask_format)
    config = rotated_config(detector_config(backbone, mask, num_classes=num_classes, **kwargs), angles)
    return _with_weights(config, weights, weights_backbone)


def maskrcnn_resnet18_fpn(*, weights: Weights = None, num_classes: int = 91,
                          trainable_backbone_layers: int = 5, fpn_channels: int = 128,
                          mask_layers: Sequence[int] = (128, 128), mask_format: str = "soft",
                          **kwargs: Any) -> MaskRCNN:
    """Mask R-CNN sized for training on a CPU from random weights.

    ResNet-18 with GroupNorm in body, pyramid and mask head (batch statistics of one or two images
    are useless), half the width of the usual pyramid and heads, fewer proposals and samples,
    images of 320 pixels and anchors from 16 pixels.

    Args:
        weights: file of the whole detector.
        fpn_channels: width of the pyramid.
        mask_layers: widths of the mask head's convolutions.
        The others are those of `maskrcnn_resnet50_fpn`.
    """
    backbone = BackboneConfig("resnet18", norm="group", fpn_channels=fpn_channels,
                              fpn_norm="group", trainable_layers=trainable_backbone_layers)
    config = _small_config(backbone, mask_layers, mask_format, num_classes, kwargs)
    return _with_weights(config, weights, None)


def maskrcnn_efficientnet_lite0_fpn(*, weights: Weights = None, num_classes: int = 91,
                                    weights_backbone: Weights = None,
                                    trainable_backbone_layers: int | None = None,
                                    fpn_channels: int = 128,
                                    mask_layers: Sequence[int] = (128, 128),
                                    mask_format: str = "soft", **kwargs: Any) -> MaskRCNN:
    """Mask R-CNN on EfficientNet-Lite0, for fine-tuning on a CPU from its ImageNet weights.

    Args:
        weights_backbone: the published EfficientNet-Lite0 state dict.
        The others are those of `maskrcnn_resnet18_fpn`.
    """
    backbone = _backbone("efficientnet_lite0", weights, weights_backbone,
                         trainable_backbone_layers)
    backbone = replace(backbone, norm_eps=1e-3, fpn_channels=fpn_channels, fpn_norm="group")
    kwargs = {"image_mean": _LITE_MEAN, "image_std": _LITE_STD} | kwargs
    config = _small_config(backbone, mask_layers, mask_format, num_classes, kwargs)
    return _with_weights(config, weights, weights_backbone)


def yolact_config(body: str, *, plus: bool = False, num_classes: int = 81, image_size: int = 550,
                  trainable_backbone_layers: int = 5, mask_format: str = "soft", score_threshold: float = 0.05,
                  detections_per_image: int = 100, cross_class: bool = False) -> DetectorConfig:
    """The authors' configuration of YOLACT.

    Args:
        body: "resnet50", "resnet101" or "darknet53".
        plus: YOLACT++, on a ResNet: deformable 3x3 convolutions, in a ResNet-101 in every third block, three sizes of
            rectangular priors a level, and scores of masks.
        num_classes: classes including the background.
        image_size: both sides of the image after resizing; the sizes of the priors follow.
        trainable_backbone_layers: 0 to 5, counted from the last stage.
        mask_format: see `YOLACT`.
        score_threshold, detections_per_image: of `BoxConfig`.
        cross_class: Fast NMS treats all classes as one.
    """
    plain = body == "darknet53"
    image = ImageConfig(mean=(0.0,) * 3 if plain else _YOLACT_MEAN, std=(1.0,) * 3 if plain else _YOLACT_STD,
                        min_size=(image_size,), max_size=image_size, size_divisible=1, keep_aspect=False)
    deformable = {"deform_stages": ("c3", "c4", "c5"), "deform_version": 2,
                  "deform_interval": 3 if body == "resnet101" else 1} if plus else {}
    backbone = BackboneConfig(body, trainable_layers=trainable_backbone_layers, levels=("c3", "c4", "c5"),
                              fpn_extra="conv", fpn_upsample="bilinear", fpn_relu=True, **deformable)
    sizes = _YOLACT_SIZES if image_size == 550 else [int(size / 550 * image_size) for size in _YOLACT_SIZES]
    octaves = (1.0, 2 ** (1 / 3), 2 ** (2 / 3)) if plus else (1.0,)
    dense = DenseConfig(prior_sizes=tuple(tuple(size * part for part in octaves) for size in sizes),
                        square_priors=not plus, masks_per_image=100 if image_size <= 550 else 300,
                        rescoring=RescoringConfig() if plus else None)
    box = BoxConfig(score_threshold=score_threshold, detections_per_image=detections_per_image, background_iou=0.4,
                    box_beta=1.0, min_side=0.0, selection=SelectionConfig("fast_nms", cross_class=cross_class))
    return DetectorConfig(num_classes, image, backbone, box=box, mask=MaskConfig(mask_format=mask_format), dense=dense)


def yolact_resnet50_fpn(*, weights: Weights = None, weights_backbone: Weights = None, **kwargs: Any) -> YOLACT:
    """YOLACT on ResNet-50 with P3 to P7, images of 550 x 550 (Bolya et al. 2019, arXiv:1904.02689).

    Args:
        weights: file of the whole detector, the authors' `yolact_resnet50_54_800000.pth` say.
        weights_backbone: file of torchvision's ResNet-50 classifier; not looked at with `weights`.
        **kwargs: see `yolact_config`.
    """
    return _with_weights(yolact_config("resnet50", **kwargs), weights, weights_backbone)


def yolact_resnet101_fpn(*, weights: Weights = None, weights_backbone: Weights = None, **kwargs: Any) -> YOLACT:
    """YOLACT on ResNet-101, the authors' "base"; with `image_size=700` their "im700".

    The arguments are those of `yolact_resnet50_fpn`.
    """
    return _with_weights(yolact_config("resnet101", **kwargs), weights, weights_backbone)


def yolact_darknet53_fpn(*, weights: Weights = None, weights_backbone: Weights = None, **kwargs: Any) -> YOLACT:
    """YOLACT on Darknet-53.

    The arguments are those of `yolact_resnet50_fpn`.
    """
    return _with_weights(yolact_config("darknet53", **kwargs), weights, weights_backbone)


def yolact_plus_resnet50_fpn(*, weights: Weights = None, weights_backbone: Weights = None, **kwargs: Any) -> YOLACT:
    """YOLACT++ on ResNet-50 (Bolya et al. 2019, arXiv:1912.06218).

    The arguments are those of `yolact_resnet50_fpn`.
    """
    return _with_weights(yolact_config("resnet50", plus=True, **kwargs), weights, weights_backbone)


def yolact_plus_resnet101_fpn(*, weights: Weights = None, weights_backbone: Weights = None, **kwargs: Any) -> YOLACT:
    """YOLACT++ on ResNet-101, the authors' "base".

    The arguments are those of `yolact_resnet50_fpn`.
    """
    return _with_weights(yolact_config("resnet101", plus=True, **kwargs), weights, weights_backbone)


def _backbone(name: str, weights: Weights, weights_backbone: Weights,
              trainable_layers: int | None) -> BackboneConfig:
    """torchvision's rule: with weights batch norms are frozen and the first two parts fixed."""
    pretrained = weights is not None or weights_backbone is not None
    if trainable_layers is None:
        trainable_layers = 3 if pretrained else 5
    eps = published_norm_eps(weights) if weights is not None else BackboneConfig.norm_eps
    return BackboneConfig(name, norm="frozen" if pretrained else "batch", norm_eps=eps,
                          trainable_layers=trainable_layers)


def _second_form(config: DetectorConfig) -> DetectorConfig:
    """What torchvision's second generation has in common."""
    return replace(config, backbone=replace(config.backbone, norm="batch", fpn_norm="batch"),
                   rpn=replace(config.rpn, conv_depth=2),
                   box=replace(config.box, conv_layers=(256,) * 4, fc_layers=1, norm="batch"))


def _small_config(backbone: BackboneConfig, mask_layers: Sequence[int], mask_format: str,
                  num_classes: int, kwargs: dict[str, Any]) -> DetectorConfig:
    layers = tuple(mask_layers)
    mask = MaskConfig(layers=layers, norm="group", mask_format=mask_format,
                      deconv_channels=layers[-1] if layers else backbone.fpn_channels)
    small: dict[str, Any] = {
        "min_size": 320, "max_size": 640, "rpn_anchor_sizes": _SMALL_ANCHORS,
        "rpn_pre_nms_top_n_train": 1000, "rpn_post_nms_top_n_train": 500,
        "rpn_pre_nms_top_n_test": 500, "rpn_post_nms_top_n_test": 500,
        "box_batch_size_per_image": 256, "box_representation": 512,
    }
    return detector_config(backbone, mask, num_classes=num_classes, **(small | kwargs))


def _with_weights(config: DetectorConfig, weights: Weights, weights_backbone: Weights
                  ) -> Detector:
    model = build_detector(config)
    if weights is not None:
        load_checkpoint(model, weights)
    elif weights_backbone is not None:
        load_backbone(model.backbone.body, weights_backbone, getattr(model, "roi_heads", None))
    return model
