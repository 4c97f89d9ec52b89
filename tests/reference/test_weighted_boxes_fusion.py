"""weighted_boxes_fusion: hand-worked values and laws of the specification."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import reference
from roikit.testing import strategies as some

CONF_TYPES = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")
IN_ONE, OF_ONE = np.zeros(9, int), np.zeros(9, int)
PAIR = np.array([[0, 0, 4, 4], [0, 0, 4, 3]], np.float32)  # IoU 3 / 4


def fuse(boxes, scores, idxs=IN_ONE, models=OF_ONE, *args, **options):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    n = len(boxes)
    return reference.weighted_boxes_fusion(boxes, np.array(scores, np.float32), np.array(idxs)[:n],
                                           np.array(models)[:n], *args, **options)


def test_a_fused_box_is_the_mean_by_votes():
    boxes, scores, idxs = fuse(PAIR, [0.75, 0.25], models=[0, 1])
    assert boxes.tolist() == [[0, 0, 4, 3.75]] and scores.tolist() == [0.5] and idxs.tolist() == [0]
    boxes, scores, _ = fuse(PAIR, [0.75, 0.25], models=[0, 1], weights=[1, 3])
    assert boxes.tolist() == [[0, 0, 4, 3.5]] and scores.tolist() == [0.375]  # 1.5 / 2 * 2 / 4


@pytest.mark.parametrize("conf_type, weights, options, score", [
    ("avg", None, {}, 0.5),  # (0.75 + 0.5 + 0.25) / 3 * min(3, 3) / 3
    ("avg", [1, 1], {}, 0.5),  # * min(2, 3) / 2
    ("avg", [1, 1], {"allows_overflow": True}, 0.75),  # * 3 / 2
    ("max", [1, 2], {}, 0.375),  # votes 0.75, 0.5, 0.5: 0.75 / 2
    ("box_and_model_avg", [1, 1, 2], {}, 0.25),  # 1.5 / 3 * (1 + 1) / 4
    ("absent_model_aware_avg", [1, 1, 3], {}, 0.25),  # 1.5 / (3 + 3)
])
def test_the_score_of_a_cluster(conf_type, weights, options, score):
    models = [0, 1, 2] if weights is None else [0, 0, 1]
    found = fuse([PAIR[0]] * 3, [0.75, 0.5, 0.25], models=models, weights=weights, conf_type=conf_type, **options)
    assert found[1].tolist() == [score] and len(found[0]) == 1


def test_an_iou_at_the_threshold_does_not_join():
    assert len(fuse(PAIR, [0.9, 0.8], iou_threshold=0.75)[0]) == 2
    assert len(fuse(PAIR, [0.9, 0.8], iou_threshold=0.74)[0]) == 1


def test_a_box_joins_the_best_cluster_and_of_equal_ones_the_earliest():
    near, far = [0, 0, 8, 8], [5, 0, 13, 8]
    boxes, *_ = fuse([near, far, [3, 0, 11, 8]], [0.5, 0.5, 0.25], iou_threshold=0.25)  # IoU 5 / 11 and 6 / 10
    assert boxes[:, 0].tolist() == [0, np.float32(3.25) / np.float32(0.75)]
    boxes, *_ = fuse([[0, 0, 8, 8], [4, 0, 12, 8], [2, 0, 10, 8]], [0.5, 0.5, 0.25], iou_threshold=0.4)
    assert sorted(boxes[:, 0].tolist()) == [np.float32(0.5) / np.float32(0.75), 4]


def test_later_boxes_meet_the_fused_box_and_not_the_first():
    chain = [[0, 0, 10, 1], [3, 0, 13, 1], [5, 0, 15, 1]]
    assert reference.box_iou(np.float32(chain[:1]), np.float32(chain[2:]))[0, 0] < 0.4
    assert len(fuse(chain, [0.5, 0.5, 0.5], iou_threshold=0.4)[0]) == 1


def test_order_of_votes_and_of_the_result():
    boxes = [[0, 0, 1, 1], [5, 0, 6, 1], [9, 0, 10, 1], [20, 0, 21, 1]]
    found = fuse(boxes, [0.25, 0.5, 0.5, 0.75], idxs=[3, -1, 2, 2])
    assert found[0][:, 0].tolist() == [20, 5, 9, 0] and found[2].tolist() == [2, -1, 2, 3]
    equal = fuse(PAIR, [0.5, 0.5], models=[0, 1], iou_threshold=0.8)
    assert equal[0].tolist() == PAIR.tolist()


def test_what_is_left_out():
    boxes = [[0, 0, 1, 1], [2, 2, 2, 3], [4, 4, 5, 5], [6, 6, 7, 7], [8, 8, 9, 9], [13, 11, 12, 10]]
    found = fuse(boxes, [0.5, 0.9, 0.25, np.nan, np.inf, 0.375], skip_box_threshold=0.375)
    assert found[0].tolist() == [[0, 0, 1, 1], [12, 10, 13, 11]]  # the last with its corners swapped
    assert [len(x) for x in fuse([], [])] == [0, 0, 0] and fuse([], [])[0].shape == (0, 4)
    weighed = fuse([[0, 0, 1, 1]], [0.5], weights=[0.125], skip_box_threshold=0.375, conf_type="max")
    assert weighed[1].tolist() == [0.5]  # the threshold is one of scores, not of votes


def test_votes_of_0_leave_the_first_box_and_a_division_by_0_gives_0():
    for conf_type in CONF_TYPES:
        boxes, scores, _ = fuse(PAIR, [0.5, 0.5], weights=[0], conf_type=conf_type)
        assert boxes.tolist() == [[0, 0, 4, 4]] and scores.tolist() == [0]


def test_without_weights_the_number_of_models_is_that_of_the_highest():
    assert fuse([PAIR[0]], [0.5], models=[3])[1].tolist() == [0.125]
    skipped = fuse([PAIR[0], [9, 9, 9, 9]], [0.5, 0.5], models=[0, 1])
    assert skipped[1].tolist() == [0.25]  # a box that is left out counts its model


@st.composite
def cases(draw, kinds=some.KINDS, awkward=True):
    boxes = draw(some.boxes(kinds=kinds))
    n = len(boxes)
    whole = st.integers(0, 2)
    return boxes, draw(some.scores(n, awkward=awkward)), *(
        np.array(draw(st.lists(whole, min_size=n, max_size=n)), np.int64) for _ in range(2))


OPTIONS = st.fixed_dictionaries({"conf_type": st.sampled_from(CONF_TYPES), "iou_threshold": some.thresholds(),
                                 "weights": st.sampled_from([None, [1, 2, 0.5], [1, 1, 1, 1]])})


@given(cases(), OPTIONS)
def test_law_scores_descend_and_classes_are_fused_alone(case, options):
    boxes, scores, idxs, models = case
    options["weights"] = options["weights"] or [1, 1, 1]
    found = reference.weighted_boxes_fusion(*case, **options)
    order = np.nan_to_num(found[1], nan=-np.inf)
    assert (order[1:] <= order[:-1]).all()
    for label in range(3):
        own = idxs == label
        alone = reference.weighted_boxes_fusion(boxes[own], scores[own], idxs[own], models[own], **options)
        for mine, theirs in zip(found, alone, strict=True):
            np.testing.assert_array_equal(mine[found[2] == label], theirs)


@given(cases(kinds=("grid", "cluster"), awkward=False), OPTIONS)
def test_law_a_fused_box_lies_among_those_it_is_made_of(case, options):
    boxes, _, idxs, _ = case
    fused, scores, labels = reference.weighted_boxes_fusion(*case, **options)
    assert np.isfinite(fused).all() and (scores >= 0).all() and (scores <= 1.0001).all()
    for label in np.unique(labels):
        own, mine = boxes[idxs == label], fused[labels == label]
        assert (mine >= own.min(0) - 1e-4).all() and (mine <= own.max(0) + 1e-4).all()


@given(cases(kinds=("nonfinite",)), OPTIONS)
def test_law_a_box_that_is_not_finite_stays_alone(case, options):
    boxes, scores, idxs, models = case
    found = reference.weighted_boxes_fusion(*case, **options)
    with np.errstate(invalid="ignore"):
        taken = (scores >= 0) & np.isfinite(scores)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    assert len(found[0]) == (taken & (area != 0)).sum()


def test_contract():
    with pytest.raises(ValueError, match=r"weighted_boxes_fusion: scores must have shape \(2,\), got \(1,\)"):
        fuse(PAIR, [0.5])
    with pytest.raises(IndexError, match=r"weighted_boxes_fusion: models must lie in \[0, 2\), got 2"):
        fuse(PAIR, [0.5, 0.5], models=[0, 2], weights=[1, 1])
