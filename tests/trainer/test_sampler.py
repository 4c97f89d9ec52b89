"""Which images make up which step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit.trainer.sampler import EpochBatches


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
