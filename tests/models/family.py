"""A small detector of every system: the configurations that the promises of all detectors are tested on."""

import dataclasses

from roikit.models import (
    BackboneConfig,
    BoxConfig,
    CascadeConfig,
    DenseConfig,
    DetectorConfig,
    HybridConfig,
    ImageConfig,
    IntegralConfig,
    IterativeConfig,
    KeypointConfig,
    MaskConfig,
    MaskScoreConfig,
    PanopticConfig,
    RescoringConfig,
    RpnConfig,
    SelectionConfig,
    SemanticConfig,
    SemanticFPNConfig,
    StageConfig,
    rotated_config,
)

FPN = DetectorConfig(
    num_classes=3,
    image=ImageConfig(min_size=(64,), max_size=128),
    backbone=BackboneConfig("resnet18", norm="group", fpn_channels=16, fpn_norm="group"),
    rpn=RpnConfig(anchor_sizes=((8.0,), (16.0,), (32.0,), (64.0,), (128.0,)), keep_after_nms_train=64,
                  keep_after_nms_test=32, samples_per_image=64),
    box=BoxConfig(representation=32, samples_per_image=32),
    mask=MaskConfig(layers=(16, 16), deconv_channels=16, norm="group"))


def changed(part, **fields):
    """`FPN` with other fields in one of its parts."""
    return dataclasses.replace(FPN, **{part: dataclasses.replace(getattr(FPN, part), **fields)})


def on_one_level(backbone, box=(), mask=()):
    return dataclasses.replace(
        FPN, backbone=backbone, box=dataclasses.replace(FPN.box, **dict(box)),
        mask=dataclasses.replace(FPN.mask, **dict(mask)),
        rpn=dataclasses.replace(FPN.rpn, anchor_sizes=((8.0, 16.0, 32.0),), anchor_order="size", nominal_strides=True))


def one_level(name="resnet50", level="c5", norm="group", **fields):
    return BackboneConfig(name, norm=norm, neck="none", levels=(level,), **fields)


STAGES = (StageConfig(0.5, (10.0, 10.0, 5.0, 5.0), 1.0), StageConfig(0.6, (20.0, 20.0, 10.0, 10.0), 0.5),
          StageConfig(0.7, (30.0, 30.0, 15.0, 15.0), 0.25))
AGNOSTIC = dataclasses.replace(FPN.box, class_agnostic=True)
CASCADE = dataclasses.replace(FPN, box=AGNOSTIC, cascade=CascadeConfig())
EVERY = CascadeConfig(STAGES, score="mean_logit", resample=True, gradient_scale=1.0, mask_stages="every")
PANOPTIC = PanopticConfig(num_stuff_classes=2, head=SemanticFPNConfig(16), score_threshold=0.3, stuff_area=16)
KEYPOINT = KeypointConfig(num_keypoints=4, layers=(16, 16))
# P3 to P7, few priors in a cell, all parts small.
DENSE = DenseConfig(prior_sizes=((8.0,), (16.0,), (32.0,), (64.0,), (128.0,)), prototypes=8, proto_layers=(16, 16),
                    proto_fine_layers=(16,), norm="group")
YOLACT = DetectorConfig(
    num_classes=3,
    image=ImageConfig(min_size=(64,), max_size=64, size_divisible=1, keep_aspect=False),
    backbone=BackboneConfig("resnet18", norm="group", fpn_channels=16, fpn_norm="group", levels=("c3", "c4", "c5"),
                            fpn_extra="conv", fpn_upsample="bilinear", fpn_relu=True),
    box=BoxConfig(background_iou=0.4, box_beta=1.0, min_side=0.0, selection=SelectionConfig("fast_nms")), dense=DENSE)


def dense(backbone=(), **fields):
    """`YOLACT` with other fields in its `DenseConfig` and its body."""
    return dataclasses.replace(YOLACT, dense=dataclasses.replace(DENSE, **fields),
                               backbone=dataclasses.replace(YOLACT.backbone, **dict(backbone)))


ROTATED = rotated_config(FPN)

