"""Rotated boxes in detectors: what the geometry says, by plain counterparts; and what configurations refuse."""

import dataclasses

import pytest
import torch

from roikit.masks import decode
from roikit.models import (
    BoxConfig,
    DetectorConfig,
    KeypointConfig,
    MaskScoreConfig,
    RpnConfig,
    SelectionConfig,
    build_detector,
    rotated_fasterrcnn_resnet50_fpn,
    rotated_maskrcnn_resnet50_fpn,
)
from roikit.models.parts import geometry
from roikit.models.parts.geometry import ROTATED, UPRIGHT, RotatedBoxes
from roikit.models.roi.mask import paste
from roikit.ops import box_iou_rotated, match_boxes

from .family import FPN
from .family import ROTATED as SMALL


def drawn(count, seed, size=60.0):
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(count, 5, generator=generator)
    return numbers * torch.tensor([size, size, 30.0, 30.0, 180.0]) + torch.tensor([0.0, 0.0, 3.0, 3.0, -90.0])


def as_rotated(boxes):
    low, high = boxes.split(2, 1)
    return torch.cat(((low + high) / 2, high - low, torch.zeros(len(boxes), 1)), 1)


def plain_match(boxes, objects, high, low, allow_low_quality):
    overlaps = box_iou_rotated(boxes, objects).tolist()
    index, label = [], []
    for row in overlaps:
        best = max(range(len(row)), key=lambda k: (row[k], -k))
        index.append(best)
        label.append(1 if row[best] >= high else -1 if row[best] >= low else 0)
    for k in range(len(objects)) if allow_low_quality else ():
        best = max(row[k] for row in overlaps)
        for i, row in enumerate(overlaps):
            if best > 0 and row[k] == best:
                label[i] = 1
    return index, label


