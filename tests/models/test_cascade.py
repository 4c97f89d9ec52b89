"""Cascades against the plain detector and against plain computations; the baselines beside them."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from roikit.models import (
    BoxConfig,
    CascadeConfig,
    DetectorConfig,
    HybridConfig,
    IntegralConfig,
    IterativeConfig,
    StageConfig,
    build_detector,
)
from roikit.models.detectors.cascade import CascadeRoIHeads
from roikit.models.parts.image import ImageBatch, Truth
from roikit.models.roi.refine import refined_boxes
from roikit.models.roi.selection import select_detections
from roikit.ops import clip_boxes_to_image, decode_boxes

from .wirings import EVERY, LAST, build, step, wired


def transfer(plain, other):
    """Put the weights of a detector of one stage into one whose parts carry the number of their stage."""
    wanted = other.state_dict()
    state = {}
    for name, value in plain.state_dict().items():
        for part in ("box_head", "box_predictor", "mask_head", "mask_predictor", "box_predictor.cls_score"):
            numbered = name.replace(f".{part}.", f".{part}.0.")
            if name not in wanted and numbered in wanted:
                name = numbered
        state[name] = value
    other.load_state_dict(state, strict=True)


def assert_same_bits(plain, other, scene, rename=lambda name: name):
    """Losses, gradients and detections of both."""
    (image, target), (second, few) = scene(), scene((48, 64), ((3, 2, 20, 40),), (2,), seed=4)
    losses, gradients = step(plain, [image, second], [target, few])
    found, others = step(other, [image, second], [target, few])
    assert {rename(name): value for name, value in losses.items()} == found
    for one, two in zip(sorted(gradients.items()), sorted(others.items()), strict=True):
        assert torch.equal(one[1], two[1]), two[0]
    with torch.no_grad():
        for one, two in zip(plain.eval()([image, second]), other.eval()([image, second]), strict=True):
            assert len(one["boxes"]) > 5 and one.keys() == two.keys()
            assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("class_agnostic", [True, False])
@pytest.mark.parametrize("mask_stages, resample, score", [
    ("last", False, "mean_probability"), ("every", True, "mean_logit"), ("every", False, "mean_logit")])
def test_law_a_cascade_of_one_stage_is_the_plain_detector(small_config, scene, class_agnostic, mask_stages, resample,
                                                          score):
    box = dataclasses.replace(small_config.box, foreground_iou=0.6, background_iou=0.6, regression_weights=(8.0,) * 4)
    config = dataclasses.replace(small_config, box=box)
    one = CascadeConfig((StageConfig(0.6, (8.0,) * 4),), score, resample, 1.0, mask_stages)
    plain = build(wired(config, class_agnostic))
    cascade = build(wired(config, class_agnostic, cascade=one), seed=9)
    transfer(plain, cascade)
    staged = ("loss_classifier", "loss_box_reg") + (("loss_mask",) if mask_stages == "every" else ())
    assert_same_bits(plain, cascade, scene, lambda name: f"{name}_stage0" if name in staged else name)


def test_law_a_head_applied_once_is_the_plain_detector(small_config, scene):
    plain, iterative = build(small_config), build(wired(small_config, False, iterative=IterativeConfig(1)))
    assert_same_bits(plain, iterative, scene)


def test_law_one_classifier_at_the_plain_overlap_is_the_plain_detector(small_config, scene):
    plain = build(small_config)
    integral = build(wired(small_config, False, integral=IntegralConfig((0.5,))), seed=9)
    transfer(plain, integral)
    assert_same_bits(plain, integral, scene)


def maps_and_proposals(model, scene):
    """What the stages are given of a batch of two images."""
    batch, _ = model.eval().transform([scene()[0], scene((48, 64), seed=2)[0]])
    features = model.backbone(batch.tensor)
    return features, model.rpn(features, batch, None)[0], batch


@torch.no_grad()
@pytest.mark.parametrize("cascade, class_agnostic", [(LAST, True), (LAST, False), (EVERY, True)])
def test_agreement_of_detections_with_the_stages_one_by_one(small_config, scene, cascade, class_agnostic):
    model = build(wired(small_config, class_agnostic, cascade=cascade))
    features, proposals, batch = maps_and_proposals(model, scene)
    heads = model.roi_heads
    found, _ = heads(features, proposals, batch)
    for index, (boxes, size) in enumerate(zip(proposals, batch.sizes, strict=True)):
        own = {name: level[index:index + 1] for name, level in features.items()}
        scores = []
        for stage, head, predictor in zip(cascade.stages, heads.box_head, heads.box_predictor, strict=True):
            given = boxes
            logits, deltas = predictor(head(heads.box_roi_pool(own, [boxes], batch.padded_size)))
            scores.append(logits)
            if not class_agnostic:
                best = logits[:, 1:].max(1).indices
                deltas_of = torch.stack([row[4 * (k + 1):4 * (k + 2)] for row, k in zip(deltas, best, strict=True)])
            else:
                deltas_of = deltas
            boxes = clip_boxes_to_image(decode_boxes(deltas_of, boxes, stage.regression_weights), size)
        if cascade.score == "mean_logit":
            probabilities = (sum(scores) / len(scores)).softmax(1)
        else:
            probabilities = sum(logits.softmax(1) for logits in scores) / len(scores)
        config = dataclasses.replace(heads.box, regression_weights=stage.regression_weights)
        expected = select_detections(probabilities, deltas, given, size, config)
        assert len(expected["boxes"]) > 5 and torch.equal(found[index]["labels"], expected["labels"])
        torch.testing.assert_close(found[index]["boxes"], expected["boxes"], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(found[index]["scores"], expected["scores"], atol=1e-5, rtol=1e-4)
        pooled = heads.mask_roi_pool(own, [expected["boxes"]], batch.padded_size)
        rows = torch.arange(len(pooled))
        every = cascade.mask_stages == "every"
        pairs = zip(heads.mask_head, heads.mask_predictor, strict=True) if every else (
            (heads.mask_head, heads.mask_predictor),)
        masks = [predictor(head(pooled))[rows, expected["labels"]].sigmoid() for head, predictor in pairs]
        torch.testing.assert_close(found[index]["masks"][:, 0], sum(masks) / len(masks), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_agreement_of_a_head_applied_again(small_config, scene):
    model = build(wired(small_config, True, iterative=IterativeConfig(3)))
    features, proposals, batch = maps_and_proposals(model, scene)
    heads = model.roi_heads
    found, _ = heads(features, proposals, batch)
    once = copy.copy(heads)
    once.iterative = IterativeConfig(1)
    boxes = proposals
    for _ in range(2):
        pooled = heads.box_roi_pool(features, boxes, batch.padded_size)
        deltas = heads.box_predictor(heads.box_head(pooled))[1].split([len(own) for own in boxes])
        boxes = [clip_boxes_to_image(decode_boxes(move, own, heads.box.regression_weights), size)
                 for move, own, size in zip(deltas, boxes, batch.sizes, strict=True)]
    expected, _ = once(features, boxes, batch)
    plain, _ = once(features, proposals, batch)
    for one, other, first in zip(found, expected, plain, strict=True):
        assert len(one["boxes"]) > 5 and torch.equal(one["labels"], other["labels"])
        torch.testing.assert_close(one["boxes"], other["boxes"], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(one["scores"], other["scores"], atol=1e-5, rtol=1e-4)
        assert one["boxes"].shape != first["boxes"].shape or not torch.equal(one["boxes"], first["boxes"])


def stages_alone(small_config, cascade, proposals, truth, class_agnostic=True):
    """The stages, whose heads leave boxes where they are, and what they learn from: one image, one object."""
    model = build(wired(small_config, class_agnostic, cascade=cascade, mask=None))
    heads = model.train().roi_heads
    for predictor in heads.box_predictor:
        nn.init.zeros_(predictor.bbox_pred.weight)
        nn.init.zeros_(predictor.bbox_pred.bias)
    features = {str(k): torch.rand(1, 16, 16 >> k, 16 >> k) for k in range(4)}
    batch = ImageBatch(torch.zeros(1, 3, 64, 64), [(64, 64)], [(64, 64)])
    box = torch.tensor([truth], dtype=torch.float32)
    truth = Truth(box, torch.tensor([1]), None, (64, 64), (64, 64))
    return heads, (features, [torch.tensor(proposals, dtype=torch.float32)], batch, [truth])


@pytest.mark.parametrize("resample", [False, True])
def test_law_a_stage_takes_positives_at_its_own_overlap(small_config, resample):
    """A box of IoU 0.65 is a positive of the first two stages of 0.5, 0.6 and 0.7."""
    cascade = dataclasses.replace(LAST, resample=resample)
    heads, given = stages_alone(small_config, cascade, [[0, 0, 20, 13.0], [40, 40, 60, 60]], [0, 0, 20, 20])
    samples, losses = heads.learn(*given)
    # The true box itself is a positive at any overlap, whose deltas of 0 are right.
    assert samples[0].labels.tolist() == [1, 0, 1]
    values = [float(losses[f"loss_box_reg_stage{stage}"].detach()) for stage in range(3)]
    assert values[0] > 0 and values[1] > 0 and values[2] == 0


class Recorded(CascadeRoIHeads):
    """Keeps what each stage learns from."""

    def _sample_stage(self, *given):
        self.seen.append(super()._sample_stage(*given)[0])
        return [self.seen[-1]]


@pytest.mark.parametrize("resample", [False, True])
def test_law_a_stage_draws_anew_or_keeps_the_sample(small_config, resample):
    cascade = dataclasses.replace(LAST, resample=resample)
    far = [[30 + k, 30, 50 + k, 50] for k in range(5)]
    heads, given = stages_alone(small_config, cascade, far, [4, 4, 20, 20])
    heads.__class__, heads.seen = Recorded, []
    for stage, predictor in enumerate(heads.box_predictor):
        # Of a box of 20 pixels, 16 of the true one, to the right by a tenth.
        predictor.bbox_pred.bias.data[0] = cascade.stages[stage].regression_weights[0] / 10
    first, _ = heads.learn(*given)
    assert torch.equal(first[0].boxes, heads.seen[0].boxes)
    boxes, true = torch.tensor(far, dtype=torch.float32), torch.tensor([[4.0, 4, 20, 20]])
    right = torch.tensor([1.0, 0, 1, 0])
    for stage, sample in enumerate(heads.seen):
        moved = true if resample else true + 1.6 * stage * right
        torch.testing.assert_close(sample.boxes, torch.cat((boxes + 2 * stage * right, moved)))


def test_law_boxes_without_area_are_left_out_of_a_kept_sample(small_config):
    """Two boxes go over the image's edge."""
    for resample, count in ((False, 2), (True, 4)):
        heads, given = stages_alone(small_config, dataclasses.replace(LAST, resample=resample),
                                    [[50, 10, 60, 20], [52, 30, 62, 40], [4, 40, 14, 50]], [2, 2, 22, 12])
        heads.__class__, heads.seen = Recorded, []
        heads.box_predictor[0].bbox_pred.bias.data[0] = 14.0
        _, losses = heads.learn(*given)
        assert len(heads.seen[0].boxes) == 4 and len(heads.seen[1].boxes) == count
        assert all(torch.isfinite(loss) for loss in losses.values())


