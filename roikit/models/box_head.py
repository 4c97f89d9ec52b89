"""Classification and box regression of proposals: layers, training samples, losses, detections.

Source: Girshick 2015, arXiv:1504.08083, with the two-layer head of Lin et al. 2017,
arXiv:1612.03144.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from roikit.models.config import BoxConfig
from roikit.models.image import Truth
from roikit.models.linear import linear
from roikit.models.losses import box_regression_loss, classification_loss
from roikit.models.sampling import sample_balanced
from roikit.ops import (
    batched_nms,
    clip_boxes_to_image,
    decode_boxes,
    encode_boxes,
    match_boxes,
    remove_small_boxes,
)

__all__ = ["FastRCNNPredictor", "Samples", "TwoMLPHead", "box_losses", "sample_proposals",
           "select_detections"]

# Detections with a shorter side than this many pixels are dropped.
_MIN_SIDE = 1e-2


class TwoMLPHead(nn.Module):
    """Two fully connected layers with ReLU: (R, C, P, P) -> (R, representation)."""

    def __init__(self, in_channels: int, representation: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(in_channels, representation)
        self.fc7 = nn.Linear(representation, representation)

    def forward(self, x: Tensor) -> Tensor:
        x = linear(x.flatten(1), self.fc6.weight, self.fc6.bias).relu_()
        return linear(x, self.fc7.weight, self.fc7.bias).relu_()


class FastRCNNPredictor(nn.Module):
    """(R, in_channels) -> class logits (R, C) and box deltas (R, 4C); class 0 is background."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, num_classes * 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


@dataclass(frozen=True)
class Samples:
    """The proposals of one image that its losses are taken over.

    Attributes:
        boxes: (S, 4) in pixels of the batch.
        labels: (S,) int64, 0 for background.
        matched: (S,) int64, row of the object that a positive belongs to; -1 in an image without.
    """

    boxes: Tensor
    labels: Tensor
    matched: Tensor

    def positives(self) -> Tensor:
        """Indices of the boxes that belong to an object."""
        return (self.labels > 0).nonzero()[:, 0]


@torch.no_grad()
def sample_proposals(proposals: Tensor, truth: Truth, config: BoxConfig) -> Samples:
    """Label an image's proposals by overlap and draw the training samples.

    The true boxes join the (P, 4) proposals, so that each object has at least one good sample.
    """
    truth_boxes = truth.boxes.to(proposals.dtype)
    boxes = torch.cat((proposals, truth_boxes))
    matched, label, _ = match_boxes(boxes, truth_boxes, config.foreground_iou,
                                    config.background_iou, allow_low_quality=False)
    picked, _ = torch.cat(sample_balanced(label, config.samples_per_image,
                                          config.positive_fraction)).sort()
    labels = torch.zeros_like(picked)
    positive = label[picked] == 1
    labels[positive] = truth.labels[matched[picked[positive]]]
    return Samples(boxes[picked], labels, matched[picked])


def box_losses(logits: Tensor, deltas: Tensor, samples: list[Samples], truths: list[Truth],
               config: BoxConfig) -> dict[str, Tensor]:
    """`loss_classifier` and `loss_box_reg` of the samples of all images.

    Args:
        logits: (S, C) class logits of all samples, image after image.
        deltas: (S, 4C) box deltas.
    """
    labels = torch.cat([sample.labels for sample in samples])
    positive = (labels > 0).nonzero()[:, 0]
    targets = []
    for sample, truth in zip(samples, truths, strict=True):
        rows = sample.positives()
        objects = truth.boxes.to(sample.boxes.dtype)[sample.matched[rows]]
        targets.append(encode_boxes(objects, sample.boxes[rows], config.regression_weights))
    chosen = deltas.unflatten(1, (-1, 4))[positive, labels[positive]]
    return {
        "loss_classifier": classification_loss(logits, labels),
        "loss_box_reg": box_regression_loss(chosen, torch.cat(targets), config.box_beta,
                                            len(labels)),
    }


def select_detections(logits: Tensor, deltas: Tensor, proposals: Tensor, size: tuple[int, int],
                      config: BoxConfig) -> dict[str, Tensor]:
    """The detections of one image.

    Args:
        logits: (P, C) class logits of its proposals.
        deltas: (P, 4C) box deltas.
        proposals: (P, 4) in pixels of the batch.
        size: (height, width) of the image within the batch.

    Returns:
        `boxes` (D, 4) inside the image, `labels` (D,) int64 from 1, `scores` (D,), best first.
    """
    probabilities = logits.softmax(-1)
    row, label = (probabilities[:, 1:] > config.score_threshold).nonzero(as_tuple=True)
    label = label + 1
    scores = probabilities[row, label]
    # Only pairs above the threshold are decoded: few of the P x C.
    chosen = deltas.unflatten(1, (-1, 4))[row, label]
    boxes = decode_boxes(chosen, proposals[row], config.regression_weights)
    boxes = clip_boxes_to_image(boxes, size)
    keep = remove_small_boxes(boxes, _MIN_SIDE)
    boxes, scores, label = boxes[keep], scores[keep], label[keep]
    keep = batched_nms(boxes, scores, label, config.nms_threshold)[:config.detections_per_image]
    return {"boxes": boxes[keep], "labels": label[keep], "scores": scores[keep]}
