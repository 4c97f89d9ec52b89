"""What `match_boxes` checks."""

from roikit import _check


def thresholds(op, high, low):
    """As floats."""
    high, low = _check.number(op, "high", high), _check.number(op, "low", low)
    if low > high:
        raise ValueError(f"{op}: low must be at most high, got low={low}, high={high}")
    return high, low
