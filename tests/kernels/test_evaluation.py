"""COCO's matching and precision against their specification, with drawn groups in which equals abound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit.kernels import evaluation as kernels
from roikit.reference import evaluation as reference

THRESHOLDS = np.array([0.25, 0.5, 0.75, 1.0])


def drawn(seed, groups=None):
    """What `match_groups` takes; overlaps are quarters, and few objects, so that many are equal."""
    random = np.random.default_rng(seed)
    groups = int(random.integers(0, 6)) if groups is None else groups
    starts, known_starts = (np.concatenate([[0], np.cumsum(random.integers(0, 6, groups))]) for _ in range(2))
    overlaps = random.integers(0, 5, int((np.diff(starts) * np.diff(known_starts)).sum())) / 4
    crowds = random.random(known_starts[-1]) < 0.2
    ignored = np.stack([crowds, crowds | (random.random(len(crowds)) < 0.4)])
    outside = random.random((2, starts[-1])) < 0.3
    return overlaps, starts, known_starts, ignored, crowds, outside, THRESHOLDS


@pytest.mark.parametrize("threads", [1, 3])
@given(seed=st.integers(0, 2**32 - 1))
def test_matches_agree_with_the_reference(threads, seed):
    case = drawn(seed)
    for found, wanted in zip(kernels.match_groups(*case, threads=threads), reference.match_groups(*case), strict=True):
        assert found.dtype == wanted.dtype and np.array_equal(found, wanted)


def test_matches_of_many_groups_do_not_depend_on_threads():
    case = drawn(1, groups=1000)
    one, four = (kernels.match_groups(*case, threads=n) for n in (1, 4))
    assert all(map(np.array_equal, one, four))
    assert all(map(np.array_equal, one, reference.match_groups(*case)))


@pytest.mark.parametrize("threads", [1, 3])
@given(seed=st.integers(0, 2**32 - 1))
def test_precision_agrees_with_the_reference(threads, seed):
    random = np.random.default_rng(seed)
    class_starts = np.concatenate([[0], np.cumsum(random.integers(0, 12, random.integers(0, 5)))])
    count = class_starts[-1]
    case = (random.integers(-1, 2, (2, 3, count)).astype(np.int8), random.permutation(count), class_starts,
            random.integers(0, 4, count), np.array([1, 2, 100]), random.integers(0, 20, (2, len(class_starts) - 1)),
            np.linspace(0, 1, 101))
    for found, wanted in zip(kernels.precision_recall(*case, threads=threads), reference.precision_recall(*case),
                             strict=True):
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize("threads", [1, 3])
@given(seed=st.integers(0, 2**32 - 1))
def test_similarities_agree_with_the_reference(threads, seed):
    random = np.random.default_rng(seed)
    points = int(random.integers(1, 20))
    starts, known_starts = (np.concatenate([[0], np.cumsum(random.integers(0, 4, 3))]) for _ in range(2))
    known = random.uniform(0, 20, (known_starts[-1], points, 3))
    known[:, :, 2] = random.integers(0, 2, known.shape[:2]) * (random.random((len(known), 1)) < 0.8)
    found = random.uniform(0, 20, (starts[-1], points, 3))
    case = (found, known, random.uniform(0, 9, (len(known), 4)), random.uniform(0, 50, len(known)),
            random.uniform(0.02, 0.2, points), starts, known_starts)
    one = kernels.keypoint_similarity(*case, threads=threads)
    np.testing.assert_allclose(one, reference.keypoint_similarity(*case), rtol=1e-14, atol=1e-300)


def test_similarity_of_an_object_with_itself_is_one():
    points = np.random.default_rng(0).uniform(0, 9, (1, 17, 3)) + [0, 0, 1]
    one = kernels.keypoint_similarity(points, points, [[0, 0, 9, 9]], [0.0], np.full(17, 0.05), [0, 1], [0, 1])
    assert one.tolist() == [1.0]


def test_contract_wrong_arguments_get_a_sentence():
    overlaps, starts, known_starts, *rest = drawn(3, groups=4)
    with pytest.raises(ValueError, match=f"match_groups: starts must ascend from 0 to {starts[-1]}"):
        kernels.match_groups(overlaps, starts + 1, known_starts, *rest)
    with pytest.raises(ValueError, match="known_starts must ascend"):
        kernels.match_groups(overlaps, starts, known_starts[:-1], *rest)
    with pytest.raises(ValueError, match="overlaps"):
        kernels.match_groups(overlaps[:-1], starts, known_starts, *rest)
    with pytest.raises(TypeError, match="crowds must be bool, got float64"):
        kernels.match_groups(overlaps, starts, known_starts, rest[0], rest[1] * 1.0, *rest[2:])
    with pytest.raises(ValueError, match="order must hold rows"):
        kernels.precision_recall(np.zeros((1, 1, 1), np.int8), [7], [0, 1], [0], [1], [[1]], [0.5])
