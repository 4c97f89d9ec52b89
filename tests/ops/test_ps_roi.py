"""Position-sensitive pooling on tensors: agreement with the reference, gradients, registration, contracts."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.reference.roi_align import TOLERANCE
from roikit.testing import strategies as some

from .agreement import busy, check_nothing, check_strays, tensors, within

DTYPES = {torch.float16: np.float16, torch.bfloat16: np.float32, torch.float32: np.float32, torch.float64: np.float64}
RATIOS = {"ps_roi_align": (2,), "ps_roi_pool": ()}  # what follows spatial_scale
BOXES = torch.tensor([[0, 1, 1, 9, 12], [1, -3, 2, 8, 7], [1, 0, 0, 3, 30]], dtype=torch.float64)
each_op = pytest.mark.parametrize("op", RATIOS)


@each_op
@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data(), size=st.tuples(st.integers(1, 3), st.integers(1, 2)), channels=st.integers(0, 5),
       box_type=st.sampled_from([np.float16, np.float32, np.float64]))
def test_agrees_with_the_reference_forward_and_backward(op, dtype, data, size, channels, box_type):
    images, height, width = (data.draw(st.integers(0, most)) for most in (2, 8, 8))
    shape = images, channels * size[0] * size[1], height, width
    maps = data.draw(some.feature_maps(shape))  # quarters, which each dtype holds
    boxes = data.draw(some.rois(len(maps), dtype=box_type))
    ratio = (data.draw(st.sampled_from([-1, 2])),) if op == "ps_roi_align" else ()
    x = torch.from_numpy(maps).to(dtype).requires_grad_()
    output = getattr(ops, op)(x, tensors(boxes), size, 0.5, *ratio)
    wide = maps.astype(DTYPES[dtype])
    within(output, getattr(reference, op)(wide, boxes, size, 0.5, *ratio), np.abs(maps).max(initial=0), dtype)
    grad = np.random.default_rng(0).integers(-8, 9, output.shape) / 8
    output.backward(torch.from_numpy(grad).to(dtype))
    wanted, spread = (getattr(reference, f"{op}_backward")(g.astype(DTYPES[dtype]), boxes, shape, 0.5, *ratio)
                      for g in (grad, np.abs(grad)))
    within(x.grad, wanted, spread.astype(np.float64) + 1, dtype)


def sample(dtype=torch.float64):
    return torch.randn(2, 12, 6, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))


def wide_and_busy(dtype, boxes_of=torch.float32):
    maps, boxes = busy(dtype, 2 * 3 * 7, 75)
    boxes[70] = torch.tensor([0, -5, -5, 90, 90])  # rows wider than one pass of a warp are in test_wide_maps
    return maps, boxes.to(boxes_of)


@each_op
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("boxes_of", [torch.float32, torch.float64])
def test_many_rois_have_the_bits_of_the_cpu(op, dtype, boxes_of, placed, deterministic):
    maps, boxes = wide_and_busy(dtype, boxes_of)
    wide = maps.to({torch.bfloat16: torch.float32}.get(dtype, dtype)).numpy()
    expected = getattr(kernels, op)(wide, boxes.numpy(), (3, 7), 0.7, *RATIOS[op])
    grad = torch.from_numpy(expected[::-1].copy()).to(dtype)
    back = getattr(kernels, f"{op}_backward")(grad.to(torch.from_numpy(wide).dtype).numpy(), boxes.numpy(), maps.shape,
                                              0.7, *RATIOS[op])
    with deterministic(True):
        x, rois, grad = placed(maps, boxes, grad)
        output = getattr(torch.ops.roikit, op)(x.requires_grad_(), rois, 0.7, 3, 7, *RATIOS[op])
        gradient, = torch.autograd.grad(output, x, grad)
    assert torch.equal(output.cpu(), torch.from_numpy(expected).to(dtype))
    assert torch.equal(gradient.cpu(), torch.from_numpy(back).to(dtype))


@each_op
def test_wide_maps_have_the_bits_of_the_cpu(op, placed, deterministic):
    maps = torch.randn(1, 4, 5, 131, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[0, -3.0, 0, 140, 4], [0, 7, 1, 99, 3]])
    grad = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    ratio = (-1,) if op == "ps_roi_align" else ()
    expected = getattr(kernels, f"{op}_backward")(grad.numpy(), boxes.numpy(), maps.shape, 1.0, *ratio)
    with deterministic(True):
        x, rois, grad = placed(maps, boxes, grad)
        output = getattr(torch.ops.roikit, op)(x.requires_grad_(), rois, 1.0, 2, 2, *ratio)
        assert torch.equal(torch.autograd.grad(output, x, grad)[0].cpu(), torch.from_numpy(expected))


@each_op
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_fast_gradient_is_the_same_but_for_the_order_of_its_sums(op, dtype, device, placed, deterministic):
    if device == "cpu":
        pytest.skip("the CPU has one order")
    maps, boxes = wide_and_busy(dtype)
    gradients = []
    for order in (True, False):
        with deterministic(order):
            x, rois = placed(maps, boxes)
            output = getattr(torch.ops.roikit, op)(x.requires_grad_(), rois, 0.7, 3, 7, *RATIOS[op])
            gradients.append(torch.autograd.grad(output, x, torch.ones_like(output))[0].double().cpu())
    tolerance = TOLERANCE[str(dtype).removeprefix("torch.")]
    torch.testing.assert_close(*gradients, rtol=2 * tolerance, atol=2 * tolerance)


@each_op
def test_gradient_and_double_gradient(op):
    def pool(x):
        return getattr(ops, op)(x, BOXES, (2, 3), 0.5, *RATIOS[op])

    check, again = (functools.partial(f, nondet_tol=1e-12)  # a GPU adds up in any order
                    for f in (torch.autograd.gradcheck, torch.autograd.gradgradcheck))
    x = sample().requires_grad_()
    assert check(pool, (x,)) and again(pool, (x,))


@each_op
def test_registration(op):
    x = sample().requires_grad_()
    torch.library.opcheck(getattr(torch.ops.roikit, op), (x, BOXES, 0.5, 2, 3, *RATIOS[op]))
    grad = torch.randn(3, 2, 2, 3, dtype=torch.float64).requires_grad_()
    torch.library.opcheck(getattr(torch.ops.roikit, f"{op}_backward"), (grad, BOXES, 2, 6, 5, 0.5, *RATIOS[op]))


@each_op
def test_compiled_code_has_the_same_results_and_gradients(op):
    x = sample().requires_grad_()

    def pool(x):
        return getattr(ops, op)(x, [BOXES[:1, 1:], BOXES[1:, 1:]], 2, 0.5, *RATIOS[op])

    compiled = torch.compile(pool, fullgraph=True)(x)
    torch.testing.assert_close(compiled, pool(x))
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (compiled, pool(x))))


@each_op
def test_autocast_keeps_the_features_dtype_and_makes_boxes_float32(op):
    x = sample(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert getattr(ops, op)(x, BOXES, 2).dtype == torch.bfloat16
        direct = getattr(torch.ops.roikit, op)(x, BOXES.half(), 1.0, 2, 2, *RATIOS[op])
    assert torch.equal(direct, getattr(ops, op)(x, BOXES.float(), 2, 1.0, *RATIOS[op]))


@each_op
def test_any_layout_gives_the_same_result(op):
    x = sample().requires_grad_()
    expected = getattr(ops, op)(x, BOXES, 2, 0.5)
    strided = torch.stack([x.detach(), x.detach()], -1)[..., 0]
    for other in (x.detach().contiguous(memory_format=torch.channels_last), strided):
        output = getattr(ops, op)(other, BOXES, 2, 0.5)
        assert torch.equal(output, expected) and output.is_contiguous()
    expanded, = torch.autograd.grad(expected.sum(), x)  # the gradient of a sum: all its strides are 0
    whole, = torch.autograd.grad(getattr(ops, op)(x, BOXES, 2, 0.5), x, torch.ones_like(expected))
    torch.testing.assert_close(expanded, whole)


def test_modules_are_the_functions():
    x = sample(torch.float32)
    align, pool = ops.PSRoIAlign((2, 3), 0.5, 2), ops.PSRoIPool(2, 0.5)
    assert torch.equal(align(x, BOXES), ops.ps_roi_align(x, BOXES, (2, 3), 0.5, 2))
    assert "sampling_ratio=2" in repr(align)
    assert torch.equal(pool(x, BOXES), ops.ps_roi_pool(x, BOXES, 2, 0.5)) and "spatial_scale=0.5" in repr(pool)


@each_op
@pytest.mark.parametrize("shape", [(0, 4, 4, 4), (2, 0, 4, 4), (2, 4, 0, 4), (2, 8, 4, 4), (1, 4, 1, 1)])
def test_empty_and_tiny(op, shape):
    check_nothing(lambda x, boxes: getattr(ops, op)(x, boxes, 2), shape, planes=4)


@each_op
def test_a_roi_that_names_no_image_gives_0_and_has_no_gradient(op, device, deterministic):
    check_strays(lambda x, boxes: getattr(ops, op)(x, boxes, (2, 3), 0.5), sample().requires_grad_(), BOXES, device,
                 deterministic)


MAPS = torch.zeros(2, 4, 4, 4)
ROIS = torch.zeros(5, 5)


@each_op
@pytest.mark.parametrize("arguments, kind, text", [
    ((MAPS[0], ROIS, 2), ValueError, r"input must have shape \(N, C, H, W\), got \(4, 4, 4\)"),
    ((MAPS.long(), ROIS, 2), TypeError, "input must be float16, bfloat16, float32 or float64, got int64"),
    ((MAPS, ROIS, 3), ValueError, r"input must have a multiple of 3 \* 3 channels, got 4"),
    ((MAPS, ROIS[:, :4], 2), ValueError, r"boxes must have shape \(N, 5\), got \(5, 4\)"),
    ((MAPS, ROIS.to("meta"), 2), ValueError, "input and boxes must be on the same device, got .* and meta"),
    ((MAPS, ROIS, 0), ValueError, "output_size must be at least 1, got 0"),
    ((MAPS, ROIS, 2, 0), ValueError, "spatial_scale must be positive and finite, got 0"),
    ((MAPS, ROIS - 1, 2), IndexError, r"boxes must have a whole batch index in \[0, 2\), got -1.0"),
])
def test_contract(op, arguments, kind, text, monkeypatch):
    monkeypatch.setenv("ROIKIT_DEBUG", "1")
    with pytest.raises(kind, match=f"{op}: {text}"):
        getattr(ops, op)(*arguments)
