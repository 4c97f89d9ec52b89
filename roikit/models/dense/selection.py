"""From the predictions of all priors to detections.

Source: Bolya et al. 2019, arXiv:1904.02689, section 3.3, and the authors' code: candidates are suppressed before their
boxes are clipped to the image.
"""

import torch
from torch import Tensor

from roikit.models.configs import BoxConfig
from roikit.models.parts.geometry import UPRIGHT
from roikit.models.roi.selection import thin
from roikit.ops import clip_boxes_to_image, remove_small_boxes

__all__ = ["select_priors"]


def select_priors(logits: Tensor, deltas: Tensor, coefficients: Tensor, priors: Tensor, size: tuple[int, int],
                  config: BoxConfig, threshold_on: str) -> dict[str, Tensor]:
    """The detections of one image.

    Args:
        logits: (P, C); class 0 is background.
        deltas: (P, 4).
        coefficients: (P, K).
        priors: (P, 4) in pixels of the batch.
        size: (height, width) of the image within the batch.
        threshold_on: as in `DenseConfig`.

    Returns:
        `boxes` (D, 4) inside the image, `labels` (D,) int64 from 1, `scores` (D,), best first, `coefficients` (D, K).
    """
    probabilities = logits.softmax(-1)[:, 1:]
    row = (probabilities.amax(1) > config.score_threshold).nonzero()[:, 0]
    probabilities = probabilities[row]
    boxes = UPRIGHT.decode(deltas[row], priors[row], config.regression_weights, config.clip_below)
    place, label = candidates(probabilities, config, threshold_on)
    scores, boxes, row = probabilities[place, label], boxes[place], row[place]
    inside = clip_boxes_to_image(boxes, size)
    keep = remove_small_boxes(inside, config.min_side)
    keep, scores = thin(boxes[keep], scores[keep], label[keep], config, keep)
    return {"boxes": inside[keep], "labels": label[keep] + 1, "scores": scores, "coefficients": coefficients[row[keep]]}


def candidates(probabilities: Tensor, config: BoxConfig, threshold_on: str) -> tuple[Tensor, Tensor]:
    """Which priors take part in the suppression of which classes.

    Args:
        probabilities: (P, C - 1) of the priors whose best is above the threshold.

    Returns:
        Rows (B,) and columns (B,), int64.
    """
    rule, count = config.selection, probabilities.shape[0]
    if rule.kind == "fast_nms" and rule.cross_class:
        return torch.arange(count, device=probabilities.device), probabilities.argmax(1)
    if rule.kind == "fast_nms" and threshold_on == "prior":
        place = probabilities.topk(torch.sym_min(rule.top_k, count), 0).indices  # Fast NMS looks at no more of a class
        label = torch.arange(probabilities.shape[1], device=place.device).expand_as(place)
        return place.reshape(-1), label.reshape(-1)
    return (probabilities > config.score_threshold).nonzero(as_tuple=True)
