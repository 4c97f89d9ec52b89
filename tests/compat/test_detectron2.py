"""roikit.compat.detectron2: detectron2's conventions as facts, and beside detectron2 itself where it is importable."""

import importlib.util
import math
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

import roikit.compat.detectron2 as d2
import roikit.ops

BOXES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [20.0, 20.0, 30.0, 40.0]])

needs_detectron2 = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("detectron2", "torchvision")),
    reason="detectron2 and torchvision are not both importable")


@needs_detectron2
def test_answers_are_those_of_detectron2(run_beside):
    run_beside("beside_detectron2.py", "torchvision")


@needs_detectron2
def test_detectron2_runs_without_its_compiled_module(run_beside):
    run_beside("beside_detectron2.py", "torchvision", "detectron2", hide="detectron2._C")


def test_nothing_of_the_peers_is_imported(run_python):
    run_python("""
import sys, roikit.compat.detectron2
assert not {"torchvision", "detectron2", "fvcore"} & set(sys.modules)
""")


def test_suppression_takes_boxes_objects_and_classes_of_any_kind():
    scores, held = torch.tensor([0.5, 0.9, 0.1]), SimpleNamespace(tensor=BOXES)
    assert d2.nms(held, scores, 0.4).tolist() == [1, 2]
    assert d2.nms(BOXES, scores, 0.5).tolist() == [1, 0, 2]  # IoU 0.5 is not above 0.5
    for idxs in (torch.tensor([0, 1, 1]), torch.tensor([0.5, 7.0, 7.0]), torch.tensor([False, True, True])):
        assert d2.batched_nms(BOXES, scores, idxs, 0.4).tolist() == [1, 0, 2]


def test_rotated_suppression_keeps_at_equality():
    rotated = torch.tensor([[5.0, 5.0, 10.0, 10.0, 0.0], [5.0, 2.5, 10.0, 5.0, 180.0]])
    assert d2.pairwise_iou_rotated(rotated, rotated)[0, 1] == 0.5
    assert torch.equal(d2.pairwise_iou(SimpleNamespace(tensor=rotated), rotated),
                       d2.pairwise_iou_rotated(rotated, rotated))
    scores = torch.tensor([0.9, 0.8])
    assert d2.nms_rotated(rotated, scores, 0.5).tolist() == [0, 1]
    assert d2.nms_rotated(rotated, scores, 0.49).tolist() == [0]
    assert d2.batched_nms_rotated(rotated, scores, torch.tensor([3, 4]), 0.1).tolist() == [0, 1]


def test_pairwise_iou_of_empty_boxes_is_0():
    empty = torch.zeros(1, 4)
    assert d2.pairwise_iou(empty, empty).item() == 0
    assert d2.pairwise_iou(SimpleNamespace(tensor=BOXES), BOXES)[0, 1] == 0.5


@pytest.mark.filterwarnings("ignore:torch.quantize")
def test_the_class_aligns_and_the_function_does_not():
    x, rois = torch.rand(1, 2, 12, 12), torch.cat([torch.zeros(3, 1), BOXES / 4], 1)
    assert torch.equal(d2.ROIAlign(3, 0.5, 2)(x, rois), roikit.ops.roi_align(x, rois, 3, 0.5, 2, True))
    assert torch.equal(d2.roi_align(x, rois, 3, 0.5, 2), roikit.ops.roi_align(x, rois, 3, 0.5, 2, False))
    quantized = torch.quantize_per_tensor(x, 1 / 64, 0, torch.quint8)
    assert_close(d2.ROIAlign(3, 0.5, 2)(quantized, rois), d2.ROIAlign(3, 0.5, 2)(quantized.dequantize(), rois))


