"""The compiled roi_align_rotated: within the reference's bound, the same bits at every level, thread count, format."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import strategies as some

from .. import crowds
from . import agreement
from .agreement import each_wrong_index, stored, within

DTYPES = (np.float16, np.float32, np.float64)
SIZES = st.tuples(st.integers(1, 4), st.integers(1, 4))
RATIOS = st.sampled_from([-1, 0, 1, 2, 9])


everywhere = partial(agreement.everywhere, bits=True)


def both(threads, maps, boxes, size, scale, ratio):
    output = kernels.roi_align_rotated(maps, boxes, size, scale, ratio, threads=threads)
    return output, kernels.roi_align_rotated_backward(output, boxes, maps.shape, size, scale, ratio, threads=threads)


def check(maps, boxes, size, scale, ratio=-1, form="contiguous"):
    """Forward and backward against the reference."""
    output, gradient = everywhere(partial(both, maps=stored(maps, form), boxes=boxes, size=size, scale=scale,
                                          ratio=ratio))
    within(output, reference.roi_align_rotated(maps, boxes, size, scale, ratio),
           np.abs(maps.astype(float)).max(initial=0))
    wanted, spread = (reference.roi_align_rotated_backward(g, boxes, maps.shape, size, scale, ratio)
                      for g in (output, np.abs(output)))
    within(gradient, wanted, spread.astype(np.float64) + np.abs(output.astype(float)).max(initial=0))


@given(data=st.data(), dtype=st.sampled_from(DTYPES), box_type=st.sampled_from(DTYPES), size=SIZES, ratio=RATIOS,
       scale=st.sampled_from([1.0, 0.5, 1 / 3]), form=st.sampled_from(agreement.FORMATS))
@np.errstate(all="ignore")
def test_agrees_with_the_reference(data, dtype, box_type, size, ratio, scale, form):
    maps = data.draw(some.feature_maps(dtype=dtype))
    boxes = data.draw(some.rotated_boxes(n=None if len(maps) else 0, dtype=np.float64, max_size=5)).astype(box_type)
    index = np.arange(len(boxes)) % max(len(maps), 1)
    if data.draw(st.booleans()):
        boxes = [boxes[index == i] for i in range(len(maps))]
    else:
        boxes = np.concatenate([index[:, None].astype(box_type), boxes], axis=1)
    check(maps, boxes, size, scale, ratio, form=form)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 15, 16, 70])
def test_levels_threads_and_formats_give_the_same_bits(dtype, channels):
    maps = np.random.default_rng(1).standard_normal((3, channels, 37, 29)).astype(dtype)
    boxes = crowds.rotated_rois(3, 120, 150)
    first = None
    for form in agreement.FORMATS:
        found = everywhere(partial(both, maps=stored(maps, form), boxes=boxes, size=(5, 3), scale=0.25, ratio=2))
        first = first or found
        assert all(a.tobytes() == b.tobytes() for a, b in zip(first, found, strict=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_grids_agree_with_the_reference(dtype):
    maps = np.random.default_rng(1).standard_normal((1, 2, 17, 23)).astype(dtype)
    for side in (60, 1e4, 1e6, 1e9, 1e20):
        for degrees in (0, 30, 45, 90, 171.5):
            box = np.array([[0, 9.3, 8.1, side, side / 3, degrees], [0, 9.3 + side / 4, 8.1, side, 40, degrees]], dtype)
            check(maps, box, (3, 2), 0.9)


@given(data=st.data(), dtype=st.sampled_from(DTYPES), form=st.sampled_from(agreement.FORMATS), ratio=RATIOS)
@np.errstate(all="ignore")
def test_a_pyramid_agrees_with_the_reference(data, dtype, form, ratio):
    images, channels = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    sides = [data.draw(st.tuples(st.integers(0, 8), st.integers(0, 8))) for _ in range(data.draw(st.integers(1, 3)))]
    maps = [data.draw(some.feature_maps((images, channels, *side), dtype)) for side in sides]
    boxes = data.draw(some.rotated_boxes(n=None if images else 0, dtype=np.float64, max_size=5))
    boxes = np.concatenate([np.arange(len(boxes))[:, None] % max(images, 1), boxes], 1)
    boxes = boxes.astype(data.draw(st.sampled_from(DTYPES)))
    scales = [0.5**i for i in range(1, len(maps) + 1)]
    rule = {"sampling_ratio": ratio, "canonical_scale": 8, "canonical_level": 2}
    shapes = [m.shape for m in maps]

    def both(threads):
        output = kernels.multiscale_roi_align_rotated([stored(m, form) for m in maps], boxes, 2, scales,
                                                      threads=threads, **rule)
        return [output, *kernels.multiscale_roi_align_rotated_backward(output, boxes, shapes, 2, scales,
                                                                       threads=threads, **rule)]

    output, *gradients = everywhere(both)
    within(output, reference.multiscale_roi_align_rotated(maps, boxes, 2, scales, **rule),
           max(np.abs(m.astype(np.float64)).max(initial=0) for m in maps))
    wanted, spread = (reference.multiscale_roi_align_rotated_backward(g, boxes, shapes, 2, scales, **rule)
                      for g in (output, np.abs(output)))
    for g, w, s in zip(gradients, wanted, spread, strict=True):
        within(g, w, s.astype(np.float64) + np.abs(output.astype(float)).max(initial=0))


def test_a_pyramid_has_the_bits_of_its_levels():
    rng = np.random.default_rng(3)
    maps = [rng.standard_normal((2, 19, 64 >> i, 80 >> i)).astype(np.float32) for i in range(4)]
    boxes = crowds.rotated_rois(2, 250, 300)
    boxes[::3, 3:5] *= 8
    scales = [0.25, 0.125, 0.0625, 0.03125]
    pooled = kernels.multiscale_roi_align_rotated(maps, boxes, 3, scales, canonical_scale=32, threads=2)
    size = np.sqrt(boxes[:, 3] * boxes[:, 4])
    level = sum((size >= 32 * 2.0 ** (m - 4 - 1e-6)).astype(int) for m in (3, 4, 5))
    assert set(level) == {0, 1, 2, 3}
    for i in range(4):
        alone = kernels.roi_align_rotated(maps[i], boxes[level == i], 3, scales[i], 2)
        assert alone.tobytes() == pooled[level == i].tobytes()


def test_a_box_far_away_with_a_huge_grid_costs_nothing():
    maps = np.ones((1, 1, 300, 300), np.float32)
    boxes = np.tile(np.array([[0, 1e6, -1e6, 3e6, 1.4e6, 44]], np.float32), (20, 1))
    assert not kernels.roi_align_rotated(maps, boxes, 7).all()


def test_taps_that_are_not_kept_give_the_same_bits():
    """More than 64 MiB of taps: they are found again for each block of channels."""
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((1, 17, 120, 120)).astype(np.float32)
    boxes = np.repeat(np.array([[0, 60, 60, 110, 110, 0]], np.float32), 640, axis=0)
    boxes[:, 5] = rng.uniform(-90, 90, len(boxes))
    many = kernels.roi_align_rotated(maps, boxes, 14, threads=2)
    few = [kernels.roi_align_rotated(maps, boxes[i : i + 64], 14, threads=1) for i in range(0, len(boxes), 64)]
    assert many.tobytes() == np.concatenate(few).tobytes()
    last = np.ascontiguousarray(maps.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert np.array_equal(kernels.roi_align_rotated(last, boxes, 14, threads=2), many)
    gradient = kernels.roi_align_rotated_backward(many, boxes, maps.shape, 14, threads=2)
    parts = sum(kernels.roi_align_rotated_backward(f, boxes[64 * i : 64 * i + 64], maps.shape, 14).astype(np.float64)
                for i, f in enumerate(few))
    np.testing.assert_allclose(gradient, parts, atol=1e-4 * np.abs(parts).max())


def test_nan_and_infinity_stay_in_the_bins_that_touch_them():
    maps = np.ones((1, 1, 8, 8), np.float32)
    maps[0, 0, 2, 2], maps[0, 0, 5, 6] = np.nan, np.inf
    output = kernels.roi_align_rotated(maps, np.array([[0, 4, 4, 8, 8, 90]], np.float32), 4)[0, 0]
    assert np.isnan(output[1, 2]) and np.isinf(output[3, 1]) and (np.isfinite(output).sum() == 14)


def test_out_receives_the_result():
    maps = np.random.default_rng(0).standard_normal((1, 20, 9, 9)).astype(np.float32)
    boxes, out = np.array([[0, 4, 4, 5, 6, 30]], np.float32), np.empty((1, 20, 2, 2), np.float32)
    assert kernels.roi_align_rotated(maps, boxes, 2, out=out) is out
    again = np.empty_like(out)
    kernels.roi_align_rotated(stored(maps, "channels_last"), boxes, 2, out=again)
    np.testing.assert_array_equal(again, out)


MAPS, ROIS = np.zeros((2, 4, 4, 4), np.float32), np.zeros((3, 6), np.float32)


@each_wrong_index
def test_contract_batch_index(index, text):
    boxes = ROIS.copy()
    boxes[1, 0] = index
    text = rf"roi_align_rotated: boxes must have a whole batch index in \[0, 2\), got {text}$"
    for maps in (MAPS, MAPS[:, :0]):
        with pytest.raises(IndexError, match=text):
            kernels.roi_align_rotated(maps, boxes, 2)
        with pytest.raises(IndexError, match=text):
            kernels.roi_align_rotated_backward(np.zeros((3, maps.shape[1], 2, 2), np.float32), boxes, maps.shape, 2)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.roi_align_rotated(MAPS[0], ROIS, 2), ValueError,
     r"roi_align_rotated: input must have shape \(N, C, H, W\), got \(4, 4, 4\)"),
    (lambda: kernels.roi_align_rotated(MAPS, ROIS[:, :5], 2), ValueError,
     r"roi_align_rotated: boxes must have shape \(N, 6\), got \(3, 5\)"),
    (lambda: kernels.roi_align_rotated(MAPS, [ROIS, ROIS], 2), ValueError,
     r"roi_align_rotated: boxes\[0\] must have shape \(N, 5\), got \(3, 6\)"),
    (lambda: kernels.roi_align_rotated(MAPS, ROIS, 2, 0), ValueError,
     "roi_align_rotated: spatial_scale must be positive and finite, got 0"),
    (lambda: kernels.roi_align_rotated(MAPS, ROIS, 2, out=np.empty((3, 4, 2, 2))), ValueError,
     r"roi_align_rotated: out must be a float32 array of shape \(3, 4, 2, 2\)"),
    (lambda: kernels.roi_align_rotated_backward(MAPS, ROIS, (2, 4, 9, 9), 2), ValueError,
     r"roi_align_rotated: grad must have shape \(3, 4, 2, 2\), got \(2, 4, 4, 4\)"),
    (lambda: kernels.roi_align_rotated(MAPS, ROIS, 2, sampling_ratio=1.5), TypeError,
     "roi_align_rotated: sampling_ratio must be a whole number, got float"),
    (lambda: kernels.multiscale_roi_align_rotated([MAPS], ROIS, 2, [1, 0.5]), ValueError,
     "multiscale_roi_align_rotated: scales must have one value a level, got 2 for 1"),
    (lambda: kernels.multiscale_roi_align_rotated([], ROIS, 2, []), ValueError,
     "multiscale_roi_align_rotated: scales must name at least one level, got none"),
    (lambda: kernels.multiscale_roi_align_rotated([MAPS, MAPS[:1]], ROIS, 2, [1, 0.5]), ValueError,
     "multiscale_roi_align_rotated: features must agree in dtype, N and C"),
    (lambda: kernels.multiscale_roi_align_rotated_backward(MAPS, ROIS, [(2, 4, 9, 9)], 2, [1]), ValueError,
     r"multiscale_roi_align_rotated: grad must have shape \(3, 4, 2, 2\), got \(2, 4, 4, 4\)"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
