"""Models on 8-bit integers: layers against float64 sums of what the codes are, whole models, and what is refused."""

import copy
import dataclasses
import json
import pickle

import pytest
import torch
from torch import nn

from roikit.errors import BackendError
from roikit.models import InferenceRanges, measure_ranges, prepare_for_inference
from roikit.models.bodies.efficientnet import SameConv2d
from roikit.models.parts.fused import FusedConv2d, fuse
from roikit.models.parts.int8 import Coding, Quantized, QuantizedConv2d, QuantizedLinear, has_int8
from roikit.models.parts.linear import FusedLinear
from roikit.models.parts.ways import activate

from .test_inference import CASES, detector, with_more_heads

needs_int8 = pytest.mark.skipif(not has_int8(), reason="this processor has no VNNI, or this torch no layers for it")
KINDS = {"3x3": nn.Conv2d(32, 48, 3, padding=1), "1x1": nn.Conv2d(24, 40, 1), "bare": nn.Conv2d(24, 40, 1, bias=False),
         "stride": nn.Conv2d(16, 16, 3, 2, 1), "1x1 stride": nn.Conv2d(16, 24, 1, 2),
         "dilated": nn.Conv2d(16, 16, 3, 1, 2, 2), "stem": nn.Conv2d(3, 64, 7, 2, 3), "same": SameConv2d(8, 8, 3, 2)}
NO_INT8 = "^prepare_for_inference: precision 'int8' needs a processor with VNNI or AMX"


def meant(layer):
    """The numbers that the codes of a quantized layer's weight are, in float64."""
    return layer.codes.double() * layer.scales.double().view(-1, *[1] * (layer.codes.ndim - 1))


def prepared(model, images, ranges=None):
    return prepare_for_inference(model, "int8", ranges=ranges or measure_ranges(model, images))


@pytest.mark.parametrize("low, high", [(0.0, 5.0), (-2.0, 3.0), (1.0, 2.0), (-4.0, -1.0), (0.0, 0.0)])
def test_law_codes(low, high):
    coding = Coding.of(low, high)
    assert coding.decode(coding.encode(torch.zeros(1, 1))) == 0
    x = torch.linspace(low, high, 1000)[None]
    assert (coding.decode(coding.encode(x)) - x).abs().max() <= 0.5001 * coding.scale + 1e-7
    beyond = coding.encode(torch.tensor([[min(low, 0.0) - 9, max(high, 0.0) + 9]]))
    assert beyond.tolist() == [[0, 255]]


@needs_int8
@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "leaky"])
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_law_a_convolution_adds_up_what_the_codes_are(kind, activation, low):
    conv = KINDS[kind]
    takes, generator = Coding.of(low, 2.0), torch.Generator().manual_seed(0)
    layer = QuantizedConv2d(fuse(conv, None, activation, torch.float32), takes)
    x = torch.rand((2, conv.in_channels, 17, 22), generator=generator) * (2 - low) + low
    exact = copy.deepcopy(conv).double()
    exact.weight.copy_(meant(layer))
    expected = exact(takes.decode(takes.encode(x)).double())
    onto = torch.randn(expected.shape, generator=generator)
    for given in (x, x.to(memory_format=torch.channels_last), takes.encode(x)):
        if given.dtype == torch.uint8 and not layer.links:
            continue
        for added in (None, onto):
            truth = activate(expected.clone() if added is None else expected + added, activation)
            found = layer(given, None if added is None else added.clone())
            assert found.dtype == torch.float32 and (found - truth).abs().max() < 1e-4
    assert torch.equal(layer(x[:0]), layer(x)[:0])
    if layer.links:
        layer.gives, layer.adds = Coding.of(-1.0, 1.0), Coding.of(-3.0, 3.0)
        found, coded = layer(x), layer.adds.encode(onto)
        summed = layer(x, coded.clone(memory_format=torch.channels_last))
        for codes, exact in ((found, expected), (summed, expected + layer.adds.decode(coded))):
            truth = activate(exact.clone(), activation).clamp(-layer.gives.zero * layer.gives.scale,
                                                              (255 - layer.gives.zero) * layer.gives.scale)
            assert codes.dtype == torch.uint8
            assert (layer.gives.decode(codes) - truth).abs().max() <= 0.51 * layer.gives.scale
        assert torch.equal(layer(x[:0]), found[:0])


