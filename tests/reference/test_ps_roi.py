"""ps_roi_align and ps_roi_pool: hand-worked values, laws, awkward input and gradients of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.roi_align import TOLERANCE
from roikit.testing import strategies as some

MAP = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)
OPS = {"ps_roi_align": (reference.ps_roi_align, reference.ps_roi_align_backward),
       "ps_roi_pool": (reference.ps_roi_pool, reference.ps_roi_pool_backward)}


def one(op, box, scale=1.0, features=MAP, **rest):
    return OPS[op][0](features, np.array([[0, *box]], np.float32), 1, scale, **rest).item()


@pytest.mark.parametrize("box, expected", [
    ([0, 0, 3, 3], 6.0),        # rows 0..2, columns 0..2: the end is left out
    ([0, 0, 9, 9], 6.5),        # rows 0..2, columns 0..3: so are the map's last row and column
    ([2, 2, 2, 2], 12.0),       # at least one pixel
    ([1.5, 0, 2.5, 1], 2.0),    # half away from zero: columns 2..2
    ([4, 3, 5, 5], 0.0),        # the last row and column alone
    ([3, 2, 1, 1], 13.0),       # reversed: one pixel at the start
])
def test_pool_by_hand(box, expected):
    assert one("ps_roi_pool", box) == expected


@pytest.mark.parametrize("box, ratio, expected", [
    ([1, 1, 3, 3], -1, 9.0),        # the mean of four pixels' centres
    ([3, 3, 1, 1], 2, 9.0),         # reversed: the same samples backwards
    ([3, 3, 1, 1], -1, 0.0),        # adaptive: no samples
    ([0, 0, 0, 0], -1, 0.0),
    ([0, 0, 0.2, 0.2], 1, 0.0),     # a sample above and left of the first centre is that pixel's
    ([2.5, 1.5, 3.5, 2.5], 1, 10.0),  # amid four centres
])
def test_align_by_hand(box, ratio, expected):
    assert one("ps_roi_align", box, sampling_ratio=ratio) == expected


@given(st.data(), st.integers(1, 2), st.integers(1, 3), st.integers(1, 2))
def test_law_every_bin_is_that_of_the_whole_map_in_its_own_channel(data, rows, columns, channels):
    shape = (2, channels * rows * columns, 5, 6)
    features, rois = data.draw(some.feature_maps(shape)), data.draw(some.rois(2))
    aligned = reference.roi_align(features, rois, (rows, columns), 0.5, 2, aligned=True)
    pooled = reference.ps_roi_align(features, rois, (rows, columns), 0.5, 2)
    assert pooled.shape == (len(aligned), channels, rows, columns)
    for c, ph, pw in np.ndindex(channels, rows, columns):
        expected = aligned[:, (c * rows + ph) * columns + pw, ph, pw]
        np.testing.assert_allclose(pooled[:, c, ph, pw], expected, rtol=0, atol=4 * TOLERANCE["float32"])


@given(st.data(), st.sampled_from(list(OPS)))
def test_law_a_constant_map_is_kept_or_0(data, op):
    rois = data.draw(some.rois(1, kinds=some.FINITE, as_list=False))
    output = OPS[op][0](np.full((1, 4, 7, 6), 3, np.float64), rois, 2)
    assert ((output >= 0) & (output <= 3 + 1e-5)).all()
    if op == "ps_roi_pool":
        assert np.isin(output, [0, 3]).all()
    else:
        x1, y1, x2, y2 = rois[:, 1:].T
        inside = (x1 >= 0.5) & (y1 >= 0.5) & (x2 <= 5.5) & (y2 <= 6.5) & (x1 < x2) & (y1 < y2)
        np.testing.assert_allclose(output[inside], 3, rtol=1e-6)


@given(st.data(), st.sampled_from(list(OPS)))
def test_law_a_nonfinite_box_gives_0_and_no_gradient(data, op):
    rois = data.draw(some.rois(1, kinds=("nonfinite",), as_list=False))
    output = OPS[op][0](np.ones((1, 4, 4, 5)), rois, 2)
    assert not output.any() and not OPS[op][1](np.ones_like(output), rois, (1, 4, 4, 5)).any()


@pytest.mark.parametrize("op", OPS)
def test_gradient_is_the_transpose(op):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 12, 5, 6))
    rois = np.array([[0, 0, 0, 5, 4], [1, 1, 1, 4, 4], [0, 2, 0, 9, 3.0]])
    output = OPS[op][0](features, rois, (2, 3))
    grad = rng.standard_normal(output.shape)
    gradient = OPS[op][1](grad, rois, features.shape)
    np.testing.assert_allclose((output * grad).sum(), (features * gradient).sum(), rtol=1e-12)
    assert gradient.any()


@pytest.mark.parametrize("op", OPS)
def test_huge_boxes_are_finite_work(op):
    for corner in (1e9, 3e38):
        assert np.isfinite(one(op, [-corner, -corner, corner, corner]))


@pytest.mark.parametrize("op", OPS)
def test_contract(op):
    with pytest.raises(ValueError, match=rf"{op}: input must have a multiple of 2 \* 2 channels, got 1"):
        OPS[op][0](MAP, np.zeros((1, 5), np.float32), 2)
    with pytest.raises(IndexError, match=rf"{op}: boxes must have a whole batch index in \[0, 1\), got"):
        OPS[op][0](MAP, np.ones((1, 5), np.float32), 1)
