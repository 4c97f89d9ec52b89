"""The learning rate as a function of the step."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit.trainer.schedule import learning_rate_factor, run_length


def schedule(**changes):
    values = {"steps": None, "epochs": None, "kind": "constant", "warmup_steps": 0,
              "warmup_factor": 0.001, "milestones": (0.67, 0.92), "gamma": 0.1,
              "final_factor": 0.0, "power": 0.9}
    return SimpleNamespace(**{**values, **changes})


@given(st.sampled_from(["constant", "step", "cosine", "poly"]), st.integers(1, 500), st.integers(0, 600),
       st.floats(0, 1), st.floats(0, 1))
def test_law_the_factor_stays_within_zero_and_one(kind, total, warmup, start, end):
    plan = schedule(kind=kind, warmup_steps=warmup, warmup_factor=start, final_factor=end)
    factors = [learning_rate_factor(plan, step, total) for step in range(total)]
    assert all(0 <= f <= 1 + 1e-12 for f in factors)
    after = factors[min(warmup, total):]
    assert all(b <= a + 1e-12 for a, b in zip(after, after[1:], strict=False))
    assert kind == "step" or not after or after[0] == 1


def test_agreement_with_values_worked_by_hand():
    warm = schedule(warmup_steps=4, warmup_factor=0.2)
    assert [learning_rate_factor(warm, s, 10) for s in range(6)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    steps = schedule(kind="step", milestones=(0.5, 0.75), gamma=0.1)
    assert [learning_rate_factor(steps, s, 8) for s in range(8)] == pytest.approx(
        [1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = schedule(kind="cosine", warmup_steps=2, warmup_factor=0.5, final_factor=0.1)
    assert learning_rate_factor(cosine, 6, 10) == pytest.approx(0.55)
    assert learning_rate_factor(cosine, 10, 10) == pytest.approx(0.1)
    poly = schedule(kind="poly", warmup_steps=2, warmup_factor=0.5, power=2.0)
    assert [learning_rate_factor(poly, s, 10) for s in (0, 2, 6, 10)] == pytest.approx([0.5, 1.0, 0.25, 0.0])


def test_contract_length_in_steps_or_epochs_but_not_both():
    assert run_length(schedule(steps=7), 12) == 7
    assert run_length(schedule(epochs=2.5), 12) == 30
    assert run_length(schedule(epochs=0.01), 12) == 1
    for bad in (schedule(), schedule(steps=1, epochs=1)):
        with pytest.raises(ValueError, match="give either steps or epochs"):
            run_length(bad, 12)
