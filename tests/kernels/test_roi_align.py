"""The compiled RoIAlign against the reference: inside its bound, the same bits at every level, thread count, format."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.reference.roi_align import assign_levels
from roikit.testing import strategies as some

from .. import crowds
from . import agreement
from .agreement import stored, within

DTYPES = (np.float16, np.float32, np.float64)
SIZES = st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 4), st.integers(1, 4)))
SCALES = st.sampled_from([1.0, 0.5, 0.25, 1 / 3])
RATIOS = st.sampled_from([-1, 0, 1, 2, 3])
FORMATS = st.sampled_from(agreement.FORMATS)
everywhere = partial(agreement.everywhere, bits=True)


def largest(a, boxes):
    """The largest |feature| of each RoI's image, (K, 1, 1, 1)."""
    a = np.abs(a.astype(np.float64)).max(axis=(1, 2, 3), initial=0)
    index = [i for i, part in enumerate(boxes) for _ in part] if isinstance(boxes, list) else boxes[:, 0].astype(int)
    return a[index].reshape(-1, 1, 1, 1)


@st.composite
def cases(draw, dtypes=DTYPES):
    maps = draw(some.feature_maps(dtype=draw(st.sampled_from(dtypes))))
    boxes = draw(some.rois(len(maps), dtype=draw(st.sampled_from(DTYPES))))
    return maps, boxes, draw(SIZES), draw(SCALES), draw(RATIOS), draw(st.booleans())


@given(case=cases(), form=FORMATS)
def test_forward_agrees_with_the_reference(case, form):
    maps, boxes, *rule = case
    result = everywhere(lambda threads: [kernels.roi_align(stored(maps, form), boxes, *rule, threads=threads)])[0]
    within(result, reference.roi_align(maps, boxes, *rule), largest(maps, boxes))


@given(case=cases(), form=FORMATS, seed=st.integers(0, 2**32 - 1))
def test_backward_agrees_with_the_reference(case, form, seed):
    maps, boxes, *rule = case
    shape = reference.roi_align(maps, boxes, *rule).shape
    grad = np.random.default_rng(seed).standard_normal(shape).astype(maps.dtype)
    result = everywhere(lambda threads: [
        kernels.roi_align_backward(stored(grad, form), boxes, maps.shape, *rule, threads=threads)])[0]
    spread = reference.roi_align_backward(np.abs(grad), boxes, maps.shape, *rule).astype(np.float64)
    within(result, reference.roi_align_backward(grad, boxes, maps.shape, *rule),
           spread + np.abs(grad).max(initial=0))


@given(data=st.data(), dtype=st.sampled_from(DTYPES), form=FORMATS, ratio=RATIOS, aligned=st.booleans())
def test_multiscale_agrees_with_the_reference(data, dtype, form, ratio, aligned):
    images, channels = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    sides = [data.draw(st.tuples(st.integers(0, 8), st.integers(0, 8))) for _ in range(data.draw(st.integers(1, 3)))]
    maps = [data.draw(some.feature_maps((images, channels, *side), dtype)) for side in sides]
    boxes = data.draw(some.rois(images, dtype=data.draw(st.sampled_from(DTYPES))))
    scales = [0.5**i for i in range(1, len(maps) + 1)]
    rule = {"sampling_ratio": ratio, "aligned": aligned, "canonical_scale": 8, "canonical_level": 2}
    expected = reference.multiscale_roi_align(maps, boxes, 2, scales, **rule)
    result = everywhere(lambda threads: [
        kernels.multiscale_roi_align([stored(m, form) for m in maps], boxes, 2, scales, threads=threads, **rule)])[0]
    within(result, expected, max(np.abs(m.astype(np.float64)).max(initial=0) for m in maps))
    shapes = [m.shape for m in maps]
    grads = everywhere(lambda threads: kernels.multiscale_roi_align_backward(
        expected, boxes, shapes, 2, scales, threads=threads, **rule))
    wanted = reference.multiscale_roi_align_backward(expected, boxes, shapes, 2, scales, **rule)
    spread = reference.multiscale_roi_align_backward(np.abs(expected), boxes, shapes, 2, scales, **rule)
    for g, w, s in zip(grads, wanted, spread, strict=True):
        within(g, w, s.astype(np.float64) + np.abs(expected.astype(np.float64)).max(initial=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 15, 16, 70])
def test_levels_threads_and_formats_give_the_same_bits(dtype, channels):
    maps = np.random.default_rng(1).standard_normal((3, channels, 37, 29)).astype(dtype)
    boxes = crowds.rois(3, 120, 150)
    by_format = []
    for form in agreement.FORMATS:
        def both(threads, x):
            output = kernels.roi_align(x, boxes, (5, 3), 0.25, 2, threads=threads)
            return output, kernels.roi_align_backward(output, boxes, x.shape, (5, 3), 0.25, 2, threads=threads)
        by_format.append(everywhere(partial(both, x=stored(maps, form))))
    assert not by_format[0][0].flags.f_contiguous
    for other in by_format[1:]:
        for a, b in zip(by_format[0], other, strict=True):
            assert a.tobytes() == b.tobytes()


