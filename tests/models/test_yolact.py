"""YOLACT and YOLACT++ as wholes: what is refused, what older files hold, and what nothing at all gives."""

import dataclasses

import pytest
import torch
import torch._dynamo
from torch import nn

from roikit.errors import RoikitWarning
from roikit.models import (
    DenseConfig,
    DenseHead,
    IntegralConfig,
    KeypointConfig,
    MaskRescorer,
    MaskScoreConfig,
    ProtoNet,
    RescoringConfig,
    build_detector,
    load_checkpoint,
    published,
    save_checkpoint,
    yolact_config,
)
from roikit.models.detectors.yolact import YOLACT
from roikit.models.weights.published_model import named_model
from roikit.models.weights.yolact import renaming, to_yolact

from .family import DENSE, SYSTEMS
from .family import YOLACT as SMALL

PLUS = SYSTEMS["yolact_plus"]


def eager(config):
    """In evaluation mode, with logits so far apart that rounding exchanges no two detections."""
    torch.manual_seed(0)
    model = build_detector(config)
    nn.init.normal_(model.head.cls_logits.weight, std=(8 / model.head.cls_logits.weight[0].numel())**0.5)
    return model.eval()


# What is refused.

@pytest.mark.parametrize("kind, fields, rule", [
    (DenseConfig, {"prior_sizes": ()}, "prior_sizes and prior_ratios must not be empty"),
    (DenseConfig, {"prior_sizes": ((),)}, "prior_sizes and prior_ratios must not be empty"),
    (DenseConfig, {"prior_ratios": ()}, "prior_sizes and prior_ratios must not be empty"),
    (DenseConfig, {"prior_sizes": ((8.0,), (16.0, 20.0))}, "prior_sizes must hold equally many sizes for every level"),
    (DenseConfig, {"prior_sizes": ((8.0,), (-1.0,))}, "prior_sizes must hold positive numbers"),
    (DenseConfig, {"prior_ratios": (1.0, 0.0)}, "prior_ratios must hold positive numbers"),
    (DenseConfig, {"proto_layers": (8, 0)}, "proto_layers must hold positive numbers"),
    (DenseConfig, {"proto_fine_layers": (0,)}, "proto_fine_layers must hold positive numbers"),
    (DenseConfig, {"prototypes": 0}, "prototypes must be positive, got 0"),
    (DenseConfig, {"norm_groups": 0}, "norm_groups must be positive, got 0"),
    (DenseConfig, {"norm": "frozen"}, "norm must be one of none, group, batch, sync, got 'frozen'"),
    (DenseConfig, {"threshold_on": "box"}, "threshold_on must be one of prior, score, got 'box'"),
    (DenseConfig, {"masks_per_image": 0}, "masks_per_image must be at least 1, got 0"),
    *((DenseConfig, {name: -1}, f"{name} must be at least 0, got -1")
      for name in ("head_layers", "negatives", "box_weight", "class_weight", "mask_weight", "semantic_weight")),
    (RescoringConfig, {"layers": ()}, "layers must not be empty"),
    (RescoringConfig, {"layers": (8, 0)}, "layers must hold positive numbers"),
    (RescoringConfig, {"loss_weight": -1}, "loss_weight must be at least 0, got -1"),
    (RescoringConfig, {"min_area": -1}, "min_area must be at least 0, got -1"),
])
def test_contract_configurations_that_cannot_work_are_refused(kind, fields, rule):
    with pytest.raises(ValueError, match=f"^{kind.__name__}: {rule}"):
        kind(**fields)


@pytest.mark.parametrize("fields, rule", [
    ({"mask": None}, "dense combines masks: mask must not be None"),
    ({"keypoint": KeypointConfig()}, "dense has no stages and no branches: keypoint must be None"),
    ({"mask_score": MaskScoreConfig(), "integral": IntegralConfig()},
     "dense has no stages and no branches: mask_score, integral must be None"),
    ({"backbone": dataclasses.replace(SMALL.backbone, neck="none", levels=("c4",))},
     "dense needs the levels of a pyramid: backbone.neck must be 'fpn', got 'none'"),
    ({"dense": dataclasses.replace(DENSE, prior_sizes=((8.0,),) * 4)},
     "dense.prior_sizes must have one entry for each of the 5 levels that the pyramid gives, got 4"),
])
def test_contract_a_dense_detector_has_its_parts_alone(fields, rule):
    with pytest.raises(ValueError, match=f"^DetectorConfig: {rule}"):
        dataclasses.replace(SMALL, **fields)


