"""Losses: agreement with formulas in float64 and with torchvision's Python, gradients, extremes, compilation."""

import importlib.util
import math

import pytest
import torch

from roikit import ops

BOX_LOSSES = ("generalized_box_iou_loss", "distance_box_iou_loss", "complete_box_iou_loss")
G = torch.Generator


def boxes(n, seed, dtype=torch.float64):
    g = G().manual_seed(seed)
    corner = torch.rand(n, 2, generator=g, dtype=dtype) * 6
    return torch.cat([corner, corner + 1 + 3 * torch.rand(n, 2, generator=g, dtype=dtype)], 1)


def logits(n, seed=0, dtype=torch.float64):
    g = G().manual_seed(seed)
    return torch.randn(n, generator=g, dtype=dtype) * 3, (torch.rand(n, generator=g) < 0.3).to(dtype)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 3.5])
@pytest.mark.parametrize("alpha", [0.25, -1, 0, 1])
def test_focal_loss_is_the_papers_formula(alpha, gamma):
    x, t = logits(200)
    found = ops.sigmoid_focal_loss(x, t, alpha, gamma)
    for value, logit, target in zip(found.tolist(), x.tolist(), t.tolist(), strict=True):
        p = 1 / (1 + math.exp(-logit if target else logit))
        weight = 1 if alpha < 0 else alpha if target else 1 - alpha
        assert value == pytest.approx(-weight * (1 - p) ** gamma * math.log(p), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_focal_loss_of_extreme_logits_is_finite_with_finite_gradients(dtype, gamma):
    x = torch.tensor([-3e4, -200, -90, 0, 90, 200, 3e4], dtype=dtype).repeat(2).requires_grad_()
    t = torch.tensor([0, 1], dtype=dtype).repeat_interleave(7)
    loss = ops.sigmoid_focal_loss(x, t, gamma=gamma)
    loss.sum().backward()
    assert loss.dtype == dtype and torch.isfinite(loss).all() and torch.isfinite(x.grad).all()
    assert (loss[:2] <= 1e-80).all() and (loss[-2:] <= 1e-80).all()  # sure and right
    assert loss[6] == torch.tensor(0.75 * 3e4).to(dtype) and loss[7] == torch.tensor(0.25 * 3e4).to(dtype)
    torch.testing.assert_close(x.grad[6], torch.tensor(0.75).to(dtype))


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_largest_logits_give_no_nan(dtype, gamma):
    most = torch.finfo(dtype).max
    x = torch.tensor([-most, -most / 2, most / 2, most], dtype=dtype).repeat(3)
    t = torch.tensor([0, 1, 0.5], dtype=dtype).repeat_interleave(4)
    sure = torch.tensor([True, True, False, False, False, False, True, True])
    for wanted in (slice(0, 8), slice(0, 12)):  # loss and slope taken together; the plain formula
        logits = x[wanted].clone().requires_grad_()
        loss = ops.sigmoid_focal_loss(logits, t[wanted], gamma=gamma)
        loss.sum().backward()
        assert not loss.isnan().any() and logits.grad.isfinite().all()
        assert not loss[:8][sure].any() and not logits.grad[:8][sure].any() and logits.grad[:8][~sure].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_losses_are_those_of_float32(dtype):
    x, t = (v.to(dtype) for v in logits(100))
    assert torch.equal(ops.sigmoid_focal_loss(x, t), ops.sigmoid_focal_loss(x.float(), t.float()).to(dtype))
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
    x, t = logits(8)
    for gamma in (0, 0.5, 2, 3):
        assert torch.autograd.gradcheck(lambda x, gamma=gamma: ops.sigmoid_focal_loss(x, t, gamma=gamma),
                                        x.clone().requires_grad_())
    matrix = ops.complete_box_iou(a, b, 1e-7).diagonal().sum()
    for ours, theirs in zip(torch.autograd.grad(ops.complete_box_iou_loss(a, b).sum(), (a, b)),
                            torch.autograd.grad(-matrix, (a, b)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("gamma", [0, 0.5, 2, 3])
@pytest.mark.parametrize("alpha", [0.25, -1])
def test_focal_loss_of_certain_targets_is_that_of_targets_between(alpha, gamma):
    x, t = logits(200)
    x.requires_grad_()
    certain = ops.sigmoid_focal_loss(x, t, alpha, gamma)
    between = ops.sigmoid_focal_loss(x, t.requires_grad_(), alpha, gamma)
    torch.testing.assert_close(certain, between)
    torch.testing.assert_close(*(torch.autograd.grad(loss.sum(), x)[0] for loss in (certain, between)))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16, torch.float64])
def test_focal_loss_takes_certain_targets_of_any_dtype(dtype):
    x, t = logits(50, dtype=torch.float32)
    assert torch.equal(ops.sigmoid_focal_loss(x, t.to(dtype)), ops.sigmoid_focal_loss(x, t))


def test_focal_loss_in_pieces(monkeypatch):
    x, t = (a.reshape(40, 30).T for a in logits(1200))
    values = []
    for piece in (7, 10_000):
        monkeypatch.setattr("roikit.ops.losses.PIECE", piece)
        given = x.detach().requires_grad_()
        loss = ops.sigmoid_focal_loss(given, t)
        values.append((loss, *torch.autograd.grad((loss * x).sum(), given), ops.sigmoid_focal_loss(x, t)))
    for few, many in zip(*values, strict=True):
        assert few.shape == (30, 40)
        torch.testing.assert_close(few, many, rtol=1e-14, atol=0)


def test_focal_loss_under_transforms():
    x, t = logits(6)
    slope = torch.autograd.functional.jacobian(lambda x: ops.sigmoid_focal_loss(x, t), x).diagonal()
    curve = torch.autograd.functional.hessian(lambda x: ops.sigmoid_focal_loss(x, t).sum(), x)
    assert torch.autograd.gradgradcheck(lambda x: ops.sigmoid_focal_loss(x, t), x.clone().requires_grad_())
    torch.testing.assert_close(torch.func.grad(lambda x: ops.sigmoid_focal_loss(x, t).sum())(x), slope)
    torch.testing.assert_close(torch.vmap(torch.func.grad(ops.sigmoid_focal_loss))(x, t), slope)
    torch.testing.assert_close(torch.func.hessian(lambda x: ops.sigmoid_focal_loss(x, t).sum())(x), curve)
    torch.testing.assert_close(torch.func.jvp(lambda x: ops.sigmoid_focal_loss(x, t), (x,), (t,))[1], slope * t)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x.clone().requires_grad_(), t)
        found = torch.autograd.forward_ad.unpack_dual(ops.sigmoid_focal_loss(dual, t)).tangent
    torch.testing.assert_close(found, slope * t)


