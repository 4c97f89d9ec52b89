"""roikit.compat.mmcv beside mmcv's own Python, where that is importable; run by test_mmcv.py.

In a process of its own, after roikit.compat.mmcv.install(): mmcv's functions then call roikit's stand-in for its
compiled module, so what is compared is what its Python adds: filters, classes, splits, defaults, gradients.
"""

import mmcv.ops as theirs
import torch
from torch.testing import assert_close

import roikit.compat.mmcv as ours

generator = torch.Generator().manual_seed(0)


def rand(*shape):
    return torch.rand(*shape, generator=generator)


def make_boxes(n, size=60.0):
    corner = rand(n, 2) * size
    return torch.cat([corner, corner + rand(n, 2) * size / 2], 1)


def both(name, *arguments):
    his, mine = (getattr(m, name)(*arguments) for m in (theirs, ours))
    his, mine = ([r] if isinstance(r, torch.Tensor) else list(r) for r in (his, mine))
    for a, b in zip(his, mine, strict=True):
        assert type(a) is type(b)
        assert_close(a, b)


BOXES, SCORES, CLASSES = make_boxes(200), rand(200), (rand(200) * 4).long()
ROTATED = torch.cat([BOXES[:, :2], 3 + BOXES[:, 2:] - BOXES[:, :2], rand(200, 1) * 6 - 3], 1)


def suppression():
    for offset in (0, 1):
        both("nms", BOXES, SCORES, 0.4, offset)
        both("nms", BOXES.numpy(), SCORES.numpy(), 0.4, offset, 0.3, 5)
        for method in ("linear", "gaussian", "naive"):
            both("soft_nms", BOXES, SCORES, 0.4, 0.5, 0.01, method, offset)
    both("nms_match", torch.cat([BOXES, SCORES[:, None]], 1), 0.5)
    for config in ({"type": "nms", "iou_threshold": 0.4}, {"iou_thr": 0.4}, {"iou_threshold": 0.4, "max_num": 3},
                   {"iou_threshold": 0.4, "split_thr": 10}, {"iou_threshold": 0.4, "class_agnostic": True},
                   {"type": "soft_nms", "iou_threshold": 0.4},
                   {"type": "soft_nms", "iou_threshold": 0.4, "split_thr": 10}, None):
        both("batched_nms", BOXES, SCORES, CLASSES, config)


def rotated():
    for clockwise in (True, False):
        both("nms_rotated", ROTATED, SCORES, 0.3, None, clockwise)
        both("nms_rotated", ROTATED, SCORES, 0.3, CLASSES, clockwise)
        for aligned in (True, False):
            for mode in ("iou", "iof"):
                both("box_iou_rotated", ROTATED, ROTATED.flip(0), mode, aligned, clockwise)
    both("batched_nms", ROTATED, SCORES, CLASSES, {"type": "nms_rotated", "iou_threshold": 0.3})


def overlaps():
    for aligned in (True, False):
        for mode in ("iou", "iof"):
            for offset in (0, 1):
                both("bbox_overlaps", BOXES, BOXES.flip(0), mode, aligned, offset)


def with_gradient(module, x, other):
    x = x.clone().requires_grad_()
    out = module(x, other)
    return out, torch.autograd.grad((out * torch.arange(1.0, 1 + out.numel()).reshape(out.shape)).mean(), x)[0]


def pooling():
    maps, rois = rand(2, 3, 20, 24), torch.cat([(rand(200, 1) * 2).floor(), BOXES], 1)
    for name, arguments in (("RoIAlign", (3, 0.5, 2, "avg", True)), ("RoIAlign", ((3, 2), 0.5, 0, "avg", False)),
                            ("RoIAlign", ((3, 2),)), ("RoIPool", ((3, 2), 0.5))):
        his, mine = (with_gradient(getattr(m, name)(*arguments), maps, rois) for m in (theirs, ours))
        assert_close(his, mine)
    turned = torch.cat([rois[:, :1], ROTATED], 1)
    for arguments in ((3, 0.5), ((3, 2), 0.5, 2, False, True)):
        his, mine = (with_gradient(m.RoIAlignRotated(*arguments), maps, turned) for m in (theirs, ours))
        assert_close(his, mine)
    his, mine = (with_gradient(m.PrRoIPool((3, 2), 0.5), maps, rois) for m in (theirs, ours))
    assert_close(his, mine)


def deformable():
    x, offset, mask = rand(2, 6, 9, 10), torch.randn(2, 36, 9, 10, generator=generator), rand(2, 18, 9, 10)
    for name, more in (("DeformConv2d", []), ("ModulatedDeformConv2d", [mask]), ("DeformConv2dPack", None),
                       ("ModulatedDeformConv2dPack", None)):
        his, mine = (getattr(m, name)(6, 4, 3, padding=1, groups=2, deform_groups=2) for m in (theirs, ours))
        mine.load_state_dict(his.state_dict())
        found = []
        for module in (his, mine):
            out = module(x) if more is None else module(x, offset, *more)
            found.append([out, *torch.autograd.grad((out * torch.arange(10.0)).sum(), list(module.parameters()))])
        assert_close(*found)


def losses():
    logits, target = torch.randn(20, 5, generator=generator), (rand(20) * 6).long()
    for name, classes, reductions in (("SigmoidFocalLoss", target, ("none", "mean", "sum")),
                                      ("SoftmaxFocalLoss", target - 1, ("mean", "sum"))):
        for weight in (None, rand(5)):
            for reduction in reductions:
                his, mine = (with_gradient(getattr(m, name)(2.0, 0.25, weight, reduction), logits, classes)
                             for m in (theirs, ours))
                assert_close(his, mine)


PARTS = (suppression, rotated, overlaps, pooling, deformable, losses)

if __name__ == "__main__":
    for part in PARTS:
        part()
        print(part.__name__)
