"""What a body can be asked for: fewer maps, other strides, dilation, deformable convolutions, VGG-16; faults say so."""

import copy
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

from roikit.models import (
    VGG16,
    BackboneConfig,
    BoxConfig,
    DetectorConfig,
    MaskConfig,
    RpnConfig,
    build_backbone,
    build_detector,
    load_backbone,
)
from roikit.models.bodies.deformable import DeformableBottleneck
from roikit.models.bodies.resnet import RESNETS, Bottleneck, ResNet, resnet_stage
from roikit.models.parts.norm import norm_layer

C4 = BackboneConfig("resnet18", neck="none", levels=("c4",))
R50 = BackboneConfig("resnet50", neck="none", levels=("c5",), norm="frozen")
FRONT = ("c2", "c3", "c4")
CASES = {
    "c4": (C4, (256, 16)),
    "c2": (replace(C4, levels=("c2",)), (64, 4)),
    "c5": (replace(C4, levels=("c5",)), (512, 32)),
    "efficientnet c3": (replace(C4, name="efficientnet_lite0", levels=("c3",)), (40, 8)),
    "vgg c4": (replace(C4, name="vgg16", norm="none"), (512, 16)),
    "vgg c5": (replace(C4, name="vgg16", norm="none", levels=("c5",)), (512, 32)),
    "dc5": (replace(R50, dilated_c5=True), (2048, 16)),
    "resnext dc5 in the 1x1": (replace(R50, name="resnext50_32x4d", dilated_c5=True, stride_in_1x1=True), (2048, 16)),
    "deformable": (replace(R50, deform_stages=("c3", "c5"), deform_version=2, deform_groups=2), (2048, 32)),
    "deformable dc5": (replace(R50, deform_stages=("c5",), dilated_c5=True), (2048, 16)),
    "sync": (replace(C4, norm="sync"), (256, 16)),
}


