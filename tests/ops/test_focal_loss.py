"""sigmoid_focal_loss on tensors: agreement with the kernels and with torchvision's Python, gradients, transforms."""

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.reference.focal_loss import TOLERANCE

REDUCTIONS = ("none", "mean", "sum")


def logits(n, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator=g, dtype=dtype) * 3, (torch.rand(n, generator=g) < 0.3).to(dtype)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["float32", "float64"]), st.sampled_from([0, 0.5, 2, 3]),
       st.sampled_from([0.25, -1]), st.sampled_from(REDUCTIONS))
def test_agrees_with_the_reference(seed, dtype, gamma, alpha, reduction):
    rng = np.random.default_rng(seed)
    x, t = rng.normal(0, 4, (3, 7)).astype(dtype), rng.choice([0, 1, 0.25], (3, 7)).astype(dtype)
    grad = rng.normal(size=(3, 7) if reduction == "none" else ()).astype(dtype)
    leaf, args = torch.from_numpy(x).requires_grad_(), (alpha, gamma, reduction)
    loss = ops.sigmoid_focal_loss(leaf, torch.from_numpy(t), *args)
    near = {"rtol": 30 * TOLERANCE[dtype], "atol": 30 * TOLERANCE[dtype]}
    np.testing.assert_allclose(loss.detach(), reference.sigmoid_focal_loss(x, t, *args), **near)
    slope, = torch.autograd.grad(loss, leaf, torch.from_numpy(np.asarray(grad)))
    np.testing.assert_allclose(slope, reference.sigmoid_focal_loss_backward(grad, x, t, *args), **near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [0, 1, 511, 513, 262_145, 300_001])
def test_the_bits_of_the_kernels_at_every_size(n, dtype):
    x, t = logits(n, dtype=dtype)
    for gamma in (0, 2, 1.5):
        for reduction in ("none", "sum"):
            leaf = x.clone().requires_grad_()
            loss = ops.sigmoid_focal_loss(leaf, t, gamma=gamma, reduction=reduction)
            expected = kernels.sigmoid_focal_loss(x.numpy(), t.numpy(), gamma=gamma, reduction=reduction)
            np.testing.assert_array_equal(loss.detach().numpy(), expected)
            assert torch.equal(ops.sigmoid_focal_loss(x, t, gamma=gamma, reduction=reduction), loss.detach())
            loss.sum().backward()
            slope = kernels.sigmoid_focal_loss_backward(np.ones(loss.shape), x.numpy(), t.numpy(), gamma=gamma,
                                                        reduction=reduction)
            np.testing.assert_array_equal(leaf.grad.numpy(), slope)


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_logits_are_finite_with_finite_gradients(dtype, gamma):
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
    for of_targets in (False, True):  # loss and slope taken together; the plain formula
        given = x.clone().requires_grad_()
        loss = ops.sigmoid_focal_loss(given, t.clone().requires_grad_(of_targets), gamma=gamma)
        loss.sum().backward()
        assert not loss.isnan().any() and given.grad.isfinite().all()
        assert not loss[:8][sure].any() and not given.grad[:8][sure].any() and given.grad[:8][~sure].all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_computed_in_float32(dtype):
    x, t = (v.to(dtype) for v in logits(100))
    for reduction in REDUCTIONS:
        given, wide = x.clone().requires_grad_(), x.float().requires_grad_()
        loss, expected = (ops.sigmoid_focal_loss(a, t, reduction=reduction) for a in (given, wide))
        assert loss.dtype == dtype and torch.equal(loss, expected.to(dtype))
        slopes = [torch.autograd.grad(a.sum(), b)[0].to(dtype) for a, b in ((loss, given), (expected, wide))]
        assert torch.equal(*slopes)


def test_gradients():
    x, t = logits(8)
    t[3] = 0.3
    for gamma in (0, 0.5, 2, 3):
        for reduction in REDUCTIONS:
            assert torch.autograd.gradcheck(
                lambda x, g=gamma, r=reduction: ops.sigmoid_focal_loss(x, t, gamma=g, reduction=r),
                x.clone().requires_grad_())
    for reduction in REDUCTIONS:
        assert torch.autograd.gradgradcheck(lambda x, r=reduction: ops.sigmoid_focal_loss(x, t, reduction=r),
                                            x.clone().requires_grad_())
    assert torch.autograd.gradcheck(ops.sigmoid_focal_loss, (x.clone().requires_grad_(), t.clone().requires_grad_()))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_the_gradient_may_be_asked_for_again(reduction):
    x, t = logits(700, dtype=torch.float32)
    x.requires_grad_()
    loss = ops.sigmoid_focal_loss(x, t, reduction=reduction).sum()
    first, = torch.autograd.grad(loss, x, retain_graph=True)
    kept = first.clone()
    twice, = torch.autograd.grad(2 * loss, x, retain_graph=True)
    (loss * 1).backward(retain_graph=True)
    loss.backward()
    assert torch.equal(first, kept) and torch.equal(twice, 2 * kept) and torch.equal(x.grad, 2 * kept)