def test_law_the_gradient_into_the_maps_is_scaled_and_that_of_the_heads_is_not(small_config, scene):
    image, target = scene()
    steps = []
    for factor in (1.0, 0.5):
        cascade = dataclasses.replace(LAST, gradient_scale=factor)
        model = build(wired(small_config, cascade=cascade))
        torch.manual_seed(3)
        model.train()
        losses = model([image], [target])
        sum(value for name, value in losses.items() if "_stage" in name).backward()
        steps.append((losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}))
    (losses, gradients), (others, halves) = steps
    assert losses == others
    for name, gradient in gradients.items():
        factor = 1.0 if name.startswith("roi_heads") else 0.5  # a power of two: in the same bits
        assert torch.equal(gradient * factor, halves[name]), name
    assert any(gradient.any() for name, gradient in gradients.items() if name.startswith("backbone"))


def test_law_losses_of_a_stage_have_its_weight(small_config, scene):
    image, target = scene()
    found = []
    for weights in ((1.0, 1.0, 1.0), (1.0, 0.5, 0.25)):
        stages = tuple(dataclasses.replace(stage, loss_weight=weight)
                       for stage, weight in zip(EVERY.stages, weights, strict=True))
        model = build(wired(small_config, cascade=dataclasses.replace(EVERY, stages=stages)))
        found.append(step(model, [image], [target])[0])
    for name, value in found[0].items():
        weight = weights[int(name[-1])] if "_stage" in name else 1.0
        assert found[1][name] == value * weight


