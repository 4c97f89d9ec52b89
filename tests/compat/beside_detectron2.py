"""roikit.compat.detectron2 beside detectron2 itself, where that is importable; run by test_detectron2.py.

In a process of its own, after roikit.compat.torchvision.install(): detectron2 imports torchvision.
"""

import random

import torch
from detectron2 import layers as theirs
from detectron2.config import get_cfg
from detectron2.layers.mask_ops import _do_paste_mask
from detectron2.layers.rotated_boxes import pairwise_iou_rotated
from detectron2.modeling import anchor_generator, box_regression, build_model, matcher, poolers, sampling
from detectron2.structures import BitMasks, Boxes, Instances, RotatedBoxes, pairwise_iou
from detectron2.utils.events import EventStorage
from torch.testing import assert_close

import roikit.compat.detectron2 as ours

generator = torch.Generator().manual_seed(0)


def rand(*shape):
    return torch.rand(*shape, generator=generator)


def make_boxes(n, size=200.0):
    corner = rand(n, 2) * size
    return torch.cat([corner, corner + 1 + rand(n, 2) * size / 2], 1)


def make_rotated(n):
    boxes = make_boxes(n)
    return torch.cat([boxes[:, :2], 5 + boxes[:, 2:] - boxes[:, :2], rand(n, 1) * 360 - 180], 1)


def same(a, b):
    assert a.dtype == b.dtype and torch.equal(a, b)


def suppression_and_overlap():
    a, b, scores, classes = make_boxes(300), make_boxes(100), rand(300), (rand(300) * 5).long()
    same(theirs.nms(a, scores, 0.5), ours.nms(a, scores, 0.5))
    for idxs in (classes, classes.float()):
        same(theirs.batched_nms(a, scores, idxs, 0.5), ours.batched_nms(a, scores, idxs, 0.5))
    assert_close(pairwise_iou(Boxes(a), Boxes(b)), ours.pairwise_iou(Boxes(a), b))
    rotated = make_rotated(300)
    assert_close(pairwise_iou_rotated(rotated, rotated[:50]), ours.pairwise_iou_rotated(rotated, rotated[:50]),
                 rtol=0, atol=1e-5)
    same(theirs.nms_rotated(rotated, scores, 0.5), ours.nms_rotated(rotated, scores, 0.5))
    same(theirs.batched_nms_rotated(rotated, scores, classes, 0.5),
         ours.batched_nms_rotated(rotated, scores, classes, 0.5))


def masks():
    soft, boxes, size = rand(60, 28, 28), make_boxes(60), (250, 260)
    same(theirs.paste_masks_in_image(soft, Boxes(boxes), size), ours.paste_masks_in_image(soft, Boxes(boxes), size))
    whole = (_do_paste_mask(soft[:, None], boxes, *size, False)[0] * 255).to(torch.uint8)  # as on a GPU
    assert (whole.int() - ours.paste_masks_in_image(soft, boxes, size, -1).int()).abs().max() <= 1


def alignment():
    x, rois = rand(2, 3, 40, 50), torch.cat([(rand(300, 1) * 2).floor(), make_boxes(300)], 1)
    assert_close(theirs.roi_align(x, rois, 5, 0.2), ours.roi_align(x, rois, 5, 0.2))
    for arguments in (((5, 7), 0.2, 0), ((5, 7), 0.2, 2, False), (3, 0.2, 2, True)):
        assert_close(theirs.ROIAlign(*arguments)(x, rois), ours.ROIAlign(*arguments)(x, rois))
    x, rois = x.requires_grad_(), torch.cat([(rand(60, 1) * 2).floor(), make_rotated(60)], 1)
    for arguments in (((5, 7), 0.2, 0), ((5, 7), 0.2, 2)):
        his, mine = (m.ROIAlignRotated(*arguments)(x, rois) for m in (theirs, ours))
        assert_close(his, mine)
        weights = rand(*his.shape)
        assert_close(*(torch.autograd.grad((out * weights).sum(), x)[0] for out in (his, mine)))


def deformable():
    x, offset = rand(2, 6, 9, 10), torch.randn(2, 18, 9, 10, generator=generator)
    his, mine = (m.DeformConv(6, 4, 3, padding=1, activation=torch.relu) for m in (theirs, ours))
    mine.load_state_dict(his.state_dict())
    assert_close(his(x, offset), mine(x, offset))


def codecs():
    a, b, deltas = make_boxes(100), make_boxes(100), torch.randn(100, 12, generator=generator) * 4
    his, mine = (m.Box2BoxTransform((10.0, 10.0, 5.0, 5.0)) for m in (box_regression, ours))
    assert_close(his.get_deltas(a, b), mine.get_deltas(a, b))
    for d in (deltas, deltas.double()):
        assert_close(his.apply_deltas(d, b), mine.apply_deltas(d, b))
    his, mine = (m.Box2BoxTransformRotated((1.0, 1.0, 2.0, 2.0, 3.0)) for m in (box_regression, ours))
    a5, b5, deltas5 = make_rotated(100), make_rotated(100), torch.randn(100, 10, generator=generator) * 4
    assert_close(his.get_deltas(a5, b5), mine.get_deltas(a5, b5))
    turned = his.apply_deltas(deltas5, b5) - mine.apply_deltas(deltas5, b5)
    turned[:, 4::5] = (turned[:, 4::5] + 180) % 360 - 180  # -180 and 180 are one angle
    assert_close(turned, torch.zeros_like(turned), rtol=0, atol=2e-3)
    for normalize in (True, False):
        his, mine = (m.Box2BoxTransformLinear(normalize) for m in (box_regression, ours))
        assert_close(his.get_deltas(a, b), mine.get_deltas(a, b))
        assert_close(his.apply_deltas(deltas[:, :4], b), mine.apply_deltas(deltas[:, :4], b))
    for name in ("diou_loss", "ciou_loss"):
        for reduction in ("none", "sum", "mean"):
            assert_close(getattr(theirs, name)(a, b, reduction), getattr(ours, name)(a, b, reduction))


