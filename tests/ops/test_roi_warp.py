"""RoIWarp on tensors: agreement with the CPU kernels and the reference, gradients, registration, contracts."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import simd, simd_levels
from roikit.testing import strategies as some

from .agreement import as_numpy, busy, check_gradient, check_nothing, check_strays, tensors

DTYPES = {torch.float16: np.float16, torch.bfloat16: np.float32, torch.float32: np.float32, torch.float64: np.float64}
BOXES = torch.tensor([[0, 1, 1, 9, 12], [1, -3, 2, 8, 7], [1, 0, 0, 3, 30]], dtype=torch.float64)
each_reduce = pytest.mark.parametrize("reduce", ["max", "mean"])


def sample(dtype=torch.float64):
    return torch.randn(2, 3, 6, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))


@each_reduce
@given(data=st.data(), size=st.integers(1, 3), nan=st.booleans(),
       box_type=st.sampled_from([np.float16, np.float32, np.float64]))
def test_agrees_with_the_reference(reduce, data, size, nan, box_type):
    maps = data.draw(some.feature_maps(nan=nan))
    boxes = data.draw(some.rois(len(maps), dtype=box_type))
    output = ops.roi_warp(torch.from_numpy(maps), tensors(boxes), size, 0.5, reduce=reduce)
    np.testing.assert_array_equal(output.numpy(), reference.roi_warp(maps, boxes, size, 0.5, reduce=reduce))


@each_reduce
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_rois_have_the_bits_of_the_cpu(reduce, dtype, placed, deterministic, device):
    maps, boxes = busy(dtype)
    expected, places = kernels.roi_warp_with_argmax(as_numpy(maps), boxes.numpy(), (3, 4), 0.7, reduce=reduce)
    grad = torch.from_numpy(expected[::-1].copy()).to(dtype)
    back = torch.from_numpy(kernels.roi_warp_backward(as_numpy(grad), places, boxes.numpy(), maps.shape, 0.7)).to(dtype)
    x, rois, grad = placed(maps, boxes, grad)
    for order in (True, False):
        with deterministic(order):
            output, argmax = torch.ops.roikit.roi_warp(x.requires_grad_(), rois, 0.7, 3, 4, reduce == "mean")
            gradient, = torch.autograd.grad(output, x, grad)
        assert torch.equal(output.cpu(), torch.from_numpy(expected).to(dtype))
        assert torch.equal(argmax.cpu(), torch.from_numpy(places))
        check_gradient(gradient, back, order or device == "cpu")


@pytest.mark.parametrize("level", simd_levels())
@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_at_the_winners_are_the_maxima(dtype, level, placed):
    maps, boxes = busy(dtype)
    maps[1::2, ::3, 8:16] = float("nan")
    maps = torch.cat([maps, maps, -maps], 1)
    x, rois = placed(maps, boxes)
    with simd(level):
        output, argmax = torch.ops.roikit.roi_warp(x, rois, 0.7, 3, 4, False)
        assert torch.equal(torch.ops.roikit.roi_warp_at(x, argmax, rois, 0.7), output)


@each_reduce
def test_gradient_and_double_gradient(reduce):
    check, again = (functools.partial(f, nondet_tol=1e-12)  # a GPU adds up in any order
                    for f in (torch.autograd.gradcheck, torch.autograd.gradgradcheck))
    x = sample().requires_grad_()
    pool = functools.partial(ops.roi_warp, boxes=BOXES, output_size=(2, 3), spatial_scale=0.5, reduce=reduce)
    assert check(pool, (x,)) and again(pool, (x,))


@each_reduce
def test_registration(reduce):
    x, mean = sample().requires_grad_(), reduce == "mean"
    torch.library.opcheck(torch.ops.roikit.roi_warp, (x, BOXES, 0.5, 2, 3, mean))
    argmax = torch.ops.roikit.roi_warp(x, BOXES, 0.5, 2, 3, mean)[1]
    grad = torch.randn(3, 3, 2, 3, dtype=torch.float64).requires_grad_()
    torch.library.opcheck(torch.ops.roikit.roi_warp_backward, (grad, argmax, BOXES, 2, 6, 5, 0.5))
    if not mean:
        torch.library.opcheck(torch.ops.roikit.roi_warp_at, (x, argmax, BOXES, 0.5))


@each_reduce
def test_compiled_code_has_the_same_results_and_gradients(reduce):
    x = sample().requires_grad_()

    def pool(x):
        return ops.roi_warp(x, [BOXES[:1, 1:], BOXES[1:, 1:]], 2, 0.5, reduce=reduce)

    compiled = torch.compile(pool, fullgraph=True)(x)
    torch.testing.assert_close(compiled, pool(x))
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (compiled, pool(x))))


def test_autocast_keeps_the_features_dtype_and_makes_boxes_float32():
    x = sample(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.roi_warp(x, BOXES, 2).dtype == torch.bfloat16
        direct = torch.ops.roikit.roi_warp(x, BOXES.half(), 1.0, 2, 2, False)[0]
    assert torch.equal(direct, ops.roi_warp(x, BOXES.float(), 2))


def test_any_layout_gives_the_same_result():
    x = sample()
    expected = ops.roi_warp(x, BOXES, 2, 0.5)
    for other in (x.contiguous(memory_format=torch.channels_last), torch.stack([x, x], -1)[..., 0]):
        output = ops.roi_warp(other, BOXES, 2, 0.5)
        assert torch.equal(output, expected) and output.is_contiguous()


@each_reduce
@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 4), (1, 1, 1, 1)])
def test_empty_and_tiny(reduce, shape):
    check_nothing(lambda x, boxes: ops.roi_warp(x, boxes, 2, reduce=reduce), shape)


@each_reduce
def test_a_roi_that_names_no_image_gives_0_and_has_no_gradient(reduce, device, deterministic):
    check_strays(lambda x, boxes: ops.roi_warp(x, boxes, (2, 3), 0.5, reduce=reduce), sample().requires_grad_(), BOXES,
                 device, deterministic)


MAPS, ROIS = torch.zeros(2, 3, 4, 4), torch.zeros(5, 5)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.roi_warp(MAPS[0], ROIS, 2), ValueError, r"input must have shape \(N, C, H, W\), got \(3, 4, 4\)"),
    (lambda: ops.roi_warp(MAPS.long(), ROIS, 2), TypeError, "input must be float16, bfloat16, float32 or float64, got"),
    (lambda: ops.roi_warp(MAPS, ROIS[:, :4], 2), ValueError, r"boxes must have shape \(N, 5\), got \(5, 4\)"),
    (lambda: ops.roi_warp(MAPS, ROIS, 2, reduce="sum"), ValueError, "reduce must be one of 'max', 'mean', got 'sum'"),
    (lambda: ops.roi_warp(MAPS, ROIS, 2, 0), ValueError, "spatial_scale must be positive and finite, got 0"),
    (lambda: ops.roi_warp(MAPS, ROIS - 1, 2), IndexError, r"boxes must have a whole batch index in \[0, 2\), got -1.0"),
])
def test_contract(call, kind, text, monkeypatch):
    monkeypatch.setenv("ROIKIT_DEBUG", "1")
    with pytest.raises(kind, match=f"roi_warp: {text}"):
        call()
