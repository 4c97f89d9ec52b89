"""Group normalisation with an addition and a ReLU behind it: the specification. An operator of the models alone.

Everything is computed in float64 and rounded to the dtype of x at the end. What a kernel may be off by follows from u,
the unit roundoff of the dtype in which it adds up: see `bounds` and `bounds_backward`.

Source: Wu and He, ECCV 2018, arXiv:1803.08494, equations 1 to 3 and 7.
"""

import numpy as np

__all__ = ["bounds", "bounds_backward", "group_norm", "group_norm_backward"]

# Additions one after the other, and what else rounds.
STEPS = 150


def group_norm(x, groups, weight, bias, eps=1e-5, onto=None, relu=False):
    """(N, C, H, W): (x - mean) / sqrt(variance + eps) * weight + bias + onto, and 0 where that is below 0.

    Mean and variance are those of C / groups channels of an image together.
    """
    apart, _, rate = _parts(x, groups, eps)
    out = apart * rate * _along(weight) + _along(bias)
    if onto is not None:
        out = out + onto.astype(np.float64)
    return (np.where(out < 0, 0, out) if relu else out).astype(x.dtype)


def group_norm_backward(grad, x, groups, weight, bias, eps=1e-5, onto=None, relu=False):
    """The gradients of x, weight, bias and onto (N, C, H, W), (C,), (C,), (N, C, H, W)."""
    apart, _, rate = _parts(x, groups, eps)
    grad = grad.astype(np.float64)
    if relu:
        out = apart * rate * _along(weight) + _along(bias) + (0 if onto is None else onto.astype(np.float64))
        grad = np.where(out <= 0, 0, grad)
    normed, inner = apart * rate, grad * _along(weight)
    own = rate * (inner - _mean(inner, groups) - normed * _mean(inner * normed, groups))
    return (own.astype(x.dtype), (grad * normed).sum((0, 2, 3)).astype(weight.dtype),
            grad.sum((0, 2, 3)).astype(weight.dtype), grad.astype(x.dtype))


def bounds(x, groups, weight, bias, eps=1e-5, onto=None):
    """(N, C, H, W): how many u a value may be off, besides what the dtype of x rounds."""
    apart, mean, rate = _parts(x, groups, eps)
    rest = np.abs(_along(bias)) + (0 if onto is None else np.abs(onto.astype(np.float64)))
    return np.abs(_along(weight)) * (STEPS * (np.abs(apart) * rate + 1) + 2 * np.abs(mean) * rate) + 4 * rest


def bounds_backward(grad, x, groups, weight, eps=1e-5):
    """The same of the gradients of x, weight and bias, where `grad` has passed the ReLU."""
    apart, mean, rate = _parts(x, groups, eps)
    grad, sure = np.abs(grad.astype(np.float64)), STEPS * (np.abs(apart) * rate + 1) + 2 * np.abs(mean) * rate
    inner = grad * np.abs(_along(weight))
    own = rate * (STEPS * (inner + _mean(inner, groups)) + 2 * sure * _mean(inner * sure, groups) / STEPS)
    return 2 * own, 2 * (grad * sure).sum((0, 2, 3)), STEPS * grad.sum((0, 2, 3))


def _parts(x, groups, eps):
    """Distances from the means, the means, and 1 / sqrt(variance + eps), in float64; that of one value is 0."""
    mean = _mean(x.astype(np.float64), groups)
    apart = x.astype(np.float64) - mean
    return apart, mean, 1 / np.sqrt(_mean(apart * apart, groups) + eps)


def _mean(x, groups):
    """Of each value the mean of its group."""
    n, c, h, w = x.shape
    means = x.reshape(n, groups, -1).mean(2)
    return np.repeat(means, c // groups, 1)[:, :, None, None]


def _along(weight):
    return weight.astype(np.float64)[None, :, None, None]
