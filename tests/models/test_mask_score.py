"""The branch that scores masks: its targets worked by hand, its laws, its losses and outputs."""

import copy
import dataclasses

import pytest
import torch

from roikit.masks import encode
from roikit.models import DetectorConfig, MaskScoreConfig, build_detector
from roikit.models.parts.image import Truth
from roikit.models.roi.mask_score import MaskScoreHead, mask_ious, shares_inside
from roikit.models.roi.samples import Samples


@pytest.fixture
def config(small_config):
    return dataclasses.replace(small_config, mask_score=MaskScoreConfig(layers=(8, 8), representation=16))


def test_hand_iou_counts_the_part_of_the_object_outside_the_box():
    logits = torch.full((1, 4, 4), -1.0)
    logits[0, :2] = 1.0  # 8 cells predicted
    target = torch.zeros(1, 4, 4)
    target[0, 1:3] = 1.0  # 8 cells true, 4 common; the box holds half of the object: 16 in all
    assert mask_ious(logits, target, torch.tensor([0.5]), 0.0).item() == pytest.approx(4 / (8 + 16 - 4))
    assert mask_ious(logits, target, torch.tensor([1.0]), 0.0).item() == pytest.approx(4 / 12)
    assert mask_ious(logits * 0.3, target, torch.tensor([1.0]), 0.5).item() == 0.0  # below the logit 0.5


def test_law_the_best_mask_of_averages_has_an_iou_of_one():
    targets = torch.tensor([[[0.0, 0.2, 0.5], [0.1, 0.6, 1.0], [0.4, 0.9, 1.0]]])
    assert mask_ious(targets - 0.45, targets, torch.ones(1), 0.0).item() == pytest.approx(1.0)
    assert mask_ious(targets - 0.55, targets, torch.ones(1), 0.0).item() == pytest.approx(4 / 5)


@pytest.mark.parametrize("form", ["bitmap", "rle", "uncompressed", "polygon"])
def test_hand_share_of_an_object_in_a_box(form):
    bitmap = torch.zeros(1, 20, 30, dtype=torch.uint8)
    bitmap[0, 4:12, 6:16] = 1  # 80 pixels
    counts = [6 * 20 + 4, *([8, 12] * 10)[:-1]]
    counts.append(600 - sum(counts))
    masks = {"bitmap": bitmap, "rle": [encode(bitmap[0].numpy())],
             "uncompressed": [{"size": [20, 30], "counts": counts}],
             "polygon": [[[6.0, 4.0, 16.0, 4.0, 16.0, 12.0, 6.0, 12.0]]]}[form]
    truth = Truth(torch.tensor([[6.0, 4, 16, 12]]), torch.tensor([1]), masks, (20, 30), (20, 30))
    boxes = torch.tensor([[6.0, 4, 16, 12], [11.7, 4, 16, 12], [0, 0, 3, 3], [6.2, 4.1, 6.3, 4.2]])
    samples = Samples(boxes, torch.tensor([1, 1, 1, 1]), torch.zeros(4, dtype=torch.int64))
    found = shares_inside([samples], [truth], torch.zeros(1))
    torch.testing.assert_close(found, torch.tensor([1.0, 5 / 10, 0.0, 1 / 80]))


def test_law_scores_of_one_change_nothing(config, scene):
    torch.manual_seed(0)
    plain = build_detector(dataclasses.replace(config, mask_score=None)).eval()
    torch.nn.init.normal_(plain.roi_heads.box_predictor.cls_score.weight, std=0.5)
    model = build_detector(config).eval()
    model.load_state_dict(plain.state_dict(), strict=False)
    torch.nn.init.zeros_(model.roi_heads.mask_score_head.predictor.weight)
    torch.nn.init.ones_(model.roi_heads.mask_score_head.predictor.bias)
    with torch.no_grad():
        (found,), (expected,) = model([scene()[0]]), plain([scene()[0]])
    assert len(found["scores"]) > 5 and torch.equal(found["mask_scores"], found["scores"])
    for key, value in expected.items():
        assert torch.equal(found[key], value)


@pytest.mark.parametrize("boxes", [((4, 6, 40, 30), (30, 20, 60, 62)), (), ((5, 5, 6, 6),)])
def test_law_losses_are_finite_and_reach_every_parameter(config, scene, boxes):
    torch.manual_seed(0)
    model = build_detector(config).train()
    image, target = scene(boxes=boxes, labels=(1, 2)[:len(boxes)])
    losses = model([image], [target])
    assert losses.keys() >= {"loss_mask", "loss_mask_score"} and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_law_loss_is_half_the_mean_square(config, scene):
    """Doubling `loss_weight` doubles the loss and no other."""
    losses = []
    for weight in (1.0, 2.0):
        torch.manual_seed(0)
        score = dataclasses.replace(config.mask_score, loss_weight=weight, target_logit=-9.0)
        model = build_detector(dataclasses.replace(config, mask_score=score)).train()
        torch.manual_seed(1)
        losses.append(model(*([x] for x in scene())))
    assert losses[0]["loss_mask_score"] > 0
    torch.testing.assert_close(losses[1]["loss_mask_score"], 2 * losses[0]["loss_mask_score"])
    assert torch.equal(losses[0]["loss_mask"], losses[1]["loss_mask"])


def test_law_batch_equals_single_and_copies_agree(config, scene):
    torch.manual_seed(0)
    model = build_detector(config).eval()
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5)
    images = [scene(seed=seed)[0] for seed in (0, 1)]
    with torch.no_grad():
        both, twin = model(images), copy.deepcopy(model)(images)
        for index, image in enumerate(images):
            single, = model([image])
            torch.testing.assert_close(both[index]["mask_scores"], single["mask_scores"], atol=1e-5, rtol=0)
            assert torch.equal(both[index]["mask_scores"], twin[index]["mask_scores"])


def test_law_the_head_takes_any_number_of_boxes():
    head = MaskScoreHead(4, 14, 3, MaskScoreConfig(layers=(8, 8, 8, 8), representation=16))
    assert head(torch.zeros(0, 4, 14, 14), torch.zeros(0, 28, 28)).shape == (0, 3)
    assert head(torch.zeros(5, 4, 14, 14), torch.zeros(5, 28, 28)).shape == (5, 3)
    assert head.fc1.in_features == 8 * 7 * 7


def test_contract_scores_need_masks():
    with pytest.raises(ValueError, match="mask_score needs masks to score, but mask is None"):
        DetectorConfig(mask=None, mask_score=MaskScoreConfig())
