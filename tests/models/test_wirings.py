"""What every wiring of stages keeps of the first detector's promises."""

import dataclasses
import pickle

import pytest
import torch

from roikit.models import (
    CascadeConfig,
    HybridConfig,
    IntegralConfig,
    IterativeConfig,
    MaskConfig,
    SemanticConfig,
    StageConfig,
)

from .wirings import WIRINGS, build, labelled, step, wired

PLAIN = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}


@pytest.fixture(params=WIRINGS)
def model(request, small_config):
    fields, class_agnostic = WIRINGS[request.param]
    return build(wired(small_config, class_agnostic, **fields))


def empty(image):
    size = image.shape[1:]
    return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64),
            "masks": torch.zeros(0, *size, dtype=torch.uint8)}


def names(config):
    """The losses that a detector has."""
    stages = range(len(config.cascade.stages)) if config.cascade else ()
    found = {f"{name}_stage{stage}" for stage in stages for name in ("loss_classifier", "loss_box_reg")}
    found |= PLAIN - {"loss_classifier", "loss_box_reg"} if stages else PLAIN
    if stages and config.cascade.mask_stages == "every":
        found |= {f"loss_mask_stage{stage}" for stage in stages}
    elif config.mask:
        found.add("loss_mask")
    return found | ({"loss_semantic"} if config.hybrid and config.hybrid.semantic else set())


@pytest.mark.parametrize("case", ["two objects", "whole image", "mixed batch"])
def test_contract_losses_are_named_finite_and_connected(model, scene, case):
    full, bare = scene(), scene(seed=1)[0]
    samples = {
        "two objects": [full],
        "whole image": [scene(boxes=((0, 0, 64, 64),), labels=(2,))],
        "mixed batch": [full, (bare, empty(bare)), scene((48, 80), ((1, 1, 2, 2),), (1,), seed=2)],
    }[case]
    images, targets = zip(*samples, strict=True)
    losses, gradients = step(model, images, [labelled(target) for target in targets])
    assert losses.keys() == names(model.config)
    assert all(torch.isfinite(loss) and loss.ndim == 0 for loss in losses.values()), losses
    for name, gradient in gradients.items():
        assert gradient is not None and torch.isfinite(gradient).all(), name
    if case == "two objects":  # and each of them learns something
        still = [name for name, gradient in gradients.items() if not gradient.any() and name.endswith("weight")]
        assert not still


def test_contract_no_proposal_and_no_object_is_no_loss(model, scene):
    model.rpn.config = dataclasses.replace(model.rpn.config, keep_after_nms_train=0)
    image = scene()[0]
    losses, gradients = step(model, [image], [labelled(empty(image))])
    assert all(value == 0 for name, value in losses.items()
               if name.startswith(("loss_classifier", "loss_box", "loss_mask")))
    assert all(gradient is not None for gradient in gradients.values())


@torch.no_grad()
def test_contract_no_proposal_is_ordinary(model, scene):
    images = [scene()[0], scene((40, 64))[0]]
    model.eval().rpn.config = dataclasses.replace(model.rpn.config, keep_after_nms_test=0)
    for found, size in zip(model(images), ((64, 64), (40, 64)), strict=True):
        assert found["boxes"].shape == (0, 4) and found["scores"].shape == found["labels"].shape == (0,)
        assert model.config.mask is None or found["masks"].shape == (0, 1, *size)


@torch.no_grad()
def test_contract_detections_of_tiny_and_odd_images(model, scene):
    model.eval()
    for size in ((1, 1), (3, 50), (64, 17)):
        found, = model([torch.rand(3, *size)])
        height, width = size
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"] <= torch.tensor([width, height, width, height]) + 1e-3).all()
        assert all(torch.isfinite(value).all() for value in found.values())


def test_contract_a_branch_after_the_stages(model, scene):
    """It gets the maps of the pyramid, the first stage's samples, and the detections, and its results come out."""

    class Branch:
        def losses(self, heads, features, samples, truths, batch):
            assert list(features) == ["0", "1", "2", "3", "pool"]
            self.counts = [len(sample.labels) for sample in samples]
            return {"loss_own": features["0"].mean()}

        def add(self, heads, detections, features, batch):
            assert list(features) == ["0", "1", "2", "3", "pool"]
            for found in detections:
                found["own"] = found["scores"] * 2

        def finish(self, found, size, original):
            return found | {"finished": original}

    branch = Branch()
    model.roi_heads.add_branch(branch)
    image, target = scene()
    losses, _ = step(model, [image], [labelled(target)])
    assert losses.keys() == names(model.config) | {"loss_own"} and branch.counts == [32]
    with torch.no_grad():
        found, = model.eval()([image])
    assert torch.equal(found["own"], found["scores"] * 2) and found["finished"] == (64, 64)
    assert ("masks" in found) == (model.config.mask is not None)


