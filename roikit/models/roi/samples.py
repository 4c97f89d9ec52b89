"""Which proposals the losses are taken over."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from roikit.models.configs import BoxConfig
from roikit.models.parts.graphs import outside_graphs
from roikit.models.parts.image import Truth
from roikit.models.parts.sampling import sample_balanced

__all__ = ["BalancedSampler", "HardestSampler", "Samples", "box_targets", "match_proposals", "own_deltas",
           "positives"]


@dataclass(frozen=True)
class Samples:
    """The proposals of one image that its losses are taken over.

    Attributes:
        boxes: (S, 4) in pixels of the batch; or (S, 5), rotated.
        labels: (S,) int64, 0 for background.
        matched: (S,) int64, row of the object that a positive belongs to; -1 in an image without.
    """

    boxes: Tensor
    labels: Tensor
    matched: Tensor

    def positives(self) -> Tensor:
        """Indices of the boxes that belong to an object."""
        return (self.labels > 0).nonzero()[:, 0]

    def rows(self, rows: Tensor) -> "Samples":
        return Samples(self.boxes[rows], self.labels[rows], self.matched[rows])


def match_proposals(boxes: Tensor, truth: Truth, foreground_iou: float, background_iou: float
                    ) -> tuple[Samples, Tensor]:
    """All (P, 4) `boxes`, or 5, with the objects that they belong to.

    Returns:
        The samples, and (P,) int8: 1 for a positive, 0 for background, -1 for what lies between the two overlaps and
        has no loss.
    """
    matched, label = truth.geometry.match(boxes, truth.boxes.to(boxes.dtype), foreground_iou, background_iou,
                                          allow_low_quality=False)
    labels = torch.zeros_like(matched)
    positive = label == 1
    labels[positive] = truth.labels[matched[positive]]
    return Samples(boxes, labels, matched), label


def with_true_boxes(proposals: Tensor, truth: Truth) -> Tensor:
    """The (P, 4) proposals, or 5, and the true boxes, so that each object has at least one good sample."""
    return torch.cat((proposals, truth.boxes.to(proposals.dtype)))


class BalancedSampler:
    """Positives up to a share, background for the rest, at random (Ren et al. 2015, section 3.1.3)."""

    @torch.no_grad()
    def draw(self, proposals: Tensor, truth: Truth, config: BoxConfig) -> Samples:
        """Label an image's (P, 4) proposals, or 5, and its true boxes by overlap and draw the training samples."""
        samples, label = match_proposals(with_true_boxes(proposals, truth), truth, config.foreground_iou,
                                         config.background_iou)
        picked, _ = torch.cat(sample_balanced(label, config.samples_per_image, config.positive_fraction)).sort()
        return samples.rows(picked)

    def keep(self, samples: list[Samples], logits: Tensor, deltas: Tensor, truths: list[Truth], config: BoxConfig
             ) -> tuple[list[Samples], Tensor, Tensor]:
        """Once their predictions are known: all of them."""
        return samples, logits, deltas


class HardestSampler:
    """The proposals of the largest loss (OHEM, Shrivastava et al. 2016, arXiv:1604.03540).

    All proposals and true boxes are looked at; of each image the `samples_per_image` of the largest loss, class and
    place together, are learnt from, whatever the share of positives. The paper's thinning by NMS of what has nearly the
    same place is left to the proposals' own.
    """

    @torch.no_grad()
    def draw(self, proposals: Tensor, truth: Truth, config: BoxConfig) -> Samples:
        samples, label = match_proposals(with_true_boxes(proposals, truth), truth, config.foreground_iou,
                                         config.background_iou)
        return samples.rows((label >= 0).nonzero()[:, 0])

    @torch.no_grad()
    def hardness(self, samples: list[Samples], logits: Tensor, deltas: Tensor, truths: list[Truth],
                 config: BoxConfig) -> Tensor:
        """(S,) loss of every sample of all images."""
        labels = torch.cat([sample.labels for sample in samples])
        loss = F.cross_entropy(logits, labels, reduction="none")
        targets = box_targets(samples, truths, config)
        rows, own = own_deltas(deltas, labels, targets.shape[1])
        off = F.smooth_l1_loss(own, targets, beta=config.box_beta, reduction="none").sum(1)
        return loss.index_add(0, rows, off.to(loss.dtype))

    def keep(self, samples: list[Samples], logits: Tensor, deltas: Tensor, truths: list[Truth], config: BoxConfig
             ) -> tuple[list[Samples], Tensor, Tensor]:
        counts = [len(sample.labels) for sample in samples]
        kept, rows, start = [], [], 0
        for sample, loss in zip(samples, self.hardness(samples, logits, deltas, truths, config).split(counts),
                                strict=True):
            # A stable order: of equal losses the first.
            best = loss.sort(descending=True, stable=True).indices[:config.samples_per_image].sort().values
            kept.append(sample.rows(best))
            rows.append(best + start)
            start += len(loss)
        chosen = torch.cat(rows)
        return kept, logits[chosen], deltas[chosen]


def own_deltas(deltas: Tensor, labels: Tensor, numbers: int = 4) -> tuple[Tensor, Tensor]:
    """The rows (P,) of the positives of (S,) `labels`, and their (P, 4) deltas of their class, or of all classes.

    Args:
        deltas: (S, 4C), or (S, 4) where the classes share them.
        numbers: of a box; 5 of a rotated one, which has 5 deltas.
    """
    rows = (labels > 0).nonzero()[:, 0]
    by_class = deltas.unflatten(1, (-1, numbers))
    own = labels[rows] if by_class.shape[1] > 1 else torch.zeros_like(rows)
    return rows, by_class[rows, own]


def box_targets(samples: list[Samples], truths: list[Truth], config: BoxConfig) -> Tensor:
    """(P, 4) deltas, or 5, from the positives of all images to their objects."""
    targets = []
    for sample, truth in zip(samples, truths, strict=True):
        rows = sample.positives()
        objects = truth.boxes.to(sample.boxes.dtype)[sample.matched[rows]]
        targets.append(truth.geometry.encode(objects, sample.boxes[rows], config.regression_weights))
    return torch.cat(targets)


@outside_graphs
def positives(samples: list[Samples]) -> tuple[list[Tensor], Tensor]:
    """The positives' boxes of each image, and their labels, image after image."""
    rows = [sample.positives() for sample in samples]
    boxes = [sample.boxes[own] for sample, own in zip(samples, rows, strict=True)]
    return boxes, torch.cat([sample.labels[own] for sample, own in zip(samples, rows, strict=True)])
