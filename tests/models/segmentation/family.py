"""A small segmenter of every kind: the configurations that the promises of all segmenters are tested on."""

import dataclasses

import torch

from roikit.models import (
    AuxiliaryConfig,
    BackboneConfig,
    FCNHeadConfig,
    ImageConfig,
    PyramidPoolingConfig,
    SegmenterConfig,
    SemanticFPNConfig,
    SkipsConfig,
    WindowConfig,
)
from roikit.models.configs.body import LEVELS

IMAGE = ImageConfig(min_size=(64,), max_size=128, size_divisible=1)
FCN = SegmenterConfig(
    num_classes=3, image=IMAGE,
    backbone=BackboneConfig("resnet18", norm="group", neck="maps", levels=("c4", "c5"), output_stride=8),
    head=FCNHeadConfig(16, "group"), auxiliary=AuxiliaryConfig(0.5, FCNHeadConfig(8, "group")))
PYRAMID = SegmenterConfig(
    num_classes=3, image=IMAGE, backbone=BackboneConfig("resnet18", norm="group", fpn_channels=16, fpn_norm="group"),
    head=SemanticFPNConfig(16))


def on_vgg(stride, border):
    return SegmenterConfig(num_classes=3, image=IMAGE, head=SkipsConfig(stride, channels=8, border=border),
                           backbone=BackboneConfig("vgg16", norm="none", neck="maps", levels=LEVELS))


SEGMENTERS = {
    "fcn": FCN,
    "fcn_alone": dataclasses.replace(FCN, auxiliary=None),
    "fcn_resnet50": dataclasses.replace(FCN, backbone=dataclasses.replace(FCN.backbone, name="resnet50")),
    "psp": dataclasses.replace(FCN, head=PyramidPoolingConfig((1, 2, 3, 6), 16, "group")),
    "skips_32": on_vgg(32, 99),
    "skips_16": on_vgg(16, 0),
    "skips_8": on_vgg(8, 99),
    "semantic_fpn": PYRAMID,
    "semantic_fpn_concat": dataclasses.replace(PYRAMID, head=SemanticFPNConfig(16, "concat", "none")),
    "windows": dataclasses.replace(PYRAMID, window=WindowConfig((48, 40), 0.25)),
}


def label_map(size=(64, 64), classes=3, seed=0):
    """A drawn map of blocks, with a stripe of ignored pixels."""
    labels = torch.randint(classes, size, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    labels[:3] = 255
    return labels


def eager(model):
    """The model in evaluation mode, with predictors whose logits differ from pixel to pixel."""
    torch.manual_seed(1)
    for name, part in model.named_modules():
        if name.startswith("classifier") and isinstance(part, torch.nn.Conv2d) and part.out_channels == 3:
            torch.nn.init.normal_(part.weight, std=0.5)
            with torch.no_grad():  # no class is ahead of the others everywhere
                part.weight -= part.weight.mean(1, keepdim=True)
    return model.eval()
