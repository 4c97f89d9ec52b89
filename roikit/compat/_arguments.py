"""What peers take and roikit's ops do not: objects that hold a tensor, float classes, one number for two, old names."""

import functools
import math
import numbers
import warnings

import torch

__all__ = ["class_indices", "pair", "positive", "renamed", "shaped", "sizes", "tensor_of"]


def tensor_of(boxes):
    """The tensor of a ``Boxes`` or ``RotatedBoxes``; anything else as it is, for the op to judge."""
    return boxes if isinstance(boxes, torch.Tensor) else getattr(boxes, "tensor", boxes)


def shaped(op, name, x, *shape):
    """``x`` is a tensor with as many axes; those that are given as a number have so many entries."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{op}: {name} must be a tensor, got {type(x).__name__}")
    if x.dim() != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(shape, x.shape, strict=True)):
        raise ValueError(f"{op}: {name} must have shape ({', '.join(map(str, shape))}), got {tuple(x.shape)}")


def positive(op, name, x):
    """``x`` is a positive finite number."""
    if isinstance(x, bool) or not isinstance(x, numbers.Real):
        raise TypeError(f"{op}: {name} must be a number, got {type(x).__name__}")
    if not 0 < x < math.inf:
        raise ValueError(f"{op}: {name} must be positive and finite, got {x}")


def sizes(op, name, value):
    """(rows, columns), whole numbers of at least 1, from one number or two."""
    both = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(both) != 2 or not all(isinstance(n, numbers.Integral) and not isinstance(n, bool) and n >= 1 for n in both):
        raise ValueError(f"{op}: {name} must be a whole number of at least 1, or two of them, got {value!r}")
    return both


def class_indices(idxs):
    """Classes as integers: floats and booleans, which the peers take too, become ranks among the values that occur."""
    if isinstance(idxs, torch.Tensor) and (idxs.is_floating_point() or idxs.dtype == torch.bool):
        return torch.unique(idxs, return_inverse=True)[1]
    return idxs


def pair(value):
    """(a, b) from one number or two."""
    if isinstance(value, (tuple, list)):
        first, second = value
        return first, second
    return value, value


def renamed(**names):
    """A decorator: arguments of these old names are taken, with a warning, as those of their new names."""

    def decorate(function):
        @functools.wraps(function)
        def call(*args, **arguments):
            for old, new in names.items():
                if old in arguments:
                    warnings.warn(f"{function.__qualname__}: {old} is now called {new}", DeprecationWarning,
                                  stacklevel=2)
                    arguments[new] = arguments.pop(old)
            return function(*args, **arguments)

        return call

    return decorate
