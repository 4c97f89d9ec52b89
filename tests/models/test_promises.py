"""What every detector promises, whichever system it is."""

import copy
import dataclasses
import io
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from roikit.models import build_detector, measure_ranges, prepare_for_inference
from roikit.models.parts.int8 import Quantized, has_int8

from .family import SYSTEMS

OF_PIXELS = {"classes", "panoptic", "segments"}

systems = pytest.mark.parametrize("name", SYSTEMS)


def detector(name):
    """Its scores lie so far apart that some of them pass the threshold and rounding exchanges none."""
    torch.manual_seed(0)
    model = build_detector(SYSTEMS[name])
    for key, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and ("cls_logits" in key or "cls_score" in key):
            nn.init.normal_(layer.weight, std=(8 / layer.weight[0].numel())**0.5)
    return model.eval()


def target_for(model, target, size=(64, 64)):
    """The target with what the detector learns from besides, and with boxes of its kind."""
    count = len(target["boxes"])
    generator = torch.Generator().manual_seed(1)
    points = torch.rand(count, 4, 2, generator=generator)
    corner, far = target["boxes"][:, None, :2], target["boxes"][:, None, 2:]
    keypoints = torch.cat((corner + points * (far - corner), torch.full((count, 4, 1), 2.0)), 2)
    semantic = target["masks"].amax(0) if count else torch.zeros(size, dtype=torch.uint8)
    if model.config.boxes == "rotated":
        low, high = target["boxes"].split(2, 1)
        target = target | {"boxes": torch.cat(((low + high) / 2, high - low, torch.full((count, 1), -40.0)), 1)}
    return target | {"keypoints": keypoints, "semantic": semantic}


def assert_same(found, expected, boxes=1e-3, rest=1e-4):
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys() and torch.equal(one["labels"], other["labels"])
        for key, value in other.items():
            if key == "keypoints":  # a maximum among cells may change its place
                continue
            if key in OF_PIXELS:  # of two classes that are nearly alike rounding decides
                assert key == "segments" or (one[key] != value).float().mean() < 1e-2
                continue
            torch.testing.assert_close(one[key], value, atol=boxes if key == "boxes" else rest, rtol=rest)


@systems
@torch.no_grad()
def test_promise_of_results(name, scene):
    model = detector(name)
    found, = model([scene((60, 50))[0]])
    count = len(found["boxes"])
    assert count > 3 and (found["scores"].diff() <= 0).all() and found["labels"].dtype == torch.int64
    assert found["labels"].min() >= 1 and found["labels"].max() <= 2
    expected = {"boxes", "labels", "scores"}
    config = SYSTEMS[name]
    if config.boxes == "rotated":
        assert found["boxes"].shape == (count, 5) and found["boxes"].isfinite().all()
        assert (found["boxes"][:, 2:4] > 0).all() and (found["boxes"][:, 4].abs() <= 180).all()
    else:
        x1, y1, x2, y2 = found["boxes"].unbind(1)
        assert min(x1.min(), y1.min()) >= 0 and x2.max() <= 50.001 and y2.max() <= 60.001  # rescaling rounds
    if config.mask is not None:
        expected.add("masks")
        assert found["masks"].shape == (count, 1, 60, 50)
    if config.keypoint is not None:
        expected |= {"keypoints", "keypoints_scores"}
        assert found["keypoints"].shape == (count, 4, 3) and found["keypoints_scores"].shape == (count, 4)
    if config.mask_score is not None or config.dense is not None and config.dense.rescoring is not None:
        expected.add("mask_scores")
        assert found["mask_scores"].shape == (count,)
    if config.panoptic is not None:
        expected |= OF_PIXELS
        assert found["panoptic"].shape == found["classes"].shape == (60, 50)
        assert {True, False} <= {segment["isthing"] for segment in found["segments"]}
    assert found.keys() == expected


@systems
@pytest.mark.parametrize("boxes", [((4, 6, 40, 30), (30, 20, 60, 62)), (), ((5, 5, 6, 6),)],
                         ids=["two", "none", "one pixel"])
def test_promise_losses_are_finite_and_reach_every_parameter(name, scene, boxes):
    torch.manual_seed(0)
    model = build_detector(SYSTEMS[name]).train()
    image, target = scene(boxes=boxes, labels=(1, 2)[:len(boxes)])
    losses = model([image], [target_for(model, target)])
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values()), losses
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@systems
@torch.no_grad()
def test_promise_a_batch_equals_its_images(name, scene):
    model = detector(name)
    images = [scene(seed=seed)[0] for seed in (0, 1)]
    assert_same(model(images), [model([image])[0] for image in images])
    assert model([]) == []


