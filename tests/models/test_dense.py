"""The parts of a dense detector, each by itself, against what their sources say of single priors, cells and pixels."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from roikit.masks import encode
from roikit.models import BoxConfig, DenseConfig, DenseHead, MaskRescorer, ProtoNet, RescoringConfig, SelectionConfig
from roikit.models.dense.assembly import assembled, cropped_masks
from roikit.models.dense.losses import class_and_box_losses, count_positives, hardest_negatives, semantic_cells_loss
from roikit.models.dense.masks import LearntMasks, combined_mask_loss, cropped_cells, sampled_masks
from roikit.models.dense.priors import Matched, match_priors, priors_of
from roikit.models.dense.rescoring import rescoring_loss
from roikit.models.dense.selection import candidates, select_priors
from roikit.models.parts.image import Truth

CPU = torch.device("cpu")


def truth_of(boxes, labels, masks, size):
    return Truth(torch.tensor(boxes).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64), masks, size, size)


def matched_of(labels, objects=None):
    labels = torch.tensor(labels)
    return Matched(labels, torch.zeros_like(labels) if objects is None else torch.tensor(objects))


# Priors and their objects.

def test_contract_priors_stand_at_the_centres_of_cells_in_the_order_of_the_predictions():
    config = DenseConfig(prior_sizes=((4.0, 8.0), (16.0, 32.0)), prior_ratios=(1.0, 4.0), square_priors=False)
    expected = []
    for (height, width), sizes in zip(((2, 3), (1, 2)), config.prior_sizes, strict=True):
        for y in range(height):
            for x in range(width):
                for size in sizes:
                    for ratio in config.prior_ratios:
                        cx, cy = (x + 0.5) * 30 / width, (y + 0.5) * 20 / height
                        w, h = size / math.sqrt(ratio), size * math.sqrt(ratio)
                        expected.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    found = priors_of([(2, 3), (1, 2)], (20, 30), config, torch.float64, CPU)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_contract_square_priors_have_the_width_of_the_rectangles():
    config = DenseConfig(prior_sizes=((24.0,),))
    found = priors_of([(1, 1)], (9, 9), config, torch.float64, CPU)
    other = priors_of([(1, 1)], (9, 9), dataclasses.replace(config, square_priors=False), torch.float64, CPU)
    widths, heights = (found[:, 2:] - found[:, :2]).unbind(1)
    torch.testing.assert_close(widths, other[:, 2] - other[:, 0])
    torch.testing.assert_close(heights, widths)
    assert widths.tolist() == pytest.approx([24, 24 / 2**0.5, 24 * 2**0.5])


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def plainly_matched(priors, boxes, labels, foreground, background):
    """Labels, and for positives the object, one pair at a time."""
    pairs = {(row, column): overlap(box, prior) for row, box in enumerate(boxes) for column, prior in enumerate(priors)}
    owner = {}
    for column in range(len(priors)):
        row = max(range(len(boxes)), key=lambda row: pairs[row, column])
        owner[column] = row, pairs[row, column]
    left = dict(pairs)
    while left and max(left.values()) > 0:
        row, column = max(left, key=left.get)
        owner[column] = row, 2.0
        left = {pair: value for pair, value in left.items() if pair[0] != row and pair[1] != column}
    found = [0 if best < background else -1 if best < foreground else labels[row] for row, best in owner.values()]
    return found, [row for (row, _), label in zip(owner.values(), found, strict=True) if label > 0]


@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 24),
       st.sampled_from([(0.5, 0.4), (0.5, 0.5), (0.9, 0.1)]))
def test_law_priors_are_matched_as_a_plain_loop_matches_them(seed, objects, count, bounds):
    generator = torch.Generator().manual_seed(seed)

    def some(number):
        corner = torch.rand(number, 2, generator=generator, dtype=torch.float64) * 10
        return torch.cat((corner, corner + 2 + 6 * torch.rand(number, 2, generator=generator, dtype=torch.float64)), 1)

    priors, boxes = some(count), some(objects)
    labels = torch.arange(1, objects + 1)
    found = match_priors(priors, boxes, labels, *bounds)
    expected, owners = plainly_matched(priors.tolist(), boxes.tolist(), labels.tolist(), *bounds)
    assert found.labels.tolist() == expected
    assert found.objects[found.positives()].tolist() == owners


def test_contract_an_object_gets_a_prior_of_its_own():
    """Both overlap the first prior most; the worse one takes the second, whatever the overlap is, a third none."""
    priors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [8.0, 0.0, 30.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    boxes = torch.tensor([[0.0, 0.0, 10.0, 9.0], [1.0, 0.0, 11.0, 10.0], [80.0, 80.0, 90.0, 90.0]])
    found = match_priors(priors, boxes, torch.tensor([1, 2, 3]), 0.5, 0.4)
    assert found.labels.tolist() == [1, 2, 0] and found.objects[:2].tolist() == [0, 1]


def test_contract_without_objects_all_is_background():
    found = match_priors(torch.rand(7, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 0.5, 0.4)
    assert found.labels.tolist() == [0] * 7 and len(found.positives()) == 0 and count_positives([found]) == 1


# Classes and boxes.

@given(st.lists(st.sampled_from([-1, 0, 0, 0, 0, 1, 2]), min_size=1, max_size=40), st.integers(0, 2**31),
       st.sampled_from([0.0, 1.5, 3.0]))
def test_law_the_hardest_negatives_are_three_for_each_positive(labels, seed, ratio):
    logits = torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = hardest_negatives(logits, torch.tensor(labels), ratio).tolist()
    background = [row for row, label in enumerate(labels) if label == 0]
    likeness = logits.softmax(1)[:, 0].tolist()
    count = min(int(ratio * sum(label > 0 for label in labels)), len(background))
    assert found == sorted(sorted(background, key=lambda row: likeness[row])[:count])


def test_contract_losses_of_classes_and_boxes_by_hand():
    """One positive, three of five negatives, and one prior that has no loss."""
    priors = torch.tensor([[0.0, 0.0, 10.0, 20.0]]).repeat(7, 1)
    logits = torch.zeros(1, 7, 3)
    logits[0, :, 0] = torch.tensor([0.5, 9.0, 1.0, 3.0, -2.0, 4.0, -50.0])
    deltas = torch.zeros(1, 7, 4)
    deltas[0, 0] = torch.tensor([1.0, 0.0, 3.0, 0.0])
    deltas[0, 1:] = 100.0
    matched = matched_of([2, 0, 0, 0, 0, 0, -1])
    truth = truth_of([2.0, 0.0, 12.0, 20.0], [2], None, (30, 30))
    box, config = BoxConfig(box_beta=1.0), DenseConfig(class_weight=2.0, box_weight=0.5)
    losses = class_and_box_losses(logits, deltas, priors, [matched], [truth], box, config)

    def entropy(background, label):
        return math.log(math.exp(background) + 2) - (background if label == 0 else 0.0)

    expected = entropy(0.5, 2) + entropy(1.0, 0) + entropy(3.0, 0) + entropy(-2.0, 0)
    assert float(losses["loss_classifier"]) == pytest.approx(2 * expected, rel=1e-6)
    # The centre lies a fifth of a width off, times 10: deltas (2, 0, 0, 0), smooth L1 0.5 of 1 and 2.5 of 3.
    assert float(losses["loss_box_reg"]) == pytest.approx(0.5 * (0.5 + 2.5), rel=1e-6)


def test_contract_losses_are_divided_by_the_positives_of_all_images():
    matched = [matched_of([1, 1, 0, 0]), matched_of([0, 0, -1, 1]), matched_of([0, 0, 0, 0])]
    assert count_positives(matched) == 3


def test_contract_cells_have_every_class_of_the_objects_on_them():
    masks = torch.zeros(3, 4, 6, dtype=torch.uint8)
    masks[0, :2, :2], masks[1, :2, :4], masks[2, 2:, 4:] = 1, 1, 1
    truth = truth_of([[0.0, 0.0, 1.0, 1.0]] * 3, [1, 3, 1], masks, (4, 6))
    target = torch.zeros(3, 2, 3)
    target[0, 0, 0], target[2, 0, :2], target[0, 1, 2] = 1, 1, 1
    logits = torch.randn(1, 3, 2, 3, generator=torch.Generator().manual_seed(0))
    loss = semantic_cells_loss(logits, [truth], (4, 6), DenseConfig(semantic_weight=4.0))["loss_semantic"]
    expected = -(target * F.logsigmoid(logits[0]) + (1 - target) * F.logsigmoid(-logits[0])).sum() / 6
    assert float(loss) == pytest.approx(4 * float(expected), rel=1e-6)


# Masks.

@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 9), st.integers(1, 40), st.integers(1, 40))
def test_law_masks_are_sampled_as_torch_resizes_them(seed, height, width, rows, columns):
    masks = (torch.rand(3, rows, columns, generator=torch.Generator().manual_seed(seed)) > 0.5).to(torch.uint8)
    truth = truth_of([[0.0, 0.0, 1.0, 1.0]] * 3, [1, 2, 1], masks, (rows, columns))
    found = sampled_masks(truth, 0, (height, width), (rows, columns), CPU)
    resized = F.interpolate(masks[None].double(), size=(height, width), mode="bilinear", align_corners=False)[0]
    clear = (resized - 0.5).abs() > 1e-4  # where rounding decides nothing
    assert torch.equal(found[clear], (resized > 0.5)[clear])


@pytest.mark.parametrize("form", ["runs", "polygons", "uncompressed"])
def test_law_lists_of_masks_are_sampled_as_bitmaps(form):
    bitmap = torch.zeros(1, 12, 16, dtype=torch.uint8)
    bitmap[0, 2:9, 3:13] = 1
    columns = bitmap[0].T.flatten().tolist()
    edges = [0, *(k for k in range(1, len(columns)) if columns[k] != columns[k - 1]), len(columns)]
    counts = [end - start for start, end in zip(edges, edges[1:], strict=False)]
    listed = {"runs": encode(np.asfortranarray(bitmap[0].numpy())), "polygons": [[3, 2, 13, 2, 13, 9, 3, 9]],
              "uncompressed": {"size": [12, 16], "counts": counts}}[form]
    one, other = (truth_of([3.0, 2.0, 13.0, 9.0], [1], masks, (12, 16)) for masks in (bitmap, [listed]))
    size, padded = (6, 8), (24, 32)  # a quarter of the batch is the image
    found = sampled_masks(other, 0, size, padded, CPU)
    assert torch.equal(found, sampled_masks(one, 0, size, padded, CPU)) and found.any()
    assert not found[:, 3:].any() and not found[:, :, 4:].any()
    assert sampled_masks(truth_of([], [], [], (12, 16)), 0, size, padded, CPU).shape == (0, 6, 8)


def test_contract_a_box_and_a_margin_of_one_cell_are_inside():
    found = cropped_cells(torch.tensor([[2.0, 1.0, 4.0, 2.0], [0.5, 0.0, 9.0, 0.5]]), (5, 7))
    assert found[0].nonzero().aminmax(dim=0).min.tolist() == [0, 1]
    assert found[0].nonzero().aminmax(dim=0).max.tolist() == [2, 4] and found[0].sum() == 3 * 4
    assert found[1].sum() == 2 * 7 and found[1, :2].all()


def test_contract_the_loss_of_masks_by_hand():
    """Summed in the box and its margin, divided by the area of the box and the number of positives."""
    generator = torch.Generator().manual_seed(0)
    prototypes, coefficients = torch.rand(1, 2, 6, 8, generator=generator), torch.randn(1, 3, 2, generator=generator)
    mask = torch.zeros(1, 12, 16, dtype=torch.uint8)
    mask[0, 4:8, 4:10] = 1
    truth = truth_of([4.0, 4.0, 10.0, 8.0], [2], mask, (12, 16))
    matched = matched_of([2, 0, 2])
    config = DenseConfig(mask_weight=3.0)
    losses, learnt = combined_mask_loss(prototypes, coefficients, [matched], [truth], (12, 16), 5, config)
    expected = 0.0
    for row in (0, 2):
        for y in range(1, 5):  # the box is rows 2 to 3, columns 2 to 4, in cells
            for x in range(1, 6):
                p = 1 / (1 + math.exp(-float(coefficients[0, row] @ prototypes[0, :, y, x])))
                expected -= math.log(p if 2 <= y < 4 and 2 <= x < 5 else 1 - p)
    assert float(losses["loss_mask"]) == pytest.approx(3.0 * expected / (2 * 3) / 5, rel=1e-5)
    assert len(learnt) == 1 and learnt[0].labels.tolist() == [2, 2] and learnt[0].targets[0].sum() == 6


def test_contract_of_many_masks_so_many_are_drawn_and_count_for_all():
    """All positives are alike: that a few stand for all shows in nothing."""
    prototypes = torch.rand(1, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    coefficients = torch.ones(1, 20, 2)
    truth = truth_of([4.0, 4.0, 10.0, 8.0], [1], torch.ones(1, 12, 16, dtype=torch.uint8), (12, 16))
    parts = (prototypes, coefficients, [matched_of([1] * 20)], [truth], (12, 16), 20)
    few, drawn = combined_mask_loss(*parts, DenseConfig(masks_per_image=3))
    every, learnt = combined_mask_loss(*parts, DenseConfig())
    assert len(drawn[0].labels) == 3 and len(learnt[0].labels) == 20
    torch.testing.assert_close(few, every)


def test_law_masks_of_detections_are_the_cropped_ones_where_the_image_has_the_prototypes_size():
    generator = torch.Generator().manual_seed(0)
    prototypes, coefficients = torch.rand(3, 10, 12, generator=generator), torch.randn(4, 3, generator=generator)
    boxes = torch.tensor([[1.0, 2.0, 7.0, 9.0], [0.0, 0.0, 12.0, 10.0], [3.0, 3.0, 4.0, 4.0], [5.0, 1.0, 11.0, 3.0]])
    parts = prototypes, coefficients, boxes, (10.0, 12.0), (10, 12)
    soft, cropped = assembled(*parts, 0.5, "soft"), cropped_masks(*parts)
    torch.testing.assert_close(soft[:, 0], cropped, atol=1e-6, rtol=0)
    assert (cropped[0, :, 9:] == 0).all() and (cropped[0, 2:9, 1:7] > 0).all()
    with pytest.raises(ValueError, match="mask_format must be one of soft, bool, rle, got 'polygon'"):
        assembled(*parts, 0.5, "polygon")


# Scores of masks.

def test_contract_a_mask_is_scored_by_its_overlap_with_the_object():
    rescorer = MaskRescorer(3, RescoringConfig(layers=(4,)))
    with torch.no_grad():
        rescorer.predictor.weight.zero_()
        rescorer.predictor.bias.copy_(torch.tensor([0.25, 0.5]))
    logits = torch.full((2, 8, 8), -20.0)
    logits[:, :4, :8] = 20.0  # 32 cells, of which the box leaves 16
    inside = torch.zeros(2, 8, 8, dtype=torch.bool)
    inside[:, :, :4] = True
    targets = torch.zeros(2, 8, 8, dtype=torch.bool)
    targets[0, :4, :6], targets[1, 0, 0] = True, True  # 24 cells: 16 of them are found; and one that is too small
    learnt = [LearntMasks(logits, targets, inside, torch.tensor([2, 1]))]
    config = RescoringConfig(layers=(4,), loss_weight=10.0, min_area=5.0)
    loss = rescoring_loss(rescorer, learnt, torch.zeros(1, 2, 8, 8), 4, config)["loss_mask_score"]
    assert loss.item() == pytest.approx(10.0 / 4 * 0.5 * (0.5 - 16 / 24) ** 2, rel=1e-5)
    none = rescoring_loss(rescorer, [], torch.zeros(1, 2, 8, 8), 1, config)["loss_mask_score"]
    assert none == 0 and none.requires_grad


def test_contract_maps_of_few_cells_are_scored():
    rescorer = MaskRescorer(5, RescoringConfig())
    for size in ((1, 1), (3, 200), (138, 138)):
        assert rescorer(torch.rand(2, 1, *size)).shape == (2, 4)
    assert rescorer(torch.zeros(0, 1, 40, 40)).shape == (0, 4)


# Heads and selection.

def test_contract_a_head_predicts_in_the_order_of_the_priors():
    head = DenseHead(4, num_priors=3, num_classes=5, num_coefficients=2)
    levels = [torch.randn(2, 4, 3, 2), torch.randn(2, 4, 1, 1)]
    with torch.no_grad():
        logits, deltas, coefficients = head(levels)
        hidden = head.conv(levels[0])
        maps = head.cls_logits(hidden), head.bbox_pred(hidden), head.coefficients(hidden).tanh()
    assert logits.shape == (2, 21, 5) and deltas.shape == (2, 21, 4) and coefficients.shape == (2, 21, 2)
    y, x, prior = 2, 1, 1
    row = (y * 2 + x) * 3 + prior
    for found, whole, width in zip((logits, deltas, coefficients), maps, (5, 4, 2), strict=True):
        torch.testing.assert_close(found[1, row], whole[1, prior * width:(prior + 1) * width, y, x])


@pytest.mark.parametrize("layers, fine", [((8, 6), (4,)), ((), (4,)), ((8,), ()), ((), ())])
def test_contract_prototypes_have_twice_the_size_and_are_not_negative(layers, fine):
    net = ProtoNet(5, layers, fine, 7)
    found = net(torch.randn(2, 5, 9, 6))
    assert found.shape == (2, 7, 18, 12) and found.min() == 0 < found.max()


def test_contract_which_priors_take_part_in_which_classes():
    probabilities = torch.tensor([[0.6, 0.01], [0.2, 0.7], [0.3, 0.4]])
    box = BoxConfig(score_threshold=0.25, selection=SelectionConfig("fast_nms", top_k=2))

    def pairs(box, threshold_on):
        return sorted(zip(*(found.tolist() for found in candidates(probabilities, box, threshold_on)), strict=True))

    assert pairs(box, "score") == [(0, 0), (1, 1), (2, 0), (2, 1)]
    assert pairs(box, "prior") == [(0, 0), (1, 1), (2, 0), (2, 1)]
    whole = dataclasses.replace(box, selection=SelectionConfig("fast_nms"))
    assert pairs(whole, "prior") == [(row, label) for row in range(3) for label in range(2)]
    once = dataclasses.replace(box, selection=SelectionConfig("fast_nms", cross_class=True))
    assert pairs(once, "prior") == pairs(once, "score") == [(0, 0), (1, 1), (2, 1)]
    assert pairs(dataclasses.replace(box, selection=SelectionConfig()), "prior") == pairs(box, "score")


def test_contract_boxes_are_suppressed_before_they_are_clipped():
    """What is left of two boxes on the image is the same; whole they hardly overlap."""
    priors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, -90.0, 10.0, 10.0], [2.0, 2.0, 4.0, 4.0]])
    logits = torch.tensor([[0.0, 3.0], [0.0, 2.0], [9.0, 0.0]])
    box = BoxConfig(min_side=0.0, selection=SelectionConfig("fast_nms"))
    coefficients = torch.tensor([[0.1], [0.2], [0.3]])
    found = select_priors(logits, torch.zeros(3, 4), coefficients, priors, (10, 10), box, "prior")
    assert found["boxes"].tolist() == [[0.0, 0.0, 10.0, 10.0]] * 2 and found["labels"].tolist() == [1, 1]
    torch.testing.assert_close(found["coefficients"], coefficients[:2])
    torch.testing.assert_close(found["scores"], logits.softmax(1)[:2, 1])
