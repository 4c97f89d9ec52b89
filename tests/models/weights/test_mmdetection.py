"""mmdetection's names, conventions and zoo."""

from dataclasses import replace

import pytest
import torch

from roikit.errors import RoikitWarning
from roikit.models import (
    BackboneConfig,
    BoxConfig,
    CascadeConfig,
    DetectorConfig,
    HybridConfig,
    ImageConfig,
    MaskConfig,
    MaskScoreConfig,
    RpnConfig,
    SemanticConfig,
    StageConfig,
    build_detector,
    load_checkpoint,
    mmdetection_model,
)
from roikit.models.weights.mmdetection import renaming, takes_bgr
from roikit.models.weights.mmdetection_zoo import MMDETECTION_NAMES, mmdetection_config
from roikit.models.weights.published import published

CAFFE = ImageConfig(std=(1 / 255,) * 3, min_size=(64,), max_size=96)


def small(**fields):
    base = dict(
        num_classes=4, image=ImageConfig(min_size=(64,), max_size=96),
        backbone=BackboneConfig("resnet50", norm="frozen", fpn_channels=16),
        rpn=RpnConfig(rounded_anchors=False, nominal_strides=True, clip_below=True),
        box=BoxConfig(representation=16, sampling_ratio=0, aligned=True, clip_below=True),
        mask=MaskConfig(layers=(16, 16), deconv_channels=16, sampling_ratio=0, aligned=True, paste_rule="continuous"))
    return DetectorConfig(**(base | fields))


CASCADE = CascadeConfig((StageConfig(0.5, (10.0, 10.0, 5.0, 5.0)),) * 2, score="mean_logit", mask_stages="every")
AGNOSTIC = replace(small().box, class_agnostic=True)
# The parts' names in roikit and in mmdetection: (what is taken off, what is put in its place).
NAMES = (
    ("backbone.body.", "backbone."),
    ("backbone.fpn.inner_blocks.{}.0.", "neck.lateral_convs.{}.conv."),
    ("backbone.fpn.layer_blocks.{}.0.", "neck.fpn_convs.{}.conv."),
    ("backbone.fpn.inner_blocks.{}.1.", "neck.lateral_convs.{}.gn."),
    ("backbone.fpn.layer_blocks.{}.1.", "neck.fpn_convs.{}.gn."),
    ("rpn.head.conv.0.0.", "rpn_head.rpn_conv."),
    ("rpn.head.cls_logits.", "rpn_head.rpn_cls."),
    ("rpn.head.bbox_pred.", "rpn_head.rpn_reg."),
    ("roi_heads.box_predictor.cls_score.", "roi_head.bbox_head.fc_cls."),
    ("roi_heads.box_predictor.bbox_pred.", "roi_head.bbox_head.fc_reg."),
    ("roi_heads.box_predictor.{}.cls_score.", "roi_head.bbox_head.{}.fc_cls."),
    ("roi_heads.box_predictor.{}.bbox_pred.", "roi_head.bbox_head.{}.fc_reg."),
    ("roi_heads.box_head.fc6.", "roi_head.bbox_head.shared_fcs.0."),
    ("roi_heads.box_head.fc7.", "roi_head.bbox_head.shared_fcs.1."),
    ("roi_heads.box_head.{}.fc6.", "roi_head.bbox_head.{}.shared_fcs.0."),
    ("roi_heads.box_head.{}.fc7.", "roi_head.bbox_head.{}.shared_fcs.1."),
    ("roi_heads.mask_head.{}.{}.0.", "roi_head.mask_head.{}.convs.{}.conv."),
    ("roi_heads.mask_head.{}.0.", "roi_head.mask_head.convs.{}.conv."),
    ("roi_heads.mask_head.{}.1.", "roi_head.mask_head.convs.{}.gn."),
    ("roi_heads.mask_predictor.conv5_mask.", "roi_head.mask_head.upsample."),
    ("roi_heads.mask_predictor.mask_fcn_logits.", "roi_head.mask_head.conv_logits."),
    ("roi_heads.mask_predictor.{}.conv5_mask.", "roi_head.mask_head.{}.upsample."),
    ("roi_heads.mask_predictor.{}.mask_fcn_logits.", "roi_head.mask_head.{}.conv_logits."),
    ("roi_heads.mask_flow.0.0.", "roi_head.mask_head.1.conv_res.conv."),
    ("roi_heads.semantic_head.lateral.{}.0.", "roi_head.semantic_head.lateral_convs.{}.conv."),
    ("roi_heads.semantic_head.convs.{}.0.", "roi_head.semantic_head.convs.{}.conv."),
    ("roi_heads.semantic_head.embedding.0.", "roi_head.semantic_head.conv_embedding.conv."),
    ("roi_heads.semantic_head.predictor.", "roi_head.semantic_head.conv_logits."),
    ("roi_heads.mask_score_head.convs.{}.0.", "roi_head.mask_iou_head.convs.{}."),
    ("roi_heads.mask_score_head.fc1.", "roi_head.mask_iou_head.fcs.0."),
    ("roi_heads.mask_score_head.fc2.", "roi_head.mask_iou_head.fcs.1."),
    ("roi_heads.mask_score_head.predictor.", "roi_head.mask_iou_head.fc_mask_iou."),
)


