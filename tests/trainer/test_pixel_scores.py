"""Mean IoU and accuracies of classes of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from roikit.trainer.pixel_scores import PIXEL_FIGURES, confusion, pixel_scores

from .plain_pixel_scores import plain_scores

CLASSES = 4
TRUTHS = st.sampled_from([*range(CLASSES), 255])
FOUND = st.integers(0, CLASSES + 1)


@st.composite
def images(draw):
    """Some images of different sizes: what was found and what is there."""
    shapes = draw(st.lists(nps.array_shapes(min_dims=2, max_dims=2, max_side=6), min_size=1, max_size=3))
    return [(draw(nps.arrays(np.int64, s, elements=FOUND)), draw(nps.arrays(np.uint8, s, elements=TRUTHS)))
            for s in shapes]


def scored(pairs):
    matrix = sum(confusion(found, truth, CLASSES) for found, truth in pairs)
    return pixel_scores(matrix, [f"c{k}" for k in range(CLASSES)])


@given(images())
def test_agreement_with_every_pixel_counted_by_hand(pairs):
    mean, accuracy, mean_accuracy, ious = plain_scores([(f.tolist(), t.tolist()) for f, t in pairs], CLASSES)
    got = scored(pairs)
    assert [got[name] for name in PIXEL_FIGURES] == pytest.approx([mean, accuracy, mean_accuracy], abs=1e-12)
    assert list(got["per_class"].values()) == pytest.approx(ious, abs=1e-12)


@given(images())
def test_law_the_truth_scores_1_and_an_empty_prediction_0(pairs):
    truths = [truth for _, truth in pairs]
    known = any((truth != 255).any() for truth in truths)
    best = scored([(truth.astype(np.int64), truth) for truth in truths])
    worst = scored([(np.full(truth.shape, 255), truth) for truth in truths])
    for name in PIXEL_FIGURES:
        assert best[name] == (1.0 if known else -1.0) and worst[name] == (0.0 if known else -1.0)


@given(images(), st.permutations(range(CLASSES)))
def test_law_new_names_of_the_classes_change_nothing(pairs, order):
    table = np.arange(256)
    table[:CLASSES] = order
    other = scored([(table[found], table[truth]) for found, truth in pairs])
    one = scored(pairs)
    assert [one[name] for name in PIXEL_FIGURES] == pytest.approx([other[name] for name in PIXEL_FIGURES])


@given(images())
def test_law_ignored_pixels_say_nothing(pairs):
    changed = [(np.where(truth == 255, 0, found), truth) for found, truth in pairs]
    assert scored(pairs) == scored(changed)


def test_one_matrix_over_the_set_is_no_mean_over_images():
    """A class that is rare on an image counts by its pixels."""
    large = (np.zeros((10, 10), int), np.zeros((10, 10), int))
    small = (np.array([[1, 0]]), np.array([[1, 1]]))
    got = pixel_scores(sum(confusion(*pair, 2) for pair in (large, small)), ["a", "b"])
    assert got["per_class"] == {"a": 100 / 101, "b": 0.5} and got["pixel_accuracy"] == 101 / 102
    assert got["mIoU"] == pytest.approx((100 / 101 + 0.5) / 2) and got["mean_accuracy"] == pytest.approx(0.75)


def test_a_class_that_is_not_there_is_no_term_of_the_mean():
    got = pixel_scores(confusion(np.array([0, 2, 2]), np.array([0, 0, 0]), 3), ["a", "b", "c"])
    assert got["mIoU"] == pytest.approx(1 / 3) and got["per_class"] == {"a": 1 / 3, "b": -1.0, "c": -1.0}
    assert pixel_scores(confusion(np.array([0]), np.array([0]), 2), ["x", "x"])["per_class"] == {
        "x (0)": 1.0, "x (1)": -1.0}


def test_contract_faulty_maps_are_refused():
    with pytest.raises(ValueError, match=r"must have one shape, got \(2,\) and \(3,\)"):
        confusion(np.zeros(2), np.zeros(3), 2)
    with pytest.raises(ValueError, match=r"classes from 0 to 1 or 255, got 0\.\.7"):
        confusion(np.zeros(2), np.array([0, 7]), 2)


def test_agreement_with_torchmetrics():
    metrics = pytest.importorskip("torchmetrics.classification")
    import torch

    random = np.random.default_rng(0)
    found, truth = random.integers(0, CLASSES, (2, 8, 9)), random.choice([*range(CLASSES), 255], (2, 8, 9))
    got = scored([(found, truth)])
    for name, kind, options in (("mIoU", "MulticlassJaccardIndex", {"average": "macro"}),
                                ("pixel_accuracy", "MulticlassAccuracy", {"average": "micro"}),
                                ("mean_accuracy", "MulticlassAccuracy", {"average": "macro"})):
        metric = getattr(metrics, kind)(CLASSES, ignore_index=255, **options)
        expected = float(metric(torch.from_numpy(found), torch.from_numpy(truth)))
        assert got[name] == pytest.approx(expected, abs=1e-6)