def test_losses_compile_whole():
    a, b = boxes(5, 0).requires_grad_(), boxes(5, 1)
    x, t = logits(8)
    x.requires_grad_()

    def all_of_them(a, b, x, t):
        return sum(getattr(ops, name)(a, b, "sum") for name in BOX_LOSSES) + ops.sigmoid_focal_loss(x, t).sum()

    eager, compiled = all_of_them(a, b, x, t), torch.compile(all_of_them, fullgraph=True)(a, b, x, t)
    torch.testing.assert_close(compiled, eager)
    for ours, plain in zip(torch.autograd.grad(compiled, (a, x)), torch.autograd.grad(eager, (a, x)), strict=True):
        torch.testing.assert_close(ours, plain)


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
x, t = torch.randn(50, generator=g, dtype=torch.float64) * 4, (torch.rand(50, generator=g) < 0.4).double()
for name, one, other in (("sigmoid_focal_loss", x.requires_grad_(), t), ("generalized_box_iou_loss", a, b),
                         ("distance_box_iou_loss", a, b), ("complete_box_iou_loss", a, b)):
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
    (lambda: ops.sigmoid_focal_loss(torch.zeros(2), torch.zeros(3)), ValueError,
     r"sigmoid_focal_loss: targets must have the shape of inputs, \(2,\), got \(3,\)"),
    (lambda: ops.sigmoid_focal_loss(torch.zeros(2).long(), torch.zeros(2)), TypeError,
     "sigmoid_focal_loss: inputs must be float16"),
    (lambda: ops.sigmoid_focal_loss(torch.zeros(2), torch.zeros(2), alpha=2), ValueError,
     r"sigmoid_focal_loss: alpha must be in \[0, 1\], or -1 for none, got 2"),
    (lambda: ops.sigmoid_focal_loss(torch.zeros(2), torch.zeros(2), gamma=-1), ValueError,
     "sigmoid_focal_loss: gamma must be finite and at least 0, got -1"),
    (lambda: ops.sigmoid_focal_loss(torch.zeros(2), torch.zeros(2), reduction="max"), ValueError,
     "sigmoid_focal_loss: reduction must be one of 'none', 'mean', 'sum', got 'max'"),
    (lambda: ops.complete_box_iou_loss(torch.zeros(2, 4), torch.zeros(3, 4)), ValueError,
     r"complete_box_iou_loss: boxes1 and boxes2 must have one shape, got \(2, 4\) and \(3, 4\)"),
    (lambda: ops.distance_box_iou_loss(torch.zeros(2, 3), torch.zeros(2, 3)), ValueError,
     r"distance_box_iou_loss: boxes1 must have shape \(N, 4\) or \(4,\), got \(2, 3\)"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
