"""matching: hand-worked values and laws of the specification."""

import numpy as np
import pytest
from hypothesis import given

from roikit import reference
from roikit.testing import strategies as some


def test_match_by_hand():
    anchors = np.array([[0, 0, 4, 4], [0, 0, 4, 3], [0, 2, 4, 6], [9, 9, 10, 10]], np.float32)
    gt = np.array([[20, 20, 30, 30], [0, 0, 4, 4], [0, 0, 4, 4]], np.float32)
    index, label, iou = reference.match_boxes(anchors, gt, 0.75, 0.3, allow_low_quality=False)
    assert index.tolist() == [1, 1, 1, 0]  # equal IoU: the lower index, also among zeros
    assert label.tolist() == [1, 1, -1, 0]  # iou >= high, >= low, below
    assert iou.tolist() == [1, 0.75, np.float32(8) / np.float32(24), 0]
    assert (index.dtype, label.dtype, iou.dtype) == (np.int64, np.int8, np.float32)


def test_low_quality_by_hand():
    anchors = np.array([[0, 0, 4, 4], [0, 4, 4, 8], [2, 0, 6, 4]], np.float32)
    gt = np.array([[0, 0, 4, 4], [0, 2, 4, 6]], np.float32)
    # The second truth has IoU 8 / 24 with both first anchors: both turn positive, the first keeps
    # its own best truth. The third anchor has 8 / 24 with the first truth, which is not its best.
    index, label, _ = reference.match_boxes(anchors, gt, 0.7, 0.3)
    assert index.tolist() == [0, 1, 0] and label.tolist() == [1, 1, -1]


def test_a_truth_that_touches_nothing_promotes_nothing():
    anchors = np.array([[0, 0, 1, 1], [2, 2, 3, 3]], np.float32)
    _, label, _ = reference.match_boxes(anchors, np.array([[50, 50, 60, 60]], np.float32), 0.7, 0.3)
    assert label.tolist() == [0, 0]


def test_no_ground_truth():
    index, label, iou = reference.match_boxes(np.ones((2, 4)), np.zeros((0, 4)), 0.0, 0.0)
    assert index.tolist() == [-1, -1] and label.tolist() == [0, 0] and iou.tolist() == [0, 0]


@given(some.boxes(), some.boxes(max_size=5), some.thresholds(), some.thresholds())
def test_law_index_and_iou_are_the_first_maximum(anchors, gt, a, b):
    index, label, iou = reference.match_boxes(anchors, gt, max(a, b), min(a, b))
    matrix = reference.box_iou(anchors, gt)
    assert index.shape == label.shape == iou.shape == (len(anchors),)
    for n, row in enumerate(matrix):
        if len(gt):
            assert iou[n] == max(row) and index[n] == row.tolist().index(max(row))
        else:
            assert (index[n], label[n], iou[n]) == (-1, 0, 0)


@given(some.boxes(), some.boxes(max_size=5), some.thresholds(), some.thresholds())
def test_law_labels_follow_the_thresholds_and_the_best_of_each_truth(anchors, gt, a, b):
    high, low = max(a, b), min(a, b)
    _, label, iou = reference.match_boxes(anchors, gt, high, low)
    matrix = reference.box_iou(anchors, gt)
    for n in range(len(anchors)):
        promoted = any(0 < matrix[n, m] == matrix[:, m].max() for m in range(len(gt)))
        if len(gt) and (promoted or iou[n] >= np.float32(high)):
            assert label[n] == 1
        else:
            assert label[n] == (-1 if len(gt) and iou[n] >= np.float32(low) else 0)


@given(some.boxes(), some.boxes(max_size=5))
def test_law_low_quality_only_adds_positives(anchors, gt):
    with_it = reference.match_boxes(anchors, gt, 0.7, 0.3)
    without = reference.match_boxes(anchors, gt, 0.7, 0.3, allow_low_quality=False)
    changed = with_it[1] != without[1]
    assert (with_it[1][changed] == 1).all()
    np.testing.assert_array_equal(with_it[0], without[0])


def test_contract_thresholds_in_the_wrong_order_say_so():
    with pytest.raises(ValueError, match="match_boxes: low must be at most high, got low=0.7, high=0.3"):
        reference.match_boxes(np.zeros((0, 4)), np.zeros((0, 4)), 0.3, 0.7)
