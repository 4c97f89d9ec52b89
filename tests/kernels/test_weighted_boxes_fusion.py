"""The compiled weighted_boxes_fusion against the reference: the same bits at every SIMD level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import kernels, reference
from roikit.testing import strategies as some

from ..crowds import candidates
from .agreement import everywhere

FLOATS = st.sampled_from([np.float16, np.float32, np.float64])
CONF_TYPES = ("avg", "max", "box_and_model_avg", "absent_model_aware_avg")
OPTIONS = st.fixed_dictionaries({
    "weights": st.sampled_from([None, [1, 2, 0.7], [0.3, 0, 1, 1]]), "iou_threshold": some.thresholds(),
    "skip_box_threshold": st.sampled_from([0.0, 0.25, -np.inf]), "conf_type": st.sampled_from(CONF_TYPES),
    "allows_overflow": st.booleans()})


def agrees(given, **options):
    expected = reference.weighted_boxes_fusion(*given, **options)
    everywhere(lambda threads: kernels.weighted_boxes_fusion(*given, **options, threads=threads), expected)


@given(st.data(), FLOATS, FLOATS, OPTIONS)
def test_agrees_with_the_reference(data, dtype, score_dtype, options):
    boxes = data.draw(some.boxes(dtype=dtype, max_size=16))
    n = len(boxes)
    whole = st.lists(st.integers(0, 2), min_size=n, max_size=n)
    idxs, models = (np.array(data.draw(whole), np.int64) for _ in range(2))
    agrees((boxes, data.draw(some.scores(n, score_dtype)), idxs, models), **options)


@pytest.mark.parametrize("n", [0, 1, 15, 17, 65, 400])
@pytest.mark.parametrize("conf_type", CONF_TYPES)
def test_any_number_of_boxes(n, conf_type):
    for seed, dtype in enumerate((np.float32, np.float64)):
        boxes, scores, idxs = candidates(n, n + seed, dtype)
        models = np.random.default_rng(seed).integers(0, 5, n)
        weights = [0.3, 0.7, 0.1, 1.1, 0.9] if seed else None
        agrees((boxes, scores, idxs, models), weights=weights, conf_type=conf_type)


def test_more_clusters_than_a_block_in_one_class():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 2000, (1100, 2)).round()
    boxes = np.concatenate([corner, corner + rng.uniform(5, 40, (1100, 2))], 1).astype(np.float32)
    boxes = np.concatenate([boxes, boxes + 1])
    none = np.zeros(len(boxes), int)
    scores = rng.integers(1, 50, len(boxes)).astype(np.float32) / 64
    assert len(kernels.weighted_boxes_fusion(boxes, scores, none, none)[0]) > 1000
    agrees((boxes, scores, none, none))


def equal_overlaps(*places):
    """Boxes by score, far apart but for a last one: it has an IoU of 0.36 with each of the boxes at these places."""
    corners = np.arange(2, 302)[:, None] * [1000, 1000]
    corners[list(places)] = np.array([[0, 0], [40, 0], [0, 40], [40, 40]])[: len(places)]
    boxes = np.concatenate([np.concatenate([corners, corners + 60], 1), [[0, 0, 100, 100]]]).astype(np.float32)
    none = np.zeros(len(boxes), int)
    return boxes, np.linspace(1, 0.5, len(boxes), dtype=np.float32), none, none


@pytest.mark.parametrize("places", [(3, 4), (4, 3), (60, 70, 130), (299, 1, 257, 255), (64, 128)])
def test_of_equal_overlaps_the_earliest_cluster_is_joined(places):
    case = equal_overlaps(*places)
    agrees(case, iou_threshold=0.3)
    fused, *_ = kernels.weighted_boxes_fusion(*case, iou_threshold=0.3)
    kept = {tuple(box) for box in fused.tolist()}
    assert [i for i in places if tuple(case[0][i].tolist()) not in kept] == [min(places)]
    agrees(case, iou_threshold=float(np.float32(0.36)))


def test_strided_arrays_and_integers_of_any_dtype():
    boxes, scores, idxs = candidates(100, 1)
    models = np.arange(100) % 3
    found = kernels.weighted_boxes_fusion(np.repeat(boxes, 2, axis=0)[::2], scores[::-1], idxs.astype(np.int8),
                                          models.astype(np.uint64), weights=np.array([1, 2, 3], np.float32))
    expected = reference.weighted_boxes_fusion(boxes, scores[::-1].copy(), idxs, models, [1, 2, 3])
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_indices_of_models_far_apart():
    boxes, scores, idxs = candidates(50, 2)
    for conf_type in CONF_TYPES:
        agrees((boxes, scores, idxs, np.arange(50) % 3 * (2**30 - 1)), conf_type=conf_type)


BOX, SCORE, CLASS = np.zeros((2, 4), np.float32), np.zeros(2, np.float32), np.zeros(2, int)


@pytest.mark.parametrize("call, kind, text", [
    (lambda f: f(BOX.T, SCORE, CLASS, CLASS), ValueError, r"boxes must have shape \(N, 4\), got \(4,"),
    (lambda f: f(BOX, SCORE[:1], CLASS, CLASS), ValueError, r"scores must have shape \(2,\), one entry"),
    (lambda f: f(BOX, SCORE, CLASS[:1], CLASS), ValueError, r"idxs must have shape \(2,\), one entry"),
    (lambda f: f(BOX, SCORE, CLASS, SCORE), TypeError, "models must be integers, got float32"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS - 1), IndexError, r"models must lie in \[0, 2147483648\), got -1"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS + 2, [1, 1]), IndexError, r"models must lie in \[0, 2\), got 2"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS, []), ValueError, "weights must have a number for each model or be None"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS, [-1]), ValueError, "weights must be finite and at least 0, got -1"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS, 1.0), TypeError, "weights must be a sequence of numbers, got float"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS, None, -0.5), ValueError, "iou_threshold must be finite and at least 0"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS, skip_box_threshold=np.nan), ValueError, "skip_box_threshold must not be"),
    (lambda f: f(BOX, SCORE, CLASS, CLASS, conf_type="min"), ValueError, "conf_type must be one of 'avg', 'max'"),
])
def test_contract(call, kind, text):
    with pytest.raises(kind, match=f"weighted_boxes_fusion: {text}"):
        call(kernels.weighted_boxes_fusion)
