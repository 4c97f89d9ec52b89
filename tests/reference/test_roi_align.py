"""roi_align: hand-worked values, laws, awkward input, levels and gradients of the specification."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.roi_align import TOLERANCE
from roikit.testing import strategies as some

NAN, INF = np.nan, np.inf
RAMP = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)  # 5 y + x
SCALES = (1 / 4, 1 / 8, 1 / 16, 1 / 32)


def align(box, size=1, *args, features=RAMP):
    return reference.roi_align(features, np.array([[0, *box]], np.float32), size, *args)[0, 0].tolist()


def sample(plane, y, x):
    """One bilinear sample, told as the paper tells it: a second way to the same mean."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    weights = [(row, column, (1 - abs(y - row)) * (1 - abs(x - column)))
               for row in range(height) for column in range(width) if abs(y - row) < 1 and abs(x - column) < 1]
    return sum(weight * plane[row, column] for row, column, weight in weights)


def mean_of_samples(plane, box, size, scale, ratio, aligned):
    off = 0.5 if aligned else 0.0
    x1, y1, x2, y2 = (float(c) * scale - off for c in box)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1), max(height, 1)
    bin_h, bin_w = height / size, width / size
    grid_h, grid_w = (ratio, ratio) if ratio > 0 else (int(np.ceil(bin_h)), int(np.ceil(bin_w)))
    out = np.zeros((size, size))
    for p, q in np.ndindex(size, size):
        total = sum(sample(plane, y1 + p * bin_h + (i + 0.5) * bin_h / grid_h,
                           x1 + q * bin_w + (j + 0.5) * bin_w / grid_w)
                    for i in range(grid_h) for j in range(grid_w))
        out[p, q] = total / max(grid_h * grid_w, 1)
    return out


def test_align_by_hand():
    # One bin over rows 0..2, columns 1..3, two samples an axis at 0.5, 1.5 and 1.5, 2.5: the mean of
    # a ramp is its value in the middle, 5 * 1 + 2.
    assert align([1, 0, 3, 2]) == [[7]]
    assert align([1, 0, 3, 2], 2) == [[4, 5], [9, 10]]
    # Aligned, the middle stands half a map pixel further up and left.
    assert align([1, 0, 3, 2], 1, 1.0, 1, True) == [[5 * 0.5 + 1.5]]
    assert align([4, 4, 12, 12], (1, 2), 0.25, 1) == [[5 * 2 + 1.5, 5 * 2 + 2.5]]


def test_a_small_roi_covers_a_map_pixel_unless_aligned():
    assert align([1, 1, 1, 1]) == [[5 * 1.5 + 1.5]]
    assert align([1, 1, 1, 1], 1, 1.0, -1, True) == [[0]]  # no samples
    assert align([1, 1, 1, 1], 1, 1.0, 2, True) == [[5 * 0.5 + 0.5]]  # all in one place
    assert align([3, 3, 1, 1], 1, 1.0, -1, True) == [[0]]
    assert align([3, 3, 1, 1], 1, 1.0, 1, True) == [[5 * 1.5 + 1.5]]


def test_the_border_repeats_the_edge_for_one_pixel():
    ones = np.ones((1, 1, 4, 5), np.float32)
    for y, expected in ((-1, 1), (-0.5, 1), (4, 1), (np.nextafter(np.float32(4), np.float32(5)), 0),
                        (np.nextafter(np.float32(-1), np.float32(-2)), 0)):
        corner = np.float32(y) + np.float32(0.5)  # an aligned box without size has its one sample at y
        assert align([1.5, corner, 1.5, corner], 1, 1.0, 1, True, features=ones) == [[expected]]
    # Half of the samples outside: they count as 0.
    assert align([0, 3, 2, 7], 1, 1.0, 2, features=ones) == [[0.5]]


@given(st.data(), st.sampled_from([-1, 1, 2, 3]), st.booleans(), st.integers(1, 3))
def test_law_the_value_is_the_mean_of_the_samples(data, ratio, aligned, size):
    features = data.draw(some.feature_maps((2, 1, 6, 5), np.float64))
    kinds = some.ORDINARY if aligned and ratio < 0 else (*some.ORDINARY, "degenerate", "reversed")
    rois = data.draw(some.rois(2, dtype=np.float64, kinds=kinds, max_size=3, as_list=False))
    output = reference.roi_align(features, rois, size, 0.5, ratio, aligned)
    for k, (image, *box) in enumerate(rois):
        expected = mean_of_samples(features[int(image), 0], box, size, 0.5, ratio, aligned)
        np.testing.assert_allclose(output[k, 0], expected, rtol=1e-12, atol=1e-12)