def test_rotated_alignment():
    x, boxes = torch.rand(2, 3, 12, 12, requires_grad=True), torch.tensor([[2.0, 3, 8, 10], [4, 4, 9, 9.5]])
    upright = torch.cat([torch.tensor([[0.0], [1.0]]), boxes], 1)
    turned = torch.cat([upright[:, :1], (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2],
                        torch.tensor([[0.0], [360.0]])], 1)
    for ratio in (0, 2):
        expected = d2.ROIAlign((2, 3), 0.5, ratio)(x, upright)
        assert_close(d2.ROIAlignRotated((2, 3), 0.5, ratio)(x, turned), expected)
        assert_close(d2.roi_align_rotated(x, turned, (2, 3), 0.5, ratio), expected)
    pooler = d2.ROIPooler((2, 3), [0.5, 0.25], 2, "ROIAlignRotated")
    pooled = pooler([x, x[..., :6, :6]], [SimpleNamespace(tensor=turned[:1, 1:]), turned[1:, 1:]])
    assert_close(pooled, d2.roi_align_rotated(x, turned, (2, 3), 0.5, 2))


def test_deformable_convolution_without_offsets_is_a_convolution():
    x = torch.rand(2, 4, 7, 8)
    rule = {"stride": 2, "padding": (2, 1), "dilation": (1, 1), "groups": 2}
    layer = d2.DeformConv(4, 6, 3, **rule, deformable_groups=2, norm=torch.nn.BatchNorm2d(6).eval(),
                          activation=torch.relu)
    taps = torch.zeros(2, 36, 5, 4)
    plain = torch.nn.functional.conv2d(x, layer.weight, None, **rule)
    assert_close(layer(x, taps), layer.norm(plain).relu())
    assert_close(d2.deform_conv(x, taps, layer.weight, 2, (2, 1), 1, 2, 2), plain)
    modulated = d2.ModulatedDeformConv(4, 6, 3, **rule, deformable_groups=2)
    torch.nn.init.normal_(modulated.bias)
    plain = torch.nn.functional.conv2d(x, modulated.weight, None, **rule)
    assert_close(modulated(x, taps, torch.full((2, 18, 5, 4), 0.5)), plain / 2 + modulated.bias[:, None, None])
    assert layer(x[:0], taps[:0]).shape == (0, 6, 5, 4)
    for arguments, reason in (((2, (2, 1), 1, 1, 2), "weight"), ((2, (2, 1), 1, 2, 1), "offset")):
        with pytest.raises(ValueError, match=reason):
            d2.deform_conv(x, taps, layer.weight, *arguments)
    with pytest.raises(ValueError, match="mask"):
        d2.modulated_deform_conv(x, taps, taps, modulated.weight, None, 2, (2, 1), 1, 2, 2)
    with pytest.raises(ValueError, match="bias"):
        d2.DeformConv(4, 6, 3, bias=True)
    with pytest.raises(ValueError, match="divisible"):
        d2.ModulatedDeformConv(4, 6, 3, groups=3)


def test_deformable_convolutions_show_their_arguments_as_detectron2s():
    """Of detectron2's, one keeps pairs and the other what it is given."""
    layer = d2.DeformConv(8, 4, (3, 1), 2, padding=1, groups=2, deformable_groups=4)
    assert repr(layer) == ("DeformConv(in_channels=8, out_channels=4, kernel_size=(3, 1), stride=(2, 2), "
                           "padding=(1, 1), dilation=(1, 1), groups=2, deformable_groups=4, bias=False)")
    layer = d2.ModulatedDeformConv(8, 4, 3, stride=(2, 1), padding=1, bias=False)
    assert repr(layer) == ("ModulatedDeformConv(in_channels=8, out_channels=4, kernel_size=(3, 3), stride=(2, 1), "
                           "padding=1, dilation=1, groups=1, deformable_groups=1, bias=False)")
    assert repr(d2.ModulatedDeformConv(8, 4, 1)).endswith("deformable_groups=1, bias=True)")


def test_every_anchor_that_holds_a_small_box_is_promoted():
    """Their overlaps are the box's area over the anchor's, so they tie."""
    generator = d2.RotatedAnchorGenerator(sizes=[[32, 64, 128, 256, 512]], aspect_ratios=[[0.5, 1.0, 2.0]],
                                          angles=[[-90, 0, 90]], strides=[16], offset=0.0)
    (anchors,) = generator([torch.zeros(1, 1, 1, 2)])
    overlaps = d2.pairwise_iou_rotated(torch.tensor([[2.0, 2, 2, 2, 30]]), anchors)
    labels = d2.Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True)(overlaps)[1]
    assert (labels == 1).sum() == 15 and overlaps[0, labels == 1].unique().tolist() == [4 / 1024]