@needs_int8
@torch.no_grad()
def test_law_a_linear_layer_adds_up_what_the_codes_are():
    linear, takes = nn.Linear(8 * 9, 24), Coding.of(0.0, 1.0)
    layer = QuantizedLinear(FusedLinear(linear, torch.float32, 3), takes)
    x = torch.rand(5, 8, 3, 3)
    numbers = takes.decode(takes.encode(x)).permute(0, 2, 3, 1).flatten(1).double()
    expected = (numbers @ meant(layer).T + linear.bias).relu()
    for given in (x, x.to(memory_format=torch.channels_last)):
        assert (layer(given) - expected).abs().max() < 1e-4
    assert layer(x[:0]).shape == (0, 24)
    layer.gives = Coding.of(0.0, 1.0)
    assert (layer.gives.decode(layer(x)) - expected.clamp(max=1)).abs().max() <= 0.51 * layer.gives.scale


def assert_near(found, expected, at_least=6):
    """Of the ten best detections so many are found again; six is what bf16 has to do."""
    assert found.keys() == expected.keys() and all(found[key].dtype == expected[key].dtype for key in found)
    near = (expected["boxes"][:10, None] - found["boxes"]).abs().amax(-1) < 1.5
    near &= (expected["scores"][:10, None] - found["scores"]).abs() < 0.05
    assert near.any(1).sum() >= at_least


@needs_int8
@torch.no_grad()
@pytest.mark.parametrize("name, norm, fpn_norm, mask", CASES)
def test_contract_detections_are_near(small_config, scene, name, norm, fpn_norm, mask):
    model = detector(small_config, name, norm, fpn_norm, mask)
    images = [scene()[0], scene((50, 70), seed=1)[0]]
    before = copy.deepcopy(model.state_dict())
    fast = prepared(model, images)
    for expected, found in zip(model(images), fast(images), strict=True):
        # Random narrow layers between a norm of one channel a group and another lose the most.
        assert_near(found, expected, 3 if name == "efficientnet_lite0" else 6)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    left = {name for name, part in fast.named_modules() if isinstance(part, FusedConv2d)}
    grouped = {"resnext50_32x4d", "efficientnet_lite0"}
    assert bool(left) == (name in grouped) and all(fast.get_submodule(name).groups > 1 for name in left)


@needs_int8
@torch.no_grad()
def test_contract_convolutional_heads_and_keypoints(small_config, scene):
    model = detector(with_more_heads(small_config, "batch"))
    image = scene()[0]
    found, = prepared(model, [image])([image])
    assert_near(found, model([image])[0])


@needs_int8
@torch.no_grad()
@pytest.mark.parametrize("body", ["resnet18", "resnet50"])
def test_law_codes_go_from_layer_to_layer(small_config, scene, body):
    """Numbers come out only where another part than a layer on codes reads them."""
    image = scene()[0]
    fast = prepared(detector(small_config, body), [image])
    floats = [name for name, part in fast.named_modules() if isinstance(part, Quantized) and part.gives is None]
    pyramid = [f"backbone.fpn.layer_blocks.{level}" for level in range(4)]
    assert sorted(floats) == [*pyramid, "roi_heads.box_head.layers.1", "roi_heads.mask_head.1",
                              "roi_heads.mask_predictor.hidden", "rpn.head.predict"]


@needs_int8
@torch.no_grad()
def test_law_the_same_bits(small_config, scene, tmp_path):
    model, images = detector(small_config), [scene()[0], scene((50, 70), seed=1)[0]]
    ranges = measure_ranges(model, images)
    ranges.save(tmp_path / "ranges.json")
    assert InferenceRanges.load(tmp_path / "ranges.json") == ranges == measure_ranges(model, images)
    first = prepared(model, None, ranges)
    expected = first(images)
    for other in (prepared(model, None, InferenceRanges.load(tmp_path / "ranges.json")), copy.deepcopy(first),
                  pickle.loads(pickle.dumps(first))):
        for one, two in zip(other(images), expected, strict=True):
            assert all(torch.equal(one[key], two[key]) for key in two)


