"""roikit.compat.mmcv: mmcv's conventions as facts, and its rules in plain loops."""

import importlib.util
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import roikit.ops
from roikit.compat import mmcv

generator = torch.Generator().manual_seed(0)


def rand(*shape):
    return torch.rand(*shape, generator=generator)


def make_boxes(n, size=60.0, whole=False):
    corner = rand(n, 2) * size
    boxes = torch.cat([corner, corner + rand(n, 2) * size / 2], 1)
    return boxes.round() if whole else boxes


def iou(a, b, offset):
    size = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + offset) for i in (0, 1)]
    areas = [(r[2] - r[0] + offset) * (r[3] - r[1] + offset) for r in (a, b)]
    inter = size[0] * size[1]
    return inter / (sum(areas) - inter) if inter else 0.0


@pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in ("mmcv", "mmengine", "cv2")),
                    reason="mmcv, mmengine and cv2 are not all importable")
def test_answers_are_those_of_mmcvs_python(run_beside):
    run_beside("beside_mmcv.py", "mmcv", hide="mmcv._ext")


def test_nothing_of_the_peers_is_imported(run_python):
    run_python("""
import sys, roikit.compat.mmcv
assert not {"torchvision", "mmcv", "mmengine"} & set(sys.modules)
""")


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_is_greedy_and_gives_boxes_with_scores(offset):
    boxes, scores, threshold = make_boxes(60, whole=True), rand(60), 0.3
    keep = []
    for i in scores.argsort(descending=True).tolist():
        if all(iou(boxes[k].tolist(), boxes[i].tolist(), offset) <= threshold for k in keep):
            keep.append(i)
    dets, inds = mmcv.nms(boxes, scores, threshold, offset)
    assert inds.tolist() == keep and torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[keep])
    if offset == 0:
        assert torch.equal(inds, roikit.ops.nms(boxes, scores, threshold))


def test_nms_filters_and_takes_arrays_and_old_names():
    boxes = np.array([[0, 0, 9, 9], [20, 20, 30, 30], [0, 0, 9, 8], [40, 40, 50, 50]], np.float32)
    scores = np.array([0.9, 0.3, 0.8, 0.5], np.float32)
    dets, inds = mmcv.nms(boxes, scores, 0.5, score_threshold=0.3)
    assert isinstance(dets, np.ndarray) and isinstance(inds, np.ndarray)
    assert inds.tolist() == [0, 3] and dets.dtype == np.float32
    np.testing.assert_array_equal(dets[0], [0, 0, 9, 9, np.float32(0.9)])
    assert mmcv.nms(boxes, scores, 0.5, max_num=2)[1].tolist() == [0, 3]
    with pytest.warns(DeprecationWarning, match="iou_threshold"):
        assert mmcv.nms(boxes, scores, iou_thr=0.5)[1].tolist() == [0, 3, 1]
    assert mmcv.nms(boxes[:2] * 0, scores[:2], 0.5)[1].tolist() == [0, 1]  # two points have no overlap ...
    assert mmcv.nms(boxes[:2] * 0, scores[:2], 0.5, offset=1)[1].tolist() == [0]  # ... and two pixels have
    dets, inds = mmcv.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert dets.shape == (0, 5) and inds.shape == (0,)
    with pytest.raises(ValueError, match="offset"):
        mmcv.nms(boxes, scores, 0.5, offset=2)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["linear", "gaussian", "naive"])
def test_soft_nms_decays_from_equality_on(method, offset):
    boxes, scores = make_boxes(40, whole=True), rand(40)
    boxes[1] = boxes[0]
    boxes[1, 3] = boxes[0, 3] = boxes[0, 1] + 11 - offset
    boxes[1, 1] += 5 + 0.5 * (1 - offset)  # half of the first box
    threshold = float(np.float32(iou(boxes[0].tolist(), boxes[1].tolist(), offset)))
    left, expected = {i: s.item() for i, s in enumerate(scores)}, []
    while left:
        best = max(left, key=left.get)
        expected.append((best, left.pop(best)))
        for i in list(left):
            x = float(np.float32(iou(boxes[best].tolist(), boxes[i].tolist(), offset)))
            if method == "gaussian":
                left[i] *= math.exp(-x * x / 0.5)
            elif x >= threshold:
                left[i] *= 1 - x if method == "linear" else 0
            if left[i] < 1e-3:
                del left[i]
    dets, inds = mmcv.soft_nms(boxes, scores, threshold, method=method, offset=offset)
    assert inds.tolist() == [i for i, _ in expected]
    assert_close(dets[:, 4], torch.tensor([s for _, s in expected]), rtol=1e-5, atol=1e-6)
    assert torch.equal(dets[:, :4], boxes[inds])