@pytest.mark.parametrize("allow_low_quality", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_law_boxes_are_matched_as_match_boxes_says(seed, allow_low_quality, monkeypatch):
    monkeypatch.setattr(geometry, "_OVERLAPS", 300)  # several at a time, but not all
    boxes, objects = drawn(80, seed), drawn(7, seed + 9)
    objects = torch.cat((objects, objects[:2], torch.tensor([[900.0, 900.0, 5.0, 5.0, 10.0]])))  # equals, and a far one
    index, label = ROTATED.match(boxes, objects, 0.5, 0.2, allow_low_quality)
    assert (index.tolist(), label.tolist()) == plain_match(boxes, objects, 0.5, 0.2, allow_low_quality)
    assert set(label.tolist()) == {-1, 0, 1} and label.dtype == torch.int8


def test_law_boxes_without_a_turn_are_matched_as_upright_ones():
    corners = torch.arange(40.0).reshape(10, 4) % 13
    boxes = torch.cat((corners[:, :2], corners[:, :2] + 3 + corners[:, 2:]), 1)
    objects = boxes[::3] + 1
    index, label, _ = match_boxes(boxes, objects, 0.6, 0.3, allow_low_quality=True)
    found = ROTATED.match(as_rotated(boxes), as_rotated(objects), 0.6, 0.3, True)
    assert torch.equal(found[0], index) and torch.equal(found[1], label)


def test_contract_nothing_to_match_with_is_background():
    index, label = ROTATED.match(drawn(4, 0), drawn(0, 0), 0.5, 0.2, True)
    assert index.tolist() == [-1] * 4 and label.tolist() == [0] * 4
    index, label = ROTATED.match(drawn(0, 0), drawn(3, 0), 0.5, 0.2, True)
    assert len(index) == len(label) == 0


def test_law_what_lies_almost_upright_is_clipped_and_nothing_else():
    boxes = torch.tensor([[5.0, 5.0, 20.0, 6.0, 0.0], [5.0, 5.0, 20.0, 6.0, 0.9], [5.0, 5.0, 20.0, 6.0, 1.1],
                          [30.0, 9.0, 8.0, 8.0, -1.0], [99.0, 9.0, 8.0, 8.0, 0.0]])
    found = ROTATED.clip(boxes, (10, 40))
    assert found[:2].tolist() == [[7.5, 5.0, 15.0, 6.0, 0.0], [7.5, 5.0, 15.0, 6.0, pytest.approx(0.9)]]
    assert torch.equal(found[2], boxes[2])
    assert found[3].tolist() == [30.0, 7.5, 8.0, 5.0, -1.0]
    assert found[4, 2] == 0 and ROTATED.large(found, 1e-3).tolist() == [0, 1, 2, 3]


def test_contract_boxes_that_are_not_finite_are_none():
    boxes = drawn(5, 0)
    boxes[1, 4], boxes[2, 2], boxes[3, 3] = torch.nan, torch.inf, -1.0
    assert ROTATED.valid(boxes).tolist() == [True, False, False, False, True]
    assert ROTATED.large(boxes, 0.0).tolist() == [0, 4]


def test_law_scaled_boxes_keep_their_axes():
    boxes = drawn(20, 3)
    twice = ROTATED.rescale(boxes, (50, 40), (100, 80))
    assert torch.equal(twice[:, :4], boxes[:, :4] * 2) and torch.equal(twice[:, 4], boxes[:, 4])
    assert ROTATED.rescale(boxes, (50, 40), (50, 40)) is boxes
    # One axis alone: ends of the box's own axes, scaled as points are.
    wide = ROTATED.rescale(boxes, (50, 40), (50, 120))
    turn = boxes[:, 4].deg2rad()
    width = torch.stack((3 * turn.cos(), turn.sin()), 1).norm(dim=1) * boxes[:, 2]
    height = torch.stack((3 * turn.sin(), turn.cos()), 1).norm(dim=1) * boxes[:, 3]
    torch.testing.assert_close(wide[:, :4], torch.stack((boxes[:, 0] * 3, boxes[:, 1], width, height), 1))
    flat = torch.tensor([[4.0, 5.0, 6.0, 7.0, 0.0]])
    assert ROTATED.rescale(flat, (10, 10), (10, 30)).tolist() == [[12.0, 5.0, 18.0, 7.0, 0.0]]


def test_law_deltas_of_boxes_are_undone_and_do_not_shrink_below_their_bound():
    anchors, boxes, weights = drawn(30, 1), drawn(30, 2), (10.0, 10.0, 5.0, 5.0, 1.0)
    deltas = ROTATED.encode(boxes, anchors, weights)
    torch.testing.assert_close(ROTATED.decode(deltas, anchors, weights), boxes, atol=1e-3, rtol=1e-4)
    deltas[:, 2:4] = -100.0
    shrunk = ROTATED.decode(deltas, anchors, weights, clip_below=True)
    torch.testing.assert_close(shrunk[:, 2:4], anchors[:, 2:4] * 0.016)
    box = torch.tensor([[0.0, 0.0, 100.0, 100.0]])
    plain = UPRIGHT.decode(torch.tensor([[0.0, 0.0, -100.0, -100.0]]), box, (1.0,) * 4, True)
    torch.testing.assert_close(plain[:, 2:] - plain[:, :2], torch.full((1, 2), 1.6))


@pytest.mark.parametrize("symmetry", [180, 90])
def test_law_symmetric_boxes_are_encoded_from_the_nearest_description(symmetry):
    boxes, anchors = drawn(200, 1).double(), drawn(200, 2).double()
    boxes[:, 4] += 360 * (torch.arange(200) % 3 - 1)
    own = RotatedBoxes(symmetry)
    back = own.decode(own.encode(boxes, anchors), anchors)
    turned = (back[:, 4] - anchors[:, 4]).abs()
    assert torch.minimum(turned, 360 - turned).max() <= symmetry / 2 + 1e-9
    torch.testing.assert_close(box_iou_rotated(back, boxes).diagonal(), torch.ones(200).double(), rtol=0, atol=1e-6)
    swapped = (back[:, 2] - boxes[:, 2]).abs() > 1e-6
    assert swapped.any() == (symmetry == 90)
    torch.testing.assert_close(back[swapped, 2:4], boxes[swapped, 2:4].flip(1))


def test_contract_symmetry_is_of_rotated_boxes():
    with pytest.raises(ValueError, match="symmetry must be one of 360, 180, 90, got 45"):
        dataclasses.replace(SMALL, symmetry=45)
    with pytest.raises(ValueError, match="symmetry must be one of 360, got 90"):
        DetectorConfig(symmetry=90)
    assert build_detector(dataclasses.replace(SMALL, symmetry=90)).geometry == RotatedBoxes(90)


@pytest.mark.parametrize("value, sentence", [
    (torch.zeros(1, 4), r"targets\[0\]\['boxes'\] must have shape \(N, 5\), got \(1, 4\)"),
    (torch.tensor([[5.0, 5.0, 4.0, 4.0, torch.nan]]), "must be finite with positive width and height"),
    (torch.tensor([[5.0, 5.0, -4.0, 4.0, 10.0]]), r"targets\[0\]\['boxes'\]\[0\] is \[5.0, 5.0, -4.0"),
])
def test_contract_true_boxes_that_are_none_are_named(value, sentence):
    model = build_detector(dataclasses.replace(SMALL, mask=None)).train()
    with pytest.raises(ValueError, match=sentence):
        model([torch.rand(3, 64, 64)], [{"boxes": value, "labels": torch.ones(1, dtype=torch.int64)}])


@pytest.mark.parametrize("fields, sentence", [
    ({"boxes": "turned"}, "boxes must be one of upright, rotated"),
    ({"rpn": FPN.rpn}, "rpn.angles must hold the angles of rotated anchors"),
    ({"rpn": dataclasses.replace(SMALL.rpn, rounded_anchors=True)}, "rpn.rounded_anchors must be False"),
    ({"box": FPN.box}, "box.regression_weights must be five numbers"),
    ({"box": dataclasses.replace(SMALL.box, aligned=False)}, "box.aligned True"),
    ({"box": dataclasses.replace(SMALL.box, selection=SelectionConfig("soft_nms"))}, "selection.kind must be 'nms'"),
    ({"mask": dataclasses.replace(SMALL.mask, paste_rule="integer")}, "mask.paste_rule must be 'continuous'"),
    ({"keypoint": KeypointConfig()}, "keypoint takes upright boxes"),
    ({"mask_score": MaskScoreConfig()}, "mask_score takes upright boxes"),
])
def test_contract_configurations_that_cannot_work_are_refused(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(SMALL, **fields)


def test_contract_upright_detectors_have_no_angles():
    with pytest.raises(ValueError, match="none for upright ones"):
        DetectorConfig(rpn=RpnConfig(angles=(0.0,)))
    with pytest.raises(ValueError, match="must be four numbers for upright boxes"):
        DetectorConfig(box=BoxConfig(regression_weights=(1.0,) * 5))
    with pytest.raises(ValueError, match="angles must hold finite numbers"):
        RpnConfig(angles=(float("nan"),))
    with pytest.raises(ValueError, match="four positive numbers, or five"):
        BoxConfig(regression_weights=(1.0,) * 6)


def test_the_builders_make_rotated_detectors():
    with torch.device("meta"):
        boxes = rotated_fasterrcnn_resnet50_fpn(num_classes=3)
        masks = rotated_maskrcnn_resnet50_fpn(num_classes=3, angles=(0, 45), mask_format="rle")
    assert boxes.config.boxes == masks.config.boxes == "rotated" and boxes.config.mask is None
    assert boxes.config.rpn.anchors_per_cell == 9 and masks.config.rpn.angles == (0.0, 45.0)
    assert boxes.rpn.head.bbox_pred.out_channels == 45 and boxes.roi_heads.box_predictor.bbox_pred.out_features == 15
    assert masks.mask_format == "rle" and masks.roi_heads.mask_roi_pool.output_size == 14


@torch.no_grad()
def test_law_masks_lie_in_the_frame_of_their_boxes():
    """A mask that fills its box covers the pixels whose centres the box holds."""
    box = torch.tensor([[20.0, 16.0, 18.0, 8.0, 30.0]])
    mask = paste(torch.ones(1, 1, 28, 28), box, (32, 40), SMALL.mask, "bool", ROTATED)[0, 0]
    y, x = torch.meshgrid(torch.arange(32) + 0.5, torch.arange(40) + 0.5, indexing="ij")
    turn = box[0, 4].deg2rad()
    along = (x - 20) * turn.cos() - (y - 16) * turn.sin()
    down = (x - 20) * turn.sin() + (y - 16) * turn.cos()
    inside, outside = ((along.abs() < 9 + margin) & (down.abs() < 4 + margin) for margin in (-0.5, 0.5))
    assert mask[inside].all() and not mask[~outside].any() and inside.sum() > 90
    runs = paste(torch.ones(1, 1, 28, 28), box, (32, 40), SMALL.mask, "rle", ROTATED)
    assert torch.equal(torch.from_numpy(decode(runs)[..., 0]).bool(), mask)
