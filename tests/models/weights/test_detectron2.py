"""detectron2's names, conventions, files and zoo."""

import pickle
from dataclasses import replace

import pytest
import torch

from roikit.errors import RoikitWarning
from roikit.models import (
    BackboneConfig,
    BoxConfig,
    CascadeConfig,
    DetectorConfig,
    ImageConfig,
    KeypointConfig,
    MaskConfig,
    RpnConfig,
    build_detector,
    detectron2_model,
    load_checkpoint,
    save_checkpoint,
)
from roikit.models.weights.detectron2 import from_detectron2, renaming, to_detectron2
from roikit.models.weights.detectron2_zoo import DETECTRON2_NAMES, detectron2_config
from roikit.models.weights.published import published


def small(**fields):
    """A detector of detectron2's kind that is quick to build."""
    base = dict(
        num_classes=4, image=ImageConfig(min_size=(64,), max_size=96),
        backbone=BackboneConfig("resnet50", norm="frozen", fpn_channels=32, stride_in_1x1=True),
        rpn=RpnConfig(rounded_anchors=False, anchor_order="size", nominal_strides=True, keep_after_nms_test=20),
        box=BoxConfig(representation=32, sampling_ratio=0, aligned=True, min_side=0.0, score_threshold=0.0),
        mask=MaskConfig(layers=(32, 32), deconv_channels=32, sampling_ratio=0, aligned=True,
                        paste_rule="continuous"))
    return DetectorConfig(**(base | fields))


BOX, MASK = small().box, small().mask
C4 = BackboneConfig("resnet50", norm="frozen", neck="none", levels=("c4",))
ONE_MAP = replace(small().rpn, anchor_sizes=((32.0, 64.0),))
SYSTEMS = {
    "FPN": small(),
    "Faster": small(mask=None),
    "GN heads": small(backbone=BackboneConfig("resnet50", norm="group", fpn_norm="group", fpn_channels=32),
                      box=replace(BOX, conv_layers=(32,) * 4, fc_layers=1, norm="group"),
                      mask=replace(MASK, norm="group")),
    "SyncBN, two RPN convolutions": small(
        backbone=BackboneConfig("resnet50", norm="sync", fpn_norm="sync", fpn_channels=32),
        rpn=replace(small().rpn, conv_depth=2), box=replace(BOX, conv_layers=(32,), fc_layers=1, norm="sync")),
    "class-agnostic": small(box=replace(BOX, class_agnostic=True), mask=replace(MASK, class_agnostic=True)),
    "deformable": small(backbone=BackboneConfig("resnet50", norm="frozen", fpn_channels=32,
                                                deform_stages=("c3", "c4", "c5"))),
    "C4": small(backbone=C4, rpn=ONE_MAP, box=replace(BOX, head="res5", pool_size=14),
                mask=replace(MASK, layers=())),
    "DC5": small(backbone=BackboneConfig("resnet50", norm="frozen", neck="none", levels=("c5",), dilated_c5=True),
                 rpn=ONE_MAP, mask=None, box=replace(BOX, pool_size=2)),
    "Cascade": small(cascade=CascadeConfig(), box=replace(BOX, class_agnostic=True)),
    "Cascade with GN heads": small(cascade=CascadeConfig(), box=replace(
        BOX, class_agnostic=True, conv_layers=(32, 32), fc_layers=1, norm="group")),
    "keypoints": small(num_classes=2, mask=None, keypoint=KeypointConfig(
        layers=(32, 32), score_rule="probability")),
    "one layer": small(box=replace(BOX, fc_layers=1)),
}


def random_model(config, seed=0):
    torch.manual_seed(seed)
    model = build_detector(config).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 1.5)
            elif value.is_floating_point() and value.ndim == 1:
                value.add_(torch.randn_like(value) * 0.1)
    return model


