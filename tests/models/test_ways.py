"""Ways of a prepared convolution, the choice among them, and plans: the same results, and the same bits by a plan."""

import copy
import dataclasses
import json
import math
import pickle

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from roikit.models import InferencePlan, prepare_for_inference  # noqa: E402
from roikit.models.kept_plans import prepare_with_kept_plan  # noqa: E402
from roikit.models.parts import ways  # noqa: E402
from roikit.models.parts.fused import FusedConv2d, fuse  # noqa: E402

from .test_inference import detector  # noqa: E402

KINDS = {"3x3": nn.Conv2d(32, 48, 3, padding=1), "3x3 unpadded": nn.Conv2d(16, 16, 3), "1x1": nn.Conv2d(24, 40, 1),
         "1x1 bare": nn.Conv2d(24, 40, 1, bias=False), "stride": nn.Conv2d(16, 16, 3, 2, 1),
         "dilated": nn.Conv2d(16, 16, 3, 1, 2, 2), "groups": nn.Conv2d(16, 32, 3, 1, 1, groups=2)}


def layer_of(kind, activation="relu"):
    return fuse(KINDS[kind], None, activation, torch.float32)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("maps", [1, 3, 20])
@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "leaky"])
def test_law_all_ways_compute_the_same(kind, maps, activation):
    layer = layer_of(kind, activation)
    x = torch.randn(maps, KINDS[kind].in_channels, 17, 22, generator=torch.Generator().manual_seed(0))
    conv = copy.deepcopy(KINDS[kind]).double()
    expected = conv(x.double())
    conv.weight.abs_()
    largest = conv(x.double().abs()).max()  # of the sums of what is added, without its signs
    onto = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    found = ways.candidates(layer, maps)
    assert ("product" in found) == kind.startswith("1x1") and "plain" in found
    assert ("winograd" in found) == (kind.startswith("3x3") and ways.has_winograd())
    assert ("winograd each" in found) == ("winograd" in found and maps == 3)
    for way in found:
        for given in (x, x.to(memory_format=torch.channels_last)):
            for added in (None, onto, onto.to(memory_format=torch.channels_last)):
                out = ways.WAYS[way](layer, given, None if added is None else added.clone())
                truth = ways.activate(expected.clone() if added is None else expected + added, activation)
                # Winograd's sums and differences of inputs and of outputs cost some digits.
                digits = (32 if way.startswith("winograd") else 4) * torch.finfo(torch.float32).eps
                assert (out.double() - truth).abs().max() <= digits * (largest + onto.abs().max())


@torch.no_grad()
@pytest.mark.parametrize("maps", [1, 2])
def test_law_measuring_leaves_what_is_given(maps):
    layer = layer_of("3x3")
    x = torch.randn(maps, 32, 60, 60)
    onto = torch.randn(maps, 48, 60, 60)
    before = x.clone(), onto.clone()
    assert ways.fastest(layer, x, onto) in ways.candidates(layer, maps)
    assert torch.equal(x, before[0]) and torch.equal(onto, before[1])


def test_law_the_fastest_is_chosen_with_what_follows(monkeypatch):
    first, then = layer_of("1x1"), fuse(nn.Conv2d(40, 40, 3, padding=1), None, "none", torch.float32)
    lies = {"fused": torch.channels_last, "plain": torch.contiguous_format, "product": torch.contiguous_format,
            "winograd": torch.contiguous_format}
    times = {(first, "fused"): 1.0, (first, "plain"): 3.0, (first, "product"): 2.0}

    def measured(layer, way, x, onto, best):
        seconds = times.get((layer, way))
        if seconds is None:  # what follows wants its input channels-first
            seconds = 1.0 if x.is_contiguous() else after
        return seconds, torch.zeros(1, 40, 200, 200).to(memory_format=lies[way])

    monkeypatch.setattr(ways, "_measured", measured)
    x = torch.zeros(1, 24, 200, 200)
    after = 5.0
    assert ways.fastest(first, x, None) == "fused"
    first.followed_by(then)
    assert ways.fastest(first, x, None) == "product"
    after = 1.9
    assert ways.fastest(first, x, None) == "fused"
    times[first, "product"] = 0.97  # no more than noise
    first.followed_by(nn.Identity())
    assert ways.fastest(first, x, None) == "fused"
    assert ways.fastest(first, x[..., :2, :2], None) == "fused"


def test_law_a_size_gets_the_way_of_the_nearest():
    known = [([1, 8, 10, 10], "fused"), ([1, 8, 40, 10], "winograd"), ([4, 8, 40, 10], "plain")]
    for shape, way in (((1, 8, 10, 10), "fused"), ((1, 8, 10, 19), "fused"), ((1, 8, 21, 10), "winograd"),
                       ((2, 8, 39, 10), "winograd"), ((1, 8, 10, 4), None), ((9, 8, 40, 10), None)):
        assert ways.nearest(known, shape) == way
    assert ways.nearest(known, (1, 8, 1, 1), math.inf) == "fused"
    assert ways.nearest(known, (99, 8, 40, 40), math.inf) == "plain"
    assert ways.nearest([], (1, 8, 1, 1), math.inf) is None


@pytest.fixture
def prepared(small_config, scene, monkeypatch):
    """A model, an image, and the prepared model with a plan in which no layer is computed as it would be anyway."""
    monkeypatch.setattr("roikit.models.parts.fused.fastest",
                        lambda layer, x, onto: ways.candidates(layer, len(x))[-1])
    model = detector(small_config)
    image, _ = scene()
    return model, image, prepare_for_inference(model, example=image)


