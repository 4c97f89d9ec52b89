"""From scored boxes to detections: NMS and its kin, each class for itself.

Sources: Bodla et al. 2017, arXiv:1704.04503 (Soft-NMS); Bolya et al. 2019, arXiv:1904.02689 (Fast NMS); Wang et al.
2020, arXiv:2003.10152 (Matrix NMS).
"""

import torch
from torch import Tensor

from roikit.models.configs import BoxConfig
from roikit.models.parts.geometry import UPRIGHT, RotatedBoxes, UprightBoxes
from roikit.ops import fast_nms, matrix_nms, soft_nms

__all__ = ["select_detections", "thin"]


def select_detections(probabilities: Tensor, deltas: Tensor, proposals: Tensor, size: tuple[int, int],
                      config: BoxConfig, geometry: UprightBoxes | RotatedBoxes = UPRIGHT) -> dict[str, Tensor]:
    """The detections of one image.

    Args:
        probabilities: (P, C) of the classes of its proposals; class 0 is background.
        deltas: (P, 4C) box deltas, or (P, 4) where the classes share them.
        proposals: (P, 4) in pixels of the batch.
        size: (height, width) of the image within the batch.
        geometry: of the boxes; rotated ones have 5 numbers where upright ones have 4.

    Returns:
        `boxes` (D, 4) inside the image, as far as the geometry clips them, `labels` (D,) int64 from 1, `scores` (D,),
        best first.
    """
    row, label = (probabilities[:, 1:] > config.score_threshold).nonzero(as_tuple=True)
    label = label + 1
    scores = probabilities[row, label]
    # Only pairs above the threshold are decoded: few of the P x C.
    by_class = deltas.unflatten(1, (-1, geometry.numbers))
    chosen = by_class[row, label if by_class.shape[1] > 1 else torch.zeros_like(label)]
    boxes = geometry.decode(chosen, proposals[row], config.regression_weights, config.clip_below)
    boxes = geometry.clip(boxes, size)
    keep = geometry.large(boxes, config.min_side)
    keep, scores = thin(boxes[keep], scores[keep], label[keep], config, keep, geometry)
    return {"boxes": boxes[keep], "labels": label[keep], "scores": scores}


def thin(boxes: Tensor, scores: Tensor, labels: Tensor, config: BoxConfig, names: Tensor,
         geometry: UprightBoxes | RotatedBoxes = UPRIGHT) -> tuple[Tensor, Tensor]:
    """The `names` (K,) and the scores of the detections among (B, 4) or (B, 5) boxes, best first, as many as may be."""
    count, rule = config.detections_per_image, config.selection
    if rule.kind == "nms":
        keep = geometry.suppress(boxes, scores, labels, config.nms_threshold)[:count]
        return names[keep], scores[keep]
    if rule.kind == "fast_nms":
        keep = fast_nms(boxes, scores, labels, config.nms_threshold, top_k=rule.top_k,
                        cross_class=rule.cross_class)[:count]
        return names[keep], scores[keep]
    if rule.kind == "matrix_nms":
        keep, decayed = matrix_nms(boxes, scores, labels, sigma=rule.sigma, min_score=rule.min_score,
                                   method=rule.method)
        return names[keep[:count]], decayed[:count]
    kept, decayed = [names[:0]], [scores[:0]]
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        keep, own = soft_nms(boxes[rows], scores[rows], config.nms_threshold, sigma=rule.sigma,
                             min_score=rule.min_score, method=rule.method)
        kept.append(names[rows[keep]])
        decayed.append(own)
    scores, order = torch.cat(decayed).sort(descending=True, stable=True)
    return torch.cat(kept)[order[:count]], scores[:count]
