"""The zoos' configurations beside the libraries' own, where these are installed."""

import pytest
import torch

from roikit.compat import torchvision as stand_in
from roikit.models import build_detector, load_checkpoint
from roikit.models.weights.detectron2 import to_detectron2
from roikit.models.weights.detectron2_zoo import DETECTRON2_NAMES, detectron2_config
from roikit.models.weights.mmdetection_zoo import MMDETECTION_NAMES, mmdetection_config

_BODIES = {(50, 1, 64): "resnet50", (101, 1, 64): "resnet101", (101, 32, 8): "resnext101_32x8d",
           (101, 32, 4): "resnext101_32x4d", (101, 64, 4): "resnext101_64x4d", (152, 32, 8): "resnext152_32x8d"}
_NORMS = {"": "none", "FrozenBN": "frozen", "GN": "group", "SyncBN": "sync"}


def detectron2_zoo():
    stand_in.install()  # where torchvision's own binary is missing or made for another torch
    return pytest.importorskip("detectron2.model_zoo", reason="detectron2 is not installed")


def close(one, other):
    assert one == pytest.approx(other, rel=1e-6), (one, other)


@pytest.mark.parametrize("name", [name for name in DETECTRON2_NAMES if "new_baselines" not in name])
def test_detectron2s_own_configuration_says_the_same(name):
    zoo = detectron2_zoo()
    theirs, ours = zoo.get_config(f"{name}.yaml"), detectron2_config(name)
    model = theirs.MODEL
    body, rpn, heads, box = model.RESNETS, model.RPN, model.ROI_HEADS, model.ROI_BOX_HEAD
    close([255 * m for m in ours.image.mean], model.PIXEL_MEAN[::-1])
    close([255 * s for s in ours.image.std], model.PIXEL_STD[::-1])
    assert theirs.INPUT.FORMAT == "BGR"
    assert ours.image.min_size[-1] == theirs.INPUT.MIN_SIZE_TEST and ours.image.max_size == theirs.INPUT.MAX_SIZE_TEST
    if theirs.INPUT.MIN_SIZE_TRAIN_SAMPLING == "choice":
        assert ours.image.min_size == tuple(theirs.INPUT.MIN_SIZE_TRAIN)

    assert ours.backbone.name == _BODIES[body.DEPTH, body.NUM_GROUPS, body.WIDTH_PER_GROUP]
    assert ours.backbone.norm == _NORMS[body.NORM] and ours.backbone.fpn_norm == _NORMS[model.FPN.NORM]
    assert ours.backbone.stride_in_1x1 == body.STRIDE_IN_1X1 and ours.backbone.trainable_layers == 5 - (
        model.BACKBONE.FREEZE_AT)
    assert ours.backbone.dilated_c5 == (body.RES5_DILATION == 2)
    stages = ("c2", "c3", "c4", "c5")
    assert ours.backbone.deform_stages == tuple(
        stage for stage, on in zip(stages, body.DEFORM_ON_PER_STAGE, strict=True) if on)
    assert not any(body.DEFORM_ON_PER_STAGE) or not body.DEFORM_MODULATED and body.DEFORM_NUM_GROUPS == 1
    if model.BACKBONE.NAME == "build_resnet_fpn_backbone":
        assert ours.backbone.neck == "fpn" and ours.image.size_divisible == 32
    else:
        level = {"res4": "c4", "res5": "c5"}[heads.IN_FEATURES[0]]
        assert (ours.backbone.neck, ours.backbone.levels, ours.image.size_divisible) == ("none", (level,), 1)

    assert ours.rpn.anchor_sizes == tuple(tuple(map(float, sizes)) for sizes in model.ANCHOR_GENERATOR.SIZES)
    assert [list(ours.rpn.aspect_ratios)] == model.ANCHOR_GENERATOR.ASPECT_RATIOS
    assert not model.ANCHOR_GENERATOR.OFFSET and not ours.rpn.rounded_anchors and ours.rpn.nominal_strides
    assert (ours.rpn.keep_before_nms_train, ours.rpn.keep_before_nms_test) == (
        rpn.PRE_NMS_TOPK_TRAIN, rpn.PRE_NMS_TOPK_TEST)
    assert (ours.rpn.keep_after_nms_train, ours.rpn.keep_after_nms_test) == (
        rpn.POST_NMS_TOPK_TRAIN, rpn.POST_NMS_TOPK_TEST)
    assert (ours.rpn.nms_threshold, ours.rpn.box_beta) == (rpn.NMS_THRESH, rpn.SMOOTH_L1_BETA)
    assert [ours.rpn.background_iou, ours.rpn.foreground_iou] == rpn.IOU_THRESHOLDS
    assert (ours.rpn.samples_per_image, ours.rpn.positive_fraction) == (rpn.BATCH_SIZE_PER_IMAGE, rpn.POSITIVE_FRACTION)
    assert ours.rpn.conv_depth == len(rpn.CONV_DIMS) and 0 < ours.rpn.min_side < 1e-30

    assert ours.num_classes == heads.NUM_CLASSES + 1
    assert (ours.box.score_threshold, ours.box.nms_threshold, ours.box.detections_per_image) == (
        heads.SCORE_THRESH_TEST, heads.NMS_THRESH_TEST, theirs.TEST.DETECTIONS_PER_IMAGE)
    assert [ours.box.foreground_iou] == heads.IOU_THRESHOLDS
    assert (ours.box.samples_per_image, ours.box.positive_fraction) == (
        heads.BATCH_SIZE_PER_IMAGE, heads.POSITIVE_FRACTION)
    assert (ours.box.head == "res5") == (heads.NAME == "Res5ROIHeads")
    pooled(ours.box, box)
    assert (ours.box.box_beta, ours.box.class_agnostic) == (box.SMOOTH_L1_BETA, box.CLS_AGNOSTIC_BBOX_REG)
    assert ours.box.regression_weights == box.BBOX_REG_WEIGHTS and ours.box.min_side == 0
    if ours.box.head == "layers":
        assert ours.box.conv_layers == (box.CONV_DIM,) * box.NUM_CONV and ours.box.fc_layers == box.NUM_FC
        assert ours.box.representation == box.FC_DIM and ours.box.norm == _NORMS[box.NORM]
    assert (ours.cascade is not None) == (heads.NAME == "CascadeROIHeads")
    if ours.cascade is not None:
        cascade = model.ROI_BOX_CASCADE_HEAD
        assert tuple(stage.iou for stage in ours.cascade.stages) == cascade.IOUS
        assert tuple(stage.regression_weights for stage in ours.cascade.stages) == cascade.BBOX_REG_WEIGHTS
    assert (ours.mask is not None) == model.MASK_ON and (ours.keypoint is not None) == model.KEYPOINT_ON
    if ours.mask is not None:
        mask = model.ROI_MASK_HEAD
        pooled(ours.mask, mask)
        assert ours.mask.layers == (mask.CONV_DIM,) * mask.NUM_CONV and ours.mask.norm == _NORMS[mask.NORM]
        assert ours.mask.deconv_channels == mask.CONV_DIM and ours.mask.class_agnostic == mask.CLS_AGNOSTIC_MASK
    if ours.keypoint is not None:
        keypoint = model.ROI_KEYPOINT_HEAD
        pooled(ours.keypoint, keypoint)
        assert (ours.keypoint.layers, ours.keypoint.num_keypoints, ours.keypoint.loss_weight) == (
            keypoint.CONV_DIMS, keypoint.NUM_KEYPOINTS, keypoint.LOSS_WEIGHT)
    assert (ours.panoptic is not None) == (model.META_ARCHITECTURE == "PanopticFPN")
    if ours.panoptic is not None:
        same_panoptic(ours.panoptic, model.SEM_SEG_HEAD, model.PANOPTIC_FPN)


