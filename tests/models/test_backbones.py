"""Bodies and pyramid: shapes, torchvision's names, the published EfficientNet-Lite0 activations."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from roikit.models import BackboneConfig, FrozenBatchNorm2d, build_backbone, load_backbone
from roikit.models.bodies.efficientnet import EfficientNetLite0, SameConv2d
from roikit.models.bodies.resnet import RESNETS, ResNet
from roikit.models.parts.norm import norm_layer

NAMES = [*RESNETS, "efficientnet_lite0"]


@pytest.fixture(scope="session")
def lite0_weights():
    """The folder of the published EfficientNet-Lite0 weights, or a skip that says what to set."""
    folder = os.environ.get("ROIKIT_TEST_WEIGHTS")
    if not folder or not (Path(folder) / "efficientnet-lite0").is_dir():
        pytest.skip("ROIKIT_TEST_WEIGHTS does not name a folder with efficientnet-lite0")
    return Path(folder) / "efficientnet-lite0"


# 101-layer networks once only: shapes do not depend on the norm.
@pytest.mark.parametrize("name, norm", [(name, norm) for name in NAMES
                                        for norm in ("frozen", "batch", "group")
                                        if "101" not in name or norm == "frozen"])
def test_contract_pyramid_shapes(name, norm):
    backbone = build_backbone(BackboneConfig(name, norm=norm, fpn_channels=32)).eval()
    with torch.no_grad():
        levels = backbone(torch.randn(2, 3, 96, 64))
    assert {key: tuple(level.shape) for key, level in levels.items()} == {
        "0": (2, 32, 24, 16), "1": (2, 32, 12, 8), "2": (2, 32, 6, 4), "3": (2, 32, 3, 2),
        "pool": (2, 32, 2, 1)}


@pytest.mark.parametrize("size", [(33, 47), (1, 1), (64, 1)])
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_contract_bodies_take_any_size(name, size):
    body = build_backbone(BackboneConfig(name)).body.eval()
    with torch.no_grad():
        levels = body(torch.randn(1, 3, *size))
    for index, stride in enumerate((4, 8, 16, 32)):
        assert levels[str(index)].shape[-2:] == tuple(-(-side // stride) for side in size)


@pytest.mark.parametrize("parts", range(6))
@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0"])
def test_contract_trainable_layers_count_from_the_last(name, parts):
    body = build_backbone(BackboneConfig(name, trainable_layers=parts)).body
    trainable = [any(p.requires_grad for m in part for p in m.parameters())
                 for part in body.parts()]
    assert trainable == [index >= 5 - parts for index in range(5)]
    counted = sum(p.numel() for part in body.parts() for m in part for p in m.parameters())
    assert counted == sum(p.numel() for p in body.parameters())


def test_contract_unknown_backbone_and_norm_say_so():
    with pytest.raises(ValueError, match="name must be one of resnet18, .*, got 'vgg19'"):
        build_backbone(BackboneConfig("vgg19"))
    with pytest.raises(ValueError, match="norm must be one of frozen, batch, sync, group, none, got 'layer'"):
        BackboneConfig(norm="layer")
    with pytest.raises(ValueError, match="kind must be one of"):
        norm_layer("layer")


@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_agreement_frozen_batch_norm_is_its_affine(eps):
    norm = FrozenBatchNorm2d(8, eps)
    for name, value in (("weight", torch.randn(8)), ("bias", torch.randn(8)),
                        ("running_mean", torch.randn(8)), ("running_var", torch.rand(8) + 0.1)):
        getattr(norm, name).copy_(value)
    x = torch.randn(2, 8, 5, 7, requires_grad=True)
    scale = norm.weight / (norm.running_var + eps).sqrt()
    expected = (x * scale[:, None, None]
                + (norm.bias - norm.running_mean * scale)[:, None, None])
    torch.testing.assert_close(norm.train()(x), expected)
    assert not list(norm.parameters())
    gradient, = torch.autograd.grad(norm(x).sum(), x)
    torch.testing.assert_close(gradient, scale[:, None, None].expand_as(x))


def test_agreement_frozen_batch_norm_takes_a_trained_layer():
    trained = nn.BatchNorm2d(4)
    trained(torch.randn(3, 4, 2, 2))
    frozen = FrozenBatchNorm2d(4)
    frozen.load_state_dict(trained.state_dict())
    x = torch.randn(1, 4, 3, 3)
    torch.testing.assert_close(frozen(x), trained.eval()(x))


def test_law_group_norm_divides_every_width():
    make = norm_layer("group")
    assert [make(c).num_groups for c in (16, 24, 32, 40, 64, 112, 256)] == [
        16, 8, 32, 8, 32, 16, 32]


@pytest.mark.parametrize("kernel, size", [(3, 8), (3, 7), (5, 8), (5, 7), (5, 1)])
def test_law_same_padding_puts_the_extra_zero_last(kernel, size):
    conv = SameConv2d(1, 1, kernel, 2)
    nn.init.ones_(conv.weight)
    x = torch.arange(1.0, size + 1).repeat(size, 1)[None, None]
    total = max((-(-size // 2) - 1) * 2 + kernel - size, 0)
    padded = torch.nn.functional.pad(x, [total // 2, total - total // 2] * 2)
    expected = torch.nn.functional.conv2d(padded, conv.weight, stride=2)
    assert expected.shape[-1] == -(-size // 2)
    torch.testing.assert_close(conv(x), expected)


def test_agreement_resnet_names_are_torchvisions(torchvision):
    for name, spec in RESNETS.items():
        if not hasattr(torchvision.models, name):
            resnet = torchvision.models.resnet
            theirs = resnet.ResNet(resnet.Bottleneck, list(spec.depths), groups=spec.groups,
                                   width_per_group=spec.width).state_dict()
        else:
            theirs = getattr(torchvision.models, name)(weights=None).state_dict()
        ours = ResNet(spec, norm_layer("batch")).state_dict()
        assert {key: value.shape for key, value in ours.items()} == {
            key: value.shape for key, value in theirs.items() if not key.startswith("fc.")}


def test_agreement_resnet_with_torchvision(torchvision, tmp_path):
    theirs = torchvision.models.resnext50_32x4d(weights=None).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    torch.save(theirs.state_dict(), tmp_path / "resnext.pth")
    ours = build_backbone(BackboneConfig("resnext50_32x4d", norm="frozen")).body
    report = load_backbone(ours, tmp_path / "resnext.pth")
    assert not report.missing and not report.unexpected
    assert {"fc.weight", "fc.bias"} <= set(report.dropped)
    assert len(report.loaded) == len(ours.state_dict())
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        y = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
        for index, level in enumerate(ours(x).values()):
            y = getattr(theirs, f"layer{index + 1}")(y)
            torch.testing.assert_close(level, y, rtol=1e-4, atol=1e-4)


def test_contract_efficientnet_weights_are_accounted_for(lite0_weights):
    body = EfficientNetLite0(norm_layer("frozen", eps=1e-3))
    report = load_backbone(body, lite0_weights / "efficientnet-lite0-57934424.pth")
    assert set(report.loaded) == set(body.state_dict())
    assert not report.missing and not report.unexpected and not report.reinitialised
    used = [name for name in report.dropped if not name.endswith("num_batches_tracked")]
    assert len(used) == 1 + 4 + 2  # the head's convolution, its norm, the classifier
    assert len(report.loaded) + len(report.dropped) == 296


def test_agreement_efficientnet_with_its_reference(lite0_weights, test_data):
    image_module = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    body = EfficientNetLite0(norm_layer("frozen", eps=1e-3)).eval()
    load_backbone(body, lite0_weights / "efficientnet-lite0-57934424.pth")
    reference = json.loads((lite0_weights / "reference.json").read_text())
    for case in reference["images"]:
        with image_module.open(test_data / case["file"]) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
        x = torch.from_numpy((pixels - 127) / 128).permute(2, 0, 1)[None]
        with torch.no_grad():
            levels = body(x)
        for key, stage in zip("0123", ("block2", "block4", "block10", "block15"), strict=True):
            expected = case["stages"][stage]
            level = levels[key][0]
            assert list(level.shape) == expected["shape"]
            assert level.mean().item() == pytest.approx(expected["mean"], abs=2e-4)
            assert level.std(correction=0).item() == pytest.approx(expected["std"], rel=1e-4)