def without_background(state):
    """The state dict with zeros in what nothing looks at: the background's deltas and mask."""
    state = {name: value.clone() for name, value in state.items()}
    for name, value in state.items():
        if "bbox_pred" in name and name.startswith("roi_heads") and len(value) > 4:
            value[:4] = 0
        if "mask_fcn_logits" in name and len(value) > 1:
            value[:1] = 0
    return state


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
@pytest.mark.parametrize("config", SYSTEMS.values(), ids=SYSTEMS)
def test_law_there_and_back_are_the_same_bits(config, suffix, tmp_path):
    model, other = random_model(config), random_model(config, seed=1)
    save_checkpoint(model, tmp_path / f"m{suffix}", "detectron2")
    report = load_checkpoint(other, tmp_path / f"m{suffix}")
    assert report.loaded == tuple(sorted(model.state_dict())) and not report.reinitialised
    expected = without_background(model.state_dict())
    assert all(torch.equal(value, expected[name]) for name, value in other.state_dict().items())
    image = torch.rand(3, 64, 80)
    with torch.no_grad():
        before, after = model([image])[0], other([image])[0]
    assert before.keys() == after.keys() and len(before["boxes"])
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_contract_names_and_conventions():
    state = random_model(SYSTEMS["FPN"]).state_dict()
    theirs = to_detectron2(state)
    for name in ("backbone.bottom_up.stem.conv1.norm.running_mean", "backbone.bottom_up.res5.2.conv3.weight",
                 "backbone.bottom_up.res2.0.shortcut.norm.bias", "backbone.fpn_lateral2.weight",
                 "backbone.fpn_output5.bias", "proposal_generator.rpn_head.conv.weight",
                 "proposal_generator.rpn_head.objectness_logits.bias",
                 "proposal_generator.rpn_head.anchor_deltas.weight",
                 "roi_heads.box_head.fc1.weight", "roi_heads.box_head.fc2.bias",
                 "roi_heads.mask_head.mask_fcn2.weight", "roi_heads.mask_head.deconv.weight"):
        assert name in theirs, name
    assert len(theirs) == len(state)
    stem = "backbone.bottom_up.stem.conv1.weight"
    assert torch.equal(theirs[stem][:, 0], state["backbone.body.conv1.weight"][:, 2])
    logits = state["roi_heads.box_predictor.cls_score.weight"]
    assert torch.equal(theirs["roi_heads.box_predictor.cls_score.weight"], torch.cat((logits[1:], logits[:1])))
    assert torch.equal(theirs["roi_heads.box_predictor.bbox_pred.bias"],
                       state["roi_heads.box_predictor.bbox_pred.bias"][4:])
    assert torch.equal(theirs["roi_heads.mask_head.predictor.weight"],
                       state["roi_heads.mask_predictor.mask_fcn_logits.weight"][1:])


@pytest.mark.parametrize(("system", "names"), [
    ("GN heads", ["roi_heads.box_head.conv4.norm.weight", "roi_heads.box_head.fc1.weight",
                  "backbone.fpn_lateral5.norm.bias", "roi_heads.mask_head.mask_fcn1.norm.weight"]),
    ("SyncBN, two RPN convolutions", ["proposal_generator.rpn_head.conv.conv1.weight",
                                      "roi_heads.box_head.conv1.norm.num_batches_tracked"]),
    ("deformable", ["backbone.bottom_up.res3.0.conv2_offset.bias", "backbone.bottom_up.res5.2.conv2.norm.weight"]),
    ("C4", ["backbone.stem.conv1.weight", "backbone.res4.5.conv1.norm.weight", "roi_heads.res5.0.shortcut.weight"]),
    ("Cascade", ["roi_heads.box_head.2.fc2.weight", "roi_heads.box_predictor.0.bbox_pred.weight"]),
    ("Cascade with GN heads", ["roi_heads.box_head.1.conv2.norm.bias", "roi_heads.box_head.1.fc1.weight"]),
    ("keypoints", ["roi_heads.keypoint_head.conv_fcn2.weight", "roi_heads.keypoint_head.score_lowres.bias"]),
])
def test_contract_names_of_other_systems(system, names):
    state = random_model(SYSTEMS[system]).state_dict()
    theirs = to_detectron2(state)
    assert set(names) <= set(theirs) and len(theirs) == len(state)
    back = renaming(theirs)
    assert {back.ours(name) for name in theirs} == set(state)


