"""RoIAlign with more bins along an axis than the CUDA kernels have places for in shared memory."""

import itertools

import numpy as np
import pytest
import torch

from roikit import kernels, ops
from roikit.reference.roi_align import TOLERANCE

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("size", [(300, 1), (2, 257)])
def test_rois_that_give_0_with_more_bins_than_the_tables_hold(size, device, deterministic):
    rng, limit = np.random.default_rng(0), TOLERANCE["float32"]
    boxes = torch.tensor([[0, 1, 1, float("nan"), 4], [1, 2, 2, 4, 4], [0, float("inf"), 1, 2, 4], [1, 3, 3, 3, 3]])
    if device != "cpu":
        boxes = torch.cat([boxes, torch.tensor([[7.0, 1, 1, 4, 4]])])
    for form, ratio in itertools.product(FORMATS, (-1, 2)):
        x = torch.from_numpy(rng.standard_normal((2, 3, 6, 5), np.float32))
        x = x.contiguous(memory_format=form).requires_grad_()
        rule = {"sampling_ratio": ratio, "aligned": ratio < 0}
        output = ops.roi_align(x, boxes, size, **rule)
        expected = kernels.roi_align(x.detach().numpy(), boxes[:4].numpy(), size, **rule)
        assert (np.abs(output[:4].detach().numpy() - expected) <= 4 * limit).all()
        assert not output[0].any() and not output[2].any() and not output[4:].any()
        grad = torch.ones_like(output)
        wanted = kernels.roi_align_backward(grad[:4].numpy(), boxes[:4].numpy(), x.shape, size, **rule)
        for order in (False, True):
            with deterministic(order):
                gradient, = torch.autograd.grad(output, x, grad, retain_graph=True)
            assert (np.abs(gradient.numpy() - wanted) <= limit * (wanted + 1)).all()


@pytest.mark.parametrize("size, map_size", [((200, 200), (1, 1)), ((255, 255), (1, 1)), ((255, 128), (1, 2))])
def test_tens_of_thousands_of_bins_of_a_map_of_one_or_two_pixels(size, map_size):
    x = np.random.default_rng(0).standard_normal((2, 16, *map_size), np.float32)
    boxes = np.array([[0, 0, 0, 1, 1], [1, 0.25, -1, 2, 2]], np.float32)
    output = ops.roi_align(torch.from_numpy(x), torch.from_numpy(boxes), size, 1.0, 1)
    expected = kernels.roi_align(x, boxes, size, sampling_ratio=1)
    assert expected.any() and (np.abs(output.numpy() - expected) <= 4 * TOLERANCE["float32"]).all()
