"""roi_align with rule="integral" on tensors: agreement, gradients to features and boxes, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from roikit import kernels, ops, reference
from roikit.reference.roi_align import TOLERANCE

FORMATS = [torch.contiguous_format, torch.channels_last]


def integral(x, boxes, size=(2, 3), scale=0.5, aligned=False):
    return ops.roi_align(x, boxes, size, scale, -1, aligned, rule="integral")


def some_boxes(n, seed, dtype=torch.float32, reach=12.0):
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(n, 2, generator=g, dtype=dtype) * 16 - 4
    side = torch.rand(n, 2, generator=g, dtype=dtype) * reach + 0.3
    return torch.cat([torch.randint(0, 2, (n, 1), generator=g).to(dtype), low, low + side], 1)


def some_maps(channels, seed, dtype=torch.float32, form=torch.contiguous_format, size=(7, 9)):
    x = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(seed))
    return x.to(dtype).contiguous(memory_format=form)


@given(seed=st.integers(0, 2**31), channels=st.integers(1, 20), form=st.sampled_from(FORMATS), aligned=st.booleans(),
       dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_agrees_with_the_reference_forward_and_backward(seed, channels, form, aligned, dtype):
    x, boxes = some_maps(channels, seed, dtype, form).requires_grad_(), some_boxes(4, seed)
    boxes[seed % 4, 1 + seed % 3] = [3.0, float("nan"), 1e6, -1e6][seed % 4]
    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    maps, rule = x.detach().to(wide).numpy(), ((2, 3), 0.5, -1, aligned)
    output = integral(x, boxes, aligned=aligned)
    assert output.dtype == dtype and output.is_contiguous(memory_format=form)
    bound = TOLERANCE[str(dtype).removeprefix("torch.")]
    expected = reference.roi_align(maps, boxes.numpy(), *rule, rule="integral").astype(np.float64)
    assert (np.abs(output.detach().double().numpy() - expected) <= bound * np.abs(maps).max()).all()
    grad = torch.randint(-8, 9, output.shape, generator=torch.Generator().manual_seed(seed)).to(dtype) / 8
    output.backward(grad)
    wanted, spread = (reference.roi_align_backward(g.to(wide).numpy(), boxes.numpy(), maps.shape, *rule,
                                                   rule="integral").astype(np.float64) for g in (grad, grad.abs()))
    assert (np.abs(x.grad.double().numpy() - wanted) <= bound * (1 + spread)).all()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dtype, box_dtype", [(torch.float32, torch.float32), (torch.float64, torch.float64),
                                              (torch.float32, torch.float64), (torch.bfloat16, torch.float32),
                                              (torch.float16, torch.float32)])
def test_the_boxes_gradient_agrees_with_the_reference(form, dtype, box_dtype):
    x, boxes = some_maps(19, 3, dtype, form), some_boxes(9, 3, box_dtype)
    boxes[2, 3], boxes[4, 2], boxes[5, 1:] = boxes[2, 1] - 1, float("nan"), torch.tensor([90.0, 0, 99, 9])
    boxes.requires_grad_()
    output = integral(x, boxes)
    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    output.backward(grad)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    wanted = reference.roi_align_boxes_backward(grad.to(wide).numpy(), x.to(wide).numpy(), boxes.detach().numpy(), 0.5)
    bound = 1e-10 if dtype == box_dtype == torch.float64 else 1e-4
    np.testing.assert_allclose(boxes.grad.numpy(), wanted, rtol=bound, atol=bound * np.abs(wanted).max())
    assert not boxes.grad[[2, 4, 5]].any() and not boxes.grad[:, 0].any() and boxes.grad[0].any()


@pytest.mark.parametrize("aligned", [False, True])
def test_gradcheck_of_features_and_boxes(aligned):
    x = some_maps(2, 0, torch.float64, size=(5, 6)).requires_grad_()
    boxes = some_boxes(3, 5, torch.float64, 7.0)
    index, corners = boxes[:, :1], boxes[:, 1:].clone().requires_grad_()
    assert gradcheck(lambda x, c: integral(x, torch.cat([index, c], 1), aligned=aligned), (x, corners))
    assert gradgradcheck(lambda x: integral(x, boxes), (x,))


def test_a_list_of_boxes_carries_gradients():
    x, boxes = some_maps(3, 1), some_boxes(5, 1)[:, 1:]
    parts = [boxes[:2].clone().requires_grad_(), boxes[2:].clone().requires_grad_()]
    integral(x, parts).square().sum().backward()
    whole = torch.cat([torch.tensor([0, 0, 1, 1, 1.0])[:, None], boxes], 1).requires_grad_()
    integral(x, whole).square().sum().backward()
    assert torch.equal(torch.cat([p.grad for p in parts]), whole.grad[:, 1:])


def test_descent_on_the_boxes_finds_the_object():
    """What the gradient is for: the box that holds the largest mean."""
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    surface = -((y - 11).square() + (x - 7).square())[None, None]
    box = torch.tensor([[0, 2.0, 4, 6, 8]], requires_grad=True)
    for _ in range(80):
        gradient, = torch.autograd.grad(integral(surface, box, 1, 1.0).sum(), box)
        box = (box + 0.2 * gradient).detach().requires_grad_()
    centre = (box[0, 1:3] + box[0, 3:]) / 2
    torch.testing.assert_close(centre, torch.tensor([7.0, 11.0]), atol=0.1, rtol=0)


def test_by_samples_the_boxes_have_no_gradient():
    boxes = some_boxes(2, 0).requires_grad_()
    ops.roi_align(some_maps(2, 0).requires_grad_(), boxes, 2).sum().backward()
    assert boxes.grad is None


def test_there_is_no_second_derivative_in_the_boxes():
    x, boxes = some_maps(2, 0).requires_grad_(), some_boxes(2, 0).requires_grad_()
    for wrt in (x, boxes):
        gradient, = torch.autograd.grad(integral(x, boxes).square().sum(), wrt, create_graph=True)
        with pytest.raises(NotImplementedError, match="no second derivative that involves the boxes"):
            gradient.sum().backward()


@pytest.mark.parametrize("size", [1, 7, (40, 3)])
def test_large_boxes_and_many_bins_on_a_large_map(size):
    """Bins of more pixels than the CUDA kernels' tables hold, and bins as many as them."""
    x = some_maps(3, 2, torch.float64, size=(150, 200)).requires_grad_()
    boxes = torch.tensor([[0, -30.0, -20, 700, 500], [1, 10, 20, 380, 290], [0, -1e7, -1e7, 1e7, 1e7]],
                         dtype=torch.float64, requires_grad=True)
    output = integral(x, boxes, size)
    maps, rois = x.detach().numpy(), boxes.detach().numpy()
    np.testing.assert_allclose(output.detach().numpy(), kernels.roi_align(maps, rois, size, 0.5, rule="integral"),
                               atol=1e-12)
    grad = torch.randn(output.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output.backward(grad)
    np.testing.assert_allclose(
        x.grad.numpy(), kernels.roi_align_backward(grad.numpy(), rois, maps.shape, size, 0.5, rule="integral"),
        atol=1e-12)
    np.testing.assert_allclose(boxes.grad.numpy(), kernels.roi_align_boxes_backward(grad.numpy(), maps, rois, 0.5),
                               atol=1e-9)


@pytest.mark.parametrize("form", FORMATS)
def test_deterministic_gradients_agree_with_the_others(form, deterministic):
    x, boxes = some_maps(5, 4, form=form, size=(40, 50)).requires_grad_(), some_boxes(30, 4, reach=60.0)
    grad = torch.randn(30, 5, 2, 3, generator=torch.Generator().manual_seed(0))
    found = []
    for wish in (False, True):
        with deterministic(wish):
            found.append(torch.autograd.grad(integral(x, boxes), x, grad)[0])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("n", [0, 3])
@pytest.mark.parametrize("form", FORMATS)
def test_registration(form, n):
    x, boxes = some_maps(3, 0, form=form), some_boxes(n, 0)
    grad = torch.rand(n, 3, 2, 2)
    torch.library.opcheck(torch.ops.roikit.roi_align_integral,
                          (x.clone().requires_grad_(), boxes.clone().requires_grad_(), 0.5, 2, 2, True))
    torch.library.opcheck(torch.ops.roikit.roi_align_integral_backward,
                          (grad.requires_grad_(), boxes, 2, 7, 9, form is FORMATS[1], 0.5, True))
    torch.library.opcheck(torch.ops.roikit.roi_align_boxes_backward, (grad.detach(), x, boxes, 0.5, True))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_code_gives_the_same(dynamic):
    def step(x, boxes):
        return integral(x, boxes).square().sum()

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, dynamic=dynamic)
    for n in (3, 5):
        gradients = []
        for call in (compiled, step):
            x, boxes = some_maps(3, n).requires_grad_(), some_boxes(n, n).requires_grad_()
            gradients.append(torch.autograd.grad(call(x, boxes), (x, boxes)))
        for mine, eager in zip(*gradients, strict=True):
            torch.testing.assert_close(mine, eager)


def test_autocast_keeps_the_features_and_widens_the_boxes():
    x, boxes = some_maps(2, 0, torch.bfloat16), some_boxes(2, 0, torch.float32).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(integral(x, boxes), integral(x, boxes.float()))


def test_the_module_has_the_rule():
    x, boxes = some_maps(2, 0), some_boxes(2, 0)
    module = ops.RoIAlign(2, 0.5, -1, rule="integral")
    assert torch.equal(module(x, boxes), integral(x, boxes, 2)) and "rule='integral'" in repr(module)


@pytest.mark.parametrize("call, text", [
    (lambda: ops.roi_align(some_maps(2, 0), some_boxes(2, 0), 2, 0.5, 2, rule="integral"),
     "roi_align: sampling_ratio must be at most 0 with rule='integral', got 2"),
    (lambda: ops.roi_align(some_maps(2, 0), some_boxes(2, 0), 2, rule="mean"),
     "roi_align: rule must be one of 'samples', 'integral', got 'mean'"),
    (lambda: ops.RoIAlign(2, 0.5, 2, rule="integral"), "RoIAlign: sampling_ratio must be at most 0"),
])
def test_contract(call, text):
    with pytest.raises(ValueError, match=text):
        call()