def test_contract_what_may_stand_in_a_file_or_not(tmp_path):
    model = random_model(SYSTEMS["FPN"])
    theirs = {name: value for name, value in to_detectron2(model.state_dict()).items()
              if not name.endswith(("running_mean", "running_var"))}
    theirs |= {"pixel_mean": torch.zeros(3, 1, 1), "pixel_std": torch.ones(3, 1, 1),
               "proposal_generator.anchor_generator.cell_anchors.0": torch.zeros(3, 4),
               "backbone.bottom_up.stem.conv1.norm.num_batches_tracked": torch.tensor(3)}
    torch.save({"model": {f"module.{name}": value for name, value in theirs.items()}, "iteration": 5},
               tmp_path / "m.pth")
    report = load_checkpoint(model, tmp_path / "m.pth")
    assert len(report.dropped) == 4 and len(report.loaded) == len(model.state_dict())
    body = model.backbone.body
    assert (body.bn1.running_mean == 0).all() and (body.layer4[2].bn3.running_var == 1).all()


def test_contract_another_number_of_classes(tmp_path):
    model = random_model(SYSTEMS["Cascade"])
    save_checkpoint(model, tmp_path / "m.pkl", "detectron2")
    other = build_detector(replace(SYSTEMS["Cascade"], num_classes=7))
    with pytest.raises(ValueError, match="The file has 4 classes and the model 7"):
        load_checkpoint(other, tmp_path / "m.pkl")
    report = load_checkpoint(other, tmp_path / "m.pkl", allow_new_classes=True)
    assert {name.rsplit(".", 1)[0] for name in report.reinitialised} == {
        *(f"roi_heads.box_predictor.{stage}.cls_score" for stage in range(3)),
        "roi_heads.mask_predictor.mask_fcn_logits"}


WORDS = {
    "FPN": "detectron2's Mask R-CNN on ResNet-50 with FPN, 3 classes",
    "Faster": "detectron2's Faster R-CNN on ResNet-50 with FPN, 3 classes",
    "GN heads": "detectron2's Mask R-CNN on ResNet-50 with FPN, GroupNorm, 3 classes",
    "deformable": "detectron2's Mask R-CNN on ResNet-50 with FPN, deformable convolutions, 3 classes",
    "C4": "detectron2's Mask R-CNN on ResNet-50 C4, 3 classes",
    "Cascade": "detectron2's Cascade Mask R-CNN on ResNet-50 with FPN, 3 classes",
    "keypoints": "detectron2's Keypoint R-CNN on ResNet-50 with FPN, 1 class",
}


@pytest.mark.parametrize("system", WORDS)
def test_contract_a_file_of_another_system_is_called_by_its_name(system, tmp_path):
    save_checkpoint(random_model(SYSTEMS[system]), tmp_path / "m.pkl", "detectron2")
    other = random_model(small(backbone=BackboneConfig("resnet18", norm="frozen", fpn_channels=32)))
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError, match=f"The file looks like {WORDS[system]}; the model is Mask R-CNN on ResNet-18"):
        load_checkpoint(other, tmp_path / "m.pkl")
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_contract_conventions_that_tensors_do_not_show_are_a_warning(tmp_path):
    config = SYSTEMS["FPN"]
    save_checkpoint(random_model(config), tmp_path / "m.pkl", "detectron2")
    other = build_detector(replace(config, rpn=replace(config.rpn, rounded_anchors=True)))
    with pytest.warns(RoikitWarning, match=r"is detectron2's, .* \(rpn.rounded_anchors must be False, got True\)"):
        load_checkpoint(other, tmp_path / "m.pkl")