def matching():
    matrix = pairwise_iou(Boxes(make_boxes(20)), Boxes(make_boxes(300)))
    for thresholds, labels in (([0.3, 0.7], [0, -1, 1]), ([0.5], [0, 1]), ([0.1, 0.2, 0.4], [-1, 0, -1, 1])):
        for low in (True, False):
            for quality in (matrix, matrix[:0]):
                pairs = [m.Matcher(thresholds, labels, low)(quality) for m in (matcher, ours)]
                for his, mine in zip(*pairs, strict=True):
                    same(his, mine)
    labels, found = (rand(300) * 5).long() - 1, []
    for m in (sampling, ours):
        torch.manual_seed(5)
        found.append(m.subsample_labels(labels, 64, 0.25, 3))
    for his, mine in zip(*found, strict=True):
        same(his, mine)


def anchors():
    draw = random.Random(0)
    features = [torch.empty(1, 1, *size) for size in ((7, 9), (3, 5), (33, 41))]
    for _ in range(100):
        sizes = [draw.choice([draw.randint(1, 1000), draw.uniform(1, 1000)]) for _ in range(4)]
        ratios = [draw.choice([0.5, 1.0, 2.0, 1 / 3, 0.1, draw.uniform(0.05, 20)]) for _ in range(3)]
        chosen = {"sizes": [sizes], "aspect_ratios": [ratios], "strides": [4, 8, 13.5],
                  "offset": draw.choice([0.0, 0.5])}
        for name, more in (("DefaultAnchorGenerator", {}), ("RotatedAnchorGenerator", {"angles": [[-90.0, 0, 33.3]]})):
            his, mine = (getattr(m, name)(**chosen, **more) for m in (anchor_generator, ours))
            assert his.num_anchors == mine.num_anchors and his.box_dim == mine.box_dim
            for a, b in zip(his(features), mine(features), strict=True):
                same(a.tensor, b)


def pooling():
    scales = [0.25, 0.125, 0.0625, 0.03125]
    features = [rand(2, 3, round(256 * s), round(256 * s)) for s in scales]
    steps = torch.arange(-40, 41, dtype=torch.int32)
    sides = torch.cat([(torch.tensor([side]).view(torch.int32) + steps).view(torch.float32)
                       for side in (56.0, 112.0, 224.0, 448.0)])  # within 40 roundings of where a level ends
    near = torch.stack([sides * 0, sides * 0, sides, sides], 1)
    boxes = [torch.cat([make_boxes(60, 500), near]), make_boxes(40, 300)]
    lists = [Boxes(b) for b in boxes]
    same(poolers.assign_boxes_to_levels(lists, 2, 5, 224, 4), ours.assign_boxes_to_levels(boxes, 2, 5, 224, 4))
    same(poolers.convert_boxes_to_pooler_format(lists), ours.convert_boxes_to_pooler_format(boxes))
    for name in ("ROIAlign", "ROIAlignV2", "ROIPool"):
        his, mine = (m.ROIPooler(7, scales, 0, name) for m in (poolers, ours))
        assert_close(his(features, lists), mine(features, lists))
        assert_close(his(features, lists), mine(features, boxes))
        his, mine = (m.ROIPooler((3, 5), scales[:1], 2, name) for m in (poolers, ours))
        assert_close(his(features[:1], lists), mine(features[:1], boxes))
    boxes = [make_rotated(40) * torch.tensor([1, 1, 4, 4, 1]), make_rotated(30)]
    for scale in (scales, scales[:1]):
        his, mine = (m.ROIPooler(4, scale, 2, "ROIAlignRotated") for m in (poolers, ours))
        assert_close(his(features[: len(scale)], [RotatedBoxes(b) for b in boxes]), mine(features[: len(scale)], boxes))


def a_detector_trains():
    config = get_cfg()
    config.MODEL.DEVICE, config.MODEL.META_ARCHITECTURE, config.MODEL.MASK_ON = "cpu", "GeneralizedRCNN", True
    config.MODEL.RESNETS.DEPTH, config.MODEL.RESNETS.RES2_OUT_CHANNELS = 18, 64
    config.INPUT.MASK_FORMAT = "bitmask"
    model, truth = build_model(config), Instances((64, 64))
    truth.gt_boxes, truth.gt_classes = Boxes(torch.tensor([[4.0, 5.0, 40.0, 50.0]])), torch.tensor([1])
    truth.gt_masks = BitMasks(torch.ones(1, 64, 64, dtype=torch.bool))
    batch = [{"image": rand(3, 64, 64) * 255, "instances": truth, "height": 64, "width": 64}]
    with EventStorage():
        loss = sum(model(batch).values())
    loss.backward()
    assert loss.isfinite() and any(p.grad is not None and p.grad.any() for p in model.parameters())
    model.eval()
    with torch.no_grad():
        found = model(batch)[0]["instances"]
    assert found.pred_masks.shape == (len(found), 64, 64)


PARTS = (suppression_and_overlap, masks, alignment, deformable, codecs, matching, anchors, pooling,
         a_detector_trains)

if __name__ == "__main__":
    for part in PARTS:
        part()
        print(part.__name__)
