"""The box codec on tensors: agreement with the reference, gradients, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.reference.box_codec import TOLERANCE
from roikit.testing import strategies as some

WEIGHTS = st.sampled_from([(1, 1, 1, 1), (10, 10, 5, 5), (10.0, 20.0, 3.0, 7.0)])
DTYPES = st.sampled_from([np.float32, np.float64])


@given(st.data(), DTYPES, WEIGHTS)
@np.errstate(all="ignore")
def test_ops_give_the_bits_of_the_kernels(data, dtype, weights):
    anchors = data.draw(some.boxes(dtype=dtype, max_size=24))
    boxes = data.draw(some.boxes(n=len(anchors), dtype=dtype))
    mine = ops.encode_boxes(torch.from_numpy(boxes), torch.from_numpy(anchors), weights)
    theirs = kernels.encode_boxes(boxes, anchors, weights)
    np.testing.assert_array_equal(mine.numpy(), theirs)
    deltas = np.concatenate([theirs, theirs / 2], axis=1)
    mine = ops.decode_boxes(torch.from_numpy(deltas), torch.from_numpy(anchors), weights, clip=2)
    np.testing.assert_array_equal(mine.numpy(), kernels.decode_boxes(deltas, anchors, weights, clip=2))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["float32", "float64"]), WEIGHTS)
def test_ops_and_gradients_agree_with_the_reference(seed, dtype, weights):
    rng = np.random.default_rng(seed)
    anchors = rng.uniform(0, 50, (7, 4)).astype(dtype)
    anchors[:, 2:] += anchors[:, :2] + 1
    boxes = anchors + rng.uniform(-0.4, 0.4, (7, 4)).astype(dtype)
    deltas, grad = rng.normal(size=(2, 7, 12)).astype(dtype)
    leaves = [torch.from_numpy(x).requires_grad_() for x in (boxes, anchors, deltas)]
    encoded = ops.encode_boxes(leaves[0], leaves[1], weights)
    decoded = ops.decode_boxes(leaves[2], leaves[1], weights, clip=0.2)
    near = {"rtol": 100 * TOLERANCE[dtype], "atol": 1000 * TOLERANCE[dtype]}
    np.testing.assert_allclose(encoded.detach(), reference.encode_boxes(boxes, anchors, weights), **near)
    np.testing.assert_allclose(decoded.detach(), reference.decode_boxes(deltas, anchors, weights, clip=0.2), **near)
    mine = torch.autograd.grad(encoded, leaves[:2], torch.from_numpy(grad[:, :4].copy()))
    theirs = reference.encode_boxes_backward(grad[:, :4], boxes, anchors, weights)
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, **near)
    mine = torch.autograd.grad(decoded, [leaves[2], leaves[1]], torch.from_numpy(grad))
    theirs = reference.decode_boxes_backward(grad, deltas, anchors, weights, clip=0.2)
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, **near)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n, classes", [(1, 1), (257, 1), (3, 91), (700, 7), (2, 1000), (0, 3)])
def test_the_bits_of_the_kernels_at_every_size(n, classes, dtype):
    rng = np.random.default_rng(n)
    corner = rng.uniform(0, 99, (2, n, 2))
    boxes, anchors = np.concatenate([corner, corner + rng.uniform(-1, 60, (2, n, 2))], axis=2).astype(dtype)
    deltas = rng.normal(size=(n, 4 * classes)).astype(dtype) * 3
    weights = (10, 20, 3, 7)
    encoded = ops.encode_boxes(torch.from_numpy(boxes), torch.from_numpy(anchors), weights)
    np.testing.assert_array_equal(encoded.numpy(), kernels.encode_boxes(boxes, anchors, weights))
    decoded = ops.decode_boxes(torch.from_numpy(deltas), torch.from_numpy(anchors), weights)
    np.testing.assert_array_equal(decoded.numpy(), kernels.decode_boxes(deltas, anchors, weights))


def test_more_boxes_than_a_launch_has_threads():
    deltas = torch.randn(111_119, 20, generator=torch.Generator().manual_seed(0))
    anchors = torch.rand(111_119, 4, generator=torch.Generator().manual_seed(1)) + torch.tensor([0, 0, 1, 1])
    np.testing.assert_array_equal(ops.decode_boxes(deltas, anchors).numpy(),
                                  kernels.decode_boxes(deltas.numpy(), anchors.numpy()))


def test_boxes_at_any_address():
    numbers = torch.rand(100, generator=torch.Generator().manual_seed(0)) * 9
    boxes, anchors, deltas = numbers[1:25].view(6, 4), numbers[26:50].view(6, 4), numbers[51:99].view(6, 8)
    for op, first in ((ops.encode_boxes, boxes), (ops.decode_boxes, deltas)):
        np.testing.assert_array_equal(op(first, anchors).numpy(), op(first.clone(), anchors.clone()).numpy())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_cast_to_float32(dtype):
    boxes = torch.tensor([[0, 0, 3, 3], [1, 1, 4, 5]], dtype=dtype)
    anchors = boxes.flip(0) + 1
    assert torch.equal(ops.encode_boxes(boxes, anchors), ops.encode_boxes(boxes.float(), anchors.float()))
    assert torch.equal(ops.decode_boxes(boxes, anchors.double()), ops.decode_boxes(boxes.double(), anchors.double()))


def leaves(n=5, classes=3):
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(n, 2, generator=g, dtype=torch.float64) * 9
    anchors = torch.cat([corner, corner + 2 + torch.rand(n, 2, generator=g, dtype=torch.float64)], 1)
    boxes = anchors + 0.5 * torch.rand(n, 4, generator=g, dtype=torch.float64)
    deltas = torch.randn(n, 4 * classes, generator=g, dtype=torch.float64)
    return boxes.requires_grad_(), anchors.requires_grad_(), deltas.requires_grad_()


def test_gradients_and_gradients_of_gradients():
    boxes, anchors, deltas = leaves()
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda b, a: ops.encode_boxes(b, a, (10, 10, 5, 5)), (boxes, anchors))
        assert check(lambda d, a: ops.decode_boxes(d, a, (1, 2, 1, 2), clip=0.5), (deltas, anchors))


def test_deltas_above_the_clip_get_no_gradient():
    deltas = torch.tensor([[0.0, 0.0, 9.0, 1.0]], requires_grad=True)
    ops.decode_boxes(deltas, torch.tensor([[0.0, 0.0, 1.0, 1.0]]))[:, 2:].sum().backward()
    assert deltas.grad[0, 2] == 0 and deltas.grad[0, 3] > 0


@pytest.mark.parametrize("n", [0, 5])
def test_registration(n):
    boxes, anchors, deltas = leaves(n)
    torch.library.opcheck(torch.ops.roikit.encode_boxes, (boxes, anchors, [1.0, 1.0, 2.0, 2.0]))
    torch.library.opcheck(torch.ops.roikit.decode_boxes, (deltas, anchors, [1.0, 1.0, 2.0, 2.0], 4.0))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_code_gives_the_same_forward_and_backward(dynamic):
    def both(boxes, anchors, deltas):
        return ops.encode_boxes(boxes, anchors).sum() + ops.decode_boxes(deltas, anchors, (10, 10, 5, 5)).square().sum()

    torch._dynamo.reset()
    compiled = torch.compile(both, fullgraph=True, dynamic=dynamic)
    for n in (5, 8):
        case = leaves(n)
        eager = torch.autograd.grad(both(*case), case)
        for x, y in zip(torch.autograd.grad(compiled(*case), case), eager, strict=True):
            torch.testing.assert_close(x, y)


BOX = torch.zeros(2, 4)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.encode_boxes(BOX[:, :3], BOX), ValueError,
     r"encode_boxes: boxes must have shape \(N, 4\), got \(2, 3\)"),
    (lambda: ops.encode_boxes(BOX, BOX[:1]), ValueError,
     "encode_boxes: boxes and anchors must have as many rows, got 2 and 1"),
    (lambda: ops.encode_boxes(BOX, BOX.to("meta")), ValueError,
     "encode_boxes: boxes and anchors must be on the same device, got .* and meta"),
    (lambda: ops.encode_boxes(BOX, BOX, (1, 1, 1)), ValueError, "encode_boxes: weights must have 4 numbers, got 3"),
    (lambda: ops.encode_boxes(BOX, BOX, (1, 1, -1, 1)), ValueError,
     "encode_boxes: weights must be positive and finite, got -1"),
    (lambda: ops.decode_boxes(BOX[:, :3], BOX), ValueError,
     r"decode_boxes: deltas must have shape \(N, 4 C\), got \(2, 3\)"),
    (lambda: ops.decode_boxes(BOX.int(), BOX), TypeError, "decode_boxes: deltas must be float16, .* got int32"),
    (lambda: ops.decode_boxes(BOX, BOX, clip=float("nan")), ValueError, "decode_boxes: clip must not be NaN"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
