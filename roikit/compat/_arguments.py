"""What peers take and roikit's ops do not: objects that hold a tensor, float classes, one number for two, old names."""

import functools
import warnings

import torch

__all__ = ["class_indices", "pair", "renamed", "tensor_of"]


def tensor_of(boxes):
    """The tensor of a ``Boxes`` or ``RotatedBoxes``; a tensor itself."""
    return boxes if isinstance(boxes, torch.Tensor) else boxes.tensor


def class_indices(idxs):
    """Classes as integers: floats and booleans, which the peers take too, become ranks among the values that occur."""
    if idxs.is_floating_point() or idxs.dtype == torch.bool:
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
