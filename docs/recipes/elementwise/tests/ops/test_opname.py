"""opname on tensors: agreement with the reference, gradients, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.testing import strategies as some


def leaf(n=5):
    return torch.rand(n, 4, generator=torch.Generator().manual_seed(n), dtype=torch.float64).requires_grad_()


@given(st.data(), st.sampled_from([np.float32, np.float64]), st.sampled_from([1, 4.0, 0.3]))
def test_agrees_with_the_reference(data, dtype, stride):
    boxes = data.draw(some.boxes(dtype=dtype, max_size=24))
    found = ops.opname(torch.from_numpy(boxes), stride)
    np.testing.assert_array_equal(found.numpy(), reference.opname(boxes, stride))


@pytest.mark.parametrize("n", [0, 1, 255, 257, 100_003])
def test_any_number_of_boxes(n):
    """Against the compiled CPU kernels, which tests/kernels holds to the reference."""
    boxes = torch.randn(n, 4, generator=torch.Generator().manual_seed(n))
    found = ops.opname(boxes, 3)
    np.testing.assert_array_equal(found.numpy(), kernels.opname(boxes.numpy(), 3))


def test_boxes_at_any_address():
    boxes = torch.rand(25, generator=torch.Generator().manual_seed(0))[1:].view(6, 4)
    assert torch.equal(ops.opname(boxes), ops.opname(boxes.clone()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_cast_to_float32(dtype):
    boxes = leaf().detach().to(dtype)
    found = ops.opname(boxes)
    assert found.dtype == torch.float32 and torch.equal(found, ops.opname(boxes.float()))


def test_gradients_and_gradients_of_gradients():
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda boxes: ops.opname(boxes, 4).square(), (leaf(),))


@pytest.mark.parametrize("n", [0, 5])
def test_registration(n):
    torch.library.opcheck(torch.ops.roikit.opname, (leaf(n), 4.0))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_code_gives_the_same_forward_and_backward(dynamic):
    def total(boxes):
        return ops.opname(boxes, 2).square().sum()

    torch._dynamo.reset()
    compiled = torch.compile(total, fullgraph=True, dynamic=dynamic)
    for n in (5, 8):
        torch.testing.assert_close(*(torch.autograd.grad(f(boxes), boxes)[0] for f in (compiled, total)
                                     for boxes in [leaf(n)]))


BOX = torch.zeros(2, 4)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.opname(BOX[:, :3]), ValueError, r"boxes must have shape \(N, 4\), got \(2, 3\)"),
    (lambda: ops.opname(BOX.int()), TypeError, "boxes must be float16, .*, got int32"),
    (lambda: ops.opname(BOX, -1.0), ValueError, "stride must be positive and finite, got -1"),
    (lambda: ops.opname(BOX, "1"), TypeError, "stride must be a number, got str"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=f"opname: {text}"):
        call()
