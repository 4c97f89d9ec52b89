"""Files in roikit's, torchvision's and detectron2's layout."""

from dataclasses import replace

import pytest
import torch

from roikit.models import (
    BackboneConfig,
    DetectorConfig,
    ImageConfig,
    build_detector,
    detectron2_model,
    fasterrcnn_resnet50_fpn_v2,
    keypointrcnn_resnet50_fpn,
    load_checkpoint,
    maskrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn_v2,
    save_checkpoint,
)
from roikit.models.weights.layouts import obstacle


def same(one, another):
    return all(torch.equal(value, another.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.fixture
def model(small_config):
    torch.manual_seed(0)
    return build_detector(small_config)


@pytest.mark.parametrize("layout", ["roikit", "torchvision"])
def test_law_there_and_back_are_the_same_bits(model, small_config, layout, tmp_path):
    small_config = replace(small_config, rpn=replace(small_config.rpn, anchor_order="ratio"))
    save_checkpoint(model, tmp_path / "m.pth", layout)
    other = build_detector(small_config)
    load_checkpoint(other, tmp_path / "m.pth")
    assert same(model, other)
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]


@pytest.mark.parametrize("build", [maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2, fasterrcnn_resnet50_fpn_v2,
                                   keypointrcnn_resnet50_fpn])
def test_contract_torchvisions_systems_are_plain_state_dicts(build, tmp_path):
    model = build()
    save_checkpoint(model, tmp_path / "m.pth", "torchvision")
    state = torch.load(tmp_path / "m.pth", weights_only=True)
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_contract_torchvision_loads_it_strictly(torchvision, tmp_path):
    from torchvision.models import detection
    model = maskrcnn_resnet50_fpn_v2(num_classes=5)
    save_checkpoint(model, tmp_path / "m.pth", "torchvision")
    theirs = detection.maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=5)
    theirs.load_state_dict(torch.load(tmp_path / "m.pth", weights_only=True), strict=True)


BASE = DetectorConfig()
DETECTRON2 = replace(BASE, rpn=replace(BASE.rpn, rounded_anchors=False),
                     mask=replace(BASE.mask, paste_rule="continuous"))


@pytest.mark.parametrize(("config", "layout", "field"), [
    (replace(BASE, backbone=BackboneConfig(stride_in_1x1=True)), "torchvision", "backbone.stride_in_1x1 must be False"),
    (replace(BASE, backbone=BackboneConfig("efficientnet_lite0")), "torchvision", "backbone.name must be 'resnet18'"),
    (replace(BASE, box=replace(BASE.box, class_agnostic=True)), "torchvision", "box.class_agnostic must be False"),
    (replace(BASE, mask=replace(BASE.mask, paste_rule="continuous")), "torchvision", "mask.paste_rule must be 'in"),
    (BASE, "detectron2", "rpn.rounded_anchors must be False, got True"),
    (replace(DETECTRON2, mask=BASE.mask), "detectron2", "mask.paste_rule must be 'continuous'"),
    (replace(DETECTRON2, rpn=replace(DETECTRON2.rpn, clip_below=True)), "detectron2", "rpn.clip_below must be False"),
    (replace(DETECTRON2, rpn=replace(DETECTRON2.rpn, anchor_sizes=((8.0, 16.0),) * 5)), "detectron2",
     "rpn.anchor_order must be 'size' with several sizes a level"),
    (replace(DETECTRON2, image=ImageConfig(size_divisible=1)), "detectron2", "rpn.nominal_strides must be True"),
])
def test_contract_the_field_that_stands_in_the_way_is_named(config, layout, field, tmp_path):
    model = torch.nn.Linear(1, 1)  # nothing else of it is looked at
    model.config = config
    with pytest.raises(ValueError, match=f"save_checkpoint: {layout} would compute something else .*{field}"):
        save_checkpoint(model, tmp_path / "m.pth", layout)
    assert not list(tmp_path.iterdir())


def test_contract_nothing_stands_in_the_way_of_a_librarys_own():
    assert obstacle(BASE, "torchvision") is None and obstacle(DETECTRON2, "detectron2") is None
    assert obstacle(maskrcnn_resnet50_fpn().config, "torchvision") is None


def test_contract_other_layouts_and_modules(model, tmp_path):
    with pytest.raises(ValueError, match="layout must be one of roikit, torchvision, detectron2, yolact, got 'keras'"):
        save_checkpoint(model, tmp_path / "m.pth", "keras")
    with pytest.raises(ValueError, match="needs a model of build_detector.*got Linear without a config"):
        save_checkpoint(torch.nn.Linear(1, 1), tmp_path / "m.pth", "torchvision")
    save_checkpoint(torch.nn.Linear(1, 1), tmp_path / "m.pth")


def test_law_a_file_is_whole_or_not_there(model, tmp_path, monkeypatch):
    (tmp_path / "m.pth").write_bytes(b"old")

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fails)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(model, tmp_path / "m.pth")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("m.pth", b"old")]


def test_contract_a_zoo_model_goes_back(tmp_path):
    model = detectron2_model("COCO-Detection/faster_rcnn_R_50_FPN_1x", num_classes=3)
    save_checkpoint(model, tmp_path / "m.pth", "detectron2")
    content = torch.load(tmp_path / "m.pth", weights_only=True)
    assert content["__author__"] == "roikit" and len(content["model"]) == len(model.state_dict())
    # Of a slice, too, no more is written than it holds.
    deltas = content["model"]["roi_heads.box_predictor.bbox_pred.weight"]
    assert deltas.untyped_storage().nbytes() == deltas.nbytes
