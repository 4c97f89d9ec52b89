"""nms: hand-worked values and laws of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some


def ranks(scores):
    """Place of each box in the order in which nms takes them."""
    order = sorted(range(len(scores)), key=lambda i: (np.isnan(scores[i]), -np.nan_to_num(scores[i]), i))
    return {i: place for place, i in enumerate(order)}


def test_nms_by_hand():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 3], [0, 2, 4, 6], [9, 9, 10, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7, 0.95], np.float32)
    # iou(0, 1) = 12 / 16 and iou(0, 2) = 8 / 24; box 1 alone would remove nothing at 1 / 3.
    assert reference.nms(boxes, scores, 0.5).tolist() == [3, 0, 2]
    assert reference.nms(boxes, scores, 0.75).tolist() == [3, 0, 1, 2]  # equality survives
    assert reference.nms(boxes, scores, 0.3).tolist() == [3, 0]


def test_threshold_is_rounded_to_the_dtype_of_the_boxes():
    # 3 / 10 equals the threshold in either dtype; float32(3 / 10) against double 0.3 would exceed it.
    boxes = np.array([[0, 0, 10, 1], [0, 0, 3, 1]])
    for dtype in (np.float32, np.float64):
        assert reference.nms(boxes.astype(dtype), np.array([1.0, 0.5]), 0.3).tolist() == [0, 1]


def test_batched_nms_knows_no_offsets():
    boxes = np.array([[10, 10, 20, 20], [-11, -11, -1, -1]], np.float32)
    assert reference.batched_nms(boxes, np.array([0.5, 0.4]), np.array([0, 1]), 0.1).tolist() == [0, 1]


def test_nms_padded_by_hand():
    boxes = np.array([[0, 0, 1, 1], [5, 5, 6, 6], [0, 0, 1, 1]], np.float32)
    scores = np.array([0.1, 0.2, 0.3], np.float32)
    keep, count = reference.nms_padded(boxes, scores, 0.5, 4)
    assert keep.tolist() == [2, 1, -1, -1] and count == 2 and keep.dtype == count.dtype == np.int64
    keep, count = reference.nms_padded(boxes, scores, 0.5, 1)
    assert keep.tolist() == [2] and count == 1


@given(some.boxes_and_scores(), some.thresholds())
def test_law_a_box_is_removed_exactly_if_a_better_kept_box_overlaps_it(case, threshold):
    boxes, scores = case
    keep = reference.nms(boxes, scores, threshold)
    iou, place = reference.box_iou(boxes, boxes), ranks(scores)
    for i in range(len(boxes)):
        better = [k for k in keep if place[k] < place[i]]
        assert (i in keep) == (not (iou[better, i] > np.float32(threshold)).any())


@given(some.boxes_and_scores(), some.thresholds())
def test_law_kept_boxes_come_by_score_then_index_with_nan_last(case, threshold):
    boxes, scores = case
    keep, place = reference.nms(boxes, scores, threshold), ranks(scores)
    assert keep.dtype == np.int64
    assert [place[i] for i in keep] == sorted(place[i] for i in keep)


@given(some.boxes_and_scores(kinds=("nonfinite", "degenerate", "reversed")), some.thresholds())
def test_law_boxes_without_iou_are_all_kept(case, threshold):
    boxes, scores = case
    assert len(reference.nms(boxes, scores, threshold)) == len(boxes)


@given(some.boxes(kinds=("grid", "cluster")), some.thresholds())
def test_law_equal_scores_keep_the_lower_index(boxes, threshold):
    keep = reference.nms(boxes, np.zeros(len(boxes), np.float32), threshold)
    assert keep.tolist() == sorted(keep) and (len(boxes) == 0 or keep[0] == 0)


@given(some.boxes_and_scores(), some.thresholds(), st.data())
def test_law_batched_nms_is_nms_of_each_class(case, threshold, data):
    boxes, scores = case
    idxs = np.array([data.draw(st.integers(-1, 1)) for _ in scores], np.int64)
    alone = [member[reference.nms(boxes[member], scores[member], threshold)]
             for member in (np.flatnonzero(idxs == label) for label in (-1, 0, 1))]
    keep, place = reference.batched_nms(boxes, scores, idxs, threshold), ranks(scores)
    assert keep.tolist() == sorted(np.concatenate(alone).tolist(), key=place.get)


@given(some.boxes_and_scores(), some.thresholds(), st.integers(0, 10))
def test_law_nms_padded_is_a_prefix_of_nms(case, threshold, most):
    keep, count = reference.nms_padded(*case, threshold, most)
    assert keep.shape == (most,) and (keep[count:] == -1).all()
    assert keep[:count].tolist() == reference.nms(*case, threshold).tolist()[:most]


def test_contract_wrong_arguments_say_so():
    boxes = np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match=r"nms: scores must have shape \(3,\), got \(2,\)"):
        reference.nms(boxes, np.zeros(2, np.float32), 0.5)
    with pytest.raises(TypeError, match="batched_nms: idxs must be integers, got float32"):
        reference.batched_nms(boxes, np.zeros(3, np.float32), np.zeros(3, np.float32), 0.5)
    with pytest.raises(ValueError, match="nms_padded: max_output must be at least 0, got -1"):
        reference.nms_padded(boxes, np.zeros(3, np.float32), 0.5, -1)
