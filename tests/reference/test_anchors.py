"""anchors: hand-worked values and laws of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference

SIZES = st.lists(st.integers(1, 512), max_size=3)
RATIOS = st.lists(st.sampled_from([0.25, 1 / 3, 0.5, 1.0, 2.0, 4.0]), max_size=3)


def test_cell_by_hand():
    # Published anchors of torchvision and detectron2 for one size of 32 pixels.
    cell = reference.cell_anchors([32], [0.5, 1.0, 2.0], rounded=True)
    assert cell.tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert cell.dtype == np.float32
    cell = reference.cell_anchors([32], [0.25], dtype=np.float64)
    assert cell.tolist() == [[-32, -8, 32, 8]]


def test_rounding_is_half_to_even():
    assert reference.cell_anchors([1, 3, 5], [1.0], rounded=True)[:, 2].tolist() == [0, 2, 2]


def test_orders_by_hand():
    assert reference.cell_anchors([2, 4], [1.0, 4.0])[:, 3].tolist() == [1, 2, 2, 4]
    assert reference.cell_anchors([2, 4], [1.0, 4.0], order="size")[:, 3].tolist() == [1, 2, 2, 4]
    assert reference.cell_anchors([2, 4], [1.0, 4.0])[:, 2].tolist() == [1, 2, 0.5, 1]
    assert reference.cell_anchors([2, 4], [1.0, 4.0], order="size")[:, 2].tolist() == [1, 0.5, 2, 1]


def test_grid_by_hand():
    cell = np.array([[-1, -2, 1, 2], [0, 0, 3, 3]], np.float32)
    grid = reference.grid_anchors(cell, (2, 2), (10, 4), offset=0.5)
    assert grid.tolist() == [[1, 3, 3, 7], [2, 5, 5, 8], [5, 3, 7, 7], [6, 5, 9, 8],
                             [1, 13, 3, 17], [2, 15, 5, 18], [5, 13, 7, 17], [6, 15, 9, 18]]


@given(SIZES, RATIOS, st.sampled_from([np.float32, np.float64]))
def test_law_an_anchor_has_the_area_and_ratio_it_was_asked_for(sizes, ratios, dtype):
    cell = reference.cell_anchors(sizes, ratios, dtype=dtype)
    assert cell.shape == (len(sizes) * len(ratios), 4) and cell.dtype == dtype
    wanted = [(size, ratio) for ratio in ratios for size in sizes]
    for (x1, y1, x2, y2), (size, ratio) in zip(cell.astype(float), wanted, strict=True):
        assert x1 == -x2 and y1 == -y2
        np.testing.assert_allclose((x2 - x1) * (y2 - y1), size**2, rtol=1e-6)
        np.testing.assert_allclose((y2 - y1) / (x2 - x1), ratio, rtol=1e-6)


@given(SIZES, RATIOS)
def test_law_the_orders_hold_the_same_anchors(sizes, ratios):
    by_ratio = reference.cell_anchors(sizes, ratios).reshape(len(ratios), len(sizes), 4)
    by_size = reference.cell_anchors(sizes, ratios, order="size").reshape(len(sizes), len(ratios), 4)
    np.testing.assert_array_equal(by_ratio, by_size.transpose(1, 0, 2))


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3), st.integers(1, 64), st.sampled_from([0.0, 0.5]))
def test_law_rows_run_over_y_then_x_then_cell(height, width, count, stride, offset):
    cell = np.arange(4 * count, dtype=np.float32).reshape(count, 4)
    grid = reference.grid_anchors(cell, (height, width), stride, offset=offset)
    assert grid.shape == (height * width * count, 4) and grid.dtype == np.float32
    for row, (y, x, a) in zip(grid, np.ndindex(height, width, count), strict=True):
        shift = np.array([x + offset, y + offset, x + offset, y + offset]) * stride
        assert row.tolist() == (cell[a] + shift).tolist()


def test_contract_wrong_arguments_say_so():
    with pytest.raises(ValueError, match="cell_anchors: order must be 'ratio' or 'size', got 'area'"):
        reference.cell_anchors([1], [1.0], order="area")
    with pytest.raises(TypeError, match="cell_anchors: dtype must be float32 or float64, got float16"):
        reference.cell_anchors([1], [1.0], dtype=np.float16)
    with pytest.raises(ValueError, match=r"grid_anchors: cell_anchors must have shape \(N, 4\) or \(N, 5\)"):
        reference.grid_anchors(np.zeros(4), (1, 1), 1)
