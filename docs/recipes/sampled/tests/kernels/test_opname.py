"""The compiled opname against the reference: the same bits on any number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import strategies as some

from .agreement import each_wrong_index, everywhere, some_rois

DTYPES = (np.float16, np.float32, np.float64)
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3))


def check(maps, boxes, *rule):
    output = everywhere(lambda threads: kernels.opname(maps, boxes, *rule, threads=threads),
                        reference.opname(maps, boxes, *rule))
    grad, scale = np.random.default_rng(0).standard_normal(output.shape).astype(maps.dtype), rule[1]
    everywhere(lambda threads: kernels.opname_backward(grad, boxes, maps.shape, scale, threads=threads),
               reference.opname_backward(grad, boxes, maps.shape, scale))


@given(st.data(), st.sampled_from(DTYPES), SIZES, st.sampled_from([1.0, 0.5, 1 / 3]), st.booleans())
def test_agrees_with_the_reference(data, dtype, size, scale, nan):
    maps = data.draw(some.feature_maps(dtype=dtype, nan=nan))
    boxes = data.draw(some.rois(len(maps), dtype=data.draw(st.sampled_from(DTYPES))))
    check(maps, boxes, size, scale)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_rois_and_images(dtype):
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((3, 5, 19, 23)).astype(dtype)
    check(maps, some_rois(rng, 20).astype(np.float32), (2, 3), 0.25)


def test_out_receives_the_result():
    maps = np.random.default_rng(0).standard_normal((1, 3, 9, 9)).astype(np.float32)
    boxes, out = np.array([[0, 1, 2, 7, 8]], np.float32), np.empty((1, 3, 2, 2), np.float32)
    assert kernels.opname(maps, boxes, 2, out=out) is out
    np.testing.assert_array_equal(kernels.opname(np.repeat(maps, 2, 3)[..., ::2], boxes, 2), out)


MAPS, ROIS, BINS = np.zeros((2, 3, 4, 4), np.float32), np.zeros((5, 5), np.float32), np.zeros((5, 3, 2, 2), np.float32)


@each_wrong_index
def test_contract_batch_index(index, text):
    boxes = ROIS.copy()
    boxes[3, 0] = index
    text = rf": boxes must have a whole batch index in \[0, 2\), got {text}$"
    with pytest.raises(IndexError, match=text):
        kernels.opname(MAPS, boxes, 2)
    with pytest.raises(IndexError, match=text):
        kernels.opname_backward(BINS, boxes, MAPS.shape)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.opname(MAPS[0], ROIS, 2), ValueError, r"input must have shape \(N, C, H, W\), got"),
    (lambda: kernels.opname(MAPS.astype(int), ROIS, 2), TypeError, "input must be float16, float32 or"),
    (lambda: kernels.opname(MAPS, ROIS, 0), ValueError, "output_size must be at least 1, got 0"),
    (lambda: kernels.opname_backward(BINS[:4], ROIS, MAPS.shape), ValueError,
     r"grad must have shape \(5, 3, PH, PW\), got \(4, 3, 2, 2\)"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=rf"opname\w*: {text}"):
        call()