def same_panoptic(ours, head, panoptic):
    assert head.NAME == "SemSegFPNHead" and head.COMMON_STRIDE == 4 and head.IN_FEATURES == ["p2", "p3", "p4", "p5"]
    assert (ours.num_stuff_classes + 1, ours.head.channels, ours.head.norm, ours.head.fusion) == (
        head.NUM_CLASSES, head.CONVS_DIM, _NORMS[head.NORM], "sum")
    assert (ours.loss_weight, ours.ignored_label, ours.instance_loss_weight) == (
        head.LOSS_WEIGHT, head.IGNORE_VALUE, panoptic.INSTANCE_LOSS_WEIGHT)
    merge = panoptic.COMBINE
    assert (ours.score_threshold, ours.overlap_threshold, ours.stuff_area) == (
        merge.INSTANCES_CONFIDENCE_THRESH, merge.OVERLAP_THRESH, merge.STUFF_AREA_LIMIT)


def pooled(ours, theirs):
    assert (ours.pool_size, ours.sampling_ratio) == (theirs.POOLER_RESOLUTION, theirs.POOLER_SAMPLING_RATIO)
    assert ours.aligned == {"ROIAlignV2": True, "ROIAlign": False}[theirs.POOLER_TYPE]


@pytest.mark.parametrize("name", [name for name in DETECTRON2_NAMES if "new_baselines" in name])
def test_detectron2s_own_lazy_configuration_says_the_same(name):
    zoo = detectron2_zoo()
    theirs, ours = zoo.get_config(f"{name}.py").model, detectron2_config(name)
    bottom = theirs.backbone.bottom_up
    assert ours.backbone.name == f"resnet{bottom.stages.depth}" and ours.backbone.stride_in_1x1 == (
        bottom.stages.stride_in_1x1)
    assert {bottom.stem.norm, bottom.stages.norm, theirs.backbone.norm} == {"SyncBN"}
    assert ours.backbone.norm == ours.backbone.fpn_norm == ours.box.norm == ours.mask.norm == "sync"
    assert bottom.freeze_at == 0 and ours.backbone.trainable_layers == 5
    close([255 * m for m in ours.image.mean], list(theirs.pixel_mean)[::-1])
    close([255 * s for s in ours.image.std], list(theirs.pixel_std)[::-1])
    rpn, heads = theirs.proposal_generator, theirs.roi_heads
    assert ours.rpn.conv_depth == len(rpn.head.conv_dims)
    assert [ours.rpn.keep_before_nms_train, ours.rpn.keep_before_nms_test] == list(rpn.pre_nms_topk)
    assert [ours.rpn.keep_after_nms_train, ours.rpn.keep_after_nms_test] == list(rpn.post_nms_topk)
    assert list(ours.box.conv_layers) == list(heads.box_head.conv_dims)
    assert [ours.box.representation] * ours.box.fc_layers == list(heads.box_head.fc_dims)
    assert [*ours.mask.layers, ours.mask.deconv_channels] == list(heads.mask_head.conv_dims)
    assert ours.num_classes == heads.num_classes + 1 and ours.box.score_threshold == (
        heads.box_predictor.test_score_thresh)


