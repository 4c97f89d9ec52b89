"""The compiled soft, fast and matrix suppression against the reference: the same bits at every SIMD level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import strategies as some

from ..crowds import candidates
from .agreement import everywhere

FLOATS = (np.float16, np.float32, np.float64)
THRESHOLDS = st.one_of(some.thresholds(), st.sampled_from([-1.0, -0.0, 1e-3, 0.99, 1.5, np.inf]))
METHODS = ("linear", "gaussian", "naive")
LIMITS = (1e-3, 0.3, 0.0, -0.25, -np.inf, np.inf)


def agree(name, *arguments, **options):
    with np.errstate(all="ignore"):
        expected = getattr(reference, name)(*arguments, **options)
    everywhere(lambda threads: getattr(kernels, name)(*arguments, **options, threads=threads), expected)


@given(st.data(), st.sampled_from(FLOATS), st.sampled_from(FLOATS), THRESHOLDS, st.sampled_from(METHODS),
       st.sampled_from(LIMITS), st.sampled_from([0.5, 2.0, 1e-3, 1e-60, 1e60]), st.integers(0, 12))
def test_all_agree_with_the_reference(data, dtype, score_dtype, threshold, method, limit, sigma, top_k):
    boxes = data.draw(some.boxes(dtype=dtype, max_size=24))
    scores = data.draw(some.scores(len(boxes), score_dtype))
    idxs = np.array(data.draw(st.lists(st.integers(-2, 2), min_size=len(boxes), max_size=len(boxes))), np.int64)
    agree("soft_nms", boxes, scores, threshold, sigma=sigma, min_score=limit, method=method)
    agree("fast_nms", boxes, scores, idxs, threshold, top_k=top_k, cross_class=data.draw(st.booleans()))
    if method != "naive":
        agree("matrix_nms", boxes, scores, idxs, sigma=sigma, min_score=limit, method=method)


@pytest.mark.parametrize("n", [15, 16, 17, 64, 65, 127, 400])
@pytest.mark.parametrize("method", METHODS)
def test_more_boxes_than_a_group_has(n, method):
    for seed, dtype in enumerate((np.float32, np.float64)):
        boxes, scores, idxs = candidates(n, n + seed, dtype)
        for threshold, limit in ((0.3, 1e-3), (0.0, -0.05), (-1.0, -np.inf)):
            agree("soft_nms", boxes, scores, threshold, min_score=limit, method=method)
        agree("fast_nms", boxes, scores, idxs, 0.4, top_k=n // 6)
        if method != "naive":
            agree("matrix_nms", boxes, scores, idxs, method=method, min_score=-1)


def test_boxes_that_lie_far_apart_or_in_one_place():
    rng = np.random.default_rng(0)
    boxes, scores, _ = candidates(300, 0)
    boxes[rng.integers(0, 300, 3)] *= np.float32(1e30)
    agree("soft_nms", boxes, scores)
    agree("soft_nms", np.tile(boxes[:1], (300, 1)), rng.random(300).astype(np.float32), method="gaussian")
    low = rng.permutation(300)[:, None] * 10.0
    agree("soft_nms", np.concatenate([low, low, low + 10, low + 10], 1), np.ones(300))


def test_strided_and_reversed_arrays_are_read_as_they_are():
    boxes, scores, idxs = candidates(100, 1)
    twice = np.repeat(boxes, 2, axis=0)
    for mine, theirs in zip(kernels.soft_nms(twice[::2], scores[::-1]), reference.soft_nms(boxes, scores[::-1].copy()),
                            strict=True):
        np.testing.assert_array_equal(mine, theirs)


BOX, SCORE, CLASS = np.zeros((2, 4), np.float32), np.zeros(2, np.float32), np.zeros(2, np.int64)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.soft_nms(BOX.T, SCORE), ValueError, r"soft_nms: boxes must have shape \(N, 4\), got \(4, 2\)"),
    (lambda: kernels.soft_nms(BOX, SCORE, sigma=0), ValueError, "soft_nms: sigma must be positive and finite, got 0"),
    (lambda: kernels.soft_nms(BOX, SCORE, min_score=np.nan), ValueError, "soft_nms: min_score must not be NaN"),
    (lambda: kernels.soft_nms(BOX, SCORE, method="hard"), ValueError, "soft_nms: method must be one of .*'hard'"),
    (lambda: kernels.fast_nms(BOX, SCORE, SCORE, 0.5), TypeError, "fast_nms: idxs must be integers, got float32"),
    (lambda: kernels.fast_nms(BOX, SCORE, CLASS, 0.5, top_k=-1), ValueError, "fast_nms: top_k must be at least 0"),
    (lambda: kernels.matrix_nms(BOX, SCORE, CLASS[:1]), ValueError, r"matrix_nms: idxs must have shape \(2,\)"),
    (lambda: kernels.matrix_nms(BOX, SCORE, CLASS, method="naive"), ValueError, "matrix_nms: method must be one of"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