def test_law_a_box_takes_the_deltas_of_its_class():
    boxes = torch.tensor([[10.0, 10, 20, 20]] * 3)
    deltas = torch.zeros(3, 12, requires_grad=True)
    with torch.no_grad():
        deltas[:, 4] = 1.0  # class 1: one tenth of the width to the right, by a weight of 10
        deltas[:, 9] = 1.0  # class 2: one tenth of the height down
    logits = torch.tensor([[9.0, 1, 2], [0, 3, 1], [9, 0, 1]])
    right, down = torch.tensor([11.0, 10, 21, 20]), torch.tensor([10.0, 11, 20, 21])
    config = BoxConfig(regression_weights=(10.0,) * 4)
    found = refined_boxes(boxes, logits, deltas, (40, 40), config)
    torch.testing.assert_close(found, torch.stack((down, right, down)))
    assert not found.requires_grad
    labels = torch.tensor([1, 2, 0])
    torch.testing.assert_close(refined_boxes(boxes, logits, deltas, (40, 40), config, labels),
                               torch.stack((right, down, down)))
    inside = refined_boxes(boxes, logits, deltas, (20, 20), config)
    assert (inside <= 20).all()
    assert refined_boxes(boxes[:0], logits[:0], deltas[:0], (40, 40), config).shape == (0, 4)


