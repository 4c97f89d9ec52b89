"""opname on tensors: agreement with the other floors, gradients, registration, contracts."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import strategies as some

from .agreement import as_numpy, busy, check_gradient, check_nothing, check_strays, tensors

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
BOXES = torch.tensor([[0, 1, 1, 9, 12], [1, -3, 2, 8, 7], [1, 0, 0, 3, 30]], dtype=torch.float64)


def features(dtype=torch.float64):
    return torch.randn(2, 3, 6, 5, dtype=dtype, generator=torch.Generator().manual_seed(0))


@given(st.data(), st.integers(1, 3), st.booleans(), st.sampled_from([np.float16, np.float32, np.float64]))
def test_agrees_with_the_reference(data, size, nan, box_type):
    maps = data.draw(some.feature_maps(nan=nan))
    boxes = data.draw(some.rois(len(maps), dtype=box_type))
    output = ops.opname(torch.from_numpy(maps), tensors(boxes), size, 0.5)
    np.testing.assert_array_equal(output.numpy(), reference.opname(maps, boxes, size, 0.5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_rois_have_the_bits_of_the_cpu(dtype, placed, deterministic, device):
    maps, boxes = busy(dtype)
    expected = kernels.opname(as_numpy(maps), boxes.numpy(), (3, 4), 0.7)
    grad = torch.from_numpy(expected[::-1].copy()).to(dtype)
    back = kernels.opname_backward(as_numpy(grad), boxes.numpy(), maps.shape, 0.7)
    back = torch.from_numpy(back).to(dtype)
    x, rois, grad = placed(maps, boxes, grad)
    for order in (True, False):
        with deterministic(order):
            output = torch.ops.roikit.opname(x.requires_grad_(), rois, 0.7, 3, 4)
            gradient, = torch.autograd.grad(output, x, grad)
        assert torch.equal(output.detach().cpu(), torch.from_numpy(expected).to(dtype))
        check_gradient(gradient, back, order or device == "cpu")


def test_gradient_and_double_gradient():
    check, again = (functools.partial(f, nondet_tol=1e-12)  # a GPU adds up in any order
                    for f in (torch.autograd.gradcheck, torch.autograd.gradgradcheck))
    pool = functools.partial(ops.opname, boxes=BOXES, output_size=(2, 3), spatial_scale=0.5)
    x = features().requires_grad_()
    assert check(pool, (x,)) and again(pool, (x,))


def test_registration():
    x, grad = features().requires_grad_(), torch.ones(3, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.roikit.opname, (x, BOXES, 0.5, 2, 3))
    torch.library.opcheck(torch.ops.roikit.opname_backward, (grad, BOXES, 2, 6, 5, 0.5))


def test_compiled_code_has_the_same_results_and_gradients():
    x = features().requires_grad_()

    def pool(x):
        return ops.opname(x, [BOXES[:1, 1:], BOXES[1:, 1:]], 2, 0.5)

    compiled = torch.compile(pool, fullgraph=True)(x)
    torch.testing.assert_close(compiled, pool(x))
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), x)[0] for y in (compiled, pool(x))))


def test_autocast_keeps_the_features_dtype_and_makes_boxes_float32():
    x = features(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.opname(x, BOXES, 2).dtype == torch.bfloat16
        direct = torch.ops.roikit.opname(x, BOXES.half(), 1.0, 2, 2)
    assert torch.equal(direct, ops.opname(x, BOXES.float(), 2))


def test_any_layout_gives_the_same_result():
    x = features()
    expected = ops.opname(x, BOXES, 2, 0.5)
    for other in (x.contiguous(memory_format=torch.channels_last), torch.stack([x, x], -1)[..., 0]):
        output = ops.opname(other, BOXES, 2, 0.5)
        assert torch.equal(output, expected) and output.is_contiguous()


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 4), (1, 1, 1, 1)])
def test_empty_and_tiny(shape):
    check_nothing(lambda x, boxes: ops.opname(x, boxes, 2), shape)


def test_a_roi_that_names_no_image_gives_0_and_has_no_gradient(device, deterministic):
    pool = functools.partial(ops.opname, output_size=(2, 3), spatial_scale=0.5)
    check_strays(lambda x, boxes: pool(x, boxes), features().requires_grad_(), BOXES, device, deterministic)


MAPS, ROIS = torch.zeros(2, 3, 4, 4), torch.zeros(5, 5)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.opname(MAPS[0], ROIS, 2), ValueError, r"input must have shape \(N, C, H, W\), got"),
    (lambda: ops.opname(MAPS.long(), ROIS, 2), TypeError, "input must be float16, bfloat16, float32 or"),
    (lambda: ops.opname(MAPS, ROIS[:, :4], 2), ValueError, r"boxes must have shape \(N, 5\), got"),
    (lambda: ops.opname(MAPS, ROIS, 2, 0), ValueError, "spatial_scale must be positive and finite, got"),
    (lambda: ops.opname(MAPS, ROIS - 1, 2), IndexError, r"boxes must have a whole batch index in "),
])
def test_contract(call, kind, text, monkeypatch):
    monkeypatch.setenv("ROIKIT_DEBUG", "1")
    with pytest.raises(kind, match=f"opname: {text}"):
        call()
