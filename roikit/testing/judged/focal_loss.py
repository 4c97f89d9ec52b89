"""sigmoid_focal_loss: its arguments, its bound, and what others do."""

import numpy as np
from hypothesis import strategies as st

from roikit import reference
from roikit.reference.focal_loss import TOLERANCE, terms
from roikit.testing.draws import DTYPES
from roikit.testing.judging import Op
from roikit.testing.variants import combine, rounded_apart, trait

__all__ = ["OPS"]


@st.composite
def sigmoid_focal_loss(draw, awkward):
    dtype, n = draw(DTYPES), draw(st.integers(0 if awkward else 1, 6))
    eighths = st.integers(-80, 80).map(lambda i: i / 8)
    logit = st.one_of(eighths, st.sampled_from([-1e4, -200, 200, 1e4])) if awkward else eighths
    target = st.sampled_from([0, 1, 0, 1, 0.25] if awkward else [0, 1])
    return {"inputs": np.array(draw(st.lists(logit, min_size=n, max_size=n)), dtype),
            "targets": np.array(draw(st.lists(target, min_size=n, max_size=n)), dtype),
            "alpha": draw(st.sampled_from([0.25, 0.25, 0.75, -1])), "gamma": draw(st.sampled_from([2, 2, 0, 1, 3])),
            "reduction": draw(st.sampled_from(["none", "none", "sum", "mean"]))}


def bound(case, expected):
    """As the reference states it."""
    wrong = terms(case["inputs"], case["targets"], case["alpha"], case["gamma"])[1]
    least = np.finfo(wrong.dtype).tiny
    with np.errstate(all="ignore"):
        logs = case["gamma"] * np.abs(np.log(np.maximum(wrong, least)))
        if case["reduction"] != "none":
            logs = 1 + logs.max(initial=0)
        return TOLERANCE[wrong.dtype.name] * (1 + logs) * np.abs(expected) + wrong.size * least


def model(case, got, *, weights="own", gamma=None, base="wrong", empty=0.0):
    x, t = case["inputs"], case["targets"]
    real, alpha = x.dtype.type, case["alpha"]
    if weights != "own":
        alpha = {"none": -1, "swapped": alpha if alpha < 0 else 1 - alpha}[weights]
    power = case["gamma"] if gamma is None else gamma
    entropy, wrong, factor, *_ = terms(x, t, alpha, power)
    with np.errstate(all="ignore"):
        if base == "right":
            factor = terms(x, t, alpha, 0)[2] * (1 - wrong) ** real(power)
        loss = entropy * factor
        if case["reduction"] == "none":
            return loss
        total = loss.sum(dtype=np.float64)
        if case["reduction"] == "mean":
            total = total / loss.size if loss.size else empty
    return np.asarray(total).astype(x.dtype)


FOCAL = (*combine(model, (
    trait("unweighted", "alpha is ignored", needs="alpha", weights="none"),
    trait("alpha-of-negatives", "alpha is the weight of the negatives", needs="alpha", weights="swapped"),
    trait("cross-entropy", "gamma is ignored: the weighted cross entropy", needs="gamma", gamma=0),
    trait("gamma-of-the-right", "the cross entropy is weakened where the decision is wrong: p_t to the power gamma",
          base="right"),
    trait("mean-of-nothing", "the mean of no elements is NaN", empty=np.nan),
)), rounded_apart(reference.sigmoid_focal_loss))


OPS = (
    Op("sigmoid_focal_loss", reference.sigmoid_focal_loss,
       "alpha weighs positives, 1 - alpha negatives; (1 - p_t) to the power gamma; the mean is over all elements",
       FOCAL, 2, tolerance=bound, arguments=sigmoid_focal_loss),
)