def test_agreement_of_the_integral_loss_with_its_sum(small_config, scene):
    """Each classifier alone, at its overlap, on the same samples."""
    image, target = scene()
    ious = (0.5, 0.65, 0.8)
    model = build(wired(small_config, integral=IntegralConfig(ious)))
    losses, _ = step(model, [image], [target])
    alone = []
    for layer, iou in zip(model.roi_heads.box_predictor.cls_score, ious, strict=True):
        one = build(wired(small_config, integral=IntegralConfig((iou,))), seed=9)
        state = model.state_dict()
        state = {name: value for name, value in state.items() if ".cls_score." not in name}
        state |= {"roi_heads.box_predictor.cls_score.0.weight": layer.weight,
                  "roi_heads.box_predictor.cls_score.0.bias": layer.bias}
        one.load_state_dict(state)
        alone.append(step(one, [image], [target])[0])
    torch.testing.assert_close(losses["loss_classifier"], sum(one["loss_classifier"] for one in alone))
    assert all(one["loss_box_reg"] == losses["loss_box_reg"] for one in alone)
    assert len({float(one["loss_classifier"].detach()) for one in alone}) == 3


@torch.no_grad()
def test_agreement_of_integral_scores_with_their_mean(small_config, scene):
    model = build(wired(small_config, integral=IntegralConfig((0.5, 0.6))))
    features, proposals, batch = maps_and_proposals(model, scene)
    heads = model.roi_heads
    found, _ = heads(features, proposals, batch)
    hidden = heads.box_head(heads.box_roi_pool(features, proposals, batch.padded_size))
    scores = sum(layer(hidden).softmax(1) for layer in heads.box_predictor.cls_score) / 2
    deltas = heads.box_predictor.bbox_pred(hidden)
    counts = [len(boxes) for boxes in proposals]
    for one, *image in zip(found, scores.split(counts), deltas.split(counts), proposals, batch.sizes, strict=True):
        expected = select_detections(*image, heads.box)
        assert torch.equal(one["labels"], expected["labels"])
        torch.testing.assert_close(one["scores"], expected["scores"], atol=1e-6, rtol=1e-5)


def test_contract_names_in_state_dicts(small_config):
    def names(config):
        return {name.removeprefix("roi_heads.") for name in build(config).state_dict() if name.startswith("roi_heads.")}

    def pairs(*parts):
        return {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}

    boxes = pairs(*(f"box_head.{stage}.{layer}" for stage in range(3) for layer in ("fc6", "fc7")),
                  *(f"box_predictor.{stage}.{layer}" for stage in range(3) for layer in ("cls_score", "bbox_pred")))
    config = dataclasses.replace(small_config, mask=dataclasses.replace(small_config.mask, norm="none", layers=(8,)))
    masks = ("mask_head.0.0", "mask_predictor.conv5_mask", "mask_predictor.mask_fcn_logits")
    assert names(wired(config, cascade=LAST)) == boxes | pairs(*masks)
    staged = [name.replace(".", f".{stage}.", 1) for name in masks for stage in range(3)]
    assert names(wired(config, cascade=EVERY)) == boxes | pairs(*staged)
    assert names(wired(config, iterative=IterativeConfig())) == names(config)


def test_contract_parts_for_every_stage(small_config):
    heads = build(wired(small_config, cascade=EVERY)).roi_heads
    parts = (heads.box_roi_pool, heads.box_head, heads.box_predictor, heads.box, heads.cascade, heads.mask_roi_pool,
             heads.mask_head, heads.mask_predictor, heads.mask)
    for index, name in ((1, "box_head"), (2, "box_predictor"), (6, "mask_head"), (7, "mask_predictor")):
        for wrong, told in (([*parts[index]][:2], "2"), (nn.Linear(2, 2), "Linear")):
            given = (*parts[:index], wrong, *parts[index + 1:])
            with pytest.raises(ValueError, match=f"CascadeRoIHeads: {name} must hold one part for each of the 3 "
                                                 f"stages, got {told}"):
                CascadeRoIHeads(*given)
    assert len(CascadeRoIHeads(*parts).box_head) == 3


@pytest.mark.parametrize("cascade, hybrid, published", [(LAST, None, 72_038_046), (EVERY, None, 77_324_606),
                                                        (EVERY, HybridConfig(), 80_258_293)])
def test_contract_parameters_as_detectron2_and_mmdetection_have_them(cascade, hybrid, published):
    """Of ResNet-50 and 80 classes; their masks have no map of the background."""
    config = DetectorConfig(81, box=BoxConfig(class_agnostic=True), cascade=cascade, hybrid=hybrid)
    with torch.device("meta"):
        model = build_detector(config)
    background = 257 * (len(cascade.stages) if cascade.mask_stages == "every" else 1)
    assert sum(weight.numel() for weight in model.parameters()) - background == published