@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (1, 1, 1, 1, 1)])
def test_contract_tensors_of_any_other_shape_are_listed(shape, tmp_path):
    model = random_model(SYSTEMS["FPN"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    theirs = {name: torch.zeros(shape) for name in to_detectron2(before)}
    for state in (theirs, theirs | {"backbone.bottom_up.stem.conv1.norm.running_var": torch.zeros(64)}):
        torch.save({"model": state}, tmp_path / "m.pth")
        with pytest.raises(ValueError, match="does not fit the model:\nshape .*backbone.body.bn1.bias"):
            load_checkpoint(model, tmp_path / "m.pth")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_contract_two_tensors_of_one_place(tmp_path):
    model = random_model(SYSTEMS["FPN"])
    theirs = to_detectron2(model.state_dict()) | {"backbone.body.bn1.bias": torch.zeros(64)}
    torch.save({"model": theirs}, tmp_path / "m.pth")
    with pytest.raises(ValueError, match="got two for backbone.body.bn1.bias"):
        load_checkpoint(model, tmp_path / "m.pth")


@pytest.mark.parametrize(("names", "words"), [
    (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"],
     "a classification network, which load_backbone reads; the model is Mask"),
    (["backbone.bottom_up.stem.conv1.weight", "head.cls_score.weight"], "detectron2's, but no region-based detector"),
    (["proposal_generator.rpn_head.conv.weight", "roi_heads.box_head.fc1.weight", "sem_seg_head.predictor.weight"],
     "detectron2's Panoptic FPN on another body")])
def test_contract_what_is_no_system_of_ours(names, words, tmp_path):
    torch.save({name: torch.zeros(2) for name in names}, tmp_path / "m.pth")
    with pytest.raises(ValueError, match=f"The file looks like {words}"):
        load_checkpoint(random_model(SYSTEMS["FPN"]), tmp_path / "m.pth")


def test_contract_yolact_is_known_by_name(tmp_path):
    torch.save({"proto_net.0.weight": torch.zeros(2), "prediction_layers.0.bbox_layer.bias": torch.zeros(2)},
               tmp_path / "m.pth")
    with pytest.raises(ValueError, match="The file looks like YOLACT's"):
        load_checkpoint(random_model(SYSTEMS["FPN"]), tmp_path / "m.pth")


@pytest.mark.parametrize("name", DETECTRON2_NAMES)
def test_contract_every_name_has_a_configuration(name):
    config = detectron2_config(name)
    assert config.rpn.anchor_order == "size" and config.num_classes >= 2


def test_contract_every_published_name_is_known():
    assert {entry.name for entry in published() if entry.source == "detectron2"} <= set(DETECTRON2_NAMES)


def test_contract_changes():
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"
    torch.manual_seed(0)
    model = detectron2_model(name, min_size=320, max_size=500, num_classes=3, score_threshold=0.3,
                             detections_per_image=7)
    config = model.config
    assert (config.image.min_size, config.image.max_size, config.num_classes) == ((320,), 500, 3)
    assert (config.box.score_threshold, config.box.detections_per_image) == (0.3, 7)
    assert model.roi_heads.box_predictor.cls_score.out_features == 3
    with pytest.raises(TypeError, match="changes must be of min_size, .*got nms, score"):
        detectron2_model(name, nms=0.5, score=2)


@pytest.mark.parametrize(("wrong", "near"), [
    ("mask_rcnn_R_50_FPN_3x", "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x"),
    ("COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x.yaml", "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x"),
    ("COCO-InstanceSegmentation/mask_rcnn_R_50_C5_3x", "COCO-InstanceSegmentation/mask_rcnn_R_50_"),
    ("", "it knows")])
def test_contract_unknown_names(wrong, near):
    with pytest.raises(ValueError, match="detectron2_model: .* is no name that it knows") as error:
        detectron2_model(wrong)
    assert near in str(error.value)


def test_law_of_conversion_without_a_model():
    state = random_model(SYSTEMS["class-agnostic"]).state_dict()
    theirs = to_detectron2(state)
    names = renaming(theirs)
    back = from_detectron2({names.ours(name): value for name, value in theirs.items()}, state)
    assert all(torch.equal(back[name], value) for name, value in state.items())


def test_contract_the_pickle_is_as_detectron2_publishes_its_own(tmp_path):
    save_checkpoint(random_model(SYSTEMS["FPN"]), tmp_path / "m.pkl", "detectron2")
    content = pickle.loads((tmp_path / "m.pkl").read_bytes())
    assert set(content) == {"model", "__author__"}
    assert {type(value).__name__ for value in content["model"].values()} == {"ndarray"}