@given(st.data(), some.feature_maps(), st.sampled_from([-1, 0, 2]), st.booleans())
def test_law_the_value_lies_between_the_extremes_and_0(data, features, ratio, aligned):
    rois = data.draw(some.rois(len(features)))
    output = reference.roi_align(features, rois, 2, 0.5, ratio, aligned)
    assert output.shape[1:] == (features.shape[1], 2, 2) and output.dtype == features.dtype
    most = np.abs(features).max(initial=0)
    assert (np.abs(output) <= most * (1 + TOLERANCE["float32"])).all()


@given(st.data(), st.sampled_from([1, 2, 4]), st.booleans())
def test_law_float32_lies_within_the_bound_of_float64(data, ratio, aligned):
    features = data.draw(some.feature_maps((1, 2, 7, 6)))
    rois = data.draw(some.rois(1, kinds=("grid", "cluster"), as_list=False))
    exact = reference.roi_align(features.astype(np.float64), rois.astype(np.float64), 2, 0.5, ratio, aligned)
    scale = np.abs(features).max()
    for dtype in (np.float16, np.float32):
        output = reference.roi_align(features.astype(dtype), rois, 2, 0.5, ratio, aligned)
        assert (np.abs(output - exact) <= TOLERANCE[np.dtype(dtype).name] * scale).all()


@given(st.data(), st.sampled_from([-1, 2]), st.booleans())
def test_law_the_backward_is_the_adjoint_of_the_forward(data, ratio, aligned):
    features = data.draw(some.feature_maps((2, 2, 5, 6), np.float64))
    rois = data.draw(some.rois(2, max_size=3))
    output = reference.roi_align(features, rois, (2, 1), 0.5, ratio, aligned)
    grad = np.random.default_rng(len(output)).standard_normal(output.shape)
    back = reference.roi_align_backward(grad, rois, features.shape, (2, 1), 0.5, ratio, aligned)
    assert back.shape == features.shape and back.dtype == grad.dtype
    np.testing.assert_allclose((back * features).sum(), (grad * output).sum(), rtol=1e-9, atol=1e-9)


@given(st.data(), st.sampled_from([-1, 2]), st.booleans())
def test_law_a_nonfinite_box_gives_0_and_gradient_0(data, ratio, aligned):
    rois = data.draw(some.rois(1, kinds=("nonfinite",)))
    output = reference.roi_align(RAMP + 1, rois, 2, 1.0, ratio, aligned)
    assert not output.any()
    grad = np.ones_like(output)
    assert not reference.roi_align_backward(grad, rois, RAMP.shape, 2, 1.0, ratio, aligned).any()


def test_a_huge_box_is_little_work_and_finite():
    start = time.process_time()
    ones = np.ones((1, 1, 4, 5), np.float32)
    # One bin of 2e5 + 5 by 2e5 + 4 pixels, one sample a pixel: those in [-1, 5] x [-1, 4] count.
    value = align([-1e5, -1e5, 1e5 + 5, 1e5 + 4], features=ones)[0][0]
    np.testing.assert_allclose(value, 6 * 5 / (200005 * 200004), rtol=1e-5)
    for side in (1e9, 1e18, 1e30, 3e38):
        for ratio in (-1, 2):
            assert 0 <= align([-side, -side, side, side], 3, 1.0, ratio, features=ones)[1][1] <= 1
    assert time.process_time() - start < 5


def test_half_is_accumulated_in_float32_and_rounded_once():
    features = np.array([[[[2048, 1, 1, 1]]]], np.float16)  # 2048 + 1 is 2048 in half
    assert align([0, 0, 4, 1], 1, features=features) == [[float(np.float16((2049 / 2 + 3) / 4))]]


def test_boxes_keep_their_own_precision():
    features = np.arange(4096, dtype=np.float16).reshape(1, 1, 1, -1)
    assert align([2000.5, 0, 2001.5, 1], 1, 1.0, 1, features=features) == [[2001]]  # half boxes step by 1 here


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0)])
def test_empty_maps_and_boxes_keep_their_shape(shape):
    rois = np.zeros((0 if shape[0] == 0 else 2, 5), np.float32)
    output = reference.roi_align(np.zeros(shape, np.float32), rois, (2, 3))
    assert output.shape == (len(rois), shape[1], 2, 3) and not output.any()
    assert reference.roi_align_backward(output, rois, shape, (2, 3)).shape == shape


