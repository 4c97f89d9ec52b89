"""Builders of segmenters; those of torchvision's networks have its names and keyword arguments.

Nothing is ever downloaded: `weights` and `weights_backbone` are paths of files.
"""

import os
from dataclasses import replace
from typing import Any

from roikit.models.configs import (
    AuxiliaryConfig,
    BackboneConfig,
    FCNHeadConfig,
    ImageConfig,
    PyramidPoolingConfig,
    SegmenterConfig,
    SemanticFPNConfig,
    SkipsConfig,
)
from roikit.models.configs.body import LEVELS
from roikit.models.segmentation.build import build_segmenter
from roikit.models.segmentation.segmenter import Segmenter
from roikit.models.weights.checkpoint import load_backbone, load_checkpoint

__all__ = ["fcn_resnet50", "fcn_resnet101", "fcn_vgg16_16s", "fcn_vgg16_32s", "fcn_vgg16_8s", "pspnet_resnet50",
           "pspnet_resnet101", "semantic_fpn_resnet18"]

Weights = str | os.PathLike | None

# The authors' networks take BGR of 0 to 255 less its mean; these numbers are the same of RGB in [0, 1].
_CAFFE_MEAN = (122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255)
_CAFFE_STD = (1 / 255,) * 3


def fcn_resnet50(*, weights: Weights = None, num_classes: int = 21, aux_loss: bool | None = None,
                 weights_backbone: Weights = None, **changes: Any) -> Segmenter:
    """FCN on a ResNet-50 dilated to stride 8, as torchvision's builder of that name.

    It has torchvision's state dict. Called with a tensor (N, 3, H, W), normalised, it gives torchvision's dict of "out"
    and "aux"; called with a list of images it gives roikit's results and losses: see `Segmenter`.

    Args:
        weights: file of the whole network; `load_checkpoint` says which kinds.
        num_classes: of the logits.
        aux_loss: whether there is a second head on c4; None is True with weights, as their files have it, and False
            without.
        weights_backbone: file of torchvision's ResNet-50 classifier; not looked at with `weights`.
        **changes: fields of `SegmenterConfig`, `image` or `window` say.
    """
    return _on_resnet("resnet50", FCNHeadConfig(), 0.5, weights, num_classes, aux_loss, weights_backbone, changes)


def fcn_resnet101(*, weights: Weights = None, num_classes: int = 21, aux_loss: bool | None = None,
                  weights_backbone: Weights = None, **changes: Any) -> Segmenter:
    """`fcn_resnet50` on a ResNet-101; the arguments are the same."""
    return _on_resnet("resnet101", FCNHeadConfig(), 0.5, weights, num_classes, aux_loss, weights_backbone, changes)


def pspnet_resnet50(*, weights: Weights = None, num_classes: int = 21, aux_loss: bool | None = True,
                    weights_backbone: Weights = None, **changes: Any) -> Segmenter:
    """PSPNet on a ResNet-50 dilated to stride 8, with grids of 1, 2, 3 and 6 cells and an auxiliary loss of weight 0.4.

    The arguments are those of `fcn_resnet50`. Source: Zhao et al. 2017, arXiv:1612.01105.
    """
    return _on_resnet("resnet50", PyramidPoolingConfig(), 0.4, weights, num_classes, aux_loss, weights_backbone,
                      changes)


def pspnet_resnet101(*, weights: Weights = None, num_classes: int = 21, aux_loss: bool | None = True,
                     weights_backbone: Weights = None, **changes: Any) -> Segmenter:
    """`pspnet_resnet50` on a ResNet-101; the arguments are the same."""
    return _on_resnet("resnet101", PyramidPoolingConfig(), 0.4, weights, num_classes, aux_loss, weights_backbone,
                      changes)


