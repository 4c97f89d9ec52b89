"""From a segmenter's config to its modules, one function a part, as `roikit.models.build` does for detectors."""

from collections.abc import Callable

from torch import nn

from roikit.models.build import body_format_of, build_backbone, build_semantic_head
from roikit.models.configs import SegmenterConfig
from roikit.models.configs.segmenter import FCNHeadConfig, PyramidPoolingConfig, SemanticFPNConfig, SkipsConfig
from roikit.models.parts.image import ImageTransform
from roikit.models.parts.norm import norm_layer
from roikit.models.segmentation.fcn import FCNHead, FCNSkipHead, FCNSkips
from roikit.models.segmentation.pspnet import PSPHead
from roikit.models.segmentation.segmenter import Segmenter

__all__ = ["build_segmenter"]


def build_segmenter(config: SegmenterConfig) -> Segmenter:
    """A segmenter with random weights. The result keeps `config` as its attribute of that name."""
    backbone = build_backbone(config.backbone)
    kind, levels = Segmenter, len(config.backbone.levels)
    if isinstance(config.head, SemanticFPNConfig):
        classifier = build_semantic_head(config.head, backbone.out_channels, config.num_classes, levels)
    elif isinstance(config.head, SkipsConfig):
        kind, classifier = FCNSkips, build_skip_head(config.head, backbone.channels, config.num_classes)
    elif isinstance(config.head, PyramidPoolingConfig):
        classifier = build_pooling_head(config.head, backbone.channels[-1], config.num_classes)
    else:
        classifier = build_fcn_head(config.head, backbone.channels[-1], config.num_classes)
    auxiliary = config.auxiliary
    second = None if auxiliary is None else build_fcn_head(auxiliary.head, backbone.channels[-2], config.num_classes)
    window = None if config.window is None else (config.window.size, config.window.overlap)
    # A pyramid sees to its own and its body's maps.
    format_ = {} if config.backbone.neck == "fpn" else {"map_format": body_format_of(backbone, config.backbone)}
    model = kind(ImageTransform(config.image), backbone, classifier, second, num_classes=config.num_classes,
                 aux_weight=0.0 if auxiliary is None else auxiliary.loss_weight, window=window,
                 ignored=config.ignored_label, levels=levels, **format_)
    model.config = config
    return model


def build_fcn_head(config: FCNHeadConfig, channels: int, num_classes: int) -> FCNHead:
    return FCNHead(channels, num_classes, config.channels, _norm(config), config.dropout)


def build_pooling_head(config: PyramidPoolingConfig, channels: int, num_classes: int) -> PSPHead:
    return PSPHead(channels, num_classes, config.channels, _norm(config), config.dropout, config.bins)


def build_skip_head(config: SkipsConfig, channels: tuple[int, ...], num_classes: int) -> FCNSkipHead:
    # c2 and c3 are pooled to pool3 and pool4; c5 is pool5.
    return FCNSkipHead((channels[0], channels[1], channels[3]), num_classes, config.stride, config.channels,
                       config.dropout, config.border)


def _norm(config: FCNHeadConfig | PyramidPoolingConfig) -> Callable[[int], nn.Module]:
    return norm_layer(config.norm, groups=config.norm_groups)
