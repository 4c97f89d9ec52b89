"""A detector's post-processing compiled by torch on the device, and the autocast rules there."""

import torch

from roikit import ops

from .cases._case import boxes, scores
from .cases._case import rois as rois_of

SIZE = (64, 80)


def candidates(device, n=300):
    g = torch.Generator().manual_seed(1)
    return [x.to(device) for x in (0.2 * torch.randn(n, 4, generator=g), boxes(n, 2), scores(n, 3),
                                   torch.randint(1, 4, (n,), generator=g), torch.rand(n, 1, 14, 14, generator=g))]


def of_fixed_size(deltas, anchors, scores, labels, masks):
    found = ops.clip_boxes_to_image(ops.decode_boxes(deltas, anchors, (10, 10, 5, 5)), SIZE)
    keep, count = ops.nms_padded(found, scores, 0.5, 50)
    keep = keep.clamp(min=0)
    return found[keep], scores[keep], labels[keep], ops.paste_masks(masks[keep], found[keep], SIZE), count


def of_any_size(deltas, anchors, scores, labels, masks):
    found = ops.clip_boxes_to_image(ops.decode_boxes(deltas, anchors, (10, 10, 5, 5)), SIZE)
    keep = ops.batched_nms(found, scores, labels, 0.5)
    return found[keep], scores[keep], labels[keep]


def test_compiled_postprocessing_gives_the_same(device):
    inputs = candidates(device)
    for function in (of_fixed_size, of_any_size):
        torch._dynamo.reset()
        eager, compiled = function(*inputs), torch.compile(function, fullgraph=True)(*inputs)
        for mine, theirs in zip(compiled, eager, strict=True):
            assert mine.device == theirs.device
            torch.testing.assert_close(mine, theirs)


def test_compiled_training_head_gives_the_same(device):
    x = torch.randn(2, 8, 20, 24, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    rois = rois_of(30, 2, 0).to(device)

    def loss(x):
        return (ops.roi_align(x, rois, 5, 0.5, 2, True).square().sum() + ops.roi_pool(x, rois, 3, 0.5).sum()
                + ops.multiscale_roi_align([x, x[..., ::2, ::2]], rois, 3, [0.5, 0.25]).sum())

    torch._dynamo.reset()
    eager, = torch.autograd.grad(loss(x), x)
    compiled, = torch.autograd.grad(torch.compile(loss, fullgraph=True)(x), x)
    torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-4)


def test_autocast_keeps_the_features_dtype_and_makes_boxes_float32(device):
    x = torch.randn(2, 8, 20, 24, generator=torch.Generator().manual_seed(0)).to(device, torch.bfloat16)
    rois = rois_of(30, 2, 0).to(device)
    calls = (lambda x, r: torch.ops.roikit.roi_align(x, r, 0.5, 3, 3, 2, True),
             lambda x, r: torch.ops.roikit.roi_pool(x, r, 0.5, 3, 3)[0],
             lambda x, r: torch.ops.roikit.multiscale_roi_align([x, x], r, [0.5, 0.25], [30.0], 3, 3, 2, False))
    for call in calls:
        with torch.autocast(device, torch.bfloat16):
            half = call(x, rois.bfloat16())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half, call(x, rois.bfloat16().float()))