@pytest.mark.parametrize("gamma", [0, 0.5, 2, 3])
@pytest.mark.parametrize("alpha", [0.25, -1])
def test_it_is_the_plain_formula(alpha, gamma):
    x, t = logits(200)
    t[:50] /= 3
    x.requires_grad_()
    fused = ops.sigmoid_focal_loss(x, t, alpha, gamma)
    plain = ops.sigmoid_focal_loss(x, t.requires_grad_(), alpha, gamma)
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(*(torch.autograd.grad(loss.sum(), x)[0] for loss in (fused, plain)))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float16, torch.float64])
def test_targets_of_any_dtype(dtype):
    x, t = logits(50, dtype=torch.float32)
    assert torch.equal(ops.sigmoid_focal_loss(x, t.to(dtype)), ops.sigmoid_focal_loss(x, t))


def test_any_shape_and_strides():
    x, t = (a.reshape(40, 30).T for a in logits(1200))
    leaf = x.detach().requires_grad_()
    loss = ops.sigmoid_focal_loss(leaf, t)
    loss.backward(x)
    flat = x.reshape(-1).clone().requires_grad_()
    expected = ops.sigmoid_focal_loss(flat, t.reshape(-1))
    expected.backward(flat.detach())
    assert torch.equal(loss, expected.view(30, 40)) and torch.equal(leaf.grad, flat.grad.view(30, 40))
    for shape in ((), (2, 3, 1, 2, 5, 4)):
        assert ops.sigmoid_focal_loss(torch.zeros(shape), torch.zeros(shape)).shape == shape


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_of_nothing(reduction):
    none = torch.empty(0, 4, requires_grad=True)
    loss = ops.sigmoid_focal_loss(none, torch.empty(0, 4), reduction=reduction)
    loss.sum().backward()
    assert loss.sum() == 0 and none.grad.shape == (0, 4)


def test_transforms():
    x, t = logits(6)
    slope = torch.autograd.functional.jacobian(lambda x: ops.sigmoid_focal_loss(x, t), x).diagonal()
    curve = torch.autograd.functional.hessian(lambda x: ops.sigmoid_focal_loss(x, t).sum(), x)
    torch.testing.assert_close(torch.func.grad(lambda x: ops.sigmoid_focal_loss(x, t).sum())(x), slope)
    torch.testing.assert_close(torch.vmap(torch.func.grad(ops.sigmoid_focal_loss))(x, t), slope)
    torch.testing.assert_close(torch.func.hessian(lambda x: ops.sigmoid_focal_loss(x, t).sum())(x), curve)
    torch.testing.assert_close(torch.func.jvp(lambda x: ops.sigmoid_focal_loss(x, t), (x,), (t,))[1], slope * t)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x.clone().requires_grad_(), t)
        found = torch.autograd.forward_ad.unpack_dual(ops.sigmoid_focal_loss(dual, t)).tangent
    torch.testing.assert_close(found, slope * t)
    leaf = x.clone().requires_grad_()
    batch = torch.autograd.grad(ops.sigmoid_focal_loss(leaf, t), leaf, torch.eye(6, dtype=x.dtype),
                                is_grads_batched=True)[0]
    torch.testing.assert_close(batch.diagonal(), slope)


def test_registration():
    x, t = logits(30)
    for flags in ((False, False), (True, True)):
        torch.library.opcheck(torch.ops.roikit.sigmoid_focal_loss, (x.view(5, 6), t.view(5, 6), 0.25, 2.0, *flags))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_compiled_code_gives_the_same_forward_and_backward(reduction):
    x, t = logits(8)
    x.requires_grad_()

    def total(x, t):
        return ops.sigmoid_focal_loss(x, t, reduction=reduction).square().sum()

    torch._dynamo.reset()
    losses = [f(x, t) for f in (torch.compile(total, fullgraph=True), total)]
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in losses))


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed")
def test_values_and_arguments_are_torchvisions(run_python):
    run_python("""
import inspect, torch
import roikit.compat.torchvision
roikit.compat.torchvision.install()
import torchvision.ops as theirs
import roikit.ops as ours
g = torch.Generator().manual_seed(0)
x, t = torch.randn(50, generator=g, dtype=torch.float64) * 4, (torch.rand(50, generator=g) < 0.4).double()
x.requires_grad_()
mine, peer = ours.sigmoid_focal_loss, theirs.sigmoid_focal_loss
parameters = [[(p.name, p.default) for p in inspect.signature(f).parameters.values()] for f in (mine, peer)]
assert parameters[0] == parameters[1], parameters
for reduction in ("none", "mean", "sum"):
    values = [f(x, t, reduction=reduction) for f in (mine, peer)]
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*(torch.autograd.grad(v.sum(), x)[0] for v in values))
""")


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.sigmoid_focal_loss(torch.zeros(2), torch.zeros(3)), ValueError,
     r"targets must have the shape of inputs, \(2,\), got \(3,\)"),
    (lambda: ops.sigmoid_focal_loss(torch.zeros(2).long(), torch.zeros(2)), TypeError, "inputs must be float16"),
    (lambda: ops.sigmoid_focal_loss(torch.zeros(2), torch.zeros(2), alpha=2), ValueError,
     r"alpha must be in \[0, 1\], or -1 for none, got 2"),
    (lambda: ops.sigmoid_focal_loss(torch.zeros(2), torch.zeros(2), gamma=-1), ValueError,
     "gamma must be finite and at least 0, got -1"),
    (lambda: ops.sigmoid_focal_loss(torch.zeros(2), torch.zeros(2), reduction="max"), ValueError,
     "reduction must be one of 'none', 'mean', 'sum', got 'max'"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=f"sigmoid_focal_loss: {text}"):
        call()