@pytest.mark.parametrize("part, rule", [
    ({"protonet": ProtoNet(16, (16,), (16,), 9)},
     "protonet must give a prototype for each of the head's coefficients, 8, got 9"),
    ({"protonet": ProtoNet(12, (16,), (16,), 8)}, "protonet must take the backbone's 16 channels, got 12"),
    ({"head": DenseHead(20, 3, 3, 8)}, "head must take the backbone's 16 channels, got 20"),
    ({"mask_score_head": MaskRescorer(4, RescoringConfig(layers=(4,)))},
     "mask_score_head must score the head's 3 classes, got 4"),
])
def test_contract_parts_that_do_not_fit_are_refused_at_build(part, rule):
    model = build_detector(SMALL)
    parts = {"head": model.head, "protonet": model.protonet} | part
    with pytest.raises(ValueError, match=f"^YOLACT: {rule}"):
        YOLACT(model.transform, model.backbone, box=SMALL.box, dense=DENSE, mask=SMALL.mask, **parts)


def test_contract_targets_that_cannot_be_learnt_from_are_refused(scene):
    model = build_detector(SMALL).train()
    image, target = scene()
    other = {key: value for key, value in target.items() if key != "masks"}
    with pytest.raises(ValueError, match=r"detector: targets\[1\] must have the key 'masks' when training"):
        model([image, image], [target, other])
    with pytest.raises(ValueError, match=r"targets\[0\]\['labels'\] must be between 1 and 2, got \[1, 3\]"):
        model([image], [target | {"labels": torch.tensor([1, 3])}])
    with pytest.raises(ValueError, match="YOLACT: targets must be given when training"):
        model([image])
    with pytest.raises(ValueError, match="YOLACT: images must not be empty when training"):
        model([], [])


# Nothing at all.

@pytest.mark.parametrize("name", ["yolact", "yolact_plus"])
def test_law_an_image_without_objects_adds_nothing_to_what_others_teach(name, scene):
    """But to the classes of cells, which all images teach."""
    model = build_detector(SYSTEMS[name]).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    image, target = scene()
    empty, nothing = scene(boxes=(), labels=(), seed=1)
    with torch.no_grad():
        alone, both = model([image], [target]), model([empty, image], [nothing, target])
        none = model([empty], [nothing | {"masks": []}])
    assert alone.keys() == both.keys() == none.keys()
    for key in alone.keys() - {"loss_semantic"}:
        torch.testing.assert_close(both[key], alone[key], rtol=1e-4, atol=1e-5)
        assert none[key] == 0 and alone[key] > 0
    assert "loss_semantic" not in none or none["loss_semantic"] > 0


@pytest.mark.parametrize("mask_format", ["soft", "bool", "rle"])
@torch.no_grad()
def test_contract_no_detection_has_no_mask(mask_format, scene):
    model = eager(PLUS)
    model.box, model.mask_format = dataclasses.replace(model.box, score_threshold=1.0), mask_format
    found, = model([scene((50, 30))[0]])
    assert len(found["boxes"]) == len(found["mask_scores"]) == 0
    assert found["masks"] == [] if mask_format == "rle" else found["masks"].shape == (0, 1, 50, 30)
    with pytest.raises(ValueError, match=r"images\[0\] must have shape \(3, H, W\), got \(3, 0, 5\)"):
        model([torch.zeros(3, 0, 5)])


# Files of the authors.

# Their layers, with few channels; of the body those of a ResNet-18 or of a ResNet-50.
THEIRS = dataclasses.replace(DENSE, norm="none", proto_layers=(16, 16, 16))


def in_their_form(config, body, **fields):
    backbone = dataclasses.replace(config.backbone, name=body, norm="batch", fpn_norm="none", **fields)
    rescoring = None if config.dense.rescoring is None else RescoringConfig(layers=(4,) * 5)
    return dataclasses.replace(config, backbone=backbone, dense=dataclasses.replace(THEIRS, rescoring=rescoring))


@pytest.fixture
def theirs(tmp_path):
    """A function: a model of that configuration, and its weights as its authors' code keeps them."""
    def make(config):
        torch.manual_seed(1)
        model = build_detector(config)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean)
        return model, to_yolact(model.state_dict()), tmp_path / "theirs.pth"
    return make


def loaded(config, state, path):
    torch.manual_seed(2)
    model = build_detector(config)
    torch.save(state, path)
    with pytest.warns(RoikitWarning, match="is YOLACT's, and the model follows other conventions"):
        return model, load_checkpoint(model, path)


def assert_same_state(one, other):
    expected = other.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("body", ["resnet18", "darknet53"])
def test_contract_older_files_hold_stages_twice_and_a_further_level(theirs, body):
    config = in_their_form(SMALL, body)
    model, state, path = theirs(config)
    twice = {name.replace("backbone.layers.", "backbone.layer", 1): value + 1 for name, value in state.items()
             if name.startswith("backbone.layers.") and value.is_floating_point()}
    further = {"fpn.downsample_layers.2.weight": torch.zeros(16, 16, 3, 3), "fpn.downsample_layers.2.bias":
               torch.zeros(16)}
    assert len(twice) > 50 and not (twice.keys() | further.keys()) & state.keys()
    other, report = loaded(config, state | twice | further, path)
    assert_same_state(model, other)
    ours = renaming(state)
    assert {ours.ours(name) for name in (*twice, *further)} <= set(report.dropped)
    assert not report.missing and not report.unexpected


