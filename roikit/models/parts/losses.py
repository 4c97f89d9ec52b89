"""The losses of the Mask R-CNN family. None of them is NaN, or cut from the graph, for want of samples.

Sources: Girshick 2015, arXiv:1504.08083 (smooth L1); Ren et al. 2015, arXiv:1506.01497; He et al.
2017, arXiv:1703.06870 (per-class masks, keypoints). Divisors and beta are torchvision's.
"""

from torch import Tensor
from torch.nn import functional as F

__all__ = ["box_regression_loss", "classification_loss", "keypoint_loss", "mask_loss", "objectness_loss"]


def objectness_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of sampled anchors; `logits` (S,), `labels` (S,) float 0 or 1."""
    if len(logits) == 0:
        return logits.sum() * 0.0
    return F.binary_cross_entropy_with_logits(logits, labels)


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of sampled proposals; `logits` (S, C), `labels` (S,) int64."""
    if len(logits) == 0:
        return logits.sum() * 0.0
    return F.cross_entropy(logits, labels)


def box_regression_loss(deltas: Tensor, targets: Tensor, beta: float, samples: int) -> Tensor:
    """Smooth L1 of the positives' deltas (P, 4), summed and divided by all `samples`."""
    return F.smooth_l1_loss(deltas, targets, beta=beta, reduction="sum") / max(samples, 1)


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean binary cross-entropy of the positives' masks.

    Args:
        logits: (P, M, M) of the true class of each.
        targets: (P, M, M) float in [0, 1].
    """
    if len(logits) == 0:
        return logits.sum() * 0.0
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))


def keypoint_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of visible keypoints; `logits` (V, S * S) of their boxes' cells, `targets` (V,) int64."""
    if len(logits) == 0:
        return logits.sum() * 0.0
    return F.cross_entropy(logits, targets)
