"""Tensors of more than 2^31 elements on a GPU: 64-bit indices. Run with -m big."""

import pytest
import torch

from roikit import ops

pytestmark = pytest.mark.big
GIB = 1 << 30


@pytest.fixture(autouse=True)
def room(gpu):
    """Skips where the device has not 40 GiB free; gives the memory back at the end."""
    free = torch.cuda.mem_get_info()[0]
    if free < 40 * GIB:
        pytest.skip(f"needs 40 GiB of free GPU memory, there are {free / GIB:.0f}")
    yield
    torch.cuda.empty_cache()


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("op", ["roi_align", "roi_pool"])
def test_maps(gpu, op, last):
    """The last of 33 images gives what it gives alone; its gradient lies where it belongs."""
    form = torch.channels_last if last else torch.contiguous_format
    x = torch.zeros(33, 256, 512, 512, dtype=torch.float16, device=gpu).contiguous(memory_format=form)
    x[32] = torch.randn(256, 512, 512, device=gpu).half()
    alone = x[32:].clone().requires_grad_()
    rois = torch.tensor([[32.0, 3, 5, 60, 50], [32, 400, 450, 511, 511]], device=gpu)
    first = rois.clone()
    first[:, 0] = 0
    function = getattr(ops, op)
    output, expected = function(x.requires_grad_(), rois, 3), function(alone, first, 3)
    assert torch.equal(output, expected)
    output.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(x.grad[32:], alone.grad, rtol=2e-3, atol=2e-3)
    assert not x.grad[:32].any()


def test_outputs(gpu):
    """More than 2^31 elements in the result of roi_align: its last rows are those of a call of their own."""
    x = torch.randn(1, 1024, 20, 20, device=gpu).half()
    rois = torch.tensor([[0.0, 1, 1, 9, 9]], device=gpu).repeat(43_000, 1)
    rois[-2:, 1:] = torch.tensor([[2.0, 3, 15, 17], [0, 0, 19, 5]], device=gpu)
    assert torch.equal(ops.roi_align(x, rois, 7)[-2:], ops.roi_align(x, rois[-2:], 7))


def test_pairs(gpu):
    """50,000 x 50,000 IoUs: 2.5e9 elements."""
    g = torch.Generator(gpu).manual_seed(0)
    corner = torch.rand(50_000, 2, device=gpu, generator=g) * 100
    boxes = torch.cat([corner, corner + 1 + torch.rand(50_000, 2, device=gpu, generator=g) * 20], 1)
    iou = ops.box_iou(boxes, boxes)
    assert torch.equal(iou[-3:], ops.box_iou(boxes[-3:], boxes)) and torch.equal(iou[:3], ops.box_iou(boxes[:3], boxes))


def test_images(gpu):
    """2,200 pasted images of 1000 x 1000: 2.2e9 pixels."""
    g = torch.Generator(gpu).manual_seed(0)
    masks = torch.rand(2200, 14, 14, device=gpu, generator=g)
    corner = torch.rand(2200, 2, device=gpu, generator=g) * 800
    boxes = torch.cat([corner, corner + 20 + torch.rand(2200, 2, device=gpu, generator=g) * 150], 1)
    pasted = ops.paste_masks(masks, boxes, (1000, 1000))
    assert torch.equal(pasted[-3:], ops.paste_masks(masks[-3:], boxes[-3:], (1000, 1000)))
    assert torch.equal(pasted[:3], ops.paste_masks(masks[:3], boxes[:3], (1000, 1000)))


def test_bitmaps(gpu):
    """Targets from the last of 2,200 bitmaps of 1000 x 1000."""
    masks = torch.zeros(2200, 1000, 1000, dtype=torch.uint8, device=gpu)
    masks[-1, 300:600, 200:700] = 1
    boxes = torch.tensor([[150.0, 250, 650, 700]], device=gpu)
    there = ops.mask_targets(masks, boxes, torch.tensor([2199], device=gpu), 14)
    assert there.any() and torch.equal(there, ops.mask_targets(masks[-1:], boxes, torch.tensor([0], device=gpu), 14))
