"""The losses of a dense detector: hard negatives for classes, smooth L1 for boxes, a class for each cell.

Sources: Liu et al. 2016, arXiv:1512.02325, section 2.2; Bolya et al. 2019, arXiv:1904.02689, sections 3 and 5. Divisors
are the authors'. None of them is NaN, or cut from the graph, for want of objects.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from roikit.models.configs import BoxConfig, DenseConfig
from roikit.models.dense.masks import sampled_masks
from roikit.models.dense.priors import Matched
from roikit.models.parts.image import Truth
from roikit.ops import encode_boxes

__all__ = ["class_and_box_losses", "count_positives", "hardest_negatives", "semantic_cells_loss"]


def count_positives(matched: list[Matched]) -> int:
    """The priors of all images that have an object, at least 1: the divisor of the losses."""
    return max(sum(int((own.labels > 0).sum()) for own in matched), 1)


@torch.no_grad()
def hardest_negatives(logits: Tensor, labels: Tensor, ratio: float) -> Tensor:
    """Rows of the background priors of one image that are least like background, `ratio` for each positive.

    Args:
        logits: (P, C).
        labels: (P,) as in `Matched`.
    """
    hardness = (logits.logsumexp(1) - logits[:, 0]).masked_fill(labels != 0, -torch.inf)
    count = min(int(ratio * int((labels > 0).sum())), int((labels == 0).sum()))
    return hardness.topk(count).indices.sort().values


def class_and_box_losses(logits: Tensor, deltas: Tensor, priors: Tensor, matched: list[Matched], truths: list[Truth],
                         box: BoxConfig, config: DenseConfig) -> dict[str, Tensor]:
    """`loss_classifier` and `loss_box_reg`, each summed and divided by the number of positives.

    Args:
        logits: (N, P, C).
        deltas: (N, P, 4).
        priors: (P, 4).
    """
    class_loss, box_loss = logits.sum() * 0.0, deltas.sum() * 0.0
    for own_logits, own_deltas, own, truth in zip(logits, deltas, matched, truths, strict=True):
        rows = own.positives()
        if len(rows) == 0:
            continue
        learnt = torch.cat((rows, hardest_negatives(own_logits, own.labels, config.negatives)))
        class_loss = class_loss + F.cross_entropy(own_logits[learnt], own.labels[learnt], reduction="sum")
        objects = truth.boxes.to(priors.dtype)[own.objects[rows]]
        targets = encode_boxes(objects, priors[rows], box.regression_weights)
        box_loss = box_loss + F.smooth_l1_loss(own_deltas[rows], targets, beta=box.box_beta, reduction="sum")
    count = count_positives(matched)
    return {"loss_classifier": class_loss * (config.class_weight / count),
            "loss_box_reg": box_loss * (config.box_weight / count)}


def semantic_cells_loss(logits: Tensor, truths: list[Truth], padded_size: tuple[int, int], config: DenseConfig
                        ) -> dict[str, Tensor]:
    """`loss_semantic`: binary cross-entropy of each class at each cell, summed over classes, averaged over cells.

    Args:
        logits: (N, C - 1, h, w), of the classes without background.
        padded_size: (height, width) of the batch.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    target = torch.zeros_like(logits)
    for own, (index, truth) in zip(target, enumerate(truths), strict=True):
        masks = sampled_masks(truth, index, own.shape[1:], padded_size, logits.device)
        for label, mask in zip((truth.labels - 1).tolist(), masks, strict=True):
            own[label].masked_fill_(mask, 1.0)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    return {"loss_semantic": loss * (config.semantic_weight / target[:, 0].numel())}
