"""Weights from files: every tensor accounted for, nothing executed, nothing half loaded."""

import copy
import json
import os
import re
import struct

import pytest
import torch

from roikit.errors import RoikitWarning
from roikit.models import (
    BackboneConfig,
    build_backbone,
    build_detector,
    load_backbone,
    load_checkpoint,
    maskrcnn_resnet50_fpn,
)
from roikit.models.weights import checkpoint as module


@pytest.fixture
def model(small_config):
    torch.manual_seed(0)
    return build_detector(small_config)


@pytest.fixture
def other(small_config):
    torch.manual_seed(1)
    return build_detector(small_config)


def same(one, another):
    return all(torch.equal(value, another.state_dict()[name])
               for name, value in one.state_dict().items())


def with_classes(config, count):
    from dataclasses import replace
    return build_detector(replace(config, num_classes=count))


@pytest.mark.parametrize("wrap", [lambda state: state,
                                  lambda state: {"model": state, "step": 7, "config": {"a": [1]}}])
def test_contract_round_trip(model, other, tmp_path, wrap):
    torch.save(wrap(model.state_dict()), tmp_path / "m.pth")
    report = load_checkpoint(other, tmp_path / "m.pth")
    assert same(model, other)
    assert report.loaded == tuple(sorted(model.state_dict()))
    assert not (report.reinitialised or report.missing or report.unexpected or report.dropped)


def test_contract_safetensors(model, other, tmp_path):
    save = pytest.importorskip("safetensors.torch", reason="safetensors is not installed").save_file
    save({name: value.contiguous() for name, value in model.state_dict().items()},
         tmp_path / "m.safetensors", metadata={"format": "pt"})
    load_checkpoint(other, str(tmp_path / "m.safetensors"))
    assert same(model, other)


def header(table):
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize("content", [
    b"", b"\xff" * 20, header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}),
    header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 3]}}) + b"1234",
    header({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}) + b"1234",
    header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}) + b"1234",
    header([1])])
def test_contract_malformed_safetensors(model, tmp_path, content):
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="must be a safetensors file"):
        load_checkpoint(model, tmp_path / "m.safetensors")


def test_contract_old_torchvision_names(tmp_path):
    ours = maskrcnn_resnet50_fpn(num_classes=2)
    old = {}
    for name, value in ours.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue  # the files of 2019 were written with frozen norms
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for block in ("inner_blocks", "layer_blocks"):
            for level in range(4):
                name = name.replace(f"{block}.{level}.0.", f"{block}.{level}.")
        for layer in range(4):
            name = name.replace(f"mask_head.{layer}.0.", f"mask_head.mask_fcn{layer + 1}.")
        old[name] = value
    assert "rpn.head.conv.weight" in old and "roi_heads.mask_head.mask_fcn1.bias" in old
    assert "backbone.fpn.inner_blocks.0.weight" in old
    torch.save(old, tmp_path / "old.pth")
    fresh = maskrcnn_resnet50_fpn(num_classes=2)
    report = load_checkpoint(fresh, tmp_path / "old.pth")
    assert same(ours, fresh)
    assert len(report.loaded) == len(old)
    assert all(name.endswith("num_batches_tracked") for name in report.reinitialised)
    # The same file through the builder: norms are frozen then and have no counter.
    built = maskrcnn_resnet50_fpn(weights=tmp_path / "old.pth", num_classes=2)
    assert built.config.backbone.norm == "frozen" and built.config.backbone.trainable_layers == 3
    assert same(built, ours)


def test_contract_published_weights_of_2019_have_no_eps(tmp_path, monkeypatch):
    path = tmp_path / "m.pth"
    torch.save(maskrcnn_resnet50_fpn().state_dict(), path)
    built = maskrcnn_resnet50_fpn(weights=path)
    assert built.backbone.body.bn1.eps == 1e-5
    import hashlib
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "_TRAINED_WITHOUT_EPS", (digest[:8],))
    built = maskrcnn_resnet50_fpn(weights=path)
    assert built.backbone.body.bn1.eps == 0.0 and built.config.backbone.norm_eps == 0.0
    plain = maskrcnn_resnet50_fpn()
    with pytest.warns(RoikitWarning, match="without an eps, but the model's have 1e-05"):
        load_checkpoint(plain, path)


