"""A detector prepared for inference against the one it was made from."""

import copy
import dataclasses
import pickle
import platform
import re
import time

import pytest
import torch
from torch import nn

from roikit.errors import BackendError
from roikit.models import (
    BackboneConfig,
    FrozenBatchNorm2d,
    KeypointConfig,
    KeypointRCNNPredictor,
    MaskRCNNPredictor,
    build_detector,
    prepare_for_inference,
)
from roikit.models.bodies.efficientnet import SameConv2d
from roikit.models.inference import PreparedKeypointPredictor, PreparedMaskPredictor, _prepare
from roikit.models.parts.fused import fuse


def detector(config, name="resnet18", norm="frozen", fpn_norm="none", mask=True):
    """A small detector with statistics in its norms, in evaluation mode."""
    torch.manual_seed(3)
    backbone = BackboneConfig(name, norm=norm, fpn_channels=16, fpn_norm=fpn_norm)
    mask_config = dataclasses.replace(config.mask, norm=fpn_norm)
    model = build_detector(dataclasses.replace(config, backbone=backbone, mask=mask_config if mask else None))
    for module in model.modules():
        if isinstance(module, (FrozenBatchNorm2d, nn.BatchNorm2d)):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.8, 1.25)
            module.weight.data.uniform_(0.3, 0.6)
            module.bias.data.normal_(std=0.1)
    for layer in (model.roi_heads.box_predictor.cls_score, model.rpn.head.cls_logits):
        nn.init.normal_(layer.weight, std=0.3)
    # Far below what the tests' images give, so that no score lies close to it.
    model.roi_heads.box = dataclasses.replace(config.box, score_threshold=1e-3)
    return model.eval()


NO_BF16 = "^prepare_for_inference: precision 'bf16' needs oneDNN's bfloat16"
CASES = [("resnet18", "frozen", "none", True), ("resnet50", "batch", "none", False),
         ("resnext50_32x4d", "frozen", "none", True), ("efficientnet_lite0", "frozen", "group", True),
         ("resnet18", "group", "group", True)]


def assert_same(found, expected, masks=1e-4):
    """The same detections; those whose scores are closer than the tolerance may change places."""
    assert len(found["boxes"]) == len(expected["boxes"])
    distance = (expected["boxes"][:, None] - found["boxes"]).abs().amax(-1)
    distance[expected["labels"][:, None] != found["labels"]] = 1e6
    place = distance.argmin(1)
    assert torch.equal(place.sort().values, torch.arange(len(place)))
    torch.testing.assert_close(found["scores"], expected["scores"], atol=1e-5, rtol=0)
    for key, tolerance in (("boxes", 0.01), ("scores", 1e-5), ("masks", masks)):
        if key in expected:
            torch.testing.assert_close(found[key][place], expected[key], atol=tolerance, rtol=0)
    if "keypoints" in expected:  # a place only where no other cell is nearly as good
        same = (found["keypoints"][place] - expected["keypoints"]).abs().amax(-1) < 0.01
        assert same.float().mean() > 0.95
        torch.testing.assert_close(found["keypoints_scores"][place], expected["keypoints_scores"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name, norm, fpn_norm, mask", CASES)
def test_agreement_with_the_model_itself(small_config, scene, name, norm, fpn_norm, mask):
    model = detector(small_config, name, norm, fpn_norm, mask)
    images = [scene()[0], scene((50, 70), seed=1)[0]]
    before = copy.deepcopy(model.state_dict())
    prepared = prepare_for_inference(model)
    with torch.no_grad():
        for expected, found in zip(model(images), prepared(images), strict=True):
            assert len(expected["boxes"]) >= 10 and expected.keys() == found.keys()
            # GroupNorm of maps of one channel a group divides by small deviations, which magnifies rounding.
            assert_same(found, expected, 1e-4 if fpn_norm == "none" else 1e-3)
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[k], before[k]) for k in before)
    assert type(prepared) is type(model) and prepared.config == model.config


def with_more_heads(config, norm, pool_kind="roi_align"):
    """The config with convolutions in the box head, keypoints, and a norm in both heads."""
    pool = {"pool_kind": pool_kind} | ({} if pool_kind == "roi_align" else {"pool_reduce": "max"})
    return dataclasses.replace(
        config, box=dataclasses.replace(config.box, conv_layers=(16, 8), fc_layers=1, norm=norm, **pool),
        keypoint=KeypointConfig(3, layers=(16, 16), **pool))


@torch.no_grad()
@pytest.mark.parametrize("norm, pool_kind, mask", [("batch", "roi_align", False), ("none", "roi_pool", True),
                                                   ("group", "roi_warp", True)])
def test_agreement_with_the_model_itself_of_convolutional_heads(small_config, scene, norm, pool_kind, mask):
    model = detector(with_more_heads(small_config, norm, pool_kind), mask=mask)
    images = [scene()[0], scene((50, 70), seed=1)[0]]
    prepared = prepare_for_inference(model)
    parts = dict(prepared.roi_heads.named_children())
    assert parts.keys() == dict(model.roi_heads.named_children()).keys()
    layers = [part for part in prepared.roi_heads.modules() if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d))]
    assert not layers, layers
    for expected, found in zip(model(images), prepared(images), strict=True):
        assert len(expected["boxes"]) >= 10 and expected.keys() == found.keys() and "keypoints" in found
        assert_same(found, expected, 1e-4 if norm != "group" else 1e-3)


