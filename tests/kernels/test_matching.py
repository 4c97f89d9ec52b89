"""The compiled match_boxes against the reference: the same bits at every SIMD level and number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import strategies as some

from .agreement import everywhere

LIMITS = st.sampled_from([(0.7, 0.3), (0.5, 0.5), (1.0, 0.0), (0.5, 1 / 3), (0.0, -1.0), (np.inf, -np.inf)])


@np.errstate(all="ignore")
def agree(anchors, gt_boxes, high, low, allow, counts=(1, 2)):
    everywhere(lambda threads: kernels.match_boxes(anchors, gt_boxes, high, low, allow_low_quality=allow,
                                                   threads=threads),
               reference.match_boxes(anchors, gt_boxes, high, low, allow_low_quality=allow), counts=counts)


@given(st.data(), st.sampled_from([np.float16, np.float32, np.float64]), LIMITS, st.booleans())
def test_match_boxes_agrees_with_the_reference(data, dtype, limits, allow):
    anchors = data.draw(some.boxes(dtype=dtype, max_size=40))
    gt_boxes = data.draw(some.boxes(dtype=data.draw(st.sampled_from([dtype, np.float32])), max_size=20))
    agree(anchors, gt_boxes, *limits, allow)


@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from([np.float32, np.float64]), limits=LIMITS)
def test_ties_over_many_blocks_agree_with_the_reference(seed, dtype, limits):
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(100, 400)), int(rng.integers(1, 40))
    low = rng.integers(0, 12, (n + m, 2))
    boxes = np.concatenate([low, low + rng.integers(0, 5, (n + m, 2))], 1).astype(dtype)
    boxes[rng.random(n + m) < 0.05] = rng.choice([np.nan, np.inf])
    agree(boxes[:n], boxes[n:], *limits, True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_image_full_of_anchors_agrees_with_the_reference(dtype):
    """Enough blocks that several threads share them, and best IoUs that several blocks reach."""
    cells = reference.cell_anchors([32, 64], [0.5, 1, 2], dtype=dtype)
    anchors = reference.grid_anchors(cells, (60, 80), 8)
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 400, (20, 2))
    gt_boxes = np.concatenate([corner, corner + rng.integers(8, 150, (20, 2))], 1).astype(dtype)
    agree(anchors, gt_boxes, 0.7, 0.3, True, counts=(1, 2, 3))


@given(some.boxes(max_size=20), some.boxes(n=3, kinds=("grid",)))
def test_law_every_truth_that_meets_an_anchor_has_a_positive_one(anchors, gt_boxes):
    iou = kernels.box_iou(anchors, gt_boxes)
    index, label, best = kernels.match_boxes(anchors, gt_boxes, 2, 2)
    for truth in range(3):
        if (iou[:, truth] > 0).any():
            assert (label[iou[:, truth] == iou[:, truth].max()] == 1).all()
    np.testing.assert_array_equal(best, iou.max(axis=1, initial=0))
    np.testing.assert_array_equal(index, iou.argmax(axis=1))


def test_a_truth_that_meets_nothing_promotes_nothing():
    anchors = np.array([[0, 0, 2, 2], [4, 4, 6, 6]], np.float32)
    index, label, iou = kernels.match_boxes(anchors, np.array([[50, 50, 60, 60]], np.float32), 0.7, 0.3)
    assert index.tolist() == [0, 0] and label.tolist() == [0, 0] and iou.tolist() == [0, 0]


def test_without_ground_truth():
    index, label, iou = kernels.match_boxes(np.ones((3, 4), np.float32), np.empty((0, 4), np.float32), 0.7, 0.3)
    assert index.tolist() == [-1] * 3 and label.tolist() == [0] * 3 and iou.tolist() == [0] * 3


BOX = np.zeros((2, 4), np.float32)


@pytest.mark.parametrize("call, kind, text", [
    (lambda: kernels.match_boxes(BOX[0], BOX, 0.7, 0.3), ValueError,
     r"match_boxes: anchors must have shape \(N, 4\), got \(4,\)"),
    (lambda: kernels.match_boxes(BOX, BOX.astype(int), 0.7, 0.3), TypeError,
     "match_boxes: gt_boxes must be float16, .* got int64"),
    (lambda: kernels.match_boxes(BOX, BOX, 0.3, 0.7), ValueError,
     "match_boxes: low must be at most high, got low=0.7, high=0.3"),
    (lambda: kernels.match_boxes(BOX, BOX, float("nan"), 0.3), ValueError, "match_boxes: high must not be NaN"),
    (lambda: kernels.match_boxes(BOX, BOX, 0.7, None), TypeError, "match_boxes: low must be a number, got NoneType"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