SYSTEMS = {
    "mask_fpn": FPN,
    "faster_fpn": dataclasses.replace(FPN, mask=None),
    "mask_c4": on_one_level(one_level(level="c4"), {"pool_size": 14, "head": "res5", "representation": 2048},
                            {"layers": (), "norm": "none"}),
    "mask_dc5": on_one_level(one_level(dilated_c5=True)),
    "mask_c5": on_one_level(one_level()),
    "faster_vgg16": dataclasses.replace(on_one_level(
        one_level("vgg16", norm="none"), {"pool_kind": "roi_pool", "pool_reduce": "max"}), mask=None),
    "mask_stride_in_1x1": changed("backbone", name="resnet50", stride_in_1x1=True),
    "mask_resnext": changed("backbone", name="resnext50_32x4d"),
    "mask_deformable": changed("backbone", name="resnet50", deform_stages=("c3", "c4", "c5")),
    "mask_deformable_v2": changed("backbone", name="resnet50", deform_stages=("c5",), deform_version=2),
    "mask_gn_head": changed("box", conv_layers=(16, 16), fc_layers=1, norm="group"),
    "mask_agnostic": dataclasses.replace(changed("mask", class_agnostic=True), box=AGNOSTIC),
    "mask_max": changed("box", pool_reduce="max"),
    "mask_roi_pool": changed("box", pool_kind="roi_pool", pool_reduce="max"),
    "mask_softmax": changed("mask", loss="softmax"),
    "mask_mlp": changed("mask", head="mlp"),
    "mask_ohem": changed("box", sampler="hardest"),
    "mask_soft_nms": changed("box", selection=SelectionConfig("soft_nms")),
    "keypoint": dataclasses.replace(FPN, mask=None, keypoint=KEYPOINT),
    "mask_keypoint": dataclasses.replace(FPN, keypoint=KEYPOINT),
    "mask_score": dataclasses.replace(FPN, mask_score=MaskScoreConfig(layers=(8, 8), representation=16)),
    "cascade": dataclasses.replace(CASCADE, mask=None),
    "cascade_mask": CASCADE,
    "cascade_mask_every": dataclasses.replace(CASCADE, cascade=EVERY),
    "iterative": dataclasses.replace(FPN, iterative=IterativeConfig()),
    "integral": dataclasses.replace(FPN, integral=IntegralConfig()),
    "yolact": YOLACT,
    "yolact_padded": dataclasses.replace(YOLACT, image=ImageConfig(min_size=(64,), max_size=128)),
    "yolact_darknet": dense({"name": "darknet53"}),
    "yolact_cross_class": dataclasses.replace(
        YOLACT, box=dataclasses.replace(YOLACT.box, selection=SelectionConfig("fast_nms", cross_class=True))),
    "yolact_nms": dataclasses.replace(YOLACT, box=dataclasses.replace(YOLACT.box, selection=SelectionConfig("nms"))),
    "yolact_plus": dense({"name": "resnet50", "deform_stages": ("c4", "c5"), "deform_version": 2, "deform_interval": 2},
                         square_priors=False, semantic_weight=0.0, threshold_on="score", head_layers=2,
                         rescoring=RescoringConfig(layers=(4, 8), min_area=0.0)),
    "hybrid": dataclasses.replace(CASCADE, cascade=EVERY,
                                  hybrid=HybridConfig(semantic=SemanticConfig(num_classes=5, layers=(16, 16)))),
    "panoptic": dataclasses.replace(FPN, panoptic=PANOPTIC),
    "cascade_panoptic": dataclasses.replace(CASCADE, panoptic=PANOPTIC),
    "rotated": dataclasses.replace(ROTATED, mask=None),
    "rotated_mask": ROTATED,
    "rotated_agnostic_ohem": dataclasses.replace(
        ROTATED, box=dataclasses.replace(ROTATED.box, class_agnostic=True, sampler="hardest")),
    "rotated_cascade_mask": rotated_config(CASCADE),
    "rotated_integral": dataclasses.replace(ROTATED, mask=None, integral=IntegralConfig()),
    "rotated_iterative": dataclasses.replace(ROTATED, mask=None, iterative=IterativeConfig()),
}