@torch.no_grad()
@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no bfloat16 here")
@pytest.mark.parametrize("pool_kind", ["roi_align", "roi_pool", "roi_warp"])
def test_contract_bf16_of_convolutional_heads(small_config, scene, pool_kind):
    model = detector(with_more_heads(small_config, "batch", pool_kind))
    image = scene()[0]
    expected, = model([image])
    found, = prepare_for_inference(model, "bf16")([image])
    assert found.keys() == expected.keys() and len(found["boxes"]) >= 10
    assert all(found[key].dtype == expected[key].dtype for key in found)
    near = (expected["boxes"][:10, None] - found["boxes"]).abs().amax(-1) < 1.0
    assert near.any(1).sum() >= 6
    off = (expected["keypoints_scores"][:10, None] - found["keypoints_scores"]).abs().amax(-1)
    # Of the same place there may be a detection of each class, whose boxes are not the same.
    best = off.masked_fill(~near, float("inf")).amin(1)[near.any(1)]
    assert (best < 0.05 * expected["keypoints_scores"].abs().max()).float().mean() > 0.6


def test_agreement_of_a_transposed_convolution_as_a_plain_one():
    torch.manual_seed(0)
    predictor = KeypointRCNNPredictor(6, 5)
    nn.init.normal_(predictor.kps_score_lowres.bias)
    prepared = PreparedKeypointPredictor(predictor, torch.float32)
    for shape in ((3, 6, 4, 5), (2, 6, 1, 1), (0, 6, 3, 3)):
        x = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(prepared(x), predictor(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d", "efficientnet_lite0"])
def test_law_as_near_to_float64_as_float32_can_tell(small_config, float32_error, name):
    """The maps of the prepared network as those of the model itself."""
    backbone = detector(small_config, name, mask=False).backbone
    x = torch.randn(1, 3, 64, 96)
    truth, allowed = float32_error(backbone, x)
    for maps in (backbone(x), _prepare(backbone, torch.float32)(x)):
        for level in truth:
            error = (maps[level] - truth[level]).square().mean().sqrt()
            assert 0 < error < allowed[level]


@pytest.mark.parametrize("conv", [nn.Conv2d(6, 8, 3, 2, 1, groups=2), nn.Conv2d(6, 8, 1, 2),
                                  SameConv2d(6, 6, 5, 2, groups=6), nn.Conv2d(6, 8, 7, 2, 3, bias=False)])
@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@pytest.mark.parametrize("onednn", [True, False])
def test_law_a_fused_convolution_is_its_parts(monkeypatch, conv, activation, onednn):
    if not onednn:
        monkeypatch.setattr("roikit.models.parts.fused.has_onednn", lambda: False)
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(conv.out_channels).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 6, 13, 16)
    act = {"none": nn.Identity(), "relu": nn.ReLU(), "relu6": nn.ReLU6()}[activation]
    with torch.no_grad():
        plain = norm(conv(x))
        onto = torch.randn_like(plain)
        fused = fuse(conv, norm, activation, torch.float32)
        for module in (fused, copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
            torch.testing.assert_close(module(x), act(plain), atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(module(x, onto=onto.clone()), act(plain + onto), atol=1e-5, rtol=1e-5)
        assert fused(x[:0]).shape == (0, *plain.shape[1:])


def test_agreement_of_one_class_with_all_of_them():
    torch.manual_seed(0)
    predictor = MaskRCNNPredictor(8, 6, 5)
    x, labels = torch.randn(7, 8, 3, 4), torch.tensor([1, 4, 2, 2, 3, 1, 4])
    with torch.no_grad():
        expected = predictor(x)[torch.arange(7), labels]
        torch.testing.assert_close(predictor.logits_of(x, labels), expected, atol=1e-5, rtol=1e-5)
        prepared = PreparedMaskPredictor(predictor, torch.float32)
        torch.testing.assert_close(prepared.logits_of(x, labels), expected, atol=1e-5, rtol=1e-5)


def test_contract_training_goes_on_and_preparing_again_sees_it(small_config, scene):
    model = detector(small_config)
    image, target = scene()
    prepared = prepare_for_inference(model)
    with torch.no_grad():
        first, = prepared([image])
        model.train()
        assert not prepared.training and not any(part.training for part in prepared.modules())
    loss = sum(model([image], [target]).values())
    loss.backward()
    assert all(p.grad is not None for p in model.roi_heads.parameters() if p.requires_grad)
    torch.optim.SGD(model.parameters(), 0.1).step()
    with torch.no_grad():
        again, = prepared([image])
        assert all(torch.equal(again[key], first[key]) for key in first)
        expected, = model.eval()([image])
        found, = prepare_for_inference(model)([image])
    assert_same(found, expected)
    assert len(found["scores"]) != len(first["scores"]) or not torch.equal(found["scores"], first["scores"])
    with pytest.raises(RuntimeError, match="prepared for inference cannot be trained"):
        prepared.train()


def test_contract_copies_and_edges(small_config, scene):
    prepared = prepare_for_inference(detector(small_config))
    image = scene()[0]
    with torch.no_grad():
        expected, = prepared([image])
        found, = copy.deepcopy(prepared)([image])
        assert all(torch.equal(found[key], expected[key]) for key in expected)
        assert prepared([]) == []
        for size in ((1, 1), (1, 90), (7, 3)):
            found, = prepared([torch.rand(3, *size)])
            assert found["masks"].shape[1:] == (1, *size)
        prepared.mask_format = "rle"
        prepared.roi_heads.box = dataclasses.replace(prepared.roi_heads.box, score_threshold=1.0)
        found, = prepared([image])
        assert found["masks"] == [] and found["boxes"].shape == (0, 4)


@pytest.mark.parametrize("name, norm, fpn_norm, mask", CASES)
def test_contract_bf16_differs_by_its_rounding(small_config, scene, name, norm, fpn_norm, mask):
    """bfloat16 keeps 8 bits: most of the best detections are the same, within a pixel and 0.03 of score.

    Random weights make many boxes alike, so that rounding may let another one through NMS.
    """
    model = detector(small_config, name, norm, fpn_norm, mask)
    image = scene()[0]
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        with pytest.raises(BackendError, match=NO_BF16):
            prepare_for_inference(model, "bf16")
        return
    with torch.no_grad():
        expected, = model([image])
        found, = prepare_for_inference(model, "bf16")([image])
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32
    if mask:
        assert found["masks"].dtype == torch.float32 and found["masks"].shape[1:] == (1, 64, 64)
    assert len(found["boxes"]) >= 10
    near = ((expected["boxes"][:10, None] - found["boxes"]).abs().amax(-1) < 1.0) & (
        expected["labels"][:10, None] == found["labels"]) & (
        (expected["scores"][:10, None] - found["scores"]).abs() < 0.03)
    assert near.any(1).sum() >= 6


def test_contract_a_processor_without_bf16_is_named_before_any_work(small_config, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    monkeypatch.setattr("roikit.models.inference._prepare", lambda *arguments: pytest.fail("work has begun"))
    with pytest.raises(BackendError, match=NO_BF16):
        prepare_for_inference(detector(small_config), "bf16")


def test_contract_what_the_environment_leaves_of_the_processor_counts(monkeypatch, run_python):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    said = run_python("import torch\nfrom roikit.models import maskrcnn_resnet18_fpn, prepare_for_inference\n"
                      "model = maskrcnn_resnet18_fpn(num_classes=2)\n"
                      "try:\n    prepare_for_inference(model, 'bf16')\n    print('prepared')\n"
                      "except RuntimeError as error:\n    print(type(error).__name__, error)\n")
    supported = platform.machine() not in ("x86_64", "AMD64")
    assert said.strip() == "prepared" if supported else re.match(f"BackendError {NO_BF16[1:]}", said), said


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no bfloat16 here")
def test_contract_a_prepared_model_goes_to_a_processor_without_bf16(small_config, monkeypatch):
    content = pickle.dumps(prepare_for_inference(detector(small_config), "bf16"))
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(BackendError, match=NO_BF16):
        pickle.loads(content)


def test_contract_wrong_calls_say_so(small_config):
    model = detector(small_config)
    with pytest.raises(ValueError, match="precision must be one of float32, bf16, int8, auto, got 'int4'"):
        prepare_for_inference(model, "int4")
    with pytest.raises(TypeError, match="model must be a detector or a segmenter of roikit.models, got ReLU"):
        prepare_for_inference(nn.ReLU())
    with pytest.raises(TypeError, match="model must be float32, got .* of torch.float64"):
        prepare_for_inference(copy.deepcopy(model).double())
    model.roi_heads.box_head = nn.Sequential(nn.Flatten(1), nn.LazyLinear(32))
    model.roi_heads.box_head(torch.zeros(1, 16, 7, 7))
    assert prepare_for_inference(model).roi_heads.box_head is not model.roi_heads.box_head
    error, match = (TypeError, "every part must be of roikit.models, got a Flatten")
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        error, match = BackendError, NO_BF16
    with pytest.raises(error, match=match):
        prepare_for_inference(model, "bf16")


def test_a_fused_convolution_takes_no_longer_than_a_plain_one():
    """oneDNN wants weights in an order for each size of the input; putting one in another's order right took 13 times
    the time of this convolution."""
    conv = nn.Conv2d(1024, 2048, 1, stride=2).to(memory_format=torch.channels_last)
    fused = fuse(conv, None, "none", torch.float32)
    x = torch.rand(1, 1024, 35, 35).to(memory_format=torch.channels_last)
    times = {}
    with torch.no_grad():
        for _ in range(7):
            for name, work in (("plain", conv), ("fused", fused)):
                begun = time.perf_counter()
                work(x)
                times.setdefault(name, []).append(time.perf_counter() - begun)
    assert min(times["fused"]) < 4 * min(times["plain"])