@given(case=cases((np.float64,)), seed=st.integers(0, 2**32 - 1))
def test_law_backward_is_the_transpose_of_forward(case, seed):
    maps, boxes, *rule = case
    output = kernels.roi_align(maps, boxes, *rule)
    grad = np.random.default_rng(seed).integers(-4, 5, output.shape).astype(np.float64)
    gradient = kernels.roi_align_backward(grad, boxes, maps.shape, *rule)
    scale = 1 + np.abs(output * grad).sum() + np.abs(maps * gradient).sum() + np.abs(grad).sum()
    assert abs((output * grad).sum() - (maps * gradient).sum()) <= 1e-12 * scale


def test_law_a_linear_map_gives_its_value_at_the_bins_centres():
    y, x = np.mgrid[0:40, 0:50]
    maps = (3 * y + 2 * x + 1)[None, None].astype(np.float64)
    boxes = np.array([[0, 5, 4, 33, 32], [0, 7.5, 3.25, 9, 21]])
    for ratio in (-1, 1, 2, 5):
        result = kernels.roi_align(maps, boxes, 4, 1.0, ratio, True)
        for k, (_, x1, y1, x2, y2) in enumerate(boxes):
            cy = y1 - 0.5 + (np.arange(4) + 0.5) * (y2 - y1) / 4
            cx = x1 - 0.5 + (np.arange(4) + 0.5) * (x2 - x1) / 4
            np.testing.assert_allclose(result[k, 0], 3 * cy[:, None] + 2 * cx + 1, rtol=1e-12)


def test_law_rois_do_not_depend_on_their_company():
    maps = np.random.default_rng(0).standard_normal((2, 20, 30, 30)).astype(np.float32)
    boxes = crowds.rois(2, 40, 100, 3)
    together = kernels.roi_align(maps, boxes, 3, 0.25)
    for k in range(0, 40, 7):
        assert together[k].tobytes() == kernels.roi_align(maps, boxes[k : k + 1], 3, 0.25)[0].tobytes()


def test_law_each_box_of_a_pyramid_is_pooled_on_its_level():
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((2, 18, 64 >> i, 64 >> i)).astype(np.float32) for i in range(3)]
    scales, boxes = [1 / 4, 1 / 8, 1 / 16], crowds.rois(2, 60, 220, 5)
    levels = assign_levels(boxes[:, 1:], scales, 56, 3)
    assert set(levels) == {0, 1, 2}
    output = kernels.multiscale_roi_align(maps, boxes, 3, scales, canonical_scale=56, canonical_level=3)
    for k, level in enumerate(levels):
        single = kernels.roi_align(maps[level], boxes[k : k + 1], 3, scales[level], 2)
        assert output[k].tobytes() == single[0].tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("ratio", [-1, 2])
def test_law_a_box_that_is_not_finite_gives_zero_and_no_gradient(value, place, ratio):
    maps = np.ones((1, 17, 8, 8), np.float32)
    boxes = np.array([[0, 1, 1, 6, 6]], np.float32)
    boxes[0, 1 + place] = value
    scale = 16.0 if value == 3e38 else 1.0  # the corner is finite, its place on the map is not
    assert not kernels.roi_align(maps, boxes, 2, scale, ratio).any()
    assert not kernels.roi_align_backward(maps[:, :, :2, :2], boxes, maps.shape, 2, scale, ratio).any()


def test_law_features_outside_a_roi_do_not_show():
    maps = np.full((1, 16, 20, 20), np.nan, np.float32)
    maps[:, :, 4:9, 3:9] = 1
    boxes = np.array([[0, 3, 4, 8, 8]], np.float32)
    for form in ("contiguous", "channels_last"):
        np.testing.assert_allclose(kernels.roi_align(stored(maps, form), boxes, 3), 1, rtol=1e-6)


def test_a_huge_adaptive_grid_visits_only_the_map():
    maps = np.ones((1, 1, 5, 5), np.float32)
    boxes = np.array([[0, -1e7, -1e7, 1e7, 1e7], [0, -3e30, -3e30, 3e30, 3e30]], np.float32)
    result = kernels.roi_align(maps, boxes, 1)
    within(result, reference.roi_align(maps, boxes, 1), np.ones((2, 1, 1, 1)))
    assert (result >= 0).all()


@pytest.mark.parametrize("shape, count", [((0, 3, 4, 4), 0), ((2, 0, 4, 4), 2), ((2, 3, 0, 4), 2), ((2, 3, 4, 0), 2),
                                          ((2, 3, 4, 4), 0), ((1, 1, 1, 1), 3)])