def test_paste():
    masks, boxes = torch.ones(1, 2, 2), torch.tensor([[1.0, 1.0, 3.0, 3.0]])
    inside = torch.zeros(1, 4, 4, dtype=torch.bool)
    inside[:, 1:3, 1:3] = True
    assert torch.equal(d2.paste_masks_in_image(masks, SimpleNamespace(tensor=boxes), (4, 4)), inside)
    assert torch.equal(d2.paste_masks_in_image(masks.bool(), boxes, torch.Size([4, 4])), inside)
    assert d2.paste_masks_in_image(masks, boxes, (4, 4), 0).all()  # every pixel has at least 0
    soft = d2.paste_masks_in_image(masks, boxes, (4, 4), -1)
    assert soft.dtype == torch.uint8 and soft[0, 1, 1] == 255 and soft[0, 0, 0] == 0
    none = d2.paste_masks_in_image(masks[:0], boxes[:0], (4, 5))
    assert none.shape == (0, 4, 5) and none.dtype == torch.bool
    assert not d2.paste_masks_in_image(masks, torch.tensor([[1.0, 1.0, 1.0, 3.0]]), (4, 4)).any()


def test_box_transform():
    transform = d2.Box2BoxTransform((10.0, 10.0, 5.0, 5.0))
    assert transform.scale_clamp == math.log(1000 / 16)
    deltas = transform.get_deltas(BOXES[:1], BOXES[2:])
    assert_close(deltas, torch.tensor([[20.0, 25.0, 0.0, 5 * math.log(2)]]))
    assert_close(transform.apply_deltas(deltas.double().repeat(1, 3), BOXES[:1]), BOXES[2:].repeat(1, 3))
    assert transform.apply_deltas(deltas.double(), BOXES[:1]).dtype == torch.float32
    grown = d2.Box2BoxTransform((1, 1, 1, 1), scale_clamp=1.0).apply_deltas(torch.tensor([[0.0, 0, 9, 0]]), BOXES[:1])
    assert_close(grown[0, 2] - grown[0, 0], torch.tensor(10 * math.e))
    with pytest.raises(ValueError, match="positive widths"):
        transform.get_deltas(torch.zeros(1, 4), BOXES[:1])


def test_rotated_box_transform():
    transform = d2.Box2BoxTransformRotated((1, 1, 1, 1, 2), scale_clamp=1.0)
    source, target = torch.tensor([[5.0, 5, 10, 4, 170]]), torch.tensor([[10.0, 5, 10, 4, -170]])
    deltas = transform.get_deltas(source, target)
    assert_close(deltas, torch.tensor([[0.5, 0, 0, 0, 2 * math.radians(20)]]))
    assert_close(transform.apply_deltas(deltas.repeat(1, 2), source), target.repeat(1, 2))
    assert_close(transform.apply_deltas(torch.tensor([[0.0, 0, 9, 0, 0]]), source)[0, 2], torch.tensor(10 * math.e))
    with pytest.raises(ValueError, match="positive widths"):
        transform.get_deltas(source * 0, target)


@pytest.mark.parametrize("normalize", [True, False])
def test_linear_transform(normalize):
    transform, anchors = d2.Box2BoxTransformLinear(normalize), torch.tensor([[4.0, 4.0, 8.0, 8.0]])
    deltas = transform.get_deltas(anchors, BOXES[:1])
    assert torch.equal(deltas * (4 if normalize else 1), torch.tensor([[6.0, 6.0, 4.0, 4.0]]))
    assert torch.equal(transform.apply_deltas(deltas.repeat(1, 2), anchors), BOXES[:1].repeat(1, 2))
    assert torch.equal(transform.apply_deltas(-deltas, anchors), torch.full((1, 4), 6.0))


