"""What both faces of the focal loss check alike."""

from roikit import _check

REDUCTIONS = ("none", "mean", "sum")
TARGETS = (*_check.FLOATS, *_check.INTEGERS, "bool")


def decisions(op, inputs, targets):
    """Logits, and a target of each."""
    _check.dtype(op, "inputs", inputs)
    _check.dtype(op, "targets", targets, TARGETS)
    if inputs.shape != targets.shape:
        raise ValueError(f"{op}: targets must have the shape of inputs, {_check.shape_text(inputs)}, got "
                         f"{_check.shape_text(targets)}")


def rule(op, alpha, gamma, reduction):
    """alpha and gamma, as numbers."""
    _check.choice(op, "reduction", reduction, REDUCTIONS)
    alpha, gamma = _check.number(op, "alpha", alpha), _check.number_from(op, "gamma", gamma, 0)
    if not 0 <= alpha <= 1 and alpha != -1:
        raise ValueError(f"{op}: alpha must be in [0, 1], or -1 for none, got {alpha}")
    return alpha, gamma
