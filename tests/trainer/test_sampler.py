"""Which images make up which step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit.trainer.sampler import EpochBatches, repeat_factors


def first(count, *args, start=0, **kwargs):
    """The first batches from step ``start`` on, as a run goes through them."""
    batches, seen = EpochBatches(*args, **kwargs), []
    while len(seen) < count:
        epoch = batches.seek(start + len(seen))
        here = list(batches)
        assert len(here) == len(batches)
        seen += [[(epoch, i) for i in batch] for batch in here]
    return seen[:count]


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 2**32), st.integers(0, 40))
def test_law_starting_late_gives_the_rest_of_the_same_sequence(length, batch, seed, start):
    whole = first(start + 5, length, batch, seed=seed)
    assert first(5, length, batch, seed=seed, start=start) == whole[start:]


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32))
def test_law_processes_split_each_step_and_each_epoch_shows_every_image(length, each, world, seed):
    batch = each * world
    steps = EpochBatches(length, batch, seed=seed).steps_per_epoch
    alone = first(2 * steps, length, batch, seed=seed)
    parts = [first(2 * steps, length, batch, seed=seed, rank=r, world=world) for r in range(world)]
    for step, whole in enumerate(alone):
        assert sorted(sum((p[step] for p in parts), [])) == sorted(whole)
        assert {len(p[step]) for p in parts} == {each}
    for epoch in (0, 1):
        shown = [i for b in alone[epoch * steps:(epoch + 1) * steps] for e, i in b if e == epoch]
        assert set(shown) == set(range(length))
        assert max(np.bincount(shown)) <= -(-batch // length) + 1


def test_law_epochs_differ_and_seeds_differ():
    def order(seed, epoch):
        return EpochBatches(50, 5, seed=seed).order(epoch).ravel().tolist()

    assert order(0, 0) == order(0, 0) != order(0, 1) != order(1, 1)


def test_contract_errors_name_what_came():
    with pytest.raises(ValueError, match="no images"):
        EpochBatches(0, 2, seed=0)
    with pytest.raises(ValueError, match="multiple of the 2 processes, got 3"):
        EpochBatches(4, 3, seed=0, world=2)


FACTORS = np.array([1.0, 1.0, 1.7, 3.25, 1.0, 2.0])


@given(st.lists(st.floats(1, 6), min_size=1, max_size=20), st.integers(1, 8), st.integers(0, 2**32), st.integers(0, 40))
def test_law_repeated_images_are_a_function_of_seed_and_step(factors, batch, seed, start):
    words = {"seed": seed, "factors": factors}
    whole = first(start + 5, len(factors), batch, **words)
    assert first(5, len(factors), batch, start=start, **words) == whole[start:]
    order = EpochBatches(len(factors), batch, **words).order(1)
    assert order.size >= np.ceil(sum(factors)) and set(order.ravel()) == set(range(len(factors)))


def test_law_an_epoch_shows_each_image_as_often_as_its_factor_says():
    batches = EpochBatches(6, 1, seed=3, factors=FACTORS)
    counts = np.array([np.bincount(batches.order(epoch).ravel(), minlength=6) for epoch in range(400)])
    assert (counts.sum(1) == 10).all()  # the sum, 9.95, rounded up: every epoch is as long
    expected = FACTORS * 10 / 9.95
    assert (counts >= np.floor(expected)).all() and (counts <= np.ceil(expected)).all()
    np.testing.assert_allclose(counts.mean(0), expected, atol=0.08)


def test_law_an_image_shown_again_is_told_apart_and_shared_among_processes():
    batches = EpochBatches(6, 2, seed=3, factors=FACTORS)
    batches.seek(0)
    shown = [(entry, 0) if isinstance(entry, int) else entry for batch in batches for entry in batch]
    assert len(shown) == len(set(shown)) == 10 and any(before for _, before in shown)
    parts = []
    for rank in range(2):
        own = EpochBatches(6, 2, seed=3, factors=FACTORS, rank=rank, world=2)
        own.seek(0)
        parts.append(list(own))
    batches.seek(0)
    assert [a + b for a, b in zip(*parts, strict=True)] == list(batches)


def test_case_repeat_factors_by_hand():
    # 8 images; class 1 is on 4 of them, class 2 on 1, class 3 on 2.
    pairs = [(0, 1), (1, 1), (2, 1), (3, 1), (3, 2), (4, 3), (5, 3)]
    expected = [1, 1, 1, np.sqrt(0.5 / (1 / 8)), np.sqrt(0.5 / (2 / 8)), np.sqrt(0.5 / (2 / 8)), 1, 1]
    np.testing.assert_allclose(repeat_factors(pairs, 8, 0.5), expected)
    np.testing.assert_array_equal(repeat_factors(np.zeros((0, 2)), 3, 0.5), [1, 1, 1])
