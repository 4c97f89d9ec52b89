"""The compiled roi_align with reduce="max" against the reference: the same bits of output and argmax at any vector
level, on any number of threads, in any memory format."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import simd, simd_levels
from roikit.testing import strategies as some
from roikit.testing.draws import SAMPLED

from .agreement import channels_last as last
from .agreement import each_wrong_index, some_rois, within

DTYPES = (np.float16, np.float32, np.float64)
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3))


def same(found, wanted):
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found) & (found == 0), np.signbit(wanted) & (wanted == 0))


def calls(floor, maps, boxes, rule, pyramid):
    """Forward with the argmax of a list of maps, and the gradients of all of them."""
    if pyramid:
        shapes, last_of_all = [m.shape for m in maps], dict(rule[-1])
        return (lambda x, **own: floor.multiscale_roi_align_with_argmax(x, boxes, *rule[:-1], **last_of_all, **own),
                lambda grad, argmax, **own: floor.multiscale_roi_align_backward(grad, boxes, shapes, *rule[:-1],
                                                                                **last_of_all, argmax=argmax, **own))
    return (lambda x, **own: floor.roi_align_with_argmax(x[0], boxes, *rule, **own),
            lambda grad, argmax, **own: [floor.roi_align_backward(grad, boxes, maps[0].shape, *rule, argmax=argmax,
                                                                  **own)])


def check(maps, boxes, *rule, pyramid=False):
    """On every floor. maps: a list of one, or the levels of a pyramid, whose rule ends with a dict of further names."""
    forward, backward = calls(reference, maps, boxes, rule, pyramid)
    compiled, compiled_backward = calls(kernels, maps, boxes, rule, pyramid)
    output, argmax = forward(maps)
    grad = np.random.default_rng(0).standard_normal(output.shape).astype(maps[0].dtype)
    gradients, spreads = (backward(g, argmax) for g in (grad, np.abs(grad)))
    seen = set()
    for level in simd_levels():
        for threads in (1, 3):
            for stored in (np.ascontiguousarray, last):
                with simd(level):
                    values, places = compiled([stored(m) for m in maps], threads=threads)
                    found = compiled_backward(stored(grad), places, threads=threads)
                assert values.dtype == output.dtype and places.dtype == np.int32
                same(values, output)
                np.testing.assert_array_equal(places, argmax)
                seen.add(tuple(g.tobytes() for g in found))
    for back, gradient, spread in zip(found, gradients, spreads, strict=True):
        within(back, gradient, spread.astype(np.float64) + np.abs(grad).max(initial=0))
    assert len(seen) == 1


@given(data=st.data(), dtype=st.sampled_from(DTYPES), size=SIZES, scale=st.sampled_from([1.0, 0.5, 1 / 3]),
       ratio=st.sampled_from([-1, 1, 2, 3, 5, 9]), aligned=st.booleans(), nan=st.booleans())
def test_agrees_with_the_reference(data, dtype, size, scale, ratio, aligned, nan):
    maps = data.draw(some.feature_maps(dtype=dtype, nan=nan))
    boxes = data.draw(some.rois(len(maps), dtype=data.draw(st.sampled_from(DTYPES)),
                                kinds=some.KINDS if ratio > 0 else SAMPLED))
    check([maps], boxes, size, scale, ratio, aligned)


@given(data=st.data(), dtype=st.sampled_from(DTYPES), size=SIZES, ratio=st.sampled_from([-1, 2]), aligned=st.booleans())
def test_a_pyramid_agrees_with_the_reference(data, dtype, size, ratio, aligned):
    images = data.draw(st.integers(1, 2))
    maps = [data.draw(some.feature_maps((images, 2, side, side + 1), dtype=dtype)) for side in (8, 4, 2)]
    boxes = data.draw(some.rois(images, kinds=SAMPLED))
    check(maps, boxes, size, [0.5, 0.25, 0.125], dict(sampling_ratio=ratio, aligned=aligned, canonical_scale=8,
                                                      canonical_level=2), pyramid=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ratio", [-1, 2, 5])
@pytest.mark.parametrize("channels", [5, 21])
def test_many_rois_and_images(dtype, ratio, channels):
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((3, channels, 19, 23)).astype(dtype)
    maps[rng.random(maps.shape) < 0.05] = -0.0
    check([maps], some_rois(rng, 12).astype(np.float32), (2, 3), 0.25, ratio, True)


def test_a_huge_box_visits_only_the_samples_inside():
    maps = np.random.default_rng(0).standard_normal((1, 2, 9, 11)).astype(np.float32)
    boxes = np.array([[0, -1e6, -1e6, 1e6, 1e6], [0, -1e4, 2, 1e4, 5], [0, -1e30, -1e30, 1e30, 1e30]], np.float32)
    check([maps], boxes, 3, 1.0, -1, False)


def test_samples_by_the_thousand():
    """More samples in a bin than float32 counts, and the largest that an axis takes."""
    maps = np.zeros((1, 1, 3, 3), np.float32)
    maps[0, 0, 1, 1] = 1
    box = np.array([[0, 0.5, 0.5, 2.5, 2.5]], np.float32)
    output, argmax = kernels.roi_align_with_argmax(maps, box, 1, 1.0, 4103, True)
    assert output.item() <= 1 and argmax.item() > 2**22
    row, column = divmod(argmax.item(), 4103)
    for k in (row, column):
        assert abs((k + 0.5) * 2 / 4103 - 1) <= 1 / 4103
    gradient = kernels.roi_align_backward(np.ones_like(output), box, maps.shape, 1, 1.0, 4103, True, argmax=argmax)
    assert gradient[0, 0, 1, 1] == output.item() and gradient.sum() == pytest.approx(1, abs=1e-6)


def test_the_mean_does_not_change():
    maps = np.random.default_rng(0).standard_normal((1, 3, 9, 9)).astype(np.float32)
    boxes = np.array([[0, 1, 2, 7, 8]], np.float32)
    plain, named = (kernels.roi_align(maps, boxes, 2, 1.0, 2, **own) for own in ({}, {"reduce": "mean"}))
    assert plain.tobytes() == named.tobytes()
    assert (kernels.roi_align(maps, boxes, 2, 1.0, 2, reduce="max") > plain).all()
    assert kernels.roi_align(maps, boxes, 2, 1.0, 1, reduce="max") == pytest.approx(
        kernels.roi_align(maps, boxes, 2, 1.0, 1), abs=1e-6)


def test_out_receives_the_result():
    maps = np.random.default_rng(0).standard_normal((1, 3, 9, 9)).astype(np.float32)
    boxes, out = np.array([[0, 1, 2, 7, 8]], np.float32), np.empty((1, 3, 2, 2), np.float32)
    assert kernels.roi_align(maps, boxes, 2, reduce="max", out=out) is out
    for other in (np.repeat(maps, 2, 3)[..., ::2], last(maps)):
        np.testing.assert_array_equal(kernels.roi_align(other, boxes, 2, reduce="max"), out)
    again = np.empty_like(out)
    assert kernels.roi_align(last(maps), boxes, 2, reduce="max", out=again) is again
    np.testing.assert_array_equal(again, out)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0), (1, 1, 1, 1)])
def test_empty_and_tiny(shape):
    maps = np.ones(shape, np.float32)
    for boxes in (np.empty((0, 5), np.float32), [np.zeros((1, 4), np.float32)] * shape[0]):
        output, argmax = kernels.roi_align_with_argmax(maps, boxes, 2, 1.0, 2)
        np.testing.assert_array_equal(output, reference.roi_align(maps, boxes, 2, 1.0, 2, reduce="max"))
        assert output.shape == argmax.shape == (len(boxes) if isinstance(boxes, list) else 0, shape[1], 2, 2)
        assert kernels.roi_align_backward(output, boxes, shape, 2, 1.0, 2, argmax=argmax).shape == shape


MAPS, ROIS, BINS = np.zeros((2, 3, 4, 4), np.float32), np.zeros((5, 5), np.float32), np.zeros((5, 3, 2, 2), np.float32)
PLACES = BINS.astype(np.int32)


def test_an_argmax_that_names_no_sample_is_passed_over():
    for ratio in (2, 5):
        for place in (-7, ratio * ratio, 2**31 - 1):
            back = kernels.roi_align_backward(BINS + 1, ROIS, MAPS.shape, 2, 1.0, ratio, argmax=PLACES + place)
            assert not back.any()


@each_wrong_index
def test_contract_batch_index(index, text):
    boxes = ROIS.copy()
    boxes[3, 0] = index
    text = rf"roi_align: boxes must have a whole batch index in \[0, 2\), got {text}$"
    with pytest.raises(IndexError, match=text):
        kernels.roi_align(MAPS, boxes, 2, reduce="max")
    with pytest.raises(IndexError, match=text):
        kernels.roi_align_backward(BINS, boxes, MAPS.shape, 2, argmax=PLACES)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.roi_align(MAPS, ROIS, 2, reduce="sum"), ValueError,
     "roi_align: reduce must be one of 'mean', 'max', got 'sum'"),
    (lambda: kernels.multiscale_roi_align([MAPS], ROIS, 2, [1.0], reduce="sum"), ValueError,
     "multiscale_roi_align: reduce must be one of 'mean', 'max', got 'sum'"),
    (lambda: kernels.roi_align(MAPS, ROIS, 2, rule="integral", reduce="max"), ValueError,
     "roi_align: reduce must be 'mean' with rule='integral', which has no samples, got 'max'"),
    (lambda: kernels.roi_align(MAPS, ROIS, 2, 1.0, 2**15 + 1, reduce="max"), ValueError,
     "roi_align: sampling_ratio must be at most 32768 with reduce='max', got 32769"),
    (lambda: kernels.roi_align_with_argmax(MAPS, ROIS, 2, 1.0, 2**15 + 1), ValueError,
     "roi_align: sampling_ratio must be at most 32768 with reduce='max', got 32769"),
    (lambda: kernels.roi_align(np.broadcast_to(np.float16(0), (1, 0, 30000, 30000)), ROIS[:0], 2, reduce="max"),
     ValueError, "roi_align: a map of this size may have more than 2\\^31 samples in a bin"),
    (lambda: kernels.roi_align_backward(BINS, ROIS, MAPS.shape, 2, argmax=BINS), TypeError,
     "roi_align_backward: argmax must be int32, got float32"),
    (lambda: kernels.roi_align_backward(BINS, ROIS, MAPS.shape, 2, argmax=PLACES[:4]), ValueError,
     r"roi_align_backward: argmax must have the shape of grad, got \(4, 3, 2, 2\) and \(5, 3, 2, 2\)"),
    (lambda: kernels.roi_align_backward(BINS, ROIS, MAPS.shape, 2, rule="integral", argmax=PLACES), ValueError,
     "roi_align_backward: reduce must be 'mean' with rule='integral'"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