def test_matcher():
    quality = torch.tensor([[0.9, 0.6, 0.2, 0.0], [0.9, 0.1, 0.4, 0.0]])
    matches, labels = d2.Matcher([0.3, 0.7], [0, -1, 1])(quality)
    assert matches.tolist() == [0, 0, 1, 0] and labels.tolist() == [1, -1, -1, 0]
    assert matches.dtype == torch.int64 and labels.dtype == torch.int8
    low = torch.tensor([[0.1, 0.2, 0.2], [0.0, 0.0, 0.0]])
    assert d2.Matcher([0.3, 0.7], [0, -1, 1], True)(low)[1].tolist() == [0, 1, 1]  # the second promotes nothing
    matches, labels = d2.Matcher([0.5], [-1, 1])(low[:0])
    assert matches.tolist() == [0, 0, 0] and labels.tolist() == [-1, -1, -1]
    for thresholds, labels in (([], [0]), ([0.0], [0, 1]), ([0.7, 0.3], [0, -1, 1]), ([0.5], [0]), ([0.5], [0, 2])):
        with pytest.raises(ValueError, match="Matcher"):
            d2.Matcher(thresholds, labels)
    with pytest.raises(ValueError, match="at least 0"):
        d2.Matcher([0.5], [0, 1])(-low - 1)


def test_subsampling():
    labels = torch.tensor([-1, 0, 1, 80, 80, 80, 2, 80])
    positive, negative = d2.subsample_labels(labels, 4, 0.5, 80)
    assert len(positive) == 2 and set(positive.tolist()) < {1, 2, 6}
    assert len(negative) == 2 and set(negative.tolist()) < {3, 4, 5, 7}
    positive, negative = d2.subsample_labels(labels, 100, 0.25, 80)
    assert sorted(positive.tolist()) == [1, 2, 6] and sorted(negative.tolist()) == [3, 4, 5, 7]


def test_anchors_have_the_size_outside_and_are_not_rounded():
    generator = d2.DefaultAnchorGenerator(sizes=[[32, 64]], aspect_ratios=[[1.0, 4.0]], strides=[8, 16])
    assert_close(generator.cell_anchors[1], torch.tensor([[-16.0, -16, 16, 16], [-8, -32, 8, 32], [-32, -32, 32, 32],
                                                          [-16, -64, 16, 64]]))
    assert generator.num_anchors == generator.num_cell_anchors == [4, 4] and not generator.state_dict()
    fine, coarse = generator([torch.empty(1, 1, 2, 3), torch.empty(1, 1, 1, 1)])
    assert fine.shape == (24, 4) and coarse.shape == (4, 4)
    assert_close(fine[4], torch.tensor([12.0 - 16, 4 - 16, 12 + 16, 4 + 16]))  # centres at half a stride, x first
    assert isinstance(d2.DefaultAnchorGenerator(sizes=[32], aspect_ratios=[1.0], strides=[8], boxes_class=tuple)(
        [torch.empty(1, 1, 1, 1)])[0], tuple)
    for wrong in ({"sizes": []}, {"sizes": [[32]] * 3}, {"offset": 1.0}):
        with pytest.raises(ValueError, match="anchor generator"):
            d2.DefaultAnchorGenerator(**{"sizes": [32], "aspect_ratios": [1.0], "strides": [8, 16], **wrong})


def test_rotated_anchors_have_the_angle_inside():
    generator = d2.RotatedAnchorGenerator(sizes=[32], aspect_ratios=[4.0], strides=[8], angles=[0, 90], offset=0.0)
    anchors, = generator([torch.empty(1, 1, 1, 2)])
    assert_close(anchors, torch.tensor([[0.0, 0, 16, 64, 0], [0, 0, 16, 64, 90], [8, 0, 16, 64, 0],
                                        [8, 0, 16, 64, 90]]))
    assert generator.box_dim == 5 and generator.num_anchors == [2]
    assert len(d2.RotatedAnchorGenerator.generate_cell_anchors()) == 105


def next_below(value, steps):
    return (torch.tensor([value]).view(torch.int32) - steps).view(torch.float32).item()


