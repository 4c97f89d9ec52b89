"""Indices on the device that name nothing: zeros and no gradient, or with ROIKIT_DEBUG=1 an error that names the op."""

import pytest
import torch

from roikit import ops

WRONG = [-1.0, 2.0, 0.5, float("nan"), float("inf"), -float("inf"), 1e30, 2.0**31, 2.0**63]
OPS = {
    "roi_align": lambda x, rois: ops.roi_align(x, rois, 3, 0.5, 2),
    "roi_align adaptive": lambda x, rois: ops.roi_align(x, rois, 3, 0.5),
    "roi_align max": lambda x, rois: ops.roi_align(x, rois, 3, 0.5, reduce="max"),
    "roi_pool": lambda x, rois: ops.roi_pool(x, rois, 3, 0.5),
    "multiscale_roi_align": lambda x, rois: ops.multiscale_roi_align([x, x], rois, 3, [0.5, 0.25], canonical_scale=8,
                                                                     canonical_level=2),
}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("fixed_order", [False, True])
def test_a_batch_index_that_names_no_image_gives_zeros(gpu, op, last, fixed_order):
    torch.use_deterministic_algorithms(fixed_order, warn_only=True)
    try:
        form = torch.channels_last if last else torch.contiguous_format
        x = torch.rand(2, 8, 9, 11).add(1).to(gpu).contiguous(memory_format=form).requires_grad_()
        box = torch.tensor([2.0, 2, 15, 15])
        good, bad = torch.tensor([[0.0, *box], [1.0, *box]]), torch.tensor([[w, *box] for w in WRONG])
        rois = torch.cat([good[:1], bad, good[1:]]).to(gpu)
        output = OPS[op](x, rois)
        gradient, = torch.autograd.grad(output.sum(), x)
        expected = OPS[op](x, good.to(gpu))
        wanted, = torch.autograd.grad(expected.sum(), x)
    finally:
        torch.use_deterministic_algorithms(False)
    assert not output[1:-1].any()
    torch.testing.assert_close(output[[0, -1]], expected)
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("op", OPS)
def test_boxes_that_are_not_finite_or_huge_do_no_harm(op, device):
    x = torch.rand(2, 8, 9, 11).to(device).requires_grad_()
    values = [float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e30, -1e9, 2.0**31, 0.0, 5.0]
    g = torch.Generator().manual_seed(0)
    which = torch.randint(0, len(values), (300, 4), generator=g)
    rois = torch.cat([torch.zeros(300, 1), torch.tensor(values)[which]], 1).to(device)
    output = OPS[op](x, rois)
    gradient, = torch.autograd.grad(output.sum(), x)
    finite = rois[:, 1:].isfinite().all(1)
    assert not output[~finite].any() and output.isfinite().all() and gradient.isfinite().all()


def test_a_match_that_names_no_mask_gives_zeros(gpu):
    masks = torch.ones(2, 20, 30, dtype=torch.uint8, device=gpu)
    matched = torch.tensor([0, -1, 2, 2**40, -2**40, 1], device=gpu)
    boxes = torch.tensor([[1.0, 1, 9, 9]]).repeat(6, 1).to(gpu)
    for rule in ("soft", "binary"):
        targets = ops.mask_targets(masks, boxes, matched, 4, rule=rule)
        assert targets[[0, 5]].all() and not targets[1:5].any()


def test_awkward_boxes_do_no_harm_to_the_others(device):
    values = torch.tensor([float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 1e9, 0.0, 5.0, 12.0])
    g = torch.Generator().manual_seed(0)
    boxes = values[torch.randint(0, len(values), (400, 4), generator=g)].to(device)
    scores = torch.rand(400, generator=g).to(device)
    masks = torch.rand(400, 7, 7, generator=g).to(device)
    ops.nms(boxes, scores, 0.5), ops.batched_nms(boxes, scores, torch.arange(400, device=device) % 3, 0.5)
    ops.box_iou(boxes, boxes), ops.match_boxes(boxes, boxes[:50], 0.7, 0.3)
    ops.encode_boxes(boxes, boxes.flip(0)), ops.decode_boxes(boxes, boxes.flip(0))
    ops.paste_masks(masks, boxes, (30, 40)), ops.paste_masks_rle(masks, boxes, (30, 40))
    ops.mask_targets(masks > 0.5, boxes, torch.arange(400, device=device), 4)
    if device == "cuda":
        torch.cuda.synchronize()


DEBUG = """
import torch
from roikit import ops
x, masks = torch.rand(2, 4, 9, 9, device="cuda"), torch.ones(2, 9, 9, dtype=torch.uint8, device="cuda")
rois = torch.tensor([[0.0, 1, 1, 5, 5], [2.0, 1, 1, 5, 5]], device="cuda")
calls = {
    "roi_align": lambda: ops.roi_align(x, rois, 2),
    "roi_pool": lambda: ops.roi_pool(x, rois, 2),
    "multiscale_roi_align": lambda: ops.multiscale_roi_align([x, x], rois, 2, [1.0, 0.5]),
    "mask_targets": lambda: ops.mask_targets(masks, rois[:, 1:], torch.tensor([0, 2], device="cuda"), 3),
}
for name, call in calls.items():
    try:
        call()
        print(name, "no error")
    except IndexError as error:
        print(name, error)
"""


def test_debug_mode_raises_and_names_the_op(gpu, run_python, monkeypatch):
    monkeypatch.setenv("ROIKIT_DEBUG", "1")
    lines = dict(line.split(" ", 1) for line in run_python(DEBUG).splitlines())
    for name in ("roi_align", "roi_pool", "multiscale_roi_align"):
        op = "roi_align" if name == "multiscale_roi_align" and lines[name].startswith("roi_align") else name
        assert lines[name].startswith(f"{op}: boxes must have a whole batch index in [0, 2), got 2.0"), lines
    assert lines["mask_targets"].startswith("mask_targets: matched must lie in [0, 2), got 2"), lines