def test_contract_the_bias_of_a_deformable_convolution_goes_into_the_norm(theirs):
    config = in_their_form(PLUS, "resnet50")
    model, state, path = theirs(config)
    biases = [name for name in state if name.endswith("conv2.bias")]
    assert biases and all(not state[name].any() for name in biases)
    for number, name in enumerate(biases):
        state[name] = torch.full_like(state[name], number + 1.0)
    other, _ = loaded(config, state, path)
    ours = renaming(state)
    for number, name in enumerate(biases):
        mean = ours.ours(name).replace("conv2.bias", "bn2.running_mean")
        torch.testing.assert_close(other.state_dict()[mean], model.state_dict()[mean] - (number + 1.0))


def test_contract_what_their_code_cannot_compute_is_not_written(tmp_path):
    model = build_detector(SMALL)
    with pytest.raises(ValueError, match=r"yolact would compute something else .*backbone\.name must be 'resnet50'"):
        save_checkpoint(model, tmp_path / "m.pth", "yolact")
    assert not list(tmp_path.iterdir())


def test_contract_the_authors_files_are_listed_and_known_by_name():
    entries = {entry.name: entry for entry in published() if entry.source == "yolact"}
    assert sorted(entries) == [f"yolact_{name}_54_800000" for name in (
        "base", "darknet53", "im700", "plus_base", "plus_resnet50", "resnet50")]
    assert {entry.mask_ap for entry in entries.values()} == {28.2, 28.7, 29.8, 31.2, 34.1, 34.6}
    assert all(entry.system == ("yolact_plus" if "plus" in name else "yolact") for name, entry in entries.items())
    assert named_model("yolact_resnet50_54_800000", num_classes=5).config == yolact_config("resnet50", num_classes=5)


# torch.compile and torch.export.

# Body with pyramid, head with prototypes; in training the layer of classes of cells where there is one, otherwise the
# network that scores masks. What it learns from depends on the data.
GRAPHS = {("yolact", False): 2, ("yolact", True): 3, ("yolact_plus", False): 3, ("yolact_plus", True): 2}


def assert_same(found, expected):
    assert found.keys() == expected.keys() and torch.equal(found["labels"], expected["labels"])
    for key in expected.keys() - {"labels"}:
        tolerance = {"boxes": 0.01, "masks": 1e-4}.get(key, 1e-5)
        torch.testing.assert_close(found[key], expected[key], atol=tolerance, rtol=0)


def learnt(model, image, target):
    """Losses, and the gradients of their sum by name."""
    model.zero_grad(set_to_none=True)
    losses = model([image], [target])
    sum(losses.values()).backward()
    found = {name.removeprefix("_orig_mod."): p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: loss.detach() for name, loss in losses.items()} | found


@pytest.mark.parametrize("name, training", GRAPHS)
def test_agreement_compiled_without_a_graph_break(name, training, scene):
    model = eager(SYSTEMS[name]).train(training)
    image, target = scene()
    counters = torch._dynamo.utils.counters
    torch._dynamo.reset()
    counters.clear()
    try:
        compiled = torch.compile(model, backend="eager" if training else "aot_eager")
        if training:
            found, expected = (learnt(one, image, target) for one in (compiled, model))
            assert found.keys() == expected.keys()
            for key, value in expected.items():
                torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-4 * float(value.abs().max()))
        else:
            with torch.no_grad():
                (found,), (expected,) = compiled([image]), model([image])
            assert len(found["boxes"]) > 5
            assert_same(found, expected)
        assert sum(counters["graph_break"].values()) == 0
        assert counters["stats"]["unique_graphs"] == GRAPHS[name, training]
    finally:
        torch._dynamo.reset()


@pytest.mark.parametrize("name", ["yolact", "yolact_plus"])
@torch.no_grad()
def test_agreement_a_program_of_torch_export_detects_the_same(name, scene):
    """On images of other numbers of detections than that of the example, and where there are none."""
    model = eager(SYSTEMS[name])
    images = [scene()[0], scene(seed=1)[0], scene(boxes=(), labels=())[0]]
    for threshold in (0.9, 1.0):
        model.box = dataclasses.replace(model.box, score_threshold=threshold)
        program = torch.export.export(model, (images[:1],)).module()
        counts = set()
        for image in images:
            (found,), (expected,) = program([image]), model([image])
            assert_same(found, expected)
            counts.add(len(found["boxes"]))
        assert counts == {0} if threshold == 1.0 else len(counts) > 1 and min(counts) > 5


def test_contract_onnx_refuses_what_assembles_masks(scene, tmp_path):
    from roikit.export import to_onnx

    with pytest.raises(ValueError, match="without an ONNX form: roikit.assemble_masks, of the masks of YOLACT"):
        to_onnx(eager(SMALL), [scene()[0]], tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())
