"""The compiled nms against the reference: the same decisions at every SIMD level and number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import strategies as some

from .agreement import everywhere

FLOATS = (np.float16, np.float32, np.float64)
THRESHOLDS = st.one_of(some.thresholds(), st.sampled_from([-1.0, -0.0, 1e-3, 0.009, 0.011, 0.05, 0.99, 1.5, np.inf]))
LAYOUTS = ("grid", "cluster", "sizes", "far", "tiny", "strays", "nonfinite")


@np.errstate(all="ignore")
def agree(boxes, scores, idxs, threshold, most):
    keep = reference.nms(boxes, scores, threshold)
    padded, count = np.full(most, -1), np.int64(min(most, len(keep)))
    padded[:count] = keep[:count]
    expected = keep, reference.batched_nms(boxes, scores, idxs, threshold), padded, count
    everywhere(lambda threads: (
        kernels.nms(boxes, scores, threshold, threads=threads),
        kernels.batched_nms(boxes, scores, idxs, threshold, threads=threads),
        *kernels.nms_padded(boxes, scores, threshold, most, threads=threads)), expected)


def many(layout, seed, n, dtype):
    """More boxes than a class may have before the kernel builds its grid."""
    rng = np.random.default_rng(seed)
    if layout == "grid":
        low = rng.integers(0, 30, (n, 2))
        boxes = np.concatenate([low, low + rng.integers(0, 9, (n, 2))], 1)
    elif layout == "sizes":  # over four orders of magnitude
        low, size = rng.uniform(0, 300, (n, 2)), 10 ** rng.uniform(-1, 3, (n, 1)) * rng.uniform(0.5, 2, (n, 2))
        boxes = np.concatenate([low, low + size], 1)
    elif layout == "far":  # where neighbouring floats are a quarter apart
        low = 3e6 + rng.integers(0, 60, (n, 2)) / 4
        boxes = np.concatenate([low, low + rng.integers(0, 20, (n, 2)) / 4], 1)
    else:
        low = rng.uniform(0, 300, (n // 12, 2))[rng.integers(0, n // 12, n)]
        boxes = np.concatenate([low, low + rng.uniform(30, 34, (n, 2))], 1) + rng.normal(0, 3, (n, 4))
    boxes = boxes.astype(dtype)
    if layout == "tiny":  # areas at and below the smallest normal number
        boxes *= dtype(10) ** rng.choice([-19, -20, -22] if dtype == np.float32 else [-152, -155, -162])
    elif layout == "strays":
        boxes[rng.integers(0, n, 3)] *= dtype(1e9)
    elif layout == "nonfinite":
        boxes[rng.random(boxes.shape) < 0.03] = rng.choice([np.nan, np.inf, -np.inf])
    return boxes


@given(st.data(), st.sampled_from(FLOATS), st.sampled_from(FLOATS), THRESHOLDS, st.integers(0, 12))
def test_nms_agrees_with_the_reference(data, dtype, score_dtype, threshold, most):
    boxes = data.draw(some.boxes(dtype=dtype, max_size=24))
    scores = data.draw(some.scores(len(boxes), score_dtype))
    idxs = data.draw(st.lists(st.integers(-2, 2), min_size=len(boxes), max_size=len(boxes)))
    agree(boxes, scores, np.array(idxs, np.int64), threshold, most)


@given(st.sampled_from(LAYOUTS), st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]), THRESHOLDS)
def test_nms_of_many_boxes_agrees_with_the_reference(layout, seed, dtype, threshold):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(257, 330))
    boxes, scores = many(layout, seed, n, dtype), rng.integers(0, 40, n) / np.float32(40)
    agree(boxes, scores, (rng.random(n) < 0.1) - 1, threshold, int(rng.integers(0, n)))


@given(some.boxes_and_scores(kinds=some.ORDINARY, max_size=16), st.data())
def test_thresholds_at_an_iou_that_occurs_agree_with_the_reference(case, data):
    boxes, scores = case
    ious = np.unique(reference.box_iou(boxes, boxes))
    if len(ious):
        threshold = data.draw(st.sampled_from(ious.tolist()))
        for near in (threshold, float(np.nextafter(np.float32(threshold), np.float32(2))),
                     float(np.nextafter(threshold, -2)), float(np.nextafter(threshold, 2))):
            agree(boxes, scores, np.zeros(len(boxes), np.int64), near, 5)


@given(some.boxes_and_scores(max_size=16), some.thresholds())
def test_law_kept_boxes_do_not_overlap_more_than_the_threshold(case, threshold):
    boxes, scores = case
    keep = kernels.nms(boxes, scores, threshold)
    iou = kernels.box_iou(boxes[keep], boxes[keep])
    assert (np.triu(iou, 1) <= np.float32(threshold)).all()


@given(some.boxes_and_scores(max_size=16))
def test_law_with_a_threshold_of_one_the_order_is_that_of_the_scores(case):
    boxes, scores = case
    np.testing.assert_array_equal(kernels.nms(boxes, scores, 1), np.argsort(-scores, kind="stable"))


@given(st.lists(st.floats(allow_nan=True), max_size=40), st.sampled_from(FLOATS))
def test_any_scores_are_sorted_stably(values, dtype):
    with np.errstate(over="ignore"):
        scores = np.array(values, np.float64).astype(dtype)
    boxes = np.zeros((len(scores), 4), np.float32)
    np.testing.assert_array_equal(kernels.nms(boxes, scores, 0.5), np.argsort(-scores, kind="stable"))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_classes_of_any_integer_dtype(dtype):
    limits = np.iinfo(dtype)
    idxs = np.array([limits.max, limits.min, limits.max, 1, 1], dtype)
    boxes, scores = np.tile(np.array([0, 0, 4, 4], np.float32), (5, 1)), np.array([1, 2, 3, 4, 5], np.float32)
    assert kernels.batched_nms(boxes, scores, idxs, 0.5).tolist() == [4, 2, 1]


def test_strided_and_reversed_arrays_are_read_as_they_are():
    boxes = many("cluster", 0, 300, np.float32)
    scores = np.random.default_rng(0).random(300)
    twice = np.repeat(boxes, 2, axis=0)
    np.testing.assert_array_equal(kernels.nms(twice[::2], scores[::-1], 0.5),
                                  reference.nms(boxes, scores[::-1].copy(), 0.5))


def test_out_is_filled_and_returned():
    out = np.empty(3, np.int64)
    keep, count = kernels.nms_padded(np.array([[0, 0, 2, 2]], np.float32), np.ones(1), 0.5, 3, out=out)
    assert keep is out and out.tolist() == [0, -1, -1] and count == 1


BOX, SCORE = np.zeros((2, 4), np.float32), np.zeros(2, np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.nms(np.zeros((4, 2), np.float32), SCORE, 0.5), ValueError,
     r"nms: boxes must have shape \(N, 4\), got \(4, 2\)\. Did you mean boxes\.T\?"),
    (lambda: kernels.nms(BOX, np.zeros(3), 0.5), ValueError,
     r"nms: scores must have shape \(2,\), one entry for each row of boxes, got \(3,\)"),
    (lambda: kernels.nms(BOX, np.zeros(2, int), 0.5), TypeError, "nms: scores must be float16, .* got int64"),
    (lambda: kernels.nms(BOX, SCORE, float("nan")), ValueError, "nms: iou_threshold must not be NaN"),
    (lambda: kernels.nms(BOX, SCORE, "0.5"), TypeError, "nms: iou_threshold must be a number, got str"),
    (lambda: kernels.nms(BOX, SCORE, 0.5, threads=0), ValueError, "nms: threads must be at least 1, got 0"),
    (lambda: kernels.batched_nms(BOX, SCORE, SCORE, 0.5), TypeError,
     "batched_nms: idxs must be integers, got float32"),
    (lambda: kernels.batched_nms(BOX, SCORE, np.zeros(1, int), 0.5), ValueError,
     r"batched_nms: idxs must have shape \(2,\), one entry for each row of boxes, got \(1,\)"),
    (lambda: kernels.nms_padded(BOX, SCORE, 0.5, -1), ValueError,
     "nms_padded: max_output must be at least 0, got -1"),
    (lambda: kernels.nms_padded(BOX, SCORE, 0.5, 2.0), TypeError,
     "nms_padded: max_output must be a whole number, got float"),
    (lambda: kernels.nms_padded(BOX, SCORE, 0.5, 2, out=np.empty(3, np.int64)), ValueError,
     r"nms_padded: out must be a int64 array of shape \(2,\), got int64 \(3,\)"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def test_a_million_boxes_need_under_200_mb_beyond_their_own(run_python):
    """In an interpreter of its own, whose memory nothing else uses."""
    pytest.importorskip("torch")  # the boxes are those of the benchmarks
    said = run_python("""
from roikit import kernels
from roikit.bench import inputs
from roikit.bench.memory import extra_memory
few, many = ([t.numpy() for t in inputs.clusters(n)] for n in (1000, 1_000_000))
kernels.nms(*few, 0.7)
extra, kept = extra_memory(lambda: kernels.nms(*many, 0.7), lambda kept: kept.nbytes)
print(extra, len(kept))
""")
    if said.startswith("None"):
        pytest.skip("the system does not tell a process's peak of memory anew")
    extra, kept = map(int, said.split())
    assert 4e6 < extra < 200e6  # a number for each box must exist at least
    assert kept > 1000
