"""Tensors on any device, at any address: what vector loads and device switches get wrong."""

import pytest
import torch


def shifted(x):
    """The same tensor one element after an aligned address, where an access of 16 bytes would fault."""
    room = torch.empty(x.numel() + 1, dtype=x.dtype, device=x.device)
    last = x.dim() == 4 and not x.is_contiguous()
    y = room[1:].view(x.permute(0, 2, 3, 1).shape if last else x.shape)
    y = y.permute(0, 3, 1, 2) if last else y
    y.copy_(x.detach())
    assert y.stride() == x.stride() and y.data_ptr() % 16 != 0
    return y.requires_grad_(x.requires_grad)


def test_odd_addresses_give_the_same(case, cases, device):
    inputs = case.inputs(device)
    expected = cases.on_host(case.call(*inputs))
    cases.assert_same(case, cases.on_host(case.call(*(shifted(x) for x in inputs))), expected)


def test_odd_addresses_in_the_deterministic_gradients(gradient_case, cases, device, deterministic):
    inputs = gradient_case.inputs(device)
    expected = cases.on_host(gradient_case.call(*inputs))
    cases.assert_same(gradient_case, cases.on_host(gradient_case.call(*(shifted(x) for x in inputs))), expected)


def test_slices_of_wider_tensors_give_the_same(case, cases, device):
    """Rows of a wider tensor: no op may take strides for granted."""
    inputs = case.inputs(device)
    expected = cases.on_host(case.call(*inputs))
    wide = []
    for x in inputs:
        room = torch.empty((*x.shape[:-1], x.shape[-1] + 3), dtype=x.dtype, device=x.device)
        room[..., 1:1 + x.shape[-1]] = x.detach()
        wide.append(room[..., 1:1 + x.shape[-1]].requires_grad_(x.requires_grad))
    cases.assert_same(case, cases.on_host(case.call(*wide)), expected)


def test_the_current_device_stays(gpu, case):
    before = torch.cuda.current_device()
    result = case.call(*case.inputs(gpu))
    assert torch.cuda.current_device() == before
    for x in result if isinstance(result, list) else [result]:
        assert not isinstance(x, torch.Tensor) or x.device == torch.device("cuda", before)


def test_tensors_on_another_device(gpu, case, cases):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    expected = cases.on_host(case.call(*case.inputs("cuda:0")))
    with torch.cuda.device(0):
        result = case.call(*case.inputs("cuda:1"))
        assert torch.cuda.current_device() == 0
    for x in result if isinstance(result, list) else [result]:
        assert not isinstance(x, torch.Tensor) or x.device.index == 1
    cases.assert_same(case, cases.on_host(result), expected)


def test_results_are_the_cpus(case, cases, device):
    host, there = case.inputs("cpu", 5), case.inputs(device, 5)
    cases.assert_same(case, cases.on_host(case.call(*there)), cases.on_host(case.call(*host)))