def test_contract_frozen_norms_drop_the_counter(small_config, tmp_path):
    from dataclasses import replace
    batch, frozen = (build_detector(replace(small_config,
                                            backbone=BackboneConfig("resnet18", norm=norm)))
                     for norm in ("batch", "frozen"))
    torch.save(batch.state_dict(), tmp_path / "m.pth")
    report = load_checkpoint(frozen, tmp_path / "m.pth")
    assert same(frozen, batch)
    assert report.dropped and all(n.endswith("num_batches_tracked") for n in report.dropped)
    frozen.load_state_dict(batch.state_dict())  # and so does torch's own way


def test_contract_another_number_of_classes(model, small_config, tmp_path):
    torch.save(model.state_dict(), tmp_path / "m.pth")
    wider = with_classes(small_config, 5)
    before = {name: value.clone() for name, value in wider.state_dict().items()}
    with pytest.raises(ValueError, match="The file has 3 classes and the model 5; "
                                         "allow_new_classes=True"):
        load_checkpoint(wider, tmp_path / "m.pth")
    assert all(torch.equal(value, before[name]) for name, value in wider.state_dict().items())
    report = load_checkpoint(wider, tmp_path / "m.pth", allow_new_classes=True)
    assert report.reinitialised == tuple(sorted(
        f"roi_heads.{part}.{kind}" for kind in ("bias", "weight")
        for part in ("box_predictor.cls_score", "box_predictor.bbox_pred",
                     "mask_predictor.mask_fcn_logits")))
    assert not report.missing and not report.unexpected
    assert "6 reinitialised: roi_heads.box_predictor.bbox_pred.bias" in str(report)
    state, own = wider.state_dict(), model.state_dict()
    for name in report.loaded:
        assert torch.equal(state[name], own[name])
    for name in report.reinitialised:
        assert torch.equal(state[name], before[name])


