"""roi_align with reduce="max": hand-worked values, every sample one by one, laws and gradient of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some

MAP = np.arange(20, dtype=np.float32).reshape(1, 1, 4, 5)
SCALES, SIZES = st.sampled_from([1.0, 0.5]), st.tuples(st.integers(1, 3), st.integers(1, 3))


def align(box, size=1, ratio=2, features=MAP, aligned=True):
    return reference.roi_align(features, np.array([[0, *box]], np.float32), size, 1.0, ratio, aligned,
                               reduce="max")[0, 0].tolist()


def winner(features, box, ratio=2, size=1):
    """Value and argmax of a single bin."""
    boxes = np.array([[0, *box]], np.float32)
    output, argmax = reference.roi_align_with_argmax(features, boxes, size, 1.0, ratio, True)
    assert argmax.dtype == np.int32
    return output.item(), argmax.item()


def test_align_by_hand():
    # Start 0.5 - 0.5 = 0, two pixels a side, one bin: samples at 0.5 and 1.5. The values are 5 y + x.
    assert align([0.5, 0.5, 2.5, 2.5]) == [[1.5 * 5 + 1.5]]
    # Four bins of one pixel, samples at 0.25, 0.75, 1.25 and 1.75.
    assert align([0.5, 0.5, 2.5, 2.5], 2) == [[5 * 0.75 + 0.75, 5 * 0.75 + 1.75], [5 * 1.75 + 0.75, 5 * 1.75 + 1.75]]
    # One sample a bin: its value, which is the mean, too.
    assert align([0.5, 0.5, 2.5, 2.5], 2, 1) == [[3, 4], [8, 9]]
    # Adaptive: ceil(3 / 1) samples along y at 0.5, 1.5 and 2.5, 2 along x.
    assert align([0.5, 0.5, 2.5, 3.5], 1, -1) == [[2.5 * 5 + 1.5]]


def test_the_first_of_equals_wins():
    assert winner(np.ones((1, 1, 4, 4), np.float32), [0.5, 0.5, 2.5, 2.5]) == (1, 0)
    features = np.zeros((1, 1, 3, 4), np.float32)
    features[0, 0, 1, 2] = features[0, 0, 2, 0] = 1  # samples at 0, 1, 2 down, and at 0, 1, 2 across
    assert winner(features, [0, 0, 3, 3], 3) == (1, 5)


def test_a_sample_outside_is_0_and_takes_part():
    below = np.full((1, 1, 4, 4), -1, np.float32)
    for box, outcome in (([-9, -9, -5, -5], (0, -1)),      # all outside
                         ([-3.5, 1.5, 2.5, 2.5], (0, -1)),  # a column before
                         ([2.5, 1.5, 8.5, 2.5], (0, -1)),   # a column after
                         ([1.5, 2.5, 2.5, 8.5], (0, -1)),   # a row after
                         ([1.5, 1.5, 2.5, 2.5], (-1, 0))):
        assert winner(below, box) == outcome
    # Against a 0 inside, the first of the two: a row after comes last, a column after in the first row.
    flat = np.zeros((1, 1, 4, 4), np.float32)
    assert winner(flat, [1.5, 2.5, 2.5, 8.5]) == (0, 0)
    assert winner(flat, [2.5, 1.5, 8.5, 2.5]) == (0, 0)
    assert winner(flat, [1.5, -8.5, 2.5, 2.5]) == (0, -1)
    mixed = np.where(np.arange(4)[:, None] < 2, -1, 0).astype(np.float32)[None, None] * np.ones(4, np.float32)
    assert winner(mixed, [2, 0, 8, 4], 2) == (0, -1)  # a 0 inside only in the second row


def test_nan_and_minus_infinity_never_win():
    features = np.array([[[[np.nan, 3, 3], [3, np.nan, 1], [2, 2, 2]]]], np.float32)
    # Samples at the pixels: a NaN beside one has weight 0, and still makes it NaN.
    assert winner(features, [0, 0, 3, 3], 3) == (3, 2)
    assert winner(np.full_like(features, np.nan), [0, 0, 3, 3], 3) == (0, -1)
    assert winner(np.full_like(features, -np.inf), [0, 0, 3, 3], 3) == (0, -1)


def test_no_sample_gives_0():
    assert align([2, 2, 2, 2], 2, -1, MAP + 1) == [[0, 0], [0, 0]]
    assert align([3, 3, 1, 1], 2, -1, MAP + 1) == [[0, 0], [0, 0]]
    assert align([2, 2, 2, 2], 1, 2, MAP + 1) == [[(1.5 * 5 + 1.5) + 1]]  # with a ratio: all samples in one place


def every_sample(plane, box, size, scale, ratio, aligned):
    """(value, whether it lies inside) of all samples of each bin in order, by the formula alone."""
    real = box.dtype.type
    starts, steps, grids = [], [], []
    for low, high, bins in ((box[1], box[3], size[0]), (box[0], box[2], size[1])):
        start = low * real(scale) - real(aligned / 2)
        extent = (high * real(scale) - real(aligned / 2)) - start
        step = (extent if aligned else max(extent, real(1))) / real(bins)
        starts, steps, grids = [*starts, start], [*steps, step], [*grids, ratio if ratio > 0 else int(np.ceil(step))]

    def tap(position, extent):
        position = max(position, real(0))
        low = min(int(np.floor(position)), extent - 1)
        high = min(low + 1, extent - 1)
        share = position - real(low) if high > low else real(0)
        return low, high, plane.dtype.type(real(1) - share), plane.dtype.type(share)

    for p, q in np.ndindex(*size):
        found = []
        for i in range(grids[0]):
            for j in range(grids[1]):
                y, x = ((start + real(b) * step) + (real(k) + real(0.5)) * step / real(g)
                        for start, step, b, k, g in zip(starts, steps, (p, q), (i, j), grids, strict=True))
                if not (-1 <= y <= plane.shape[0] and -1 <= x <= plane.shape[1]):
                    found.append((plane.dtype.type(0), False))
                    continue
                (y0, y1, b0, b1), (x0, x1, a0, a1) = tap(y, plane.shape[0]), tap(x, plane.shape[1])
                found.append(((plane[y0, x0] * a0 + plane[y0, x1] * a1) * b0
                              + (plane[y1, x0] * a0 + plane[y1, x1] * a1) * b1, True))
        yield p, q, found


@given(data=st.data(), size=SIZES, scale=SCALES, ratio=st.sampled_from([-1, 1, 2, 3]), aligned=st.booleans(),
       nan=st.booleans())
def test_law_it_is_the_first_largest_of_all_samples(data, size, scale, ratio, aligned, nan):
    features = data.draw(some.feature_maps((2, 1, 4, 5), nan=nan))
    boxes = data.draw(some.rois(2, kinds=(*some.ORDINARY, "degenerate", "reversed"), as_list=False))
    boxes[:, 1:] = np.clip(boxes[:, 1:], -12, 12)
    output, argmax = reference.roi_align_with_argmax(features, boxes, size, scale, ratio, aligned)
    with np.errstate(all="ignore"):
        for k, (image, *_) in enumerate(boxes):
            plane = features[int(image), 0]
            for p, q, samples in every_sample(plane, boxes[k, 1:], size, scale, ratio, aligned):
                best, inside = -np.inf, None
                for value, within in samples:
                    if value > best:
                        best, inside = value, within
                assert output[k, 0, p, q] == (0 if inside is None else best)
                assert (argmax[k, 0, p, q] >= 0) == (inside is True)


@given(st.data(), SIZES)
def test_law_it_is_the_maximum_over_a_finer_grid_of_means(data, size):
    """As many bins as there are samples, of one sample each."""
    features = data.draw(some.feature_maps((2, 2, 5, 6)))
    boxes = data.draw(some.rois(2, kinds=some.ORDINARY, as_list=False))
    fine = reference.roi_align(features, boxes, (size[0] * 2, size[1] * 2), 0.5, 1, True)
    blocks = fine.reshape(len(boxes), 2, size[0], 2, size[1], 2).max((3, 5))
    found = reference.roi_align(features, boxes, size, 0.5, 2, True, reduce="max")
    np.testing.assert_allclose(found, blocks, rtol=0, atol=1e-4 * max(1, np.abs(features).max()))


@given(st.data())
def test_law_a_nonfinite_box_gives_0_and_no_gradient(data):
    boxes = data.draw(some.rois(1, kinds=("nonfinite",), as_list=False))
    output, argmax = reference.roi_align_with_argmax(MAP + 1, boxes, 2, 1.0, 2)
    gradient = reference.roi_align_backward(np.ones_like(output), boxes, MAP.shape, 2, 1.0, 2, argmax=argmax)
    assert not output.any() and not gradient.any()


@pytest.mark.parametrize("ratio", [-1, 2])
def test_gradient_is_the_transpose_at_the_winners(ratio):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 3, 5, 6))
    boxes = np.array([[0, 0, 0, 5, 4], [1, 1, 1, 4, 4], [0, 2, 0, 9, 3.0]])
    output, argmax = reference.roi_align_with_argmax(features, boxes, (2, 3), 1.0, ratio)
    grad = rng.standard_normal(output.shape)
    gradient = reference.roi_align_backward(grad, boxes, features.shape, (2, 3), 1.0, ratio, argmax=argmax)
    np.testing.assert_allclose((output * grad).sum(), (features * gradient).sum(), rtol=1e-12)
    # And the differential quotient: the winners stay where they are for small steps.
    step = 1e-6 * rng.standard_normal(features.shape)
    moved = reference.roi_align(features + step, boxes, (2, 3), 1.0, ratio, reduce="max")
    np.testing.assert_allclose(((moved - output) * grad).sum(), (step * gradient).sum(), rtol=1e-6)


def test_a_pyramid_is_its_levels():
    rng = np.random.default_rng(1)
    features = [rng.standard_normal((2, 2, n, n)).astype(np.float32) for n in (8, 4)]
    boxes = np.array([[0, 0, 0, 6, 6], [1, 2, 1, 16, 15], [1, 1, 1, 4, 3]], np.float32)
    rule = dict(canonical_scale=8, canonical_level=2)
    output, argmax = reference.multiscale_roi_align_with_argmax(features, boxes, 2, [0.5, 0.25], **rule)
    np.testing.assert_array_equal(
        output, reference.multiscale_roi_align(features, boxes, 2, [0.5, 0.25], reduce="max", **rule))
    levels = reference.assign_levels(boxes[:, 1:], [0.5, 0.25], 8, 2)
    assert set(levels) == {0, 1}
    grads = reference.multiscale_roi_align_backward(output, boxes, [f.shape for f in features], 2, [0.5, 0.25],
                                                    argmax=argmax, **rule)
    for i, (level, scale) in enumerate(zip(features, [0.5, 0.25], strict=True)):
        own = levels == i
        alone, places = reference.roi_align_with_argmax(level, boxes[own], 2, scale, 2)
        np.testing.assert_array_equal(output[own], alone)
        gradient = reference.roi_align_backward(alone, boxes[own], level.shape, 2, scale, 2, argmax=places)
        np.testing.assert_array_equal(grads[i], gradient)


BOXES = np.zeros((1, 5), np.float32)


@pytest.mark.parametrize("call, text", [
    (lambda: reference.roi_align(MAP, BOXES, 1, reduce="sum"), "reduce must be one of 'mean', 'max', got 'sum'"),
    (lambda: reference.roi_align(MAP, BOXES, 1, rule="integral", reduce="max"),
     "reduce must be 'mean' with rule='integral', which has no samples, got 'max'"),
    (lambda: reference.roi_align_backward(np.zeros((1, 1, 1, 1), np.float32), BOXES, MAP.shape, 1, rule="integral",
                                          argmax=np.zeros((1, 1, 1, 1), np.int32)), "reduce must be 'mean' with rule="),
    (lambda: reference.multiscale_roi_align([MAP], BOXES, 1, [1.0], reduce="min"), "reduce must be one of 'mean'"),
])
def test_contract(call, text):
    with pytest.raises(ValueError, match=f"roi_align: {text}"):
        call()
    with pytest.raises(IndexError, match=r"roi_align: boxes must have a whole batch index in \[0, 1\), got"):
        reference.roi_align(MAP, BOXES + 1, 1, reduce="max")