@pytest.mark.parametrize("name", MMDETECTION_NAMES)
def test_mmdetections_own_configuration_says_the_same(name):
    stand_in.install()
    mmdet, mmengine = (pytest.importorskip(module, reason=f"{module} is not installed")
                       for module in ("mmdet", "mmengine"))
    from pathlib import Path
    path = Path(mmdet.__file__).parent / ".mim/configs" / f"{name}.py"
    whole, ours = mmengine.config.Config.fromfile(path), mmdetection_config(name)
    theirs = whole.model
    pixels, body, rpn, heads = theirs.data_preprocessor, theirs.backbone, theirs.rpn_head, theirs.roi_head
    turn = 1 if pixels.bgr_to_rgb else -1
    close([255 * m for m in ours.image.mean], pixels.mean[::turn])
    close([255 * s for s in ours.image.std], pixels.std[::turn])
    assert ours.image.size_divisible == pixels.pad_size_divisor
    scale = next(step for step in whole.test_dataloader.dataset.pipeline if step["type"] == "Resize")["scale"]
    assert (ours.image.max_size, ours.image.min_size[-1]) == tuple(scale)

    from roikit.models.weights.mmdetection import takes_bgr
    assert takes_bgr(ours) == (not pixels.bgr_to_rgb)
    assert ours.backbone.name == _BODIES[body.depth, body.get("groups", 1), body.get("base_width", 64)]
    assert ours.backbone.stride_in_1x1 == (body.style == "caffe")
    assert ours.backbone.norm == {"BN": "frozen", "GN": "group"}[body.norm_cfg.type] and body.norm_eval
    assert ours.backbone.trainable_layers == 4 - body.frozen_stages
    assert bool(ours.backbone.deform_stages) == ("dcn" in body)
    if "dcn" in body:
        assert body.stage_with_dcn == (False, True, True, True) and ours.backbone.deform_stages == ("c3", "c4", "c5")
        assert ours.backbone.deform_version == {"DCN": 1, "DCNv2": 2}[body.dcn.type]
        assert ours.backbone.deform_groups == body.dcn.deform_groups
    if "neck" in theirs:
        assert ours.backbone.fpn_norm == {None: "none", "GN": "group"}[theirs.neck.get("norm_cfg", {}).get("type")]
    else:
        assert (ours.backbone.neck, ours.backbone.levels) == ("none", (f"c{body.out_indices[0] + 2}",))
        assert ours.backbone.dilated_c5 == (body.dilations[-1] == 2)

    anchors = rpn.anchor_generator
    assert ours.rpn.anchor_sizes == tuple(tuple(float(stride * scale) for scale in anchors.scales)
                                          for stride in anchors.strides)
    assert list(ours.rpn.aspect_ratios) == list(anchors.ratios)
    train, test = theirs.train_cfg.rpn_proposal, theirs.test_cfg.rpn
    assert (ours.rpn.keep_before_nms_train, ours.rpn.keep_after_nms_train) == (train.nms_pre, train.max_per_img)
    assert (ours.rpn.keep_before_nms_test, ours.rpn.keep_after_nms_test) == (test.nms_pre, test.max_per_img)
    assert ours.rpn.nms_threshold == test.nms.iou_threshold and test.min_bbox_size == 0
    assert ours.rpn.box_beta == rpn.loss_bbox.get("beta", 0.0)

    stages = heads.bbox_head if isinstance(heads.bbox_head, list) else [heads.bbox_head]
    assert len(stages) == (1 if ours.cascade is None else len(ours.cascade.stages))
    ious = theirs.train_cfg.rcnn if ours.cascade else [theirs.train_cfg.rcnn]
    for number, (stage, rule) in enumerate(zip(stages, ious, strict=True)):
        weights, iou, weight = (ours.box.regression_weights, ours.box.foreground_iou, 1) if ours.cascade is None else (
            ours.cascade.stages[number].regression_weights, ours.cascade.stages[number].iou,
            ours.cascade.stages[number].loss_weight)
        close(weights, [1 / std for std in stage.bbox_coder.target_stds])
        assert iou == rule.assigner.pos_iou_thr and weight == heads.get("stage_loss_weights", [1])[number]
        assert ours.num_classes == stage.num_classes + 1
        assert ours.box.class_agnostic == stage.reg_class_agnostic
        assert "IoU" in stage.loss_bbox.type or ours.box.box_beta == stage.loss_bbox.get("beta", 0.0)
        convs, layers = {"Shared2FCBBoxHead": (0, 2), "Shared4Conv1FCBBoxHead": (4, 1), "BBoxHead": (0, 2)}[stage.type]
        assert (len(ours.box.conv_layers), ours.box.fc_layers) == (convs, layers)
        assert (ours.box.head == "res5") == (stage.type == "BBoxHead")
    extract = heads.bbox_roi_extractor
    assert (ours.box.pool_size, ours.box.sampling_ratio) == (
        extract.roi_layer.output_size, extract.roi_layer.sampling_ratio)
    assert list(ours.backbone.strides) == list(extract.featmap_strides)
    test = theirs.test_cfg.rcnn
    assert (ours.box.score_threshold, ours.box.nms_threshold, ours.box.detections_per_image) == (
        test.score_thr, test.nms.iou_threshold, test.max_per_img)
    assert ours.box.selection.kind == test.nms.type
    sampler = {"RandomSampler": "balanced", "OHEMSampler": "hardest"}[ious[0].sampler.type]
    assert ours.box.sampler == sampler

    assert (ours.mask is not None) == ("mask_head" in heads)
    if ours.mask is not None:
        mask = heads.mask_head[0] if isinstance(heads.mask_head, list) else heads.mask_head
        assert len(ours.mask.layers) == mask.num_convs and ours.num_classes == mask.num_classes + 1
        assert ours.mask.threshold == test.mask_thr_binary
        assert ours.mask.norm == {None: "none", "GN": "group"}[mask.get("norm_cfg", {}).get("type")]
    assert (ours.mask_score is not None) == ("mask_iou_head" in heads)
    assert (ours.hybrid is not None) == (heads.type == "HybridTaskCascadeRoIHead")
    if ours.hybrid is not None:
        assert (ours.hybrid.interleaved, ours.hybrid.mask_flow) == (heads.interleaved, heads.mask_info_flow)
        assert (ours.hybrid.semantic is not None) == ("semantic_head" in heads)


