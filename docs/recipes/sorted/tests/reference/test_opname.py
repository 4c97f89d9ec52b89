"""opname: hand-worked values and laws of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some

DISTANCES = st.sampled_from([0.0, 0.5, 1.0, 2.5, 5.0, 1e30])


def around(*centres):
    return np.array([[x - 1, y - 1, x + 1, y + 1] for x, y in centres], np.float32)


def test_by_hand():
    boxes, scores = around((0, 0), (3, 4), (1, 0), (9, 9)), np.array([0.5, 0.9, 0.8, 0.1], np.float32)
    assert reference.opname(boxes, scores, 4).tolist() == [1, 2, 3]  # 0 lies near 2
    assert reference.opname(boxes, scores, 5).tolist() == [1, 0, 3]  # 0 lies 5 from 1
    assert reference.opname(boxes, scores, 5.5).tolist() == [1, 3]
    assert reference.opname(boxes, scores, 0).tolist() == [1, 2, 0, 3]
    assert reference.opname(boxes[:0], scores[:0], 5).dtype == np.int64


def test_what_is_removed_removes_nothing():
    boxes, scores = around((0, 0), (2, 0), (4, 0)), np.array([0.9, 0.8, 0.7])
    assert reference.opname(boxes, scores, 3).tolist() == [0, 2]


@given(some.boxes_and_scores(), DISTANCES)
def test_law_kept_boxes_lie_apart_and_come_by_score(case, distance):
    boxes, scores = case
    keep = reference.opname(boxes, scores, distance)
    found = np.nan_to_num(scores[keep], nan=-np.inf)
    assert (found[1:] <= found[:-1]).all() and len(set(keep)) == len(keep)
    with np.errstate(all="ignore"):
        centres = (boxes[keep, :2] + boxes[keep, 2:]) * np.float32(0.5)
        apart = ((centres[:, None] - centres) ** 2).sum(2) < np.float32(distance) ** 2
    assert not (apart & ~np.eye(len(keep), dtype=bool)).any()


@given(some.boxes_and_scores(kinds=("nonfinite",)), DISTANCES)
def test_law_a_centre_that_is_not_finite_is_near_no_other(case, distance):
    boxes, scores = case
    with np.errstate(invalid="ignore"):
        lost = ~np.isfinite(boxes[:, :2] + boxes[:, 2:]).all(1)
    assert set(np.flatnonzero(lost)) <= set(reference.opname(boxes, scores, distance))


@given(some.boxes(kinds=("cluster",)), DISTANCES)
def test_law_equal_scores_keep_the_lower_index(boxes, distance):
    keep = reference.opname(boxes, np.zeros(len(boxes), np.float32), distance)
    assert keep.tolist() == sorted(keep) and (len(boxes) == 0 or keep[0] == 0)


def test_contract():
    with pytest.raises(ValueError, match=r"opname: scores must have shape \(2,\), got \(1,\)"):
        reference.opname(np.zeros((2, 4), np.float32), np.zeros(1, np.float32), 1)