@pytest.mark.parametrize("index", [-1, 1, 0.5, 1e6, NAN, INF])
def test_contract_a_batch_index_without_an_image_says_so(index):
    with pytest.raises(IndexError, match=r"roi_align: boxes must have a whole batch index in \[0, 1\), got"):
        reference.roi_align(RAMP, np.array([[index, 0, 0, 1, 1]], np.float32), 1)


def test_contract_integer_features_say_so():
    with pytest.raises(TypeError, match="roi_align: input must be float16, float32 or float64, got int64"):
        reference.roi_align(RAMP.astype(np.int64), np.zeros((0, 5)), 1)


def test_levels_at_powers_of_two():
    sides = [1, 111.99, 112, 223.99, 224, 447.9, 448, 4480]
    boxes = np.array([[10, 10, 10 + s, 10 + s] for s in sides])
    assert reference.assign_levels(boxes, SCALES).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert reference.assign_levels(boxes, SCALES[2:]).tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert reference.assign_levels(boxes, SCALES[:1]).tolist() == [0] * 8
    awkward = np.array([[NAN, 0, 9, 9], [0, 0, INF, 9], [9, 9, 0, 0], [5, 5, 5, 900], [0, 0, 1e30, 1e30]])
    assert reference.assign_levels(awkward, SCALES).tolist() == [0, 3, 0, 0, 3]


def test_levels_follow_the_canonical_size():
    boxes = np.array([[0, 0, 56, 56], [0, 0, 112, 112]])
    assert reference.assign_levels(boxes, SCALES, 56, 3).tolist() == [1, 2]


@given(st.data(), st.booleans(), st.sampled_from([-1, 2]))
def test_law_each_roi_is_pooled_on_its_level_in_box_order(data, aligned, ratio):
    features = [data.draw(some.feature_maps((2, 1, 8 >> i, 8 >> i))) for i in range(2)]
    rois = data.draw(some.rois(2, as_list=False))
    scales, levels = (0.5, 0.25), reference.assign_levels(rois[:, 1:], (0.5, 0.25), 8, 2)
    options = {"sampling_ratio": ratio, "aligned": aligned, "canonical_scale": 8, "canonical_level": 2}
    output = reference.multiscale_roi_align(features, rois, 2, scales, **options)
    assert output.shape == (len(rois), 1, 2, 2)
    back = reference.multiscale_roi_align_backward(
        output, rois, [f.shape for f in features], 2, scales, **options)
    for i in range(2):
        mine = levels == i
        np.testing.assert_array_equal(
            output[mine], reference.roi_align(features[i], rois[mine], 2, scales[i], ratio, aligned))
        np.testing.assert_array_equal(back[i], reference.roi_align_backward(
            output[mine], rois[mine], features[i].shape, 2, scales[i], ratio, aligned))


def test_contract_levels_without_scales_say_so():
    with pytest.raises(ValueError, match="multiscale_roi_align: scales must have one value a level, got 2 for 1"):
        reference.multiscale_roi_align([RAMP], np.zeros((0, 5)), 1, (1.0, 0.5))
    with pytest.raises(ValueError, match="multiscale_roi_align: scales must name at least one level"):
        reference.multiscale_roi_align([], np.zeros((0, 5)), 1, ())


def test_gradient_of_features():
    rng = np.random.default_rng(1)
    features, rois = rng.standard_normal((1, 1, 4, 5)), np.array([[0, -2, 1, 7, 9], [0, 3, 3, 4, 4.5]])
    output = reference.roi_align(features, rois, (2, 3), 0.5)
    grad = rng.standard_normal(output.shape)
    analytic = reference.roi_align_backward(grad, rois, features.shape, (2, 3), 0.5)
    for i in np.ndindex(features.shape):
        step = np.zeros_like(features)
        step[i] = 0.5
        change = (reference.roi_align(features + step, rois, (2, 3), 0.5)
                  - reference.roi_align(features - step, rois, (2, 3), 0.5))
        np.testing.assert_allclose(analytic[i], (grad * change).sum(), rtol=1e-9, atol=1e-12)
