"""Networks of timm as bodies: maps, strides, names, norms, and what is said where timm or a network is missing."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from roikit.models import BackboneConfig, FrozenBatchNorm2d, RpnConfig, build_backbone, build_detector, load_backbone

# Small ones with their maps in each of timm's ways: lists, hooks, stages of other names, channels last, VGG's pooling.
NETWORKS = ("resnet18", "test_efficientnet", "mobilenetv3_small_050", "test_convnext", "regnetx_002", "densenet121",
            "dla34", "vgg11_bn", "swin_tiny_patch4_window7_224")


@pytest.fixture(scope="module")
def timm(torchvision):
    """timm, which imports torchvision, or a skip with the reason."""
    return pytest.importorskip("timm", reason="timm is not installed")


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_contract_maps_and_parts(timm, name):
    size = 224 if name.endswith("224") else 64
    backbone = build_backbone(BackboneConfig(f"timm:{name}", fpn_channels=16)).eval()
    x = torch.randn(1, 3, size, size)
    maps = backbone.body(x)
    assert {key: tuple(level.shape) for key, level in maps.items()} == {
        str(i): (1, channels, size >> i + 2, size >> i + 2) for i, channels in enumerate(backbone.body.channels)}
    assert list(backbone(x)) == ["0", "1", "2", "3", "pool"]
    parts = backbone.body.parts()
    assert len(parts) == 5 and all(parts[:4])
    counted = [p for part in parts for m in part for p in m.parameters(recurse=False)]
    assert len(set(map(id, counted))) == len(counted) == len(list(backbone.body.parameters()))


@pytest.mark.parametrize("levels", [("c4",), ("c2",)])
@pytest.mark.parametrize("name", ["resnet18", "test_efficientnet", "test_convnext"])
def test_contract_one_map_and_gradients(timm, name, levels):
    config = BackboneConfig(f"timm:{name}", neck="none", levels=levels, trainable_layers=4)
    backbone = build_backbone(config)
    level = backbone(torch.randn(2, 3, 64, 64))["0"]
    assert level.shape == (2, backbone.out_channels, 64 // config.strides[0], 64 // config.strides[0])
    level.square().mean().backward()
    parts = backbone.body.parts()
    assert len(parts) == (4 if levels == ("c4",) else 2)
    found = [{p.grad is not None for m in part for p in m.parameters(recurse=False)} for part in parts]
    assert found == [{False}, *[{True}] * (len(parts) - 1)]
    assert all((p.grad is not None) == p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize("name", ["resnet18", "test_efficientnet", "test_convnext"])
def test_contract_files_of_whole_networks_load(timm, name, tmp_path):
    torch.manual_seed(0)
    theirs = timm.create_model(name).eval()
    torch.save(theirs.state_dict(), tmp_path / "whole.pth")
    body = build_backbone(BackboneConfig(f"timm:{name}")).body.eval()
    report = load_backbone(body, tmp_path / "whole.pth")
    assert set(report.loaded) == set(body.state_dict()) and not report.missing and not report.unexpected
    assert len(report.loaded) + len(report.dropped) == len(theirs.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        last = theirs.forward_intermediates(x, intermediates_only=True, norm=False)[-1]
        torch.testing.assert_close(body(x)["3"], last, rtol=1e-4, atol=1e-5)
    short = build_backbone(BackboneConfig(f"timm:{name}", neck="none", levels=("c3",))).body
    assert load_backbone(short, tmp_path / "whole.pth").dropped


@pytest.mark.parametrize("name", ["resnet18", "test_efficientnet"])
def test_agreement_frozen_norms(timm, name):
    torch.manual_seed(0)
    frozen, batch = (build_backbone(BackboneConfig(f"timm:{name}", norm=norm)).body for norm in ("frozen", "batch"))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in frozen.modules())
    assert any(isinstance(m, FrozenBatchNorm2d) for m in frozen.modules())
    for module in batch.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    frozen.load_state_dict(batch.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for one, other in zip(frozen.train()(x).values(), batch.eval()(x).values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_contract_sync_norms_train_in_one_process(timm):
    body = build_backbone(BackboneConfig("timm:test_efficientnet", norm="sync")).body
    assert any(isinstance(m, nn.SyncBatchNorm) for m in body.modules())
    assert all(torch.isfinite(level).all() for level in body(torch.randn(2, 3, 64, 64)).values())


def test_law_a_detector_on_timm_trains(timm, small_config, scene):
    torch.manual_seed(0)
    for backbone, sizes in ((BackboneConfig("timm:test_convnext", fpn_channels=16), small_config.rpn.anchor_sizes),
                            (BackboneConfig("timm:test_efficientnet", neck="none", levels=("c4",)), ((8.0, 32.0),))):
        model = build_detector(replace(small_config, backbone=backbone, rpn=RpnConfig(anchor_sizes=sizes)))
        image, target = scene()
        sum(model([image], [target]).values()).backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
        assert model.eval()([image])[0]["boxes"].shape[1] == 4


@pytest.mark.parametrize("name, told", [
    ("no_such_network", "name must be one of timm.list_models.., got 'no_such_network'"),
    ("hf-hub:someone/something", "name must be one of timm.list_models"),
    ("vit_tiny_patch16_224", r"maps of strides \[4, 8, 16, 32\] are asked for, but timm's vit_.* gives strides \[16\]"),
])
def test_contract_faults_say_so(timm, name, told):
    with pytest.raises(ValueError, match=f"TimmBody: {told}"):
        build_backbone(BackboneConfig(f"timm:{name}"))


def test_contract_a_missing_timm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'needs timm .*: pip install "roikit\[timm\]"'):
        build_backbone(BackboneConfig("timm:resnet18"))
