"""Hybrid Task Cascade: each of its ideas by itself, and the semantic branch against plain computations."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from roikit.models import HybridConfig, SemanticConfig
from roikit.models.detectors.hybrid import HybridRoIHeads, MaskFlow
from roikit.models.parts.image import ImageTransform, Truth
from roikit.models.roi.pooling import PyramidRoIAlign
from roikit.models.roi.semantic import EMBEDDING, SemanticHead, SemanticRoIPool, semantic_loss
from roikit.ops import multiscale_roi_align

from .wirings import EVERY, HYBRID, SEMANTIC, build, labelled, step, wired

NOTHING = HybridConfig(interleaved=False, mask_flow=False, semantic=None)


def pair(config, one, other):
    """Two detectors with the same weights, as far as both have them."""
    models = [build(wired(config, cascade=EVERY, hybrid=hybrid), seed) for hybrid, seed in ((one, 1), (other, 2))]
    missing, _ = models[1].load_state_dict(models[0].state_dict(), strict=False)
    assert all(name.split(".")[1] in ("mask_flow", "semantic_head") for name in missing)
    return models


def both(models, scene):
    """(losses, gradients, detections) of each."""
    image, target = scene()
    found = []
    for model in models:
        losses, gradients = step(model, [image], [labelled(target)])
        with torch.no_grad():
            found.append((losses, gradients, model.eval()([image])[0]))
    assert len(found[0][2]["boxes"]) > 5
    return found


def assert_same_detections(one, other):
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_law_without_its_ideas_it_is_a_cascade(small_config, scene):
    one, other = both(pair(small_config, None, NOTHING), scene)
    assert one[0] == other[0]
    assert all(torch.equal(gradient, other[1][name]) for name, gradient in one[1].items())
    assert_same_detections(one[2], other[2])


def test_law_a_flow_of_zeros_tells_nothing(small_config, scene):
    models = pair(small_config, NOTHING, dataclasses.replace(NOTHING, mask_flow=True))
    for part in models[1].roi_heads.mask_flow:
        nn.init.zeros_(part[0].weight)
    one, other = both(models, scene)
    assert one[0] == other[0]
    assert_same_detections(one[2], other[2])


def test_law_an_embedding_of_zeros_adds_nothing(small_config, scene):
    models = pair(small_config, NOTHING, dataclasses.replace(NOTHING, semantic=SEMANTIC))
    nn.init.zeros_(models[1].roi_heads.semantic_head.embedding[0].weight)
    one, other = both(models, scene)
    assert other[0].pop("loss_semantic") > 0
    assert one[0] == other[0]
    assert_same_detections(one[2], other[2])


def test_law_interleaved_mask_branches_learn_from_refined_boxes(small_config, scene):
    """Every box is drawn; the first stage moves them to the right, the others leave them where they are."""

    class Recorded(HybridRoIHeads):
        def _learn_masks(self, stage, features, samples, truths, batch):
            self.seen.append(samples[0])
            return super()._learn_masks(stage, features, samples, truths, batch)

        def _learn_stage(self, samples, *given):
            self.own.append(samples[0])
            return super()._learn_stage(samples, *given)

    image, target = scene()
    for interleaved in (False, True):
        config = wired(small_config, cascade=EVERY, hybrid=dataclasses.replace(NOTHING, interleaved=interleaved))
        # So many samples that all candidates are drawn.
        config = dataclasses.replace(config, box=dataclasses.replace(config.box, samples_per_image=4096,
                                                                     positive_fraction=1.0))
        model = build(config)
        heads = model.roi_heads
        heads.__class__, heads.seen, heads.own = Recorded, [], []
        for predictor in heads.box_predictor:
            nn.init.zeros_(predictor.bbox_pred.weight)
            nn.init.zeros_(predictor.bbox_pred.bias)
        heads.box_predictor[0].bbox_pred.bias.data[0] = 1.0  # a tenth of the width
        step(model, [image], [target])
        for stage, (mine, masks) in enumerate(zip(heads.own, heads.seen, strict=True)):
            if not interleaved:
                assert masks is mine
                continue
            true = target["boxes"]
            moved = mine.boxes[:-len(true)].clone()
            if stage == 0:
                moved[:, ::2] += (moved[:, 2:3] - moved[:, :1]) / 10
            expected = torch.cat((moved.clamp(0, 64), true))
            torch.testing.assert_close(masks.boxes, expected, atol=1e-4, rtol=1e-4)
            if stage < 2:  # the next stage's candidates are the same boxes
                torch.testing.assert_close(heads.own[stage + 1].boxes, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("masks", ["mean", "last"])
def test_agreement_of_masks_with_the_heads_one_by_one(small_config, scene, masks):
    model = build(wired(small_config, cascade=EVERY, hybrid=dataclasses.replace(HYBRID, masks=masks))).eval()
    heads = model.roi_heads
    batch, _ = model.transform([scene()[0]])
    features = model.backbone(batch.tensor)
    found, = heads(features, model.rpn(features, batch, None)[0], batch)[0]
    assert len(found["boxes"]) > 5
    _, embedding = heads.semantic_head(list(features.values()))
    levels = [level for name, level in features.items() if name != "pool"]
    pooled = multiscale_roi_align(levels, [found["boxes"]], 14, [1 / 4, 1 / 8, 1 / 16, 1 / 32])
    pooled = pooled + multiscale_roi_align([embedding], [found["boxes"]], 14, [1 / 8])
    probabilities, before = [], None
    for stage in range(3):
        told = pooled if before is None else pooled + heads.mask_flow[stage - 1][0](before).relu()
        before = heads.mask_head[stage](told)
        logits = heads.mask_predictor[stage](before)[torch.arange(len(told)), found["labels"]]
        probabilities.append(logits.sigmoid())
    expected = sum(probabilities) / 3 if masks == "mean" else probabilities[-1]
    torch.testing.assert_close(found["masks"][:, 0], expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_agreement_of_the_semantic_head_with_its_figure():
    torch.manual_seed(0)
    head = SemanticHead(4, 3, SemanticConfig(num_classes=7, layers=(6, 5), fusion_level=1))
    levels = [torch.randn(2, 4, size, size + 2) for size in (16, 8, 4)]
    logits, embedding = head(levels)

    def conv(x, name, padding=0):
        part = head.get_submodule(name)
        return F.conv2d(x, part.weight, part.bias, padding=padding)

    x = conv(levels[1], "lateral.1.0").relu()
    for index in (0, 2):
        resized = F.interpolate(levels[index], (8, 10), mode="bilinear", align_corners=True)
        x = x + conv(resized, f"lateral.{index}.0").relu()
    x = conv(conv(x, "convs.0.0", 1).relu(), "convs.1.0", 1).relu()
    torch.testing.assert_close(logits, conv(x, "predictor"))
    torch.testing.assert_close(embedding, conv(x, "embedding.0").relu())
    assert logits.shape == (2, 7, 8, 10) and embedding.shape == (2, 4, 8, 10)


def truth_of(semantic):
    size = tuple(semantic.shape)
    return Truth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), None, size, size, None, semantic)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_agreement_of_the_semantic_loss_with_its_sum(dtype):
    """Images of 24x40 and 32x16 in a batch of 32x40: the first pixel of 8x8, and nothing beside an image."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randint(0, 5, size, generator=generator).to(dtype) for size in ((24, 40), (32, 16))]
    maps[0][8, 16] = 255
    logits = torch.randn(2, 5, 4, 5, generator=generator, requires_grad=True)
    found = semantic_loss(logits, [truth_of(labels) for labels in maps], (32, 40), SEMANTIC)["loss_semantic"]
    expected = 0.0
    for image, labels in enumerate(maps):
        for row in range(labels.shape[0] // 8):
            for column in range(labels.shape[1] // 8):
                label = int(labels[8 * row, 8 * column])
                if label != 255:
                    expected = expected - logits[image, :, row, column].log_softmax(0)[label]
    torch.testing.assert_close(found, expected / 40 * SEMANTIC.loss_weight)
    found.backward()
    assert not logits.grad[0, :, 3].any() and not logits.grad[1, :, :, 2:].any() and not logits.grad[0, :, 1, 2].any()


def test_law_the_loss_of_ignored_labels_is_zero_and_connected():
    logits = torch.randn(1, 5, 2, 2, requires_grad=True)
    loss = semantic_loss(logits, [truth_of(torch.full((16, 16), 255, dtype=torch.uint8))], (16, 16), SEMANTIC)
    loss["loss_semantic"].backward()
    assert loss["loss_semantic"] == 0 and not logits.grad.any()


def test_contract_semantic_labels(small_config, scene):
    model = build(wired(small_config, cascade=EVERY, hybrid=HYBRID)).train()
    (image, target), (_, second) = scene(), scene(seed=1)
    with pytest.raises(ValueError, match=r"targets\[1\] must have the key 'semantic' when training"):
        model([image, image], [labelled(target), second])
    wrong = labelled(target)
    wrong["semantic"][3, 4] = 9
    with pytest.raises(ValueError, match=r"targets\[0\]\['semantic'\] must hold labels from 0 to 4 or 255, got 9"):
        model([image], [wrong])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_contract_semantic_labels_are_resized_with_their_image(small_config, scene, dtype):
    config = dataclasses.replace(small_config.image, min_size=(32,))
    image, target = scene()
    target["semantic"] = (torch.arange(64 * 64).reshape(64, 64) % 251).to(dtype)
    _, (truth,) = ImageTransform(config).train()([image], [target])
    assert truth.semantic.dtype == dtype and torch.equal(truth.semantic, target["semantic"][::2, ::2])


def test_law_a_pooler_adds_the_embedding():
    """As many cells as it takes itself, each the mean of those that are pooled."""
    generator = torch.Generator().manual_seed(0)
    maps = {str(k): torch.randn(1, 3, 16 >> k, 16 >> k, generator=generator) for k in range(2)}
    embedding = torch.randn(1, 3, 8, 8, generator=generator)
    boxes = [torch.tensor([[3.0, 5, 40, 50], [10, 10, 11, 11]])]
    pool, own = PyramidRoIAlign(2, 2, True, (4, 8)), PyramidRoIAlign(4, 2, True, (8,))
    found = SemanticRoIPool(pool, own)(maps | {EMBEDDING: embedding}, boxes, (64, 64))
    added = own({"0": embedding}, boxes, (64, 64)).unflatten(3, (2, 2)).unflatten(2, (2, 2)).mean((3, 5))
    torch.testing.assert_close(found, pool(maps, boxes, (64, 64)) + added)
    assert SemanticRoIPool(pool, own)(maps | {EMBEDDING: embedding}, [boxes[0][:0]], (64, 64)).shape == (0, 3, 2, 2)


def test_contract_names_in_state_dicts(small_config):
    names = set(build(wired(small_config, cascade=EVERY, hybrid=HYBRID)).state_dict())
    plain = set(build(wired(small_config, cascade=EVERY)).state_dict())
    parts = ["mask_flow.0.0", "mask_flow.1.0", *(f"semantic_head.lateral.{level}.0" for level in range(5)),
             "semantic_head.convs.0.0", "semantic_head.convs.1.0", "semantic_head.embedding.0",
             "semantic_head.predictor"]
    assert names - plain == {f"roi_heads.{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    assert plain < names


def test_contract_parts_that_the_configuration_asks_for(small_config):
    heads = build(wired(small_config, cascade=EVERY)).roi_heads
    parts = (heads.box_roi_pool, heads.box_head, heads.box_predictor, heads.box, heads.cascade, heads.mask_roi_pool,
             heads.mask_head, heads.mask_predictor, heads.mask)
    flow = [MaskFlow(16, 16), MaskFlow(16, 16)]
    with pytest.raises(ValueError, match="HybridRoIHeads: mask_flow must be given where the configuration asks for it"):
        HybridRoIHeads(*parts, hybrid=dataclasses.replace(NOTHING, mask_flow=True))
    with pytest.raises(ValueError, match="HybridRoIHeads: mask_flow must be given where .* got list"):
        HybridRoIHeads(*parts, hybrid=NOTHING, mask_flow=flow)
    with pytest.raises(ValueError, match="HybridRoIHeads: semantic_head must be given where .* got NoneType"):
        HybridRoIHeads(*parts, hybrid=dataclasses.replace(NOTHING, semantic=SEMANTIC))
    with pytest.raises(ValueError, match="mask_flow must hold one part for every stage but the first, that is 2, got"):
        HybridRoIHeads(*parts, hybrid=dataclasses.replace(NOTHING, mask_flow=True), mask_flow=flow[:1])