def theirs_of(name):
    for ours, theirs in NAMES:
        parts, pieces, numbers = name.split("."), ours.rstrip(".").split("."), []
        if len(parts) - 1 < len(pieces) or (len(parts) - 1 > len(pieces) and ours != "backbone.body."):
            continue
        if all(piece == part or piece == "{}" and part.isdigit() for piece, part in zip(pieces, parts, strict=False)):
            numbers = [part for piece, part in zip(pieces, parts, strict=False) if piece == "{}"]
            return theirs.format(*numbers) + ".".join(parts[len(pieces):])
    raise AssertionError(name)


def as_theirs(state, bgr=False):
    """A state dict of roikit as mmdetection would have written it."""
    result = {}
    for name, value in state.items():
        if "cls_score" in name:
            value = torch.cat((value[1:], value[:1]))
        elif name.startswith("roi_heads") and "bbox_pred" in name and len(value) > 4:
            value = value[4:]
        elif "mask_fcn_logits" in name or "mask_score_head.predictor" in name:
            value = value[1:]
        elif name == "backbone.body.conv1.weight" and bgr:
            value = value[:, [2, 1, 0]]
        new = theirs_of(name)
        if "gn." in " ".join(map(theirs_of, state)):
            new = new.replace(".bn", ".gn")
        result[new.replace("conv2_offset", "conv2.conv_offset")] = value
    return result


SYSTEMS = {
    "FPN": small(),
    "caffe": small(image=CAFFE),
    "Faster": small(mask=None),
    "32x8d": small(backbone=BackboneConfig("resnext101_32x8d", norm="frozen", fpn_channels=16), mask=None),
    "norms": small(backbone=BackboneConfig("resnet50", norm="group", fpn_norm="group", fpn_channels=16),
                   mask=replace(small().mask, norm="group")),
    "modulated": small(backbone=BackboneConfig("resnet50", norm="frozen", fpn_channels=16, deform_stages=("c4", "c5"),
                                               deform_version=2)),
    "Cascade": small(cascade=CASCADE, box=AGNOSTIC),
    "HTC": small(cascade=CASCADE, box=AGNOSTIC,
                 hybrid=HybridConfig(semantic=SemanticConfig(num_classes=5, layers=(16, 16)))),
    "Mask Scoring": small(mask_score=MaskScoreConfig(layers=(16, 16), representation=16)),
}
WORDS = {"FPN": "Mask R-CNN on ResNet-50 with FPN, 3 classes", "32x8d": "Faster R-CNN on ResNeXt-101 32x8d with FPN",
         "Cascade": "Cascade Mask R-CNN on ResNet-50", "Mask Scoring": "Mask Scoring R-CNN on ResNet-50",
         "HTC": "Hybrid Task Cascade on ResNet-50 with FPN, a semantic branch, 3 classes",
         "modulated": "Mask R-CNN on ResNet-50 with FPN, deformable convolutions"}