@pytest.mark.parametrize("size", [(64, 96), (33, 47), (1, 1)])
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_contract_one_map_without_a_neck(case, size):
    config, (channels, stride) = CASES[case]
    backbone = build_backbone(config).eval()
    levels = backbone(torch.randn(2, 3, *size))
    assert {key: tuple(level.shape) for key, level in levels.items()} == {
        "0": (2, channels, *(-(-side // stride) for side in size))}
    assert backbone.out_channels == channels
    assert config.strides == config.proposal_strides == (stride,)
    assert all(name.startswith("body.") for name in backbone.state_dict())


@pytest.mark.parametrize("name, norm", [("resnet18", "batch"), ("efficientnet_lite0", "batch"), ("vgg16", "none")])
@pytest.mark.parametrize("levels", [FRONT, ("c3", "c4", "c5"), ("c4", "c5"), ("c3",)])
@torch.no_grad()
def test_contract_a_pyramid_of_fewer_levels(name, norm, levels):
    config = BackboneConfig(name, norm=norm, levels=levels, fpn_channels=16)
    backbone = build_backbone(config).eval()
    x = torch.randn(1, 3, 64, 96)
    keys = [str(("c2", "c3", "c4", "c5").index(level)) for level in levels]
    assert list(backbone.body(x)) == keys
    sizes = {key: tuple(level.shape[-2:]) for key, level in backbone(x).items()}
    assert sizes == {key: (-(-64 // s), -(-96 // s)) for key, s in
                     zip([*keys, "pool"], config.proposal_strides, strict=True)}


@torch.no_grad()
@pytest.mark.parametrize("name, norm", [("resnet18", "batch"), ("efficientnet_lite0", "batch"), ("vgg16", "none")])
def test_law_a_shorter_body_is_the_longer_ones_beginning(name, norm):
    whole = build_backbone(BackboneConfig(name, norm=norm)).body.eval()
    x = torch.randn(1, 3, 64, 64)
    for levels in (FRONT, ("c4",), ("c2",)):
        body = build_backbone(BackboneConfig(name, norm=norm, levels=levels)).body.eval()
        names = set(body.state_dict())
        assert names <= set(whole.state_dict())
        assert {n for n in whole.state_dict() if not n.startswith(body.unbuilt)} == names
        body.load_state_dict({n: value for n, value in whole.state_dict().items() if n in names})
        expected = whole(x)
        assert all(torch.equal(level, expected[key]) for key, level in body(x).items())


@pytest.mark.parametrize("name, norm", [("resnet18", "frozen"), ("efficientnet_lite0", "frozen"), ("vgg16", "none")])
@pytest.mark.parametrize("trainable", range(6))
def test_contract_trainable_layers_of_a_shorter_body(name, norm, trainable):
    """They count from the last of five parts, whether that one is built or not."""
    config = BackboneConfig(name, norm=norm, neck="none", levels=("c4",), trainable_layers=trainable)
    body = build_backbone(config).body
    parts = body.parts()
    found = [{p.requires_grad for m in part for p in m.parameters()} for part in parts]
    assert found == [{index >= 5 - trainable} for index in range(4)]
    assert sum(p.numel() for part in parts for m in part for p in m.parameters()) == sum(
        p.numel() for p in body.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d"])
def test_contract_res5_is_the_last_of_the_five_parts(name):
    config = DetectorConfig(
        3, backbone=BackboneConfig(name, norm="frozen", neck="none", levels=("c4",), trainable_layers=1),
        rpn=RpnConfig(anchor_sizes=((32.0, 64.0),)), box=BoxConfig(head="res5", pool_size=14), mask=None)
    model = build_detector(config)
    assert not any(p.requires_grad for p in model.backbone.parameters())
    assert all(p.requires_grad for p in model.roi_heads.res5.parameters())
    fixed = build_detector(replace(config, backbone=replace(config.backbone, trainable_layers=0)))
    assert not any(p.requires_grad for p in fixed.roi_heads.res5.parameters())
    whole = ResNet(RESNETS[name], norm_layer("frozen"))
    assert {key: value.shape for key, value in model.roi_heads.res5.state_dict().items()} == {
        key: value.shape for key, value in whole.layer4.state_dict().items()}
    pooled = torch.randn(5, model.backbone.out_channels, 14, 14)
    assert model.roi_heads.shared(pooled).shape == (5, whole.channels[-1], 7, 7)


@torch.no_grad()
def test_agreement_res5_is_the_bodys_last_stage():
    whole = ResNet(RESNETS["resnet18"], norm_layer("group")).eval()
    stage = resnet_stage(RESNETS["resnet18"], 3, norm_layer("group")).eval()
    stage.load_state_dict(whole.layer4.state_dict())
    maps = whole(torch.randn(1, 3, 64, 64))
    assert torch.equal(stage(maps["2"]), maps["3"])


@torch.no_grad()
def test_law_stride_in_the_1x1_moves_strides_alone():
    one, other = (ResNet(replace(RESNETS["resnet50"], stride_in_1x1=flag), norm_layer("frozen")).eval()
                  for flag in (False, True))
    assert {n: v.shape for n, v in one.state_dict().items()} == {n: v.shape for n, v in other.state_dict().items()}
    for flag, body in ((False, one), (True, other)):
        for stage in (body.layer2, body.layer3, body.layer4):
            strides = [(block.conv1.stride[0], block.conv2.stride[0]) for block in stage]
            assert strides == [(2, 1) if flag else (1, 2), *[(1, 1)] * (len(stage) - 1)]
    other.load_state_dict(one.state_dict())
    x = torch.randn(1, 3, 64, 64)
    same = [torch.allclose(a, b) for a, b in zip(one(x).values(), other(x).values(), strict=True)]
    assert same == [True, False, False, False]


@torch.no_grad()
def test_law_every_second_cell_of_a_dilated_c5_is_c5():
    """Where the stride stands on the 1x1, a 3x3 convolution of every second cell is one dilated by 2."""
    spec = replace(RESNETS["resnet50"], stride_in_1x1=True)
    body, dilated = (ResNet(s, norm_layer("frozen"), (2, 3)).eval().double()
                     for s in (spec, replace(spec, dilated_c5=True)))
    dilated.load_state_dict(body.state_dict())
    x = torch.randn(1, 3, 96, 64, dtype=torch.float64)
    c4, c5 = body(x).values()
    c4_too, dc5 = dilated(x).values()
    assert torch.equal(c4, c4_too) and dc5.shape[-2:] == c4.shape[-2:]
    torch.testing.assert_close(dc5[..., ::2, ::2], c5)
    assert not torch.allclose(dc5[..., 1::2, 1::2], c5)
    assert {(block.conv2.dilation, block.conv2.padding, block.conv2.stride) for block in dilated.layer4} == {
        ((2, 2), (2, 2), (1, 1))}


def deformable(version, groups, **kwargs):
    spec = replace(RESNETS["resnext50_32x4d"], **kwargs)
    torch.manual_seed(0)
    plain = Bottleneck(256, 128, 2, spec, norm_layer("batch"), 2).eval()
    block = DeformableBottleneck(256, 128, 2, spec, norm_layer("batch"), 2, version=version, groups=groups).eval()
    report = block.load_state_dict(plain.state_dict(), strict=False)
    assert report.missing_keys == ["conv2_offset.weight", "conv2_offset.bias"] and not report.unexpected_keys
    assert block.conv2_offset.weight.shape == (9 * groups * (1 + version), 256, 3, 3)
    return plain, block


@pytest.mark.parametrize("in_1x1", [False, True])
@pytest.mark.parametrize("version, groups", [(1, 1), (1, 4), (2, 1), (2, 2)])
@torch.no_grad()
def test_law_a_deformable_block_starts_as_the_plain_one(version, groups, in_1x1):
    plain, block = deformable(version, groups, stride_in_1x1=in_1x1)
    assert not block.conv2_offset.weight.any() and not block.conv2_offset.bias.any()
    if version == 2:
        block.conv2_offset.bias[18 * groups:] = 100.0  # weights of 1
    x = torch.randn(2, 256, 9, 12)
    torch.testing.assert_close(block(x), plain(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_law_the_weights_of_version_2_are_sigmoids():
    _, block = deformable(2, 1)
    x = torch.randn(1, 256, 8, 8)
    whole = block.conv2(x, torch.zeros(1, 18, 4, 4))
    torch.testing.assert_close(block._deformed(x), whole / 2, rtol=1e-4, atol=1e-5)
    block.conv2_offset.bias[18:] = -100.0
    assert not block._deformed(x).any()


@pytest.mark.parametrize("version", [1, 2])
@torch.no_grad()
def test_law_offsets_are_y_then_x_of_each_tap(version):
    plain, block = deformable(version, 2)
    x = torch.randn(1, 256, 20, 20)
    # The second half of the channels looks one pixel down and two to the right.
    block.conv2_offset.bias[18:36] = torch.tensor([1.0, 2.0]).repeat(9)
    if version == 2:
        block.conv2_offset.bias[36:] = 100.0
    moved = x.clone()
    moved[:, 128:, :-1, :-2] = x[:, 128:, 1:, 2:]
    inner = slice(2, 8)
    torch.testing.assert_close(block._deformed(x)[..., inner, inner], plain.conv2(moved)[..., inner, inner],
                               rtol=1e-4, atol=1e-5)


def test_contract_deformable_stages_are_those_that_were_asked_for():
    body = build_backbone(replace(R50, deform_stages=("c3", "c5"))).body
    kinds = [{type(block) for block in part[0]} for part in body.parts()[1:]]
    assert kinds == [{Bottleneck}, {DeformableBottleneck}, {Bottleneck}, {DeformableBottleneck}]
    assert all(not p.any() for name, p in body.named_parameters() if "conv2_offset" in name)
    assert body.layer2[0].conv2_offset.stride == (2, 2)


def test_agreement_vgg_with_torchvision(torchvision, tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.vgg16(weights=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "vgg16.pth")
    ours = VGG16().eval()
    report = load_backbone(ours, tmp_path / "vgg16.pth")
    assert set(report.loaded) == set(ours.state_dict()) and len(report.loaded) == 26
    assert len(report.dropped) == 6 and not report.missing and not report.unexpected
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for end, level in zip((16, 23, 30, 31), ours(x).values(), strict=True):
            torch.testing.assert_close(level, theirs.features[:end](x), rtol=1e-4, atol=1e-5)
    # The Faster R-CNN of 2015 starts from all but the last of its layers.
    config = DetectorConfig(3, backbone=CASES["vgg c4"][0], rpn=RpnConfig(anchor_sizes=((32.0, 64.0, 128.0),)),
                            box=BoxConfig(representation=4096, pool_kind="roi_pool", pool_reduce="max"), mask=None)
    model = build_detector(config)
    assert model.rpn.config.anchors_per_cell == 9
    report = load_backbone(model.backbone.body, tmp_path / "vgg16.pth", model.roi_heads)
    assert report.dropped == ("classifier.6.bias", "classifier.6.weight")
    pooled = torch.randn(2, 512, 7, 7)
    with torch.no_grad():
        torch.testing.assert_close(model.roi_heads.box_head(pooled), theirs.classifier[:5](pooled.flatten(1)),
                                   rtol=1e-4, atol=1e-4)


def test_contract_resnet_files_load_into_what_is_built_of_them(torchvision, tmp_path):
    theirs = torchvision.models.resnet50(weights=None)
    torch.save(theirs.state_dict(), tmp_path / "resnet.pth")
    backbone = BackboneConfig("resnet50", norm="frozen", neck="none", levels=("c4",), deform_stages=("c4",))
    model = build_detector(DetectorConfig(3, backbone=backbone, rpn=RpnConfig(anchor_sizes=((32.0,),)),
                                          box=BoxConfig(head="res5", pool_size=14), mask=None))
    body, heads = model.backbone.body, model.roi_heads
    before = heads.res5[0].conv1.weight.clone()
    report = load_backbone(body, tmp_path / "resnet.pth")
    assert {name.split(".")[0] for name in report.dropped if "tracked" not in name} == {"fc", "layer4"}
    assert len(report.reinitialised) == 12 and all("conv2_offset" in name for name in report.reinitialised)
    assert torch.equal(heads.res5[0].conv1.weight, before)
    report = load_backbone(body, tmp_path / "resnet.pth", heads)
    assert {name.split(".")[0] for name in report.dropped if "tracked" not in name} == {"fc"}
    assert torch.equal(heads.res5[2].conv3.weight, theirs.layer4[2].conv3.weight)
    assert torch.equal(body.layer3[1].conv2.weight, theirs.layer3[1].conv2.weight)
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not fit the model"):
        load_backbone(body, tmp_path / "other.pth", heads)


@pytest.mark.parametrize("case", ["c4", "vgg c4", "deformable"])
@torch.no_grad()
def test_contract_copies_give_the_same_map(case):
    backbone = build_backbone(CASES[case][0])
    x = torch.randn(1, 3, 32, 32)
    expected = backbone.eval()(x)["0"]
    for twin in (copy.deepcopy(backbone), *(pickle.loads(pickle.dumps(backbone, n)) for n in (2, 5))):
        assert torch.equal(twin(x)["0"], expected)
        assert twin.body_format == backbone.body_format == torch.channels_last


def test_contract_maps_lie_channels_last_in_training_alone():
    backbone = build_backbone(C4)
    x = torch.randn(2, 3, 64, 64)
    assert backbone(x)["0"].is_contiguous(memory_format=torch.channels_last)
    assert backbone.eval()(x)["0"].is_contiguous()
    grouped = build_backbone(replace(C4, norm="group"))
    assert grouped(x)["0"].is_contiguous()


def test_law_sync_norms_of_one_process_are_batch_norms():
    one, other = (build_backbone(replace(C4, norm=norm)) for norm in ("sync", "batch"))
    assert any(isinstance(m, nn.SyncBatchNorm) for m in one.modules())
    other.load_state_dict(one.state_dict())
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    one.double(), other.double()
    torch.testing.assert_close(one(x)["0"], other(x)["0"], rtol=1e-9, atol=1e-9)
    for own, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-9)


# detectron2's counts; its heads have 80 classes beside the background for 81 here, see the test.
PUBLISHED = {
    "R50-C4": (35_962_732, 2048, DetectorConfig(
        81, backbone=BackboneConfig(neck="none", levels=("c4",), stride_in_1x1=True),
        rpn=RpnConfig(anchor_sizes=((32.0, 64.0, 128.0, 256.0, 512.0),)),
        box=BoxConfig(head="res5", pool_size=14), mask=MaskConfig(layers=()))),
    "R50-DC5": (172_406_636, 1024, DetectorConfig(
        81, backbone=BackboneConfig(neck="none", levels=("c5",), dilated_c5=True),
        rpn=RpnConfig(anchor_sizes=((32.0, 64.0, 128.0, 256.0, 512.0),)))),
    "R50-FPN": (44_396_336, 1024, DetectorConfig(81)),
    "X101-32x8d-FPN": (107_630_640, 1024, DetectorConfig(81, backbone=BackboneConfig("resnext101_32x8d"))),
    "GN R50-FPN": (45_711_152, 1024, DetectorConfig(
        81, backbone=BackboneConfig(norm="group", fpn_norm="group"),
        box=BoxConfig(conv_layers=(256,) * 4, fc_layers=1, norm="group"), mask=MaskConfig(norm="group"))),
    "Faster R101-FPN": (60_745_184, 1024, DetectorConfig(81, backbone=BackboneConfig("resnet101"), mask=None)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_agreement_parameters_are_as_many_as_published(name):
    """With the norms' weights, which are parameters of a batch norm. Its heads have class 0 where detectron2's have
    only a logit for the background: four more deltas of the box head's width and their biases, and one more mask of
    256 channels and its bias."""
    published, width, config = PUBLISHED[name]
    with torch.device("meta"):
        model = build_detector(config)
    background = 4 * (width + 1) + (256 + 1 if config.mask else 0)
    assert sum(p.numel() for p in model.parameters()) == published + background


def test_contract_class_agnostic_heads_have_one_row():
    with torch.device("meta"):
        heads = build_detector(DetectorConfig(81, box=BoxConfig(class_agnostic=True, conv_layers=(64, 32), fc_layers=1,
                                                                norm="group"),
                                              mask=MaskConfig(class_agnostic=True))).roi_heads
    assert heads.box_predictor.bbox_pred.weight.shape == (4, 1024)
    assert heads.box_predictor.cls_score.weight.shape == (81, 1024)
    assert heads.mask_predictor.mask_fcn_logits.weight.shape == (1, 256, 1, 1)
    assert [type(m).__name__ for m in heads.box_head[1]] == ["Conv2d", "GroupNorm", "ReLU"]
    assert heads.box_head[0][0].bias is None and heads.box_head[3].weight.shape == (1024, 32 * 49)


@pytest.mark.parametrize("changes, told", [
    ({"name": "resnet51"}, "name must be one of resnet18, .*, vgg16, efficientnet_lite0, or begin with 'timm:', got"),
    ({"name": "vgg16"}, "norm must be 'none' for the name 'vgg16'.*got norm 'batch' and name 'vgg16'"),
    ({"norm": "none"}, "norm must be 'none' for the name 'vgg16'.*got norm 'none' and name 'resnet50'"),
    ({"name": "timm:resnet18", "norm": "group"}, "norm must be one of batch.*'timm:resnet18', got 'group'"),
    *(({"name": name, "norm": norm} | change, f"{field} is for bottlenecks, which the name '{name}' has none of")
      for name, norm in (("resnet18", "batch"), ("resnet34", "batch"), ("vgg16", "none"),
                         ("efficientnet_lite0", "batch"), ("timm:resnet50", "batch"))
      for field, change in (("stride_in_1x1", {"stride_in_1x1": True}), ("deform_stages", {"deform_stages": ("c4",)}),
                            ("dilated_c5", {"dilated_c5": True, "neck": "none", "levels": ("c5",)}))),
    ({"deform_stages": ("c3",), "deform_groups": 3}, "deform_groups must divide the 128 channels .* of c3 .*, got 3"),
])
def test_contract_faults_of_a_body_name_their_fields(changes, told):
    with pytest.raises(ValueError, match=f"build_backbone: BackboneConfig.{told}"):
        build_backbone(BackboneConfig(**changes))


def test_contract_faults_of_the_fields_alone_name_them():
    with pytest.raises(ValueError, match=r"deform_stages must be of stages that are built, and levels \('c4',\) ask"):
        BackboneConfig(neck="none", levels=("c4",), deform_stages=("c5",))
    with pytest.raises(ValueError, match="dilated_c5 needs levels that end with c5"):
        BackboneConfig(neck="none", levels=("c4",), dilated_c5=True)
    with pytest.raises(ValueError, match="BasicBlock: dilation must be 1, got 2"):
        resnet_stage(replace(RESNETS["resnet18"], dilated_c5=True), 3, norm_layer("frozen"))
    with pytest.raises(ValueError, match="groups must divide the 64 channels of the 3x3 convolution, got 5"):
        DeformableBottleneck(64, 64, 1, RESNETS["resnet50"], norm_layer("frozen"), groups=5)