def test_empty_and_tiny(shape, count):
    maps = np.ones(shape, np.float32)
    boxes = np.tile(np.array([[0, 0, 0, 1, 1]], np.float32), (count, 1))
    output = kernels.roi_align(maps, boxes, 2)
    assert output.shape == (count, shape[1], 2, 2) and output.dtype == np.float32
    np.testing.assert_array_equal(output, reference.roi_align(maps, boxes, 2))
    assert kernels.roi_align_backward(output, boxes, shape, 2).shape == shape
    assert kernels.roi_align(maps, [boxes[:0, 1:]] * shape[0], 2).shape == (0, shape[1], 2, 2)


def test_out_receives_the_result():
    maps, boxes = np.random.default_rng(0).standard_normal((1, 17, 9, 9)), crowds.rois(1, 3, 9)
    out = np.empty((3, 17, 2, 2))
    for form in ("contiguous", "channels_last"):
        assert kernels.roi_align(stored(maps, form), boxes, 2, out=out) is out
        np.testing.assert_array_equal(out, kernels.roi_align(maps, boxes, 2))


MAPS = np.zeros((2, 3, 4, 4), np.float32)
ROIS = np.zeros((5, 5), np.float32)


@pytest.mark.parametrize("index, text", [(-1, "-1.0"), (2, "2.0"), (0.5, "0.5"), (np.nan, "nan")])
def test_contract_batch_index(index, text):
    boxes = ROIS.copy()
    boxes[3, 0] = index
    sentence = rf"boxes must have a whole batch index in \[0, 2\), got {text}$"
    with pytest.raises(IndexError, match="roi_align: " + sentence):
        kernels.roi_align(MAPS, boxes, 2)
    with pytest.raises(IndexError, match="roi_align: " + sentence):
        kernels.roi_align(MAPS[:, :0], boxes, 2)
    with pytest.raises(IndexError, match="roi_align: " + sentence):
        kernels.roi_align_backward(np.zeros((5, 3, 2, 2), np.float32), boxes, MAPS.shape, 2)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.roi_align(MAPS[0], ROIS, 2), ValueError,
     r"roi_align: input must have shape \(N, C, H, W\), got \(3, 4, 4\)"),
    (lambda: kernels.roi_align(MAPS.astype(int), ROIS, 2), TypeError,
     "roi_align: input must be float16, float32 or float64, got int64"),
    (lambda: kernels.roi_align(MAPS, ROIS[:, :4], 2), ValueError,
     r"roi_align: boxes must have shape \(N, 5\), got \(5, 4\)"),
    (lambda: kernels.roi_align(MAPS, [ROIS], 2), ValueError,
     r"roi_align: boxes\[0\] must have shape \(N, 4\), got \(5, 5\)"),
    (lambda: kernels.roi_align(MAPS, ROIS, 0), ValueError, "roi_align: output_size must be at least 1, got 0"),
    (lambda: kernels.roi_align(MAPS, ROIS, (2, 2, 2)), TypeError, "roi_align: output_size must be a whole number"),
    (lambda: kernels.roi_align(MAPS, ROIS, 2, 0.0), ValueError,
     "roi_align: spatial_scale must be positive and finite, got 0.0"),
    (lambda: kernels.roi_align(MAPS, ROIS, 2, 1.0, 1.5), TypeError,
     "roi_align: sampling_ratio must be a whole number, got float"),
    (lambda: kernels.roi_align(MAPS, ROIS, 2, threads=0), ValueError, "roi_align: threads must be at least 1, got 0"),
    (lambda: kernels.roi_align(MAPS, ROIS, 2, out=np.empty(3)), ValueError, "roi_align: out must be a float32 array"),
    (lambda: kernels.roi_align_backward(MAPS, ROIS, MAPS.shape, 4), ValueError,
     r"roi_align_backward: grad must have shape \(5, 3, PH, PW\), got \(2, 3, 4, 4\)"),
    (lambda: kernels.roi_align_backward(MAPS, ROIS[:2], MAPS.shape, 2), ValueError,
     r"roi_align_backward: grad must have 2 x 2 bins, got shape \(2, 3, 4, 4\)"),
    (lambda: kernels.roi_align_backward(MAPS, ROIS[:2], (3, 4, 4), 4), ValueError,
     r"roi_align_backward: input_shape must be \(N, C, H, W\), got \(3, 4, 4\)"),
    (lambda: kernels.multiscale_roi_align([MAPS], ROIS, 2, [1.0, 0.5]), ValueError,
     "multiscale_roi_align: scales must have one value a level, got 2 for 1"),
    (lambda: kernels.multiscale_roi_align([], ROIS, 2, []), ValueError,
     "multiscale_roi_align: scales must name at least one level, got none"),
    (lambda: kernels.multiscale_roi_align([MAPS, MAPS[:1]], ROIS, 2, [1.0, 0.5]), ValueError,
     r"multiscale_roi_align: features must agree in dtype, N and C, got float32 \(2, 3, 4, 4\) and, at 1, float32 "),
    (lambda: kernels.multiscale_roi_align([MAPS], ROIS, 2, [-1.0]), ValueError,
     r"multiscale_roi_align: scales\[0\] must be positive and finite, got -1.0"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
