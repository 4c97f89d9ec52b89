"""The two gradients of the RoI ops: the deterministic one repeats its bits, the fast one agrees with the CPU's."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import ops
from roikit.testing import strategies as some

RUNS = 100
FORMATS = [torch.contiguous_format, torch.channels_last]


def digest(tensors):
    h = hashlib.sha256()
    for t in tensors:
        t = t.contiguous()
        h.update((t if t.dtype in (torch.float32, torch.float64) else t.float()).numpy().tobytes())
    return h.hexdigest()


def test_a_hundred_runs_have_one_hash(gradient_case, cases, device, deterministic):
    inputs = gradient_case.inputs(device)
    runs = RUNS if device == "cuda" else 2
    assert len({digest(cases.on_host(gradient_case.call(*inputs))) for _ in range(runs)}) == 1


def test_crowded_pixels_have_one_hash_too(device, deterministic):
    """Thousands of RoIs on the same few pixels: where atomics would differ, and where a tile's list is longest."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(1, 8, 30, 30, generator=g).to(device).requires_grad_()
    corner = 10 + torch.rand(3000, 2, generator=g)
    rois = torch.cat([torch.zeros(3000, 1), corner, corner + 3 + torch.rand(3000, 2, generator=g)], 1).to(device)
    grad = torch.randn(3000, 8, 3, 3, generator=g).to(device)
    for op in (ops.roi_align, ops.roi_pool):
        seen = {digest([torch.autograd.grad(op(x, rois, 3), x, grad)[0].cpu()]) for _ in range(10)}
        assert len(seen) == 1, op.__name__


def test_both_forms_agree_with_the_cpu(gradient_case, cases, device):
    host, there = gradient_case.inputs("cpu", 3), gradient_case.inputs(device, 3)
    expected = cases.on_host(gradient_case.call(*host))
    before = torch.are_deterministic_algorithms_enabled()
    try:
        for deterministic in (False, True):
            torch.use_deterministic_algorithms(deterministic, warn_only=True)
            cases.assert_same(gradient_case, cases.on_host(gradient_case.call(*there)), expected)
    finally:
        torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("op", ["roi_align", "roi_pool"])
@given(data=st.data(), size=st.integers(1, 3), ratio=st.sampled_from([-1, 2]), aligned=st.booleans(),
       form=st.sampled_from(FORMATS))
def test_gradients_of_awkward_boxes_agree_with_the_cpu(op, dtype, deterministic, device, data, size, ratio, aligned,
                                                       form):
    maps = data.draw(some.feature_maps(dtype=np.float32))
    boxes = data.draw(some.rois(len(maps), as_list=False))
    rule = (size, 0.5, ratio, aligned) if op == "roi_align" else (size, 0.5)
    found = []
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    try:
        for place in ("cpu", device):
            x = torch.from_numpy(maps).to(place, dtype).contiguous(memory_format=form).requires_grad_()
            output = getattr(ops, op)(x, torch.from_numpy(boxes).to(place), *rule)
            grad = torch.from_numpy(np.random.default_rng(0).integers(-8, 9, output.shape) / 8).to(place, dtype)
            output.backward(grad)
            assert x.grad.is_contiguous(memory_format=form) or x.numel() == 0
            found.append((output.detach().cpu().double(), x.grad.cpu().double(), grad.abs().sum().item()))
    finally:
        torch.use_deterministic_algorithms(False)
    (output, gradient, scale), (mine, my_gradient, _) = found
    unit = {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float32: 2e-6, torch.float64: 1e-13}[dtype]
    torch.testing.assert_close(mine, output, rtol=unit, atol=8 * unit)
    torch.testing.assert_close(my_gradient, gradient, rtol=unit, atol=unit * (1 + scale))
