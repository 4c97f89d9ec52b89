"""The choices that a configuration has: poolers, samplers, selections, heads, losses of masks."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from roikit.models import BoxConfig, MaskConfig, PyramidRoIAlign, PyramidRoIPool, SelectionConfig, build_detector
from roikit.models.parts.image import Truth
from roikit.models.roi.box import box_losses
from roikit.models.roi.pooling import pyramid_levels
from roikit.models.roi.samples import BalancedSampler, HardestSampler
from roikit.models.roi.selection import select_detections
from roikit.ops import multiscale_roi_align, roi_align, roi_pool, roi_warp, soft_nms

CHOICES = {
    "roi_pool": ({"pool_kind": "roi_pool", "pool_reduce": "max"},) * 2,
    "roi_align_max": ({"pool_reduce": "max"},) * 2,
    "roi_warp_max": ({"pool_kind": "roi_warp", "pool_reduce": "max"},) * 2,
    "roi_warp_mean": ({"pool_kind": "roi_warp"},) * 2,
    "class_agnostic": ({"class_agnostic": True},) * 2,
    "mask_mlp": ({}, {"head": "mlp"}),
    "mask_softmax": ({}, {"loss": "softmax"}),
    "ohem": ({"sampler": "hardest"}, {}),
    "conv_head": ({"conv_layers": (8,), "fc_layers": 1, "norm": "group"}, {}),
    "soft_nms": ({"selection": SelectionConfig("soft_nms")}, {}),
    "fast_nms": ({"selection": SelectionConfig("fast_nms")}, {}),
    "matrix_nms": ({"selection": SelectionConfig("matrix_nms", method="gaussian", sigma=2.0)}, {}),
    "clip_below": ({"clip_below": True}, {}),
}


@pytest.fixture(params=CHOICES)
def config(request, small_config):
    box, mask = CHOICES[request.param]
    return dataclasses.replace(small_config, box=dataclasses.replace(small_config.box, **box),
                               mask=dataclasses.replace(small_config.mask, **mask))


@pytest.mark.parametrize("boxes", [((4, 6, 40, 30), (30, 20, 60, 62)), (), ((5, 5, 6, 6),)])
def test_law_losses_are_finite_and_reach_every_parameter(config, scene, boxes):
    torch.manual_seed(0)
    model = build_detector(config).train()
    image, target = scene(boxes=boxes, labels=(1, 2)[:len(boxes)])
    losses = model([image], [target])
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@torch.no_grad()
def test_law_batch_equals_single(config, scene):
    torch.manual_seed(0)
    model = build_detector(config).eval()
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5)
    images = [scene(seed=seed)[0] for seed in (0, 1)]
    for found, image in zip(model(images), images, strict=True):
        single, = model([image])
        assert len(found["boxes"]) > 3 and torch.equal(found["labels"], single["labels"])
        for key in ("boxes", "scores", "masks"):
            torch.testing.assert_close(found[key], single[key], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("config", ["roi_pool", "roi_warp_max", "mask_mlp", "mask_softmax", "conv_head"],
                         indirect=True)
def test_agreement_a_program_of_torch_export(config, scene):
    """For any number of boxes: none of the choices asks how many there are."""
    torch.manual_seed(0)
    model = build_detector(config).eval()
    torch.nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5)
    program = torch.export.export(model, ([scene()[0]],), strict=False).module()
    for image in (scene(seed=1)[0], torch.full((3, 64, 64), float("nan"))):
        (found,), (expected,) = program([image]), model([image])
        assert (len(expected["boxes"]) > 3) == bool(image.isfinite().all())
        assert torch.equal(found["labels"], expected["labels"])
        torch.testing.assert_close(found["masks"], expected["masks"], atol=1e-4, rtol=1e-4)


def crowd(count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 200
    return torch.cat((corner, corner + 4 + torch.rand(count, 2, generator=generator) * 150), 1)


def maps(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(2, 3, 64 >> k, 64 >> k, generator=generator)
            for k, name in enumerate(("0", "1", "2", "3", "pool"))}


def test_agreement_levels_are_those_of_the_op():
    """Maps that hold their own index, so that a pooled value says where it came from."""
    exact = 224 * 2.0 ** torch.arange(-2, 3)
    sides = torch.cat((torch.rand(300) * 1000 + 1, exact, torch.tensor([111.9999, 112.0001])))
    boxes = torch.stack((torch.zeros_like(sides), torch.zeros_like(sides), sides, sides), 1)
    levels = [torch.full((1, 1, 8, 8), float(k)) for k in range(4)]
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    expected = multiscale_roi_align(levels, [boxes], 1, scales)[:, 0, 0, 0]
    inside = boxes[:, 2] < 28  # where every level's map reaches
    found = pyramid_levels(boxes, scales)
    assert torch.equal(found[inside], expected[inside].long())
    assert found.unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind,reduce", [("roi_pool", "max"), ("roi_warp", "max"), ("roi_warp", "mean")])
def test_agreement_poolers_are_the_op_on_each_box(kind, reduce):
    features, boxes, strides = maps(), [crowd(), crowd(7, 1)], (4, 8, 16, 32)
    pooled = PyramidRoIPool(5, kind, reduce, strides)(features, boxes, (256, 256))
    row = 0
    for image, own in enumerate(boxes):
        for box, level in zip(own, pyramid_levels(own, [1 / s for s in strides]).tolist(), strict=True):
            roi, level_map = torch.cat((torch.tensor([float(image)]), box))[None], features[str(level)]
            more = {} if kind == "roi_pool" else {"reduce": reduce}
            op = roi_pool if kind == "roi_pool" else roi_warp
            assert torch.equal(pooled[row], op(level_map, roi, 5, 1 / strides[level], **more)[0])
            row += 1
    assert len(pooled) == row


def test_law_poolers_take_no_boxes_and_one_level():
    features, none = maps(), [torch.zeros(0, 4)] * 2
    assert PyramidRoIPool(5, "roi_pool")(features, none, (256, 256)).shape == (0, 3, 5, 5)
    one, boxes = {"0": features["2"]}, [crowd(), crowd(3, 1)]
    pooled = PyramidRoIAlign(7, 0, True, (16,))(one, boxes, (250, 250))
    assert torch.equal(pooled, roi_align(features["2"], boxes, 7, 1 / 16, 0, True))


def proposals(classes=3, count=60):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(count, classes, generator=generator) * 2
    return logits.softmax(1), torch.randn(count, 4 * classes, generator=generator) * 0.1, crowd(count)


def test_agreement_soft_nms_is_the_op_class_by_class():
    probabilities, deltas, boxes = proposals()
    config = BoxConfig(selection=SelectionConfig("soft_nms", min_score=0.05), nms_threshold=0.3, min_side=0.0)
    found = select_detections(probabilities, deltas, boxes, (256, 256), config)
    plain = select_detections(probabilities, deltas, boxes, (256, 256), BoxConfig(nms_threshold=1.0, min_side=0.0,
                                                                                 detections_per_image=999))
    assert (found["scores"].diff() <= 0).all() and found["labels"].unique().tolist() == [1, 2]
    for label in (1, 2):
        own = plain["labels"] == label
        keep, scores = soft_nms(plain["boxes"][own], plain["scores"][own], 0.3, min_score=0.05)
        mine = found["labels"] == label
        assert torch.equal(found["scores"][mine], scores)
        assert torch.equal(found["boxes"][mine], plain["boxes"][own][keep])


@pytest.mark.parametrize("kind", ["soft_nms", "fast_nms", "matrix_nms"])
def test_law_selections_take_what_plain_nms_takes(kind):
    """Of boxes that do not meet all selections keep all, with their scores; none of none; at most as many as asked."""
    probabilities, deltas, _ = proposals()
    boxes = torch.tensor([[x * 40.0, y * 40.0, x * 40 + 20, y * 40 + 20] for x in range(10) for y in range(6)])
    results = []
    for selection in (SelectionConfig(kind), SelectionConfig()):
        config = BoxConfig(selection=selection, score_threshold=0.4)
        results.append(select_detections(probabilities, deltas * 0, boxes, (999, 999), config))
        assert len(select_detections(probabilities[:0], deltas[:0], boxes[:0], (99, 99), config)["boxes"]) == 0
        few = dataclasses.replace(config, detections_per_image=3)
        assert len(select_detections(probabilities, deltas, boxes, (999, 999), few)["boxes"]) == 3
    for key, value in results[1].items():
        torch.testing.assert_close(results[0][key], value)


def truth_of(boxes, labels):
    return Truth(torch.tensor(boxes), torch.tensor(labels), None, (256, 256), (256, 256))


def test_law_hardest_sampler_that_keeps_all_gives_the_plain_loss():
    config = BoxConfig(sampler="hardest", samples_per_image=1000)
    truths = [truth_of([[10.0, 10, 90, 90]], [1]), truth_of([[30.0, 40, 190, 160], [5.0, 5, 60, 40]], [2, 1])]
    samples = [HardestSampler().draw(crowd(seed=i), truth, config) for i, truth in enumerate(truths)]
    total = sum(len(s.labels) for s in samples)
    generator = torch.Generator().manual_seed(0)
    logits, deltas = torch.randn(total, 3, generator=generator), torch.randn(total, 12, generator=generator)
    kept, kept_logits, kept_deltas = HardestSampler().keep(samples, logits, deltas, truths, config)
    assert torch.equal(kept_logits, logits) and torch.equal(kept_deltas, deltas)
    assert box_losses(kept_logits, kept_deltas, kept, truths, config) == box_losses(logits, deltas, samples, truths,
                                                                                     config)


def test_hand_hardest_sampler_keeps_the_largest_losses_of_each_image():
    config = BoxConfig(sampler="hardest", samples_per_image=5)
    truths = [truth_of([[10.0, 10, 90, 90]], [1])] * 2
    samples = [HardestSampler().draw(crowd(seed=i), truth, config) for i, truth in enumerate(truths)]
    counts = [len(s.labels) for s in samples]
    logits, deltas = torch.randn(sum(counts), 3), torch.zeros(sum(counts), 12)
    losses = HardestSampler().hardness(samples, logits, deltas, truths, config).split(counts)
    kept, kept_logits, _ = HardestSampler().keep(samples, logits, deltas, truths, config)
    for sample, loss, own, its in zip(kept, losses, logits.split(counts), kept_logits.split(5), strict=True):
        assert len(sample.labels) == 5
        rows = loss.topk(5).indices.sort().values
        assert torch.equal(its, own[rows])
    background = torch.cat([s.labels for s in samples]) == 0
    expected = F.cross_entropy(logits, torch.cat([s.labels for s in samples]), reduction="none")
    torch.testing.assert_close(torch.cat(losses)[background], expected[background])


def test_law_balanced_sampler_keeps_what_it_drew():
    drawn = [BalancedSampler().draw(crowd(), truth_of([[10.0, 10, 90, 90]], [1]), BoxConfig(samples_per_image=8))]
    logits, deltas = torch.randn(8, 3), torch.randn(8, 12)
    assert BalancedSampler().keep(drawn, logits, deltas, [], BoxConfig()) == (drawn, logits, deltas)


@torch.no_grad()
def test_law_softmax_masks_share_out_a_cell(small_config):
    config = dataclasses.replace(small_config, mask=dataclasses.replace(small_config.mask, loss="softmax"))
    torch.manual_seed(0)
    heads = build_detector(config).roi_heads
    pooled = torch.randn(4, 16, 14, 14)
    branch, = heads.branches
    own = [branch._layers(heads, pooled, torch.full((4,), label)).sigmoid() for label in range(3)]
    torch.testing.assert_close(sum(own), torch.ones(4, 28, 28))
    torch.testing.assert_close(torch.stack(own, 1), heads.mask_predictor(heads.mask_head(pooled)).softmax(1))


def test_contract_configurations_that_cannot_work():
    for make, message in (
            (lambda: BoxConfig(pool_kind="roi_pool"), "BoxConfig: pool_kind 'roi_pool' takes the maximum"),
            (lambda: BoxConfig(sampler="random"), "BoxConfig: sampler must be one of balanced, hardest"),
            (lambda: BoxConfig(fc_layers=0), "BoxConfig: fc_layers must be at least 1"),
            (lambda: MaskConfig(loss="softmax", class_agnostic=True), "class_agnostic must be False"),
            (lambda: SelectionConfig("greedy"), "SelectionConfig: kind must be one of nms, soft_nms")):
        with pytest.raises(ValueError, match=message):
            make()