@torch.no_grad()
@pytest.mark.parametrize("model", ["cascade of boxes", "hybrid", "integral"], indirect=True)
def test_contract_a_pickled_detector_detects_the_same(model, scene):
    image = scene()[0]
    expected, = model.eval()([image])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        found, = pickle.loads(pickle.dumps(model, protocol))([image])
        assert all(torch.equal(found[key], value) for key, value in expected.items()), protocol


def test_contract_labels_out_of_range(model, scene):
    image, target = scene(labels=(1, 3))
    with pytest.raises(ValueError, match=r"targets\[0\]\['labels'\] must be between 1 and 2, got \[1, 3\]"):
        model.train()([image], [labelled(target)])


@pytest.mark.parametrize("build_config, told", [
    (lambda: CascadeConfig(()), "CascadeConfig: stages must not be empty"),
    (lambda: CascadeConfig(score="max"), "score must be one of mean_probability, mean_logit, got 'max'"),
    (lambda: CascadeConfig(mask_stages="first"), "mask_stages must be one of last, every, got 'first'"),
    (lambda: CascadeConfig(gradient_scale=0.0), "gradient_scale must be positive"),
    (lambda: StageConfig(1.0, (1.0,) * 4), "StageConfig: iou must be between 0 and 1, got 1.0"),
    (lambda: StageConfig(0.5, (1.0, 1.0)), "StageConfig: regression_weights must be four positive numbers"),
    (lambda: StageConfig(0.5, (1.0, 1.0, 0.0, 1.0)), "StageConfig: regression_weights must be four positive numbers"),
    (lambda: StageConfig(0.5, (1.0,) * 4, 0.0), "StageConfig: loss_weight must be positive"),
    (lambda: HybridConfig(masks="first"), "HybridConfig: masks must be one of mean, last, got 'first'"),
    (lambda: SemanticConfig(layers=()), "SemanticConfig: layers must not be empty"),
    (lambda: SemanticConfig(loss_weight=-1.0), "SemanticConfig: loss_weight must be positive"),
    (lambda: IterativeConfig(0), "IterativeConfig: times must be positive"),
    (lambda: IntegralConfig((0.5, 1.0)), "IntegralConfig: ious must hold numbers between 0 and 1"),
])
def test_contract_parts_that_cannot_be(build_config, told):
    with pytest.raises(ValueError, match=told):
        build_config()


EVERY = CascadeConfig(mask_stages="every")


@pytest.mark.parametrize("fields, told", [
    ({"cascade": EVERY, "mask": MaskConfig(loss="softmax")}, "'every' averages sigmoids: mask.loss must be 'sigmoid'"),
    ({"cascade": EVERY, "mask": None}, "cascade.mask_stages 'every' needs masks, but mask is None"),
    ({"cascade": CascadeConfig(), "iterative": IterativeConfig()}, "cascade, iterative and integral exclude"),
    ({"hybrid": HybridConfig()}, "hybrid needs a cascade with mask_stages 'every'"),
    ({"cascade": CascadeConfig(), "hybrid": HybridConfig()}, "hybrid needs a cascade with mask_stages 'every'"),
    ({"cascade": EVERY, "hybrid": HybridConfig(semantic=SemanticConfig(fusion_level=5))},
     "hybrid.semantic.fusion_level must be the index of one of the 5 levels"),
])
def test_contract_wirings_that_cannot_work(small_config, fields, told):
    with pytest.raises(ValueError, match=told):
        dataclasses.replace(small_config, **fields)


@pytest.mark.parametrize("fields", [{"cascade": CascadeConfig()}, {"integral": IntegralConfig()}])
def test_contract_hard_samples_are_one_stage_s(small_config, fields):
    box = dataclasses.replace(small_config.box, sampler="hardest")
    with pytest.raises(ValueError, match="box.sampler 'hardest' ranks the losses of one stage"):
        dataclasses.replace(small_config, box=box, **fields)


@torch.no_grad()
@pytest.mark.parametrize("model", ["cascade of classes", "hybrid", "iterative", "integral"], indirect=True)
def test_agreement_of_an_exported_program(model, scene):
    images = [scene()[0]]
    program = torch.export.export(model.eval(), (images,), strict=False)
    found, expected = program.module()(images)[0], model(images)[0]
    assert len(expected["boxes"]) > 5 and torch.equal(found["labels"], expected["labels"])
    for key, tolerance in (("boxes", 0.01), ("scores", 1e-5), ("masks", 1e-4)):
        torch.testing.assert_close(found[key], expected[key], atol=tolerance, rtol=0)