@systems
@torch.no_grad()
def test_promise_nothing_found_is_ordinary(name, scene):
    model = detector(name)
    model.box = dataclasses.replace(model.box, score_threshold=1.0)
    found, = model([scene()[0]])
    assert all(len(value) == 0 for key, value in found.items() if key not in OF_PIXELS)
    assert not any(segment["isthing"] for segment in found.get("segments", ()))


@systems
@torch.no_grad()
def test_promise_images_of_few_pixels_are_ordinary(name):
    """Their coarsest maps have one cell."""
    model = detector(name)
    model.transform.config = dataclasses.replace(model.transform.config, min_size=(1,))
    for size in ((1, 1), (20, 5), (33, 2)):
        found, = model([torch.rand(3, *size)])
        count = len(found["boxes"])
        assert all(len(value) == count and value.isfinite().all() for key, value in found.items()
                   if key not in OF_PIXELS)
        assert "panoptic" not in found or found["panoptic"].shape == size


@systems
@torch.no_grad()
def test_promise_copies_and_pickles_give_the_same_bits(name, scene):
    model, image = detector(name), scene()[0]
    expected = model([image])
    file = io.BytesIO()
    torch.save(model, file)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model, 2)),
             torch.load(io.BytesIO(file.getvalue()), weights_only=False)]
    for twin in twins:
        for found, other in zip(twin([image]), expected, strict=True):
            assert all(torch.equal(value, other[key]) if key != "segments" else value == other[key]
                       for key, value in found.items())


@systems
def test_promise_steps_repeat_in_the_same_bits(name, scene):
    """From the same state and seed, so that a resumed run goes on as if it had never stopped."""
    weights = []
    for _ in range(2):
        torch.manual_seed(0)
        model = build_detector(SYSTEMS[name]).train()
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        image, target = scene()
        torch.manual_seed(5)
        sum(model([image], [target_for(model, target)]).values()).backward()
        optimizer.step()
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


@systems
@torch.no_grad()
def test_promise_prepared_for_inference_it_detects_the_same(name, scene):
    model, images = detector(name), [scene(seed=seed)[0] for seed in (0, 1)]
    assert_same(prepare_for_inference(model)(images), model(images), boxes=0.01, rest=1e-3)


@systems
@torch.no_grad()
def test_promise_prepared_in_bfloat16_it_runs(name, scene):
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN has no bfloat16 for this processor")
    model, images = detector(name), [scene()[0]]
    found, = prepare_for_inference(model, "bf16")(images)
    expected, = model(images)
    assert found.keys() == expected.keys() and len(found["boxes"]) > 3
    assert all(value.dtype == expected[key].dtype and value.isfinite().all() for key, value in found.items()
               if key != "segments")


@systems
@torch.no_grad()
def test_promise_prepared_on_integers_it_runs(name, scene):
    if not has_int8():
        pytest.skip("this processor has no VNNI, or this torch no layers for it")
    model, images = detector(name), [scene()[0]]
    prepared = prepare_for_inference(model, "int8", ranges=measure_ranges(model, images))
    assert any(isinstance(part, Quantized) for part in prepared.modules())
    found, = prepared(images)
    expected, = model(images)
    assert found.keys() == expected.keys() and len(found["boxes"]) > 3
    assert all(value.dtype == expected[key].dtype and value.isfinite().all() for key, value in found.items()
               if key != "segments")
    near = (expected["scores"][:3, None] - found["scores"]).abs() < 0.1
    near &= (expected["boxes"][:3, None] - found["boxes"]).abs().amax(-1) < 4
    assert near.any()


@pytest.mark.parametrize("name", [name for name, config in SYSTEMS.items() if config.mask is not None])
@torch.no_grad()
def test_promise_masks_in_every_format(name, scene):
    model, image = detector(name), scene()[0]
    soft, = model([image])
    model.mask_format = "bool"
    hard, = model([image])
    # Where no prototype of a dense detector fires, a mask is exactly a half, and that is outside.
    assert torch.equal(hard["masks"], soft["masks"] >= 0.5 if SYSTEMS[name].dense is None else soft["masks"] > 0.5)
    model.mask_format = "rle"
    runs, = model([image])
    assert len(runs["masks"]) == len(soft["boxes"]) and runs["masks"][0]["size"] == [64, 64]


@systems
@torch.no_grad()
def test_promise_threads_do_not_meet(name, scene):
    model = detector(name)
    images = [scene(seed=seed)[0] for seed in (0, 1, 2)]
    expected = [model([image])[0] for image in images]
    with ThreadPoolExecutor(2) as pool:
        assert_same([found for found, in pool.map(lambda image: model([image]), images)], expected)
