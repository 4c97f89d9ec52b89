"""Random choice of the boxes that a loss is taken over."""

import torch
from torch import Tensor

__all__ = ["sample_balanced"]


def sample_balanced(labels: Tensor, count: int, positive_fraction: float) -> tuple[Tensor, Tensor]:
    """Draw at most `count` boxes, positives first up to a share, negatives for the rest.

    Args:
        labels: (A,) numbers; at least 1 positive, 0 negative, below 0 never drawn.
        count: boxes wanted.
        positive_fraction: positives are at most int(count * positive_fraction).

    Returns:
        Indices of the positives and of the negatives, int64, each ascending. Uniform without
        replacement from torch's default generator of the labels' device.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.3.
    """
    positive = (labels >= 1).nonzero()[:, 0]
    negative = (labels == 0).nonzero()[:, 0]
    positives = min(len(positive), int(count * positive_fraction))
    negatives = min(len(negative), count - positives)
    return _draw(positive, positives), _draw(negative, negatives)


def _draw(indices: Tensor, count: int) -> Tensor:
    chosen = torch.randperm(len(indices), device=indices.device)[:count]
    return indices[chosen].sort().values
