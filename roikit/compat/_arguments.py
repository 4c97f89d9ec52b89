"""What the peers take and roikit's ops do not: objects that hold a tensor, classes as floats, pairs of one int."""

import torch

__all__ = ["class_indices", "pair", "tensor_of"]


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