def test_contract_what_does_not_fit_is_listed(model, other, tmp_path):
    state = model.state_dict()
    state["extra.weight"] = torch.zeros(2)
    del state["rpn.head.cls_logits.bias"]
    state["roi_heads.box_head.fc7.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "m.pth")
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(ValueError) as caught:
        load_checkpoint(other, tmp_path / "m.pth", allow_new_classes=True)
    text = str(caught.value)
    assert "not in the model: extra.weight" in text
    assert "not in the file: rpn.head.cls_logits.bias" in text
    assert "shape (7,) in the file, (32,) in the model: roi_heads.box_head.fc7.bias" in text
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    report = load_checkpoint(other, tmp_path / "m.pth", strict=False)
    assert report.missing == ("roi_heads.box_head.fc7.bias", "rpn.head.cls_logits.bias")
    assert report.unexpected == ("extra.weight", "roi_heads.box_head.fc7.bias")
    assert len(report.loaded) == len(state) - 2


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trapped",)


def test_contract_no_code_is_executed(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": model.state_dict(), "args": Trap()}, "m.pth")
    with pytest.raises(ValueError, match="must hold tensors and plain data only"):
        load_checkpoint(model, "m.pth")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("content", [[1, 2], {"model": {"a": 1}}, {}, {"epoch": 3}, {"model": {}}])
def test_contract_not_a_state_dict(model, tmp_path, content):
    torch.save(content, tmp_path / "m.pth")
    with pytest.raises(ValueError, match="must hold a state dict"):
        load_checkpoint(model, tmp_path / "m.pth")


WRAPPED = {
    "DataParallel": lambda model: torch.nn.DataParallel(model).state_dict(),
    "compiled": lambda model: {f"_orig_mod.{name}": value for name, value in model.state_dict().items()},
    "averaged": lambda model: torch.optim.swa_utils.AveragedModel(model).state_dict(),
    "both": lambda model: {f"module._orig_mod.{name}": value for name, value in model.state_dict().items()},
    "a compiled part": lambda model: {re.sub("^(backbone|conv1|layer4)", r"\1._orig_mod", name): value
                                      for name, value in model.state_dict().items()},
    "Lightning": lambda model: {"state_dict": {f"net.detector.{name}": value
                                               for name, value in model.state_dict().items()}, "epoch": 3},
    "an example script's": lambda model: {"state_dict": torch.nn.DataParallel(model).state_dict(), "arch": "x"},
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_law_weights_of_a_wrapped_model_are_the_models(model, other, tmp_path, wrap):
    torch.save(wrap(model), tmp_path / "m.pth")
    report = load_checkpoint(other, tmp_path / "m.pth")
    assert same(model, other) and report.loaded == tuple(sorted(model.state_dict()))
    assert not (report.missing or report.unexpected)
    assert report.prefix in ("", "net.detector.") and report.prefix in str(report)

    bodies = [build_backbone(BackboneConfig("resnet18")).body for _ in range(2)]
    torch.save(wrap(bodies[0]), tmp_path / "b.pth")
    load_backbone(bodies[1], tmp_path / "b.pth")
    assert same(*bodies)


@pytest.mark.parametrize("beside", [
    {}, {"depth": 50, "anchors": [32, 64]}, {"mean": torch.zeros(3), "classes": 91}, "resnet50", None, [1]])
def test_law_what_is_no_state_dict_hides_none(model, other, tmp_path, beside):
    torch.save({"model": beside, "state_dict": model.state_dict()}, tmp_path / "m.pth")
    load_checkpoint(other, tmp_path / "m.pth")
    assert same(model, other)


def test_law_of_two_state_dicts_the_one_of_the_model_is_read(model, other, tmp_path):
    torch.save({"state_dict": other.state_dict(), "model": model.state_dict()}, tmp_path / "m.pth")
    load_checkpoint(other, tmp_path / "m.pth")
    assert same(model, other)


def test_law_a_wrapper_of_ones_own_is_left_alone(tmp_path):
    wrapped = torch.nn.Sequential(torch.nn.DataParallel(torch.nn.Linear(2, 2)), torch.nn.Linear(2, 2))
    again = copy.deepcopy(wrapped)
    with torch.no_grad():
        again[0].module.weight.zero_()
    torch.save(wrapped.state_dict(), tmp_path / "m.pth")
    load_checkpoint(again, tmp_path / "m.pth")
    assert same(wrapped, again)
    both = {"module.weight": torch.zeros(2), "weight": torch.ones(2)}
    torch.save(both, tmp_path / "m.pth")
    with pytest.raises(ValueError, match="not in the model: module.weight"):
        load_checkpoint(torch.nn.Linear(2, 2), tmp_path / "m.pth")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(60), b"PK\x03\x04" + bytes(60),
                                     b"\x80\x02"])
def test_contract_a_file_of_another_kind_is_a_sentence(model, tmp_path, content):
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"load_checkpoint: .*m\.pth must hold tensors") as error:
        load_checkpoint(model, tmp_path / "m.pth")
    assert "\n" not in str(error.value)


def test_contract_missing_file(model, tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(model, tmp_path / "none.pth")
    with pytest.raises(FileNotFoundError):
        maskrcnn_resnet50_fpn(weights="DEFAULT")


def test_contract_wrong_backbone_file(model, tmp_path):
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.weight": torch.zeros(2, 2)},
               tmp_path / "b.pth")
    body = build_backbone(BackboneConfig("resnet18")).body
    with pytest.raises(ValueError, match=r"load_backbone: .* does not fit the model:\nnot in the"):
        load_backbone(body, tmp_path / "b.pth")
