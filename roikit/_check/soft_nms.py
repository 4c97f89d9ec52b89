"""What `soft_nms` and `matrix_nms` check."""

from roikit import _check

METHODS = {"naive": 0, "linear": 1, "gaussian": 2}  # as the kernels number them


def decay(op, sigma, min_score, method, methods):
    """sigma and min_score as floats, and the method, one of ``methods``."""
    sigma, min_score = _check.positive(op, "sigma", sigma), _check.number(op, "min_score", min_score)
    _check.choice(op, "method", method, methods)
    return sigma, min_score, method