def test_soft_nms_takes_arrays_and_drops_low_scores():
    boxes, scores = make_boxes(3).numpy(), np.array([0.0, 0.5, 0.2], np.float32)
    dets, inds = mmcv.soft_nms(boxes, scores, min_score=0.3)
    assert isinstance(dets, np.ndarray) and inds.tolist() == [1]
    assert len(mmcv.soft_nms(boxes, scores * 0)[1]) == 0  # mmcv keeps the best box whatever its score


def test_batched_nms_keeps_classes_apart():
    boxes, scores, idxs = make_boxes(80) - 30, rand(80), (rand(80) * 4).long()
    keep = roikit.ops.batched_nms(boxes, scores, idxs, 0.3)
    config = {"type": "nms", "iou_threshold": 0.3}
    dets, inds = mmcv.batched_nms(boxes, scores, idxs, config)
    assert torch.equal(inds, keep) and torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[keep])
    assert config == {"type": "nms", "iou_threshold": 0.3}
    for more, expected in (({"max_num": 5}, keep[:5]), ({"split_thr": 10}, keep),
                           ({"score_threshold": 0.5}, keep[scores[keep] > 0.5]),
                           ({"type": mmcv.nms}, keep),
                           ({"type": lambda b, s, iou_threshold: mmcv.nms(b, s, iou_threshold)}, keep),
                           ({"class_agnostic": True}, roikit.ops.nms(boxes, scores, 0.3))):
        assert torch.equal(mmcv.batched_nms(boxes, scores, idxs, {**config, **more})[1], expected), more
    assert torch.equal(mmcv.batched_nms(boxes, scores, idxs.float(), {"iou_thr": 0.3})[1], keep)
    assert torch.equal(mmcv.batched_nms(boxes, scores, idxs, config, True)[1], roikit.ops.nms(boxes, scores, 0.3))
    assert torch.equal(mmcv.batched_nms(boxes, scores, idxs, None)[1], scores.argsort(descending=True))
    dets, inds = mmcv.batched_nms(boxes[:0], scores[:0], idxs[:0], config)
    assert dets.shape == (0, 5) and inds.shape == (0,)
    with pytest.raises(ValueError, match="nms_quadri"):
        mmcv.batched_nms(boxes, scores, idxs, {"type": "nms_quadri", "iou_threshold": 0.3})


@pytest.mark.parametrize("type_", ["nms", "soft_nms", "nms_rotated"])
def test_batched_nms_of_one_class_for_all_asks_for_no_classes(type_):
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]])
    boxes = torch.cat([boxes, torch.zeros(3, 1)], dim=1) if type_ == "nms_rotated" else boxes
    scores, config = torch.tensor([0.5, 0.75, 0.25]), {"type": type_, "iou_threshold": 0.5, "class_agnostic": True}
    for got, expected in zip(mmcv.batched_nms(boxes, scores, None, config),
                             mmcv.batched_nms(boxes, scores, torch.tensor([0, 1, 2]), config), strict=True):
        assert torch.equal(got, expected)


def test_batched_soft_nms_is_soft_nms_of_each_class():
    boxes, scores, idxs = make_boxes(60), rand(60), (rand(60) * 3).long()
    dets, inds = mmcv.batched_nms(boxes, scores, idxs, {"type": "soft_nms", "iou_threshold": 0.3, "min_score": 0.05})
    assert (dets[1:, 4] <= dets[:-1, 4]).all()
    for value in range(3):
        members = (idxs == value).nonzero().flatten()
        alone, kept = mmcv.soft_nms(boxes[members], scores[members], 0.3, min_score=0.05)
        assert torch.equal(dets[idxs[inds] == value], alone)
        assert torch.equal(inds[idxs[inds] == value], members[kept])
    config = {"type": "soft_nms", "max_num": 7}
    assert torch.equal(mmcv.batched_nms(boxes, scores, idxs, config)[1],
                       mmcv.batched_nms(boxes, scores, idxs, {"type": "soft_nms"})[1][:7])
    assert mmcv.batched_nms(boxes[:0], scores[:0], idxs[:0], {"type": "soft_nms"})[0].shape == (0, 5)


