"""soft_nms, fast_nms and matrix_nms: hand-worked values and laws of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.soft_nms import exp_fixed
from roikit.testing import strategies as some

# iou(0, 1) = 3 / 4, iou(0, 2) = 1 / 3, iou(1, 2) = 4 / 24
BOXES = np.array([[0, 0, 4, 4], [0, 0, 4, 3], [0, 2, 4, 6], [9, 9, 10, 10]], np.float64)
SCORES = np.array([0.75, 0.5, 0.625, 1.0])
METHODS = st.sampled_from(["linear", "gaussian", "naive"])


def test_soft_nms_by_hand():
    keep, scores = reference.soft_nms(BOXES, SCORES, 0.5)
    assert keep.tolist() == [3, 0, 2, 1] and scores.tolist() == [1.0, 0.75, 0.625, 0.125]
    keep, scores = reference.soft_nms(BOXES, SCORES, 0.75)  # equality is not decayed
    assert keep.tolist() == [3, 0, 2, 1] and scores.tolist() == [1.0, 0.75, 0.625, 0.5]
    keep, scores = reference.soft_nms(BOXES, SCORES, 0.5, min_score=0.126)
    assert keep.tolist() == [3, 0, 2]
    keep, scores = reference.soft_nms(BOXES, SCORES, 0.5, method="naive")
    assert keep.tolist() == [3, 0, 2] and scores.tolist() == [1.0, 0.75, 0.625]
    keep, scores = reference.soft_nms(BOXES, SCORES, method="gaussian", sigma=0.5)
    decay = np.exp(-2 / 9)
    assert keep.tolist() == [3, 0, 2, 1]
    np.testing.assert_allclose(scores, [1, 0.75, 0.625 * decay, 0.5 * np.exp(-9 / 8) * np.exp(-2 / 36)], rtol=1e-14)


def test_fast_nms_by_hand():
    zero = np.zeros(4, np.int64)
    assert reference.fast_nms(BOXES, SCORES, zero, 0.3).tolist() == [3, 0]
    assert reference.fast_nms(BOXES, SCORES, zero, 0.5).tolist() == [3, 0, 2]
    assert reference.fast_nms(BOXES, SCORES, zero, 0.5, top_k=2).tolist() == [3, 0]
    assert reference.fast_nms(BOXES, SCORES, np.array([0, 1, 2, 0]), 0.3).tolist() == [3, 0, 2, 1]
    assert reference.fast_nms(BOXES, SCORES, np.array([0, 1, 2, 0]), 0.3, cross_class=True).tolist() == [3, 0]


def test_a_box_that_is_not_kept_still_removes_others():
    boxes = np.array([[0, 0, 3, 3], [2, 0, 5, 3], [4, 0, 7, 3]], np.float32)  # neighbours have IoU 1 / 5
    scores, zero = np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64)
    assert reference.fast_nms(boxes, scores, zero, 0.1).tolist() == [0]
    assert reference.nms(boxes, scores, 0.1).tolist() == [0, 2]


def test_matrix_nms_by_hand():
    zero = np.zeros(4, np.int64)
    keep, scores = reference.matrix_nms(BOXES, SCORES, zero, method="linear")
    # box 2 by (1 - 1/3) / 1; box 1 by the least of (1 - 3/4) / 1 and (1 - 1/6) / (1 - 1/3)
    assert keep.tolist() == [3, 0, 2, 1]
    np.testing.assert_allclose(scores, [1, 0.75, 0.625 * 2 / 3, 0.125], rtol=1e-15)
    keep, scores = reference.matrix_nms(BOXES, SCORES, zero)
    np.testing.assert_allclose(scores, [1, 0.75, 0.625 * np.exp(-2 / 9), 0.5 * np.exp(-9 / 8)], rtol=1e-14)
    assert reference.matrix_nms(BOXES, SCORES, zero, min_score=0.2)[0].tolist() == [3, 0, 2]
    assert reference.matrix_nms(BOXES, SCORES, np.arange(4))[1].tolist() == [1.0, 0.75, 0.625, 0.5]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_is_within_one_unit_in_the_last_place(dtype):
    x = -np.concatenate([np.linspace(0, 1, 4001), np.linspace(1, 80, 4001)]).astype(dtype)
    exact = np.exp(x.astype(np.longdouble))
    error = np.abs(exp_fixed(x).astype(np.longdouble) - exact) / np.spacing(exact.astype(dtype))
    assert error.max() <= 1
    assert exp_fixed(dtype([0, -np.inf])).tolist() == [1, 0]


@given(some.boxes_and_scores(kinds=some.ORDINARY), some.thresholds())
def test_law_naive_with_a_positive_limit_is_nms_of_the_scores_above_it(case, threshold):
    boxes, scores = case
    with np.errstate(all="ignore"):
        scores = np.where(np.isfinite(scores), scores, np.float32(0.5))
    keep, kept_scores = reference.soft_nms(boxes, scores, threshold, min_score=1e-3, method="naive")
    above = np.flatnonzero(scores >= np.float32(1e-3))
    np.testing.assert_array_equal(keep, above[reference.nms(boxes[above], scores[above], threshold)])
    np.testing.assert_array_equal(kept_scores, scores[keep])


@given(some.boxes_and_scores(), some.thresholds(), METHODS)
def test_law_scores_of_soft_nms_never_rise_and_stay_above_the_limit(case, threshold, method):
    boxes, scores = case
    keep, decayed = reference.soft_nms(boxes, scores, threshold, method=method)
    numbers = decayed[~np.isnan(decayed)]
    assert (numbers >= np.float32(1e-3)).all() and (np.diff(numbers[np.isfinite(numbers)]) <= 0).all()
    assert len(set(keep.tolist())) == len(keep) and np.isnan(decayed[len(numbers):]).all()
    assert not (decayed > scores[keep]).any()


@given(some.boxes_and_scores(kinds=("nonfinite", "degenerate", "reversed")), METHODS)
def test_law_boxes_without_iou_keep_their_scores(case, method):
    boxes, scores = case
    kept = np.flatnonzero(~((scores < np.float32(1e-3)) | (scores == -np.inf)))
    expected = kept[np.argsort(-scores[kept], kind="stable")]
    keep, decayed = reference.soft_nms(boxes, scores, method=method)
    np.testing.assert_array_equal(keep, expected)
    np.testing.assert_array_equal(decayed, scores[expected])
    if method != "naive":
        np.testing.assert_array_equal(reference.matrix_nms(boxes, scores, np.zeros(len(boxes), np.int64),
                                                           method=method)[0], expected)


@given(some.boxes_and_scores(), some.thresholds())
def test_law_fast_nms_keeps_no_more_than_nms(case, threshold):
    boxes, scores = case
    fast = reference.fast_nms(boxes, scores, np.zeros(len(boxes), np.int64), threshold)
    assert set(fast.tolist()) <= set(reference.nms(boxes, scores, threshold).tolist())


@given(some.boxes(kinds=("grid", "cluster")), METHODS)
def test_law_equal_scores_take_the_lower_index_first(boxes, method):
    keep, _ = reference.soft_nms(boxes, np.ones(len(boxes), np.float32), 1.0, min_score=-1, method=method)
    assert len(boxes) == 0 or keep[0] == 0
    if method != "gaussian":
        assert keep.tolist() == list(range(len(boxes)))


def test_contract_wrong_arguments_say_so():
    boxes, scores, idxs = np.zeros((3, 4), np.float32), np.ones(3, np.float32), np.zeros(3, np.int64)
    with pytest.raises(ValueError, match=r"soft_nms: scores must have shape \(3,\), got \(2,\)"):
        reference.soft_nms(boxes, scores[:2])
    with pytest.raises(ValueError, match="soft_nms: method must be .* got 'hard'"):
        reference.soft_nms(boxes, scores, method="hard")
    with pytest.raises(ValueError, match="matrix_nms: method must be .* got 'naive'"):
        reference.matrix_nms(boxes, scores, idxs, method="naive")
    with pytest.raises(TypeError, match="fast_nms: idxs must be integers, got float32"):
        reference.fast_nms(boxes, scores, scores, 0.5)
    with pytest.raises(ValueError, match="fast_nms: top_k must be at least 0, got -1"):
        reference.fast_nms(boxes, scores, idxs, 0.5, top_k=-1)