@torch.no_grad()
def test_law_a_plan_gives_the_same_bits(prepared, tmp_path):
    model, image, first = prepared
    plan = InferencePlan.of(first)
    assert any(way != "fused" for chosen in plan.ways.values() for _, way in chosen)
    plan.save(tmp_path / "plan.json")
    again = prepare_for_inference(model, plan=InferencePlan.load(tmp_path / "plan.json"))
    assert InferencePlan.of(again) == plan and InferencePlan.load(tmp_path / "plan.json") == plan
    expected, = first([image])
    for other in (again, pickle.loads(pickle.dumps(first))):
        found, = other([image])
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    own, = model([image])
    torch.testing.assert_close(expected["boxes"], own["boxes"], atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(expected["scores"], own["scores"], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_law_only_sizes_that_are_new_are_measured(small_config, scene, monkeypatch):
    seen = []
    monkeypatch.setattr("roikit.models.parts.fused.fastest", lambda layer, x, onto: seen.append(x.shape) or "fused")
    image, _ = scene()
    model = prepare_for_inference(detector(small_config))
    model([image])
    first = len(seen)
    assert first and sum(len(chosen) for chosen in InferencePlan.of(model).ways.values()) >= first
    model([image])
    assert len(seen) == first
    closed = prepare_for_inference(detector(small_config), example=[image])
    count = len(seen)
    closed([torch.rand(3, 3 * image.shape[1], image.shape[2])])
    assert len(seen) == count
    part = [part for part in model.modules() if isinstance(part, FusedConv2d)][0]
    assert ": fused" in repr(part)


def test_contract_a_plan_of_something_else_is_refused(prepared, small_config, tmp_path):
    model, image, first = prepared
    plan = InferencePlan.of(first)
    other = detector(small_config, "efficientnet_lite0")
    with pytest.raises(ValueError, match=r"the plan is of another model: backbone\..* is .*, in the plan it is"):
        prepare_for_inference(other, plan=plan)
    with pytest.raises(ValueError, match=r"the plan is of torch 1\.0, this is .*: measure anew"):
        prepare_for_inference(model, plan=dataclasses.replace(plan, torch="1.0"))
    name = next(iter(plan.ways))
    with pytest.raises(ValueError, match=rf"the plan has {name} computed by 'magic', which is not to be had here"):
        prepare_for_inference(model, plan=dataclasses.replace(plan, ways={name: [[[1, 3, 8, 8], "magic"]]}))
    with pytest.raises(ValueError, match="there must be a plan or an example to measure one, got both"):
        prepare_for_inference(model, plan=plan, example=image)
    path = tmp_path / "plan.json"
    for text in ("", "[]", "{}", json.dumps({"format": 2}), json.dumps({**dataclasses.asdict(plan), "format": 1,
                                                                        "ways": {name: [[[1, 3, 8], "fused"]]}})):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"plan\.json is nothing that InferencePlan"):
            InferencePlan.load(path)
    with pytest.raises(OSError, match=r"none\.json"):
        InferencePlan.load(tmp_path / "none.json")


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Sizes that were measured, a list that grows; what is kept is kept in a folder of its own."""
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "home"))
    seen = []

    def choose(layer, x, onto):
        seen.append(x.shape)
        return ways.candidates(layer, len(x))[-1]
    monkeypatch.setattr("roikit.models.parts.fused.fastest", choose)
    return seen


@torch.no_grad()
def test_law_a_kept_plan_is_measured_once_and_gives_the_same_bits(measured, small_config, scene, tmp_path):
    image, _ = scene()
    model = detector(small_config)
    first = prepare_with_kept_plan(model)
    assert first.box == model.box
    plan = InferencePlan.of(first)
    # Noise has no objects; the layers of masks are measured all the same.
    assert any(name.startswith("roi_heads.mask_head") for name in plan.ways)
    (expected,), count = first([image]), len(measured)
    again = prepare_with_kept_plan(model)
    found, = again([image])
    assert len(measured) == count > 0 and InferencePlan.of(again) == plan
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    kept, = (tmp_path / "home" / "plans").iterdir()
    assert InferencePlan.load(kept) == plan


@pytest.mark.parametrize("damage", ["", "{}", "another"])
def test_case_a_damaged_kept_plan_is_measured_anew(measured, small_config, tmp_path, damage):
    model = detector(small_config)
    plan = InferencePlan.of(prepare_with_kept_plan(model))
    kept, = (tmp_path / "home" / "plans").iterdir()
    if damage == "another":
        dataclasses.replace(plan, torch="1.0").save(kept)
    else:
        kept.write_text(damage)
    count = len(measured)
    assert InferencePlan.of(prepare_with_kept_plan(model)) == plan and len(measured) == 2 * count
    assert InferencePlan.load(kept) == plan


def test_case_of_processes_that_measure_at_once_all_follow_the_first(measured, small_config, tmp_path, monkeypatch):
    model = detector(small_config)
    first = InferencePlan.of(prepare_with_kept_plan(model))
    kept, = (tmp_path / "home" / "plans").iterdir()
    text = kept.read_text()
    kept.unlink()

    def late(layer, x, onto):
        kept.write_text(text)  # meanwhile by another process
        return "fused"
    monkeypatch.setattr("roikit.models.parts.fused.fastest", late)
    assert InferencePlan.of(prepare_with_kept_plan(model)) == first
    assert list(kept.parent.iterdir()) == [kept]


def test_case_a_folder_that_cannot_be_written_keeps_nothing(measured, small_config, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "file"))
    found = prepare_with_kept_plan(detector(small_config))
    assert InferencePlan.of(found).ways and all(part.measured is None for part in found.modules()
                                                if isinstance(part, FusedConv2d))