def without_background(state):
    state = {name: value.clone() for name, value in state.items()}
    for name, value in state.items():
        if name.startswith("roi_heads") and "bbox_pred" in name and len(value) > 4:
            value[:4] = 0
        if "mask_fcn_logits" in name or "mask_score_head.predictor" in name:
            value[:1] = 0
    return state


@pytest.mark.parametrize("config", SYSTEMS.values(), ids=SYSTEMS)
def test_law_every_tensor_finds_its_place(config, tmp_path):
    torch.manual_seed(0)
    model = build_detector(config)
    state = model.state_dict()
    bgr = config.backbone.name == "resnext101_32x8d" or config.image is CAFFE
    assert takes_bgr(config) == bgr
    theirs = as_theirs(state, bgr)
    assert len(theirs) == len(state)
    torch.save({"meta": {"epoch": 12}, "state_dict": theirs}, tmp_path / "m.pth")
    other = build_detector(config)
    report = load_checkpoint(other, tmp_path / "m.pth")
    assert report.loaded == tuple(sorted(state))
    expected = without_background(state)
    assert all(torch.equal(value, expected[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize("system", WORDS)
def test_contract_a_file_of_another_system_is_called_by_its_name(system, tmp_path):
    torch.save({"state_dict": as_theirs(build_detector(SYSTEMS[system]).state_dict())}, tmp_path / "m.pth")
    other = build_detector(small(mask=None, backbone=BackboneConfig("resnet18", norm="frozen", fpn_channels=16)))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=f"The file looks like mmdetection's {WORDS[system]}.*; the model is Faster"):
        load_checkpoint(other, tmp_path / "m.pth")
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_contract_conventions_that_tensors_do_not_show_are_a_warning(tmp_path):
    torch.save({"state_dict": as_theirs(build_detector(small()).state_dict())}, tmp_path / "m.pth")
    other = build_detector(small(box=replace(small().box, clip_below=False)))
    with pytest.warns(RoikitWarning, match="is mmdetection's, .*box.clip_below must be True"):
        load_checkpoint(other, tmp_path / "m.pth")


def test_contract_offsets_of_either_age():
    new = "backbone.layer2.0.conv2.conv_offset.weight"
    old = "backbone.layer2.0.conv2_offset.weight"
    assert {renaming([name]).ours(name) for name in (new, old)} == {"backbone.body.layer2.0.conv2_offset.weight"}


@pytest.mark.parametrize("name", MMDETECTION_NAMES)
def test_contract_every_name_has_a_configuration(name):
    config = mmdetection_config(name)
    assert config.num_classes == 81 and config.rpn.clip_below and config.box.aligned


def test_contract_facts_that_names_hide():
    config = mmdetection_config("faster_rcnn/faster-rcnn_r101-caffe_fpn_ms-3x_coco")
    assert config.backbone.stride_in_1x1 and not takes_bgr(config)
    config = mmdetection_config("cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco")
    assert config.cascade.mask_stages == "last" and config.mask is None
    assert config.cascade.stages[2].regression_weights == pytest.approx((30.30303, 30.30303, 14.92537, 14.92537))
    assert mmdetection_config("htc/htc_r50_fpn_1x_coco").box.score_threshold == 0.001


def test_contract_every_published_name_is_known():
    assert {entry.name for entry in published() if entry.source == "mmdetection"} <= set(MMDETECTION_NAMES)


def test_contract_unknown_names_and_changes():
    with pytest.raises(ValueError, match="did you mean mask_rcnn/mask-rcnn_r50_fpn_1x_coco"):
        mmdetection_model("mask_rcnn_r50_fpn_1x_coco")
    with pytest.raises(ValueError, match="mmdetection_model: 'dcn/faster-rcnn_r50_fpn_dpool_1x_coco' is no name"):
        mmdetection_model("dcn/faster-rcnn_r50_fpn_dpool_1x_coco")
    with pytest.raises(TypeError, match="mmdetection_model: changes must be of min_size.*got anchors"):
        mmdetection_model("mask_rcnn/mask-rcnn_r50_fpn_1x_coco", anchors=3)