def test_nms_match_names_the_box_that_each_box_fell_to():
    dets = torch.tensor([[0.0, 0, 10, 10, 0.5], [0, 0, 10, 5, 0.9], [20, 20, 30, 30, 0.1], [0, 0, 10, 9, 0.7],
                         [20, 20, 30, 26, 0.05]])
    groups = mmcv.nms_match(dets, 0.5)  # 1 takes 0 by equality, and 3
    assert [g.tolist() for g in groups] == [[1, 3, 0], [2, 4]]
    assert all(g.dtype == torch.int64 for g in groups)
    arrays = mmcv.nms_match(dets.numpy(), 0.5)
    assert [a.tolist() for a in arrays] == [[1, 3, 0], [2, 4]] and isinstance(arrays[0], np.ndarray)
    assert mmcv.nms_match(dets[:0], 0.5) == []


def test_angles_are_radians_and_clockwise():
    boxes = torch.tensor([[50.0, 40.0, 40.0, 10.0, 0.5], [52.0, 41.0, 30.0, 12.0, 0.3]])
    turned = boxes * torch.tensor([1, 1, 1, 1, -180 / math.pi])
    expected = roikit.ops.box_iou_rotated(turned, turned)
    assert_close(mmcv.box_iou_rotated(boxes, boxes), expected)
    assert_close(mmcv.box_iou_rotated(boxes * torch.tensor([1.0, 1, 1, 1, -1]), boxes, clockwise=False)[0, 1],
                 roikit.ops.box_iou_rotated(turned, turned * torch.tensor([1.0, 1, 1, 1, -1]))[0, 1])
    upright = torch.tensor([[5.0, 5.0, 10.0, 4.0, math.pi / 2]])
    assert mmcv.box_iou_rotated(upright, torch.tensor([[5.0, 5.0, 4.0, 10.0, 0.0]])).item() == 1


@pytest.mark.parametrize("mode", ["iou", "iof"])
def test_rotated_overlaps_of_upright_boxes_are_those_of_boxes(mode):
    a, b = make_boxes(150), make_boxes(150)
    turned = [torch.cat([(x[:, :2] + x[:, 2:]) / 2, x[:, 2:] - x[:, :2], torch.zeros(150, 1)], 1) for x in (a, b)]
    every = mmcv.box_iou_rotated(*turned, mode)
    assert every.dtype == torch.float32
    assert_close(every, mmcv.bbox_overlaps(a, b, mode), rtol=1e-4, atol=1e-5)
    assert_close(mmcv.box_iou_rotated(*turned, mode, aligned=True), every.diagonal(), rtol=0, atol=0)
    assert mmcv.box_iou_rotated(turned[0][:0], turned[1][:0], mode, aligned=True).shape == (0,)
    assert mmcv.box_iou_rotated(turned[0][:0], turned[1], mode).shape == (0, 150)
    with pytest.raises(ValueError, match="as many"):
        mmcv.box_iou_rotated(turned[0], turned[1][:3], aligned=True)
    with pytest.raises(ValueError, match="mode"):
        mmcv.box_iou_rotated(*turned, "giou")


def test_rotated_nms():
    boxes = torch.tensor([[5.0, 5.0, 10.0, 10.0, 0.0], [5.0, 2.5, 10.0, 5.0, math.pi], [5.0, 5.0, 9.0, 9.0, 0.2]])
    scores = torch.tensor([0.7, 0.8, 0.9])
    dets, keep = mmcv.nms_rotated(boxes, scores, 0.5)
    assert keep.tolist() == [2, 1]
    assert torch.equal(dets, torch.cat([boxes, scores[:, None]], 1)[keep])
    assert mmcv.nms_rotated(boxes[:2], scores[:2], 0.5)[1].tolist() == [1, 0]  # equality stays
    assert mmcv.nms_rotated(boxes, scores, 0.5, labels=torch.tensor([1, 1, 2]))[1].tolist() == [2, 1, 0]
    config = {"type": "nms_rotated", "iou_threshold": 0.5}
    assert mmcv.batched_nms(boxes, scores, torch.tensor([1, 1, 2]), config)[0].shape == (3, 6)
    assert mmcv.batched_nms(boxes, scores, torch.tensor([1, 1, 2]), config, True)[1].tolist() == [2, 1]
    dets, keep = mmcv.nms_rotated(boxes[:0], scores[:0], 0.5)
    assert dets.shape == (0, 6) and keep.shape == (0,)