# One configuration of each kind of network.
DETECTRON2_KINDS = (
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x", "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_3x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x", "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x",
    "COCO-Detection/faster_rcnn_R_101_FPN_3x", "COCO-Detection/faster_rcnn_R_50_C4_1x",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x", "Cityscapes/mask_rcnn_R_50_FPN",
    "PascalVOC-Detection/faster_rcnn_R_50_C4",
    "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic", "Misc/mask_rcnn_R_50_FPN_3x_dconv_c3-c5",
    "Misc/cascade_mask_rcnn_R_50_FPN_3x", "Misc/mask_rcnn_R_50_FPN_3x_syncbn", "Misc/scratch_mask_rcnn_R_50_FPN_9x_gn",
    "Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv", "LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x", "Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x",
    "new_baselines/mask_rcnn_R_50_FPN_100ep_LSJ")


def shapes(state):
    return {name: tuple(value.shape) for name, value in state.items()}


@pytest.mark.parametrize("name", DETECTRON2_KINDS)
def test_detectron2s_network_has_our_tensors_under_its_names(name):
    zoo = detectron2_zoo()
    from detectron2.config import instantiate
    from detectron2.modeling import build_model
    if name.startswith("new_baselines"):
        theirs = instantiate(zoo.get_config(f"{name}.py").model)
    else:
        config = zoo.get_config(f"{name}.yaml")
        config.MODEL.DEVICE = "cpu"
        theirs = build_model(config)
    assert shapes(theirs.state_dict()) == shapes(to_detectron2(build_detector(detectron2_config(name)).state_dict()))


