"""What every wiring of stages keeps of the first detector's promises."""

import dataclasses
import pickle

import pytest
import torch
from wirings import WIRINGS, build, labelled, step, wired

from roikit.models import CascadeConfig, HybridConfig, IntegralConfig, IterativeConfig, SemanticConfig, StageConfig

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


@pytest.mark.parametrize("case", ["two objects", "no objects", "one pixel", "whole image", "mixed batch"])
def test_contract_losses_are_finite_and_connected(model, scene, case):
    full, bare = scene(), scene(seed=1)[0]
    samples = {
        "two objects": [full],
        "no objects": [(bare, empty(bare))],
        "one pixel": [scene(boxes=((10, 10, 11, 11),), labels=(1,))],
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
def test_contract_no_proposal_and_no_detection_are_ordinary(model, scene):
    images = [scene()[0], scene((40, 64))[0]]
    model.eval().roi_heads.box = dataclasses.replace(model.roi_heads.box, score_threshold=1.0)
    nothing = model(images)
    model.rpn.config = dataclasses.replace(model.rpn.config, keep_after_nms_test=0)
    for found, size in zip(nothing + model(images), ((64, 64), (40, 64)) * 2, strict=True):
        assert found["boxes"].shape == (0, 4) and found["scores"].shape == found["labels"].shape == (0,)
        assert model.config.mask is None or found["masks"].shape == (0, 1, *size)


@torch.no_grad()
def test_law_a_batch_gives_what_single_images_give(model, scene):
    model.eval()
    images = [scene(seed=seed)[0] for seed in range(3)]
    together, alone = model(images), [model([image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        assert len(one["boxes"]) > 5 and torch.equal(one["labels"], other["labels"])
        for key, tolerance in (("boxes", 1e-3), ("scores", 1e-5), ("masks", 1e-4)):
            if key in one:
                torch.testing.assert_close(one[key], other[key], atol=tolerance, rtol=1e-4)


@torch.no_grad()
def test_contract_detections_of_tiny_and_odd_images(model, scene):
    model.eval()
    for size in ((1, 1), (3, 50), (64, 17)):
        found, = model([torch.rand(3, *size)])
        height, width = size
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"] <= torch.tensor([width, height, width, height]) + 1e-3).all()
        assert all(torch.isfinite(value).all() for value in found.values())


@torch.no_grad()
def test_contract_a_pickled_detector_detects_the_same(model, scene):
    image = scene()[0]
    expected, = model.eval()([image])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        found, = pickle.loads(pickle.dumps(model, protocol))([image])
        assert all(torch.equal(found[key], value) for key, value in expected.items()), protocol


def test_law_the_seed_fixes_the_losses(model, scene):
    image, target = scene()
    first, again, other = (step(model, [image], [labelled(target)], seed)[0] for seed in (3, 3, 4))
    assert first == again != other


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