@needs_int8
@torch.no_grad()
def test_contract_a_layer_that_no_image_reached_stays_in_float32(small_config, scene):
    model, image = detector(small_config), scene()[0]
    box, model.roi_heads.box = model.roi_heads.box, dataclasses.replace(model.roi_heads.box, score_threshold=0.999)
    ranges = measure_ranges(model, [image])
    model.roi_heads.box = box
    assert not any("mask" in name for name in ranges.inputs) and any("mask" in name for name in ranges.layers)
    fast = prepared(model, None, ranges)
    assert {type(part) for part in fast.roi_heads.mask_head} == {FusedConv2d}
    assert_near(fast([image])[0], model([image])[0])


def test_contract_ranges_of_something_else_are_refused(small_config, scene, tmp_path, monkeypatch):
    monkeypatch.setattr("roikit.models.inference.require_int8", lambda op: None)
    model, image = detector(small_config), scene()[0]
    seen = []
    ranges = measure_ranges(model, iter([image, image]), on_image=seen.append)
    assert seen == [1, 2] and ranges.images == 2
    with pytest.raises(ValueError, match=r"the ranges are of another model: backbone\..* is .*, in the ranges it is"):
        prepared(detector(small_config, "efficientnet_lite0"), None, ranges)
    other = detector(small_config)
    other.rpn.head.cls_logits.bias.data[0] += 1
    with pytest.raises(ValueError, match="the ranges are of a model with other weights: measure anew"):
        prepared(other, None, ranges)
    for options in ({"precision": "int8"}, {"ranges": ranges}, {"precision": "auto", "ranges": ranges}):
        with pytest.raises(ValueError, match="precision 'int8' needs the ranges of measure_ranges, and no other"):
            prepare_for_inference(model, **options)
    with pytest.raises(ValueError, match="there must be at least one image, got none"):
        measure_ranges(model, [])
    with torch.no_grad():
        other.rpn.head.cls_logits.bias.fill_(float("inf"))
    with pytest.raises(ValueError, match=r"image 1 makes rpn\.head\.predict take or give numbers that are not finite"):
        measure_ranges(other, [image])
    path, fields = tmp_path / "ranges.json", dataclasses.asdict(ranges) | {"format": 1}
    name = next(iter(ranges.inputs))
    for content in ("", "[]", "{}", json.dumps(fields | {"format": 2}),
                    *(json.dumps(fields | {"inputs": ranges.inputs | {name: pair}})
                      for pair in ([1.0], [2.0, 1.0], ["a", 1], None)),
                    json.dumps(fields | {"results": {}}), b"\xff"):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ValueError, match=r"ranges\.json is nothing that InferenceRanges\.save wrote"):
            InferenceRanges.load(path)
    with pytest.raises(OSError, match=r"none\.json"):
        InferenceRanges.load(tmp_path / "none.json")


def test_contract_a_processor_without_it(small_config, scene, monkeypatch):
    model, image = detector(small_config), scene()[0]
    ranges = measure_ranges(model, [image])
    content = pickle.dumps(prepared(model, None, ranges)) if has_int8() else None
    for name in ("_is_vnni_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not has_int8()
    with pytest.raises(BackendError, match=NO_INT8):
        prepared(model, None, ranges)
    if content is not None:
        with pytest.raises(BackendError, match=NO_INT8):
            pickle.loads(content)


@needs_int8
@pytest.mark.parametrize("variable", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
def test_contract_instructions_that_are_turned_off_count(variable, monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    for level, expected in (("AVX512_CORE_VNNI", True), ("avx2", False), ("AVX512_CORE", False)):
        monkeypatch.setenv(variable, level)
        assert has_int8() is expected


@needs_int8
def test_contract_a_model_on_codes_is_not_trained(small_config, scene):
    model, image = detector(small_config), scene()[0]
    with pytest.raises(RuntimeError, match="cannot be trained"):
        prepared(model, [image]).train()
