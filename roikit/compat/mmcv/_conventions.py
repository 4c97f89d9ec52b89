"""mmcv's ways of giving boxes and thresholds, turned into roikit's."""

import math

import torch

__all__ = ["at_least", "degrees", "grown", "wide"]


def wide(x):
    """Half as float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def grown(boxes, offset):
    """Boxes (N, 4) whose right and lower sides lie ``offset`` further: then widths are x2 - x1 + offset.

    Raises:
        ValueError: offset is neither 0 nor 1.
    """
    if offset not in (0, 1):
        raise ValueError(f"mmcv: offset must be 0 or 1, got {offset}")
    return torch.cat([boxes[:, :2], wide(boxes)[:, 2:] + 1], dim=1) if offset else boxes


def degrees(boxes, clockwise):
    """Rotated boxes (N, 5), or RoIs (N, 6), whose last column is radians, with degrees counter-clockwise there."""
    boxes = wide(boxes)
    turn = boxes[:, -1:] * ((-180 if clockwise else 180) / math.pi)
    return torch.cat([boxes[:, :-1], turn], dim=1)


def at_least(threshold, dtype):
    """The number that is exceeded, in ``dtype``, by just what reaches ``threshold``."""
    value = torch.tensor(threshold, dtype=dtype, device="cpu")
    return torch.nextafter(value, value.new_tensor(-torch.inf)).item()