def _on_resnet(name: str, head: FCNHeadConfig | PyramidPoolingConfig, weight: float, weights: Weights,
               num_classes: int, aux_loss: bool | None, weights_backbone: Weights, changes: dict[str, Any]
               ) -> Segmenter:
    auxiliary = AuxiliaryConfig(weight) if (weights is not None if aux_loss is None else aux_loss) else None
    config = SegmenterConfig(num_classes=num_classes, head=head, auxiliary=auxiliary)
    config = replace(config, backbone=replace(config.backbone, name=name))
    return _with_weights(replace(config, **changes), weights, weights_backbone)


def fcn_vgg16_32s(*, weights: Weights = None, num_classes: int = 21, weights_backbone: Weights = None,
                  border: int = 99, **changes: Any) -> Segmenter:
    """The FCN-32s of 2015: VGG-16, its fully connected layers as convolutions, and a bilinear deconvolution.

    Args:
        weights: file of the whole network.
        num_classes: of the logits.
        weights_backbone: file of torchvision's VGG-16 classifier; its fully connected layers go into `classifier.fc6`
            and `classifier.fc7`.
        border: 99 as the authors' networks, or 0: see `SkipsConfig`.
        **changes: fields of `SegmenterConfig`.
    """
    return _on_vgg(32, weights, num_classes, weights_backbone, border, changes)


def fcn_vgg16_16s(*, weights: Weights = None, num_classes: int = 21, weights_backbone: Weights = None,
                  border: int = 99, **changes: Any) -> Segmenter:
    """`fcn_vgg16_32s` with the scores of pool4 added; the arguments are the same."""
    return _on_vgg(16, weights, num_classes, weights_backbone, border, changes)


def fcn_vgg16_8s(*, weights: Weights = None, num_classes: int = 21, weights_backbone: Weights = None,
                 border: int = 99, **changes: Any) -> Segmenter:
    """`fcn_vgg16_32s` with the scores of pool4 and pool3 added; the arguments are the same."""
    return _on_vgg(8, weights, num_classes, weights_backbone, border, changes)


def _on_vgg(stride: int, weights: Weights, num_classes: int, weights_backbone: Weights, border: int,
            changes: dict[str, Any]) -> Segmenter:
    own = weights_backbone is not None and weights is None
    # torchvision's classifier has its own mean and deviation, the authors' networks Caffe's.
    numbers = {} if own else {"mean": _CAFFE_MEAN, "std": _CAFFE_STD}
    config = SegmenterConfig(
        num_classes=num_classes, image=ImageConfig(min_size=(500,), max_size=2000, size_divisible=1, **numbers),
        backbone=BackboneConfig("vgg16", norm="none", neck="maps", levels=LEVELS),
        head=SkipsConfig(stride, border=border))
    return _with_weights(replace(config, **changes), weights, weights_backbone)


def semantic_fpn_resnet18(*, weights: Weights = None, num_classes: int = 21, weights_backbone: Weights = None,
                          fpn_channels: int = 128, channels: int = 128, fusion: str = "sum", norm: str = "group",
                          **changes: Any) -> Segmenter:
    """A light segmenter on a pyramid, sized for training on a CPU from random weights.

    ResNet-18 with GroupNorm, a pyramid of half the usual width, all levels brought to stride 4.

    Args:
        fpn_channels: width of the pyramid.
        channels, fusion: see `SemanticFPNConfig`.
        norm: of body, pyramid and head.
        The others are those of `fcn_resnet50`.
    """
    config = SegmenterConfig(
        num_classes=num_classes, backbone=BackboneConfig("resnet18", norm=norm, fpn_channels=fpn_channels,
                                                         fpn_norm="none" if norm == "frozen" else norm),
        head=SemanticFPNConfig(channels, fusion, norm))
    return _with_weights(replace(config, **changes), weights, weights_backbone)


def _with_weights(config: SegmenterConfig, weights: Weights, weights_backbone: Weights) -> Segmenter:
    model = build_segmenter(config)
    if weights is not None:
        load_checkpoint(model, weights)
    elif weights_backbone is not None:
        load_backbone(getattr(model.backbone, "body", model.backbone), weights_backbone, model.classifier)
    return model