@pytest.mark.parametrize("offset", [0, 1])
def test_bbox_overlaps(offset):
    a, b = make_boxes(20, whole=True), make_boxes(20, whole=True)
    expected = torch.tensor([[iou(r.tolist(), s.tolist(), offset) for s in b] for r in a])
    assert_close(mmcv.bbox_overlaps(a, b, offset=offset), expected)
    assert_close(mmcv.bbox_overlaps(a, b, aligned=True, offset=offset), expected.diagonal())
    area = [(a[:, 2] - a[:, 0] + offset) * (a[:, 3] - a[:, 1] + offset),
            (b[:, 2] - b[:, 0] + offset) * (b[:, 3] - b[:, 1] + offset)]
    inter = expected * (area[0][:, None] + area[1]) / (1 + expected)
    inside = torch.where(inter > 0, inter / area[0][:, None], 0)
    assert_close(mmcv.bbox_overlaps(a, b, "iof", offset=offset), inside)
    assert_close(mmcv.bbox_overlaps(a, b, "iof", True, offset), inside.diagonal())


def test_bbox_overlaps_of_nothing():
    none, some = torch.tensor([]), torch.tensor([[0.0, 0, 10, 9]])
    assert mmcv.bbox_overlaps(none, some).shape == (0, 1) and mmcv.bbox_overlaps(some, none).shape == (1, 0)
    assert mmcv.bbox_overlaps(none, none).shape == (0, 0)
    for mode in ("iou", "iof"):
        for aligned in (False, True):
            assert mmcv.bbox_overlaps(some * 0, some * 0, mode, aligned).sum() == 0
    assert mmcv.bbox_overlaps(some * 0, some * 0, offset=1).item() == 1
    assert mmcv.bbox_overlaps(some.half(), some.half()).dtype == torch.float16


def test_sigmoid_focal_loss_has_the_class_as_an_integer():
    logits, target = torch.randn(6, 4, generator=generator).requires_grad_(), torch.tensor([0, 3, 4, 1, 2, 4])
    p, hot = logits.sigmoid(), torch.nn.functional.one_hot(target, 5)[:, :4]
    expected = -(hot * 0.3 * (1 - p) ** 1.5 * p.log() + (1 - hot) * 0.7 * p ** 1.5 * (1 - p).log())
    assert_close(mmcv.sigmoid_focal_loss(logits, target, 1.5, 0.3, None, "none"), expected)
    assert_close(mmcv.sigmoid_focal_loss(logits, target, 1.5, 0.3), expected.sum() / 6)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    rows = torch.tensor([1.0, 4.0, 1.0, 2.0, 3.0, 1.0])[:, None]  # the background has 1
    module = mmcv.SigmoidFocalLoss(1.5, 0.3, weight, "sum")
    assert_close(module(logits, target), (expected * rows).sum())
    assert "weight" in module.state_dict()
    assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (
        mmcv.sigmoid_focal_loss(logits, target, 1.5, 0.3), (expected.sum() / 6))))
    assert mmcv.sigmoid_focal_loss(logits[:0], target[:0]).item() == 0
    for arguments, error in (((logits, target.int()), TypeError), ((logits, target[:3]), ValueError),
                             ((logits, target, 2, 0.25, weight[:2]), ValueError),
                             ((logits, target, 2, 0.25, None, "avg"), ValueError)):
        with pytest.raises(error, match="sigmoid_focal_loss"):
            mmcv.sigmoid_focal_loss(*arguments)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_a_sure_and_right_softmax_has_no_gradient(gamma):
    logits = torch.tensor([[1e4, 0.0]], requires_grad=True)
    mmcv.softmax_focal_loss(logits, torch.tensor([0]), gamma).backward()
    assert not logits.grad.any()


def test_softmax_focal_loss():
    logits, target = torch.randn(5, 4, generator=generator).requires_grad_(), torch.tensor([0, 3, -1, 1, 2])
    p = logits.softmax(1)[torch.arange(5), target.clamp(min=0)]
    expected = torch.where(target < 0, 0, -0.25 * (1 - p) ** 2 * p.log())
    assert_close(mmcv.softmax_focal_loss(logits, target, reduction="none"), expected)
    assert_close(mmcv.softmax_focal_loss(logits, target), expected.sum() / 5)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert_close(mmcv.SoftmaxFocalLoss(2.0, 0.25, weight, "sum")(logits, target),
                 (expected * torch.tensor([1.0, 4.0, 0.0, 2.0, 3.0])).sum())
    assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (
        mmcv.softmax_focal_loss(logits, target), expected.sum() / 5)))
