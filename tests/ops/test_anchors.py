"""Anchors on tensors: agreement with the reference, registration, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, ops, reference

POSITIVE = st.one_of(st.sampled_from([0.5, 1.0, 2.0, 32, 64]), st.floats(2.0**-10, 2.0**10))
FEW = st.lists(POSITIVE, max_size=5)


@given(FEW, FEW, st.booleans(), st.sampled_from(["ratio", "size"]), st.sampled_from(["float32", "float64"]))
def test_cell_anchors_agree_with_the_reference(sizes, ratios, rounded, order, dtype):
    mine = ops.cell_anchors(sizes, ratios, rounded=rounded, order=order, dtype=getattr(torch, dtype))
    theirs = reference.cell_anchors(sizes, ratios, rounded=rounded, order=order, dtype=dtype)
    assert mine.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(mine.numpy(), theirs)


@given(FEW, st.tuples(st.integers(0, 9), st.integers(0, 9)), st.one_of(POSITIVE, st.tuples(POSITIVE, POSITIVE)),
       st.floats(-2, 2), st.sampled_from(["float32", "float64"]))
def test_grid_anchors_agree_with_the_reference(sizes, feature_size, stride, offset, dtype):
    cell = reference.cell_anchors(sizes, [0.7, 3.1], dtype=dtype)
    mine = ops.grid_anchors(torch.from_numpy(cell), feature_size, stride, offset=offset)
    assert mine.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(mine.numpy(), reference.grid_anchors(cell, feature_size, stride, offset=offset))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cells, feature_size", [(1, (1, 1)), (3, (200, 3)), (3, (2, 336)), (700, (3, 2)),
                                                 (1, (1, 5000)), (1, (5000, 1)), (3, (431, 419)), (1, (3, 0)),
                                                 (0, (3, 4))])
def test_grids_of_every_shape(cells, feature_size, dtype):
    cell = np.random.default_rng(cells).normal(size=(cells, 4)).astype(dtype)
    mine = ops.grid_anchors(torch.from_numpy(cell), feature_size, (3, 7.5), offset=0.3)
    np.testing.assert_array_equal(mine.numpy(), kernels.grid_anchors(cell, feature_size, (3, 7.5), offset=0.3))


def test_a_cell_at_any_address():
    cell = torch.arange(14.0)[1:13].view(3, 4)
    assert torch.equal(ops.grid_anchors(cell, (2, 3), 4), ops.grid_anchors(cell.clone(), (2, 3), 4))


def test_square_roots_are_correctly_rounded_where_those_of_torch_need_not_be():
    ratios = np.random.default_rng(0).uniform(0.1, 9, 1000)
    np.testing.assert_array_equal(ops.cell_anchors([100], ratios.tolist()).numpy(),
                                  reference.cell_anchors([100], ratios))


def test_half_cells_are_cast_to_float32():
    cell = torch.tensor([[-1, -2, 1, 2]], dtype=torch.bfloat16)
    grid = ops.grid_anchors(cell, (1, 2), 4096.5)
    assert grid.dtype == torch.float32 and grid.tolist() == [[-1, -2, 1, 2], [4095.5, -2, 4097.5, 2]]


def test_device_moves_the_result():
    cell = ops.cell_anchors([32], [1], device="meta")
    assert cell.device.type == "meta" and cell.shape == (1, 4)
    assert ops.grid_anchors(ops.cell_anchors([32], [1]), (2, 3), 4, device="meta").shape == (6, 4)


def test_nothing_requires_grad():
    assert not ops.grid_anchors(torch.rand(3, 4, requires_grad=True), (2, 2), 4).requires_grad


def test_registration():
    torch.library.opcheck(torch.ops.roikit.cell_anchors, (torch.rand(3), torch.rand(2), True, False))
    torch.library.opcheck(torch.ops.roikit.grid_anchors, (torch.rand(3, 4), 5, 6, 4.0, 8.0, 0.5))
    torch.library.opcheck(torch.ops.roikit.grid_anchors, (torch.rand(3, 4), 0, 6, 4.0, 8.0, 0.5))


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_code_gives_the_same(dynamic):
    def anchors(feature):
        cell = ops.cell_anchors([32.0, 64.0], [0.5, 1.0, 2.0])
        return ops.grid_anchors(cell, feature.shape[-2:], 4), ops.grid_anchors(cell, (2, 3), (4, 8), offset=0.5)

    torch._dynamo.reset()
    compiled = torch.compile(anchors, fullgraph=True, dynamic=dynamic)
    for size in ((1, 8, 5, 7), (1, 8, 6, 4)):
        for mine, eager in zip(compiled(torch.zeros(size)), anchors(torch.zeros(size)), strict=True):
            assert torch.equal(mine, eager)


CELL = torch.zeros(3, 4)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: ops.cell_anchors([32, -1], [1]), ValueError, "cell_anchors: sizes must be positive and finite, got -1"),
    (lambda: ops.cell_anchors([32], 1), TypeError,
     "cell_anchors: aspect_ratios must be a sequence of numbers, got int"),
    (lambda: ops.cell_anchors([32], [1], order="row"), ValueError,
     "cell_anchors: order must be one of 'ratio', 'size', got 'row'"),
    (lambda: ops.cell_anchors([32], [1], dtype=torch.float16), TypeError,
     "cell_anchors: dtype must be float32 or float64, got torch.float16"),
    (lambda: ops.grid_anchors(CELL[0], (2, 2), 4), ValueError,
     r"grid_anchors: cell_anchors must have shape \(N, 4\) or \(N, 5\), got \(4,\)"),
    (lambda: ops.grid_anchors(CELL, (2, 2.5), 4), TypeError,
     "grid_anchors: feature_size must be a whole number, got float"),
    (lambda: ops.grid_anchors(CELL, (2, 2), (4,)), ValueError,
     r"grid_anchors: stride must be a number or two of them, got \(4,\)"),
    (lambda: ops.grid_anchors(CELL, (2, 2), 4, offset=None), TypeError,
     "grid_anchors: offset must be a number, got NoneType"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