MMDETECTION_KINDS = (
    "faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco", "faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco",
    "faster_rcnn/faster-rcnn_r101_fpn_1x_coco", "mask_rcnn/mask-rcnn_r50_fpn_1x_coco",
    "mask_rcnn/mask-rcnn_r50-caffe-c4_1x_coco", "mask_rcnn/mask-rcnn_x101-32x8d_fpn_1x_coco",
    "cascade_rcnn/cascade-rcnn_x101-32x4d_fpn_1x_coco", "cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco",
    "htc/htc_r50_fpn_1x_coco", "htc/htc-without-semantic_r50_fpn_1x_coco",
    "htc/htc_x101-64x4d-dconv-c3-c5_fpn_ms-400-1400-16xb1-20e_coco", "ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco",
    "dcn/cascade-mask-rcnn_x101-32x4d-dconv-c3-c5_fpn_1x_coco", "dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco",
    "dcnv2/faster-rcnn_r50-mdconv-group4-c3-c5_fpn_1x_coco", "gn/mask-rcnn_r50_fpn_gn-all_2x_coco")


@pytest.mark.parametrize("name", MMDETECTION_KINDS)
def test_mmdetections_network_fills_ours(name, tmp_path):
    stand_in.install()
    pytest.importorskip("mmdet", reason="mmdet is not installed")
    import roikit.compat.mmcv
    roikit.compat.mmcv.install()
    from pathlib import Path

    import mmdet
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    from mmengine.config import Config
    register_all_modules()
    config = Config.fromfile(Path(mmdet.__file__).parent / ".mim/configs" / f"{name}.py").model
    config.backbone.pop("init_cfg", None)
    config.pop("pretrained", None)
    theirs = MODELS.build(config).state_dict()
    torch.save({"meta": {}, "state_dict": theirs}, tmp_path / "m.pth")
    model = build_detector(mmdetection_config(name))
    report = load_checkpoint(model, tmp_path / "m.pth")
    assert len(report.loaded) == len([name for name in model.state_dict() if not name.endswith("tracked")])
    assert len(report.loaded) + len(report.dropped) == len(theirs) and not report.missing
    assert all(name.endswith("num_batches_tracked") for name in report.dropped)
    stem = theirs["backbone.conv1.weight"]
    assert torch.equal(model.state_dict()["backbone.body.conv1.weight"],
                       stem if config.data_preprocessor.bgr_to_rgb else stem.flip(1))
