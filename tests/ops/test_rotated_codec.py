"""The codec of rotated boxes on tensors: the kernels' bits, gradients, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference
from roikit.reference.box_codec import TOLERANCE
from roikit.testing import strategies as some

WEIGHTS = st.sampled_from([(1, 1, 1, 1, 1), (10, 10, 5, 5, 1), (10.0, 20.0, 3.0, 7.0, 2.5)])


@given(st.data(), st.sampled_from([np.float32, np.float64]), WEIGHTS)
@np.errstate(all="ignore")
def test_ops_give_the_bits_of_the_kernels(data, dtype, weights):
    anchors = data.draw(some.rotated_boxes(dtype=np.float64, max_size=24)).astype(dtype)
    boxes = data.draw(some.rotated_boxes(n=len(anchors), dtype=np.float64)).astype(dtype)
    mine = ops.encode_boxes_rotated(torch.from_numpy(boxes), torch.from_numpy(anchors), weights)
    theirs = kernels.encode_boxes_rotated(boxes, anchors, weights)
    np.testing.assert_array_equal(mine.numpy(), theirs)
    deltas = np.concatenate([theirs, theirs / 2], axis=1)
    mine = ops.decode_boxes_rotated(torch.from_numpy(deltas), torch.from_numpy(anchors), weights, clip=2)
    np.testing.assert_array_equal(mine.numpy(), kernels.decode_boxes_rotated(deltas, anchors, weights, clip=2))


def random_case(n, classes, dtype, seed=0):
    """Boxes, anchors, deltas: ordinary sides, angles of several turns."""
    rng = np.random.default_rng(seed)
    boxes, anchors = rng.uniform(1, 60, (2, n, 5))
    boxes[:, 4], anchors[:, 4] = rng.uniform(-1000, 1000, (2, n))
    return [x.astype(dtype) for x in (boxes, anchors, rng.normal(size=(n, 5 * classes)))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n, classes", [(1, 1), (257, 1), (3, 91), (700, 7), (0, 3)])
def test_the_bits_of_the_kernels_at_every_size(n, classes, dtype):
    boxes, anchors, deltas = random_case(n, classes, dtype)
    anchors[: n // 4, 4] *= 1e5
    b, a, d = (torch.from_numpy(x) for x in (boxes, anchors, deltas))
    np.testing.assert_array_equal(ops.encode_boxes_rotated(b, a).numpy(), kernels.encode_boxes_rotated(boxes, anchors))
    np.testing.assert_array_equal(ops.decode_boxes_rotated(d, a, (10, 20, 3, 7, 2)).numpy(),
                                  kernels.decode_boxes_rotated(deltas, anchors, (10, 20, 3, 7, 2)))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["float32", "float64"]), WEIGHTS)
def test_gradients_agree_with_the_reference(seed, dtype, weights):
    boxes, anchors, deltas = random_case(7, 3, dtype, seed)
    grad = np.random.default_rng(seed).normal(size=(7, 15)).astype(dtype)
    leaves = [torch.from_numpy(x).requires_grad_() for x in (boxes, anchors, deltas)]
    encoded = ops.encode_boxes_rotated(leaves[0], leaves[1], weights)
    decoded = ops.decode_boxes_rotated(leaves[2], leaves[1], weights, clip=0.2)
    mine = [*torch.autograd.grad(encoded, leaves[:2], torch.from_numpy(grad[:, :5].copy())),
            *torch.autograd.grad(decoded, [leaves[2], leaves[1]], torch.from_numpy(grad))]
    theirs = [*reference.encode_boxes_rotated_backward(grad[:, :5], boxes, anchors, weights),
              *reference.decode_boxes_rotated_backward(grad, deltas, anchors, weights, clip=0.2)]
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=100 * TOLERANCE[dtype], atol=2000 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_is_cast_to_float32(dtype):
    boxes = torch.tensor([[0, 0, 3, 3, 10], [1, 1, 4, 5, 20]], dtype=dtype)
    anchors = boxes.flip(0) + 1
    assert torch.equal(ops.encode_boxes_rotated(boxes, anchors),
                       ops.encode_boxes_rotated(boxes.float(), anchors.float()))
    assert torch.equal(ops.decode_boxes_rotated(boxes, anchors.double()),
                       ops.decode_boxes_rotated(boxes.double(), anchors.double()))


def leaves(n=5, classes=3):
    return [torch.from_numpy(x).requires_grad_() for x in random_case(n, classes, np.float64, 3)]


def test_gradients_and_gradients_of_gradients():
    boxes, anchors, deltas = leaves()
    for check in (torch.autograd.gradcheck, torch.autograd.gradgradcheck):
        assert check(lambda b, a: ops.encode_boxes_rotated(b, a, (10, 10, 5, 5, 2)), (boxes, anchors))
        assert check(lambda d, a: ops.decode_boxes_rotated(d, a, (1, 2, 1, 2, 3), clip=0.5), (deltas, anchors))


@pytest.mark.parametrize("n", [0, 5])
def test_registration(n):
    boxes, anchors, deltas = leaves(n)
    weights = [1.0, 1.0, 2.0, 2.0, 3.0]
    torch.library.opcheck(torch.ops.roikit.encode_boxes_rotated, (boxes, anchors, weights))
    torch.library.opcheck(torch.ops.roikit.decode_boxes_rotated, (deltas, anchors, weights, 4.0))


def test_compiled_code_gives_the_same_forward_and_backward(device):
    if device != "cpu":
        pytest.skip("once is enough")

    def both(boxes, anchors, deltas):
        cell = ops.cell_anchors_rotated([32.0], [0.5, 1.0], [0.0, 30.0])
        grid = ops.grid_anchors(cell, (2, 3), 4)
        return (ops.encode_boxes_rotated(boxes, anchors).sum() + grid.sum()
                + ops.decode_boxes_rotated(deltas, anchors, (10, 10, 5, 5, 1)).square().sum())

    compiled, case = torch.compile(both, fullgraph=True, backend="aot_eager"), leaves()
    for x, y in zip(torch.autograd.grad(compiled(*case), case), torch.autograd.grad(both(*case), case), strict=True):
        torch.testing.assert_close(x, y)


@given(st.lists(st.floats(2.0**-10, 2.0**10), max_size=3), st.lists(st.floats(-400, 400), max_size=3),
       st.sampled_from(["float32", "float64"]))
def test_cell_anchors_agree_with_the_reference(sizes, angles, dtype):
    mine = ops.cell_anchors_rotated(sizes, [0.7, 3.1], angles, dtype=getattr(torch, dtype))
    theirs = reference.cell_anchors_rotated(sizes, [0.7, 3.1], angles, dtype=dtype)
    assert mine.dtype == getattr(torch, dtype) and tuple(mine.shape) == theirs.shape
    np.testing.assert_array_equal(mine.numpy(), theirs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cells, feature_size", [(1, (1, 1)), (3, (200, 3)), (700, (3, 2)), (3, (431, 419)),
                                                 (1, (3, 0)), (0, (3, 4))])
def test_grids_of_every_shape(cells, feature_size, dtype):
    cell = np.random.default_rng(cells).normal(size=(cells, 5)).astype(dtype)
    mine = ops.grid_anchors(torch.from_numpy(cell), feature_size, (3, 7.5), offset=0.3)
    np.testing.assert_array_equal(mine.numpy(), kernels.grid_anchors(cell, feature_size, (3, 7.5), offset=0.3))


def test_device_moves_the_result():
    assert ops.cell_anchors_rotated([32], [1], [0, 30], device="meta").shape == (2, 5)
    assert ops.grid_anchors(ops.cell_anchors_rotated([32], [1], [0]), (2, 3), 4, device="meta").shape == (6, 5)


BOX = torch.zeros(2, 5)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.encode_boxes_rotated(BOX[:, :4], BOX), ValueError,
     r"encode_boxes_rotated: boxes must have shape \(N, 5\), got \(2, 4\)"),
    (lambda: ops.encode_boxes_rotated(BOX, BOX.to("meta")), ValueError,
     "encode_boxes_rotated: boxes and anchors must be on the same device, got .* and meta"),
    (lambda: ops.encode_boxes_rotated(BOX, BOX, (1, 1, 1, 1)), ValueError,
     "encode_boxes_rotated: weights must have 5 numbers, got 4"),
    (lambda: ops.decode_boxes_rotated(BOX[:, :4], BOX), ValueError,
     r"decode_boxes_rotated: deltas must have shape \(N, 5 C\), got \(2, 4\)"),
    (lambda: ops.decode_boxes_rotated(BOX, BOX[:1]), ValueError,
     "decode_boxes_rotated: deltas and anchors must have as many rows, got 2 and 1"),
    (lambda: ops.cell_anchors_rotated([32], [1], [None]), TypeError,
     "cell_anchors_rotated: angles must be a number, got NoneType"),
    (lambda: ops.cell_anchors_rotated([32], [1], [0], dtype=torch.float16), TypeError,
     "cell_anchors_rotated: dtype must be float32 or float64, got torch.float16"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