def test_levels_change_where_detectron2s_do():
    """One rounding below a power of two, its float32 sum rounds up; roikit's own rule rounds up from ten below."""
    sides = [next_below(224.0, steps) for steps in (0, 1, 2, 8, 100)]
    boxes = torch.tensor([[0.0, 0.0, side, side] for side in sides])
    assert d2.assign_boxes_to_levels([boxes], 2, 5, 224, 4).tolist() == [2, 2, 1, 1, 1]
    features = [torch.full((1, 1, 64 >> level, 64 >> level), float(level)) for level in range(4)]
    pooled = d2.ROIPooler(1, [0.25, 0.125, 0.0625, 0.03125], 2, "ROIAlignV2")(features, [boxes])
    assert pooled.flatten().tolist() == [2, 2, 1, 1, 1]
    own = roikit.ops.multiscale_roi_align(features, [boxes], 1, [0.25, 0.125, 0.0625, 0.03125])
    assert own.flatten().tolist() == [2, 2, 2, 2, 1]


def test_levels_are_clamped_and_nothing_comes_of_nan():
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 4000, 4000], [0, 0, math.nan, 1]])
    assert d2.assign_boxes_to_levels([boxes[:2], boxes[2:]], 2, 5, 224, 4).tolist() == [0, 3, 0]
    pooler = d2.ROIPooler(2, [0.25, 0.125, 0.0625, 0.03125], 2, "ROIAlign")
    assert not pooler([torch.ones(1, 1, 4, 4)] * 4, [boxes])[2].any()


@pytest.mark.parametrize("name", ["ROIAlign", "ROIAlignV2", "ROIPool"])
def test_pooler_is_the_op_on_each_level(name):
    features = [torch.rand(2, 3, 64 >> i, 64 >> i, requires_grad=True) for i in range(3)]
    boxes = [torch.tensor([[0.0, 0, 300, 200], [10, 20, 30, 40]]), torch.tensor([[5.0, 5, 120, 130]])]
    pooler = d2.ROIPooler((3, 2), [0.25, 0.125, 0.0625], 2, name)
    out = pooler(features, [SimpleNamespace(tensor=b) for b in boxes])
    for k, (image, level, box) in enumerate(((0, 2, boxes[0][0]), (0, 0, boxes[0][1]), (1, 1, boxes[1][0]))):
        roi = torch.cat([torch.tensor([float(image)]), box])[None]
        scale = 0.25 / 2**level
        if name == "ROIPool":
            alone = roikit.ops.roi_pool(features[level], roi, (3, 2), scale)
        else:
            alone = roikit.ops.roi_align(features[level], roi, (3, 2), scale, 2, name == "ROIAlignV2")
        assert_close(out[k], alone[0])
    assert all(g.abs().sum() > 0 for g in torch.autograd.grad(out.sum(), features))
    assert pooler([f[:0] for f in features], []).shape == (0, 3, 3, 2)
    assert pooler(features, [b[:0] for b in boxes]).shape == (0, 3, 3, 2)
    assert d2.ROIPooler(2, [0.25], 2, name)(features[:1], boxes).shape == (3, 3, 2, 2)


def test_pooler_says_what_is_wrong():
    for arguments, reason in (((7, [0.25], 2, "RoIAlign"), "pooler_type"), ((7, [0.3], 2, "ROIAlign"), "powers of two"),
                              ((7, [0.25, 0.0625], 2, "ROIAlign"), "half the one before"),
                              ((7, [0.25], 2, "ROIAlign", 0), "canonical_box_size")):
        with pytest.raises(ValueError, match=reason):
            d2.ROIPooler(*arguments)
    pooler = d2.ROIPooler(7, [0.25, 0.125], 2, "ROIAlign")
    with pytest.raises(ValueError, match="one map a scale"):
        pooler([torch.rand(1, 1, 4, 4)], [BOXES])
    with pytest.raises(ValueError, match="one entry an image"):
        pooler([torch.rand(1, 1, 4, 4)] * 2, [])


def test_losses_take_detectron2s_names():
    assert_close(d2.diou_loss(BOXES, BOXES.flip(0), "sum"),
                 roikit.ops.distance_box_iou_loss(BOXES, BOXES.flip(0), "sum"))
    assert_close(d2.ciou_loss(BOXES, BOXES.flip(0)), roikit.ops.complete_box_iou_loss(BOXES, BOXES.flip(0)))
