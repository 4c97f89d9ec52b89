"""Losses: agreement with formulas in float64 and with torchvision's Python, gradients, extremes, compilation."""

import importlib.util

import pytest
import torch

from roikit import ops

BOX_LOSSES = ("generalized_box_iou_loss", "distance_box_iou_loss", "complete_box_iou_loss")
G = torch.Generator


def boxes(n, seed, dtype=torch.float64):
    g = G().manual_seed(seed)
    corner = torch.rand(n, 2, generator=g, dtype=dtype) * 6
    return torch.cat([corner, corner + 1 + 3 * torch.rand(n, 2, generator=g, dtype=dtype)], 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_losses_are_those_of_float32(dtype):
    a, b = boxes(20, 0).to(dtype), boxes(20, 1).to(dtype)
    for name in BOX_LOSSES:
        loss = getattr(ops, name)(a, b)
        assert loss.dtype == torch.float32 and torch.equal(loss, getattr(ops, name)(a.float(), b.float()))


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_box_losses_are_one_less_the_matrix_diagonal(name):
    a, b = boxes(30, 0), boxes(30, 1)
    matrix = getattr(ops, name.removesuffix("_loss"))(a, b)
    loss = getattr(ops, name)(a, b)
    torch.testing.assert_close(loss, 1 - matrix.diagonal(), rtol=0, atol=1e-6)
    torch.testing.assert_close(getattr(ops, name)(a[0], b[0]), loss[0])
    torch.testing.assert_close(getattr(ops, name)(a, b, "sum"), loss.sum())
    torch.testing.assert_close(getattr(ops, name)(a, b, reduction="mean"), loss.mean())


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_box_losses_of_equal_and_of_empty_boxes(name):
    a = boxes(5, 0)
    torch.testing.assert_close(getattr(ops, name)(a, a), torch.zeros(5, dtype=a.dtype), rtol=0, atol=1e-6)
    points = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 3], [0, 0, 3, 0]], requires_grad=True)
    for other in (points.detach(), boxes(3, 1).float()):
        loss = getattr(ops, name)(points, other)
        assert torch.isfinite(loss).all()
        assert torch.isfinite(torch.autograd.grad(loss.sum(), points)[0]).all()


@pytest.mark.parametrize("name", BOX_LOSSES)
def test_the_mean_of_no_boxes_is_0_and_has_a_gradient(name):
    none = torch.empty(0, 4, requires_grad=True)
    loss = getattr(ops, name)(none, torch.empty(0, 4), "mean")
    loss.backward()
    assert loss == 0 and none.grad.shape == (0, 4)


def test_gradients():
    a, b = boxes(5, 0).requires_grad_(), boxes(5, 1).requires_grad_()
    assert torch.autograd.gradcheck(ops.generalized_box_iou_loss, (a, b))
    assert torch.autograd.gradcheck(ops.distance_box_iou_loss, (a, b))
    matrix = ops.complete_box_iou(a, b, 1e-7).diagonal().sum()
    for ours, theirs in zip(torch.autograd.grad(ops.complete_box_iou_loss(a, b).sum(), (a, b)),
                            torch.autograd.grad(-matrix, (a, b)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_losses_compile_whole():
    a, b = boxes(5, 0).requires_grad_(), boxes(5, 1)

    def all_of_them(a, b):
        return sum(getattr(ops, name)(a, b, "sum") for name in BOX_LOSSES)

    eager, compiled = all_of_them(a, b), torch.compile(all_of_them, fullgraph=True)(a, b)
    torch.testing.assert_close(compiled, eager)
    torch.testing.assert_close(torch.autograd.grad(compiled, a), torch.autograd.grad(eager, a))


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_values_and_arguments_are_torchvisions(run_python):
    run_python("""
import inspect, torch
import roikit.compat.torchvision
roikit.compat.torchvision.install()
import torchvision.ops as theirs
import roikit.ops as ours
g = torch.Generator().manual_seed(0)
def boxes(n):
    corner = torch.rand(n, 2, generator=g, dtype=torch.float64) * 6
    return torch.cat([corner, corner + 1 + 3 * torch.rand(n, 2, generator=g, dtype=torch.float64)], 1)
a, b = boxes(50).requires_grad_(), boxes(50)
for name, one, other in (("generalized_box_iou_loss", a, b), ("distance_box_iou_loss", a, b),
                         ("complete_box_iou_loss", a, b)):
    mine, peer = getattr(ours, name), getattr(theirs, name)
    parameters = [[(p.name, p.default) for p in inspect.signature(f).parameters.values()] for f in (mine, peer)]
    assert parameters[0] == parameters[1], parameters
    for reduction in ("none", "mean", "sum"):
        values = [f(one, other, reduction=reduction) for f in (mine, peer)]
        torch.testing.assert_close(*values)
        torch.testing.assert_close(*(torch.autograd.grad(v.sum(), one)[0] for v in values))
for name in ("generalized_box_iou", "distance_box_iou", "complete_box_iou"):
    values = [getattr(module, name)(a, b) for module in (ours, theirs)]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(v.sum(), a)[0] for v in values))
""")


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.complete_box_iou_loss(torch.zeros(2, 4), torch.zeros(3, 4)), ValueError,
     r"complete_box_iou_loss: boxes1 and boxes2 must have one shape, got \(2, 4\) and \(3, 4\)"),
    (lambda: ops.distance_box_iou_loss(torch.zeros(2, 3), torch.zeros(2, 3)), ValueError,
     r"distance_box_iou_loss: boxes1 must have shape \(N, 4\) or \(4,\), got \(2, 3\)"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
