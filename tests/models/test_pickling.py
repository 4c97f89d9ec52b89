"""Whole detectors as files and copies: torch.save, every pickle protocol, copy.deepcopy."""

import copy
import dataclasses
import io
import pickle

import pytest
import torch

from roikit.models import BackboneConfig, KeypointConfig, build_detector, prepare_for_inference


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {f"protocol {n}": lambda model, n=n: pickle.loads(pickle.dumps(model, n))
          for n in range(pickle.HIGHEST_PROTOCOL + 1)} | {"torch.save": saved, "copy.deepcopy": copy.deepcopy}


@pytest.fixture(params=[("resnet18", "group", True), ("resnet18", "frozen", False),
                        ("efficientnet_lite0", "batch", True)], ids=lambda kind: "-".join(map(str, kind)))
def model(request, small_config):
    name, norm, mask = request.param
    torch.manual_seed(0)
    backbone = BackboneConfig(name, norm=norm, fpn_channels=16)
    return build_detector(dataclasses.replace(small_config, backbone=backbone,
                                              mask=small_config.mask if mask else None)).eval()


@pytest.fixture(params=[True, False], ids=["with masks", "without"])
def keypoint_model(request, small_config):
    torch.manual_seed(0)
    box = dataclasses.replace(small_config.box, conv_layers=(16,), fc_layers=1, norm="batch")
    return build_detector(dataclasses.replace(small_config, box=box, keypoint=KeypointConfig(3, layers=(16,)),
                                              mask=small_config.mask if request.param else None)).eval()


@torch.no_grad()
@pytest.mark.parametrize("prepared", [False, True])
def test_contract_a_copy_finds_the_same_keypoints(keypoint_model, scene, prepared):
    model = prepare_for_inference(keypoint_model) if prepared else keypoint_model
    image = scene()[0]
    expected, = model([image])
    for name, copied in COPIES.items():
        found, = copied(model)([image])
        assert len(found["keypoints"]) and found.keys() == expected.keys(), name
        assert all(torch.equal(found[key], expected[key]) for key in expected), name


@torch.no_grad()
@pytest.mark.parametrize("prepared", [False, True])
def test_contract_a_copy_detects_the_same(model, scene, prepared):
    if prepared:
        model = prepare_for_inference(model)
    image = scene()[0]
    expected, = model([image])
    before = model.backbone.body_format, model.backbone.fpn_format
    for name, copied in COPIES.items():
        twin = copied(model)
        found, = twin([image])
        assert len(found["boxes"]) and all(torch.equal(found[key], expected[key]) for key in expected), name
        assert (twin.backbone.body_format, twin.backbone.fpn_format) == before, name
    assert (model.backbone.body_format, model.backbone.fpn_format) == before


def test_contract_a_copy_trains_the_same(small_config, scene):
    torch.manual_seed(0)
    backbone = dataclasses.replace(small_config.backbone, norm="batch", fpn_norm="none")
    model = build_detector(dataclasses.replace(small_config, backbone=backbone))
    losses = []
    for one in (model, saved(model)):
        torch.manual_seed(1)
        image, target = scene()
        losses.append(one([image], [target]))
    assert all(torch.equal(losses[1][key], value) for key, value in losses[0].items())
