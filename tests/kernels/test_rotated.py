"""Rotated boxes on NumPy arrays: the reference's bits at every SIMD level and number of threads, contracts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import strategies as some

from .agreement import everywhere

FLOATS = [np.float16, np.float32, np.float64]


def many(layout, n, seed, dtype):
    """More boxes than one cell of the grid holds, with awkward ones among them."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 300, (n, 2))
    if layout == "cluster":
        centre = centre[rng.integers(0, max(n // 20, 1), n)] + rng.normal(0, 3, (n, 2))
    sides = rng.uniform(5, 40, (n, 2))
    if layout == "sizes":
        sides = 10 ** rng.uniform(-1, 3, (n, 2))
    if layout == "far":
        centre += 1e6
    boxes = np.concatenate([centre, sides, rng.choice([0, 30, 90, -45, 123.4], (n, 1))], axis=1)
    copies = rng.integers(0, n, n // 8)
    boxes[rng.integers(0, n, n // 8)] = boxes[copies] + rng.normal(size=(n // 8, 5)) * 1e-6
    boxes[rng.integers(0, n, n // 50)] *= [1, 1, -1, 1, 1]
    for value in (np.nan, np.inf, 1e200, 0):
        boxes[rng.integers(0, n, 2), rng.integers(0, 5, 2)] = value
    with np.errstate(over="ignore"):
        return boxes.astype(dtype)


@given(some.rotated_boxes(max_size=12), some.rotated_boxes(dtype=np.float64, max_size=12), st.sampled_from(FLOATS))
def test_box_iou_rotated_has_the_bits_of_the_reference(boxes1, boxes2, dtype):
    with np.errstate(over="ignore"):
        boxes1 = boxes1.astype(dtype)
    for a, b in ((boxes1, boxes2), (boxes2, boxes1), (boxes1, boxes1)):
        everywhere(lambda threads, a=a, b=b: kernels.box_iou_rotated(a, b, threads=threads),
                   reference.box_iou_rotated(a, b))


@pytest.mark.parametrize("n, m", [(1, 1), (7, 63), (3, 64), (64, 65), (33, 200), (0, 4), (4, 0)])
def test_box_iou_rotated_of_any_size(n, m):
    for dtype in (np.float32, np.float64):
        a, b = many("cluster", 200, n, dtype)[:n], many("cluster", 200, n, dtype)[:m]
        everywhere(lambda threads, a=a, b=b: kernels.box_iou_rotated(a, b, threads=threads),
                   reference.box_iou_rotated(a, b))


THRESHOLDS = st.one_of(some.thresholds(), st.sampled_from([-1.0, 1e-12, 0.99, 1.5, np.inf]))


@given(some.rotated_boxes(max_size=20), st.sampled_from(FLOATS), THRESHOLDS, st.data())
def test_nms_rotated_agrees_with_the_reference(boxes, score_dtype, threshold, data):
    scores = data.draw(some.scores(len(boxes), score_dtype))
    idxs = np.array(data.draw(st.lists(st.integers(-2, 1), min_size=len(boxes), max_size=len(boxes))), np.int64)
    everywhere(lambda threads: kernels.nms_rotated(boxes, scores, threshold, threads=threads),
               reference.nms_rotated(boxes, scores, threshold))
    everywhere(lambda threads: kernels.batched_nms_rotated(boxes, scores, idxs, threshold, threads=threads),
               reference.batched_nms_rotated(boxes, scores, idxs, threshold))


@pytest.mark.parametrize("layout", ["spread", "cluster", "sizes", "far"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nms_rotated_of_many_boxes_agrees_with_the_reference(layout, dtype):
    for seed, threshold in enumerate((0.0, 0.1, 0.5, 0.9)):
        n = 300 + 97 * seed
        boxes = many(layout, n, seed, dtype)
        scores = np.random.default_rng(seed).integers(0, 50, n) / np.float32(50)
        idxs = np.arange(n) % 2 - 1
        everywhere(lambda threads, b=boxes, s=scores, t=threshold: kernels.nms_rotated(b, s, t, threads=threads),
                   reference.nms_rotated(boxes, scores, threshold))
        everywhere(lambda threads, b=boxes, s=scores, i=idxs, t=threshold:
                   kernels.batched_nms_rotated(b, s, i, t, threads=threads),
                   reference.batched_nms_rotated(boxes, scores, idxs, threshold))


@given(some.rotated_boxes(kinds=("grid", "cluster"), max_size=10), st.data())
def test_thresholds_at_an_iou_that_occurs_agree_with_the_reference(boxes, data):
    ious = np.unique(reference.box_iou_rotated(boxes, boxes))
    if len(ious):
        threshold = data.draw(st.sampled_from(ious.tolist()))
        scores = np.arange(len(boxes), dtype=np.float32)
        for near in (threshold, np.nextafter(threshold, 2), np.nextafter(threshold, -2)):
            np.testing.assert_array_equal(kernels.nms_rotated(boxes, scores, near),
                                          reference.nms_rotated(boxes, scores, near))


def test_sparse_boxes_cost_in_proportion_to_their_number():
    """Half a million boxes that hardly meet: every pair would take minutes."""
    n = 500_000
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.uniform(0, 5000, (n, 2)), rng.uniform(4, 10, (n, 2)), rng.uniform(-90, 90, (n, 1))], 1)
    keep = kernels.nms_rotated(boxes.astype(np.float32), rng.random(n), 0.5)
    assert n // 4 < len(keep) < n


def test_out_is_filled_and_returned():
    box = np.array([[0, 0, 2, 2, 30]], np.float32)
    out = np.empty((1, 1), np.float32)
    assert kernels.box_iou_rotated(box, box, out=out) is out and out[0, 0] == 1


BOX, SCORE = np.zeros((2, 5), np.float32), np.zeros(2, np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.box_iou_rotated(BOX, BOX[:, :4]), ValueError,
     r"box_iou_rotated: boxes2 must have shape \(N, 5\), got \(2, 4\)"),
    (lambda: kernels.box_iou_rotated(BOX.astype(int), BOX), TypeError,
     "box_iou_rotated: boxes1 must be float16, .* got int64"),
    (lambda: kernels.box_iou_rotated(BOX, BOX, out=np.empty((2, 1), np.float32)), ValueError,
     r"box_iou_rotated: out must be a float32 array of shape \(2, 2\)"),
    (lambda: kernels.nms_rotated(BOX, np.zeros(3), 0.5), ValueError,
     r"nms_rotated: scores must have shape \(2,\), one entry for each row of boxes, got \(3,\)"),
    (lambda: kernels.nms_rotated(BOX, SCORE, float("nan")), ValueError, "nms_rotated: iou_threshold must not be NaN"),
    (lambda: kernels.batched_nms_rotated(BOX, SCORE, SCORE, 0.5), TypeError,
     "batched_nms_rotated: idxs must be integers, got float32"),
    (lambda: kernels.nms_rotated(BOX, SCORE, 0.5, threads=0), ValueError, "nms_rotated: threads must be at least 1"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
