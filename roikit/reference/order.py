"""Boxes in the order of their scores, and greedy suppression in that order."""

import numpy as np

from roikit.reference.arguments import as_candidates, as_classes


def score_order(scores):
    """Indices by descending score, ties by index, NaN last: int64 (N,)."""
    return np.argsort(-scores, kind="stable")  # NumPy sorts NaN last; -NaN is NaN


def suppress(op, boxes, scores, idxs, iou_threshold, overlap, columns=4):
    """Greedy suppression within each class of ``idxs`` (None: all are one) by ``overlap(boxes1, boxes2)``.

    A box is kept unless a box kept before it overlaps it by more than T(iou_threshold), T being the dtype of the boxes.
    """
    boxes, scores = as_candidates(op, boxes, scores, columns)
    idxs = as_classes(op, "idxs", np.zeros(len(boxes), np.int64) if idxs is None else idxs, boxes)
    threshold = boxes.dtype.type(iou_threshold)
    keep = []
    removed = np.zeros(len(boxes), bool)
    for i in score_order(scores):
        if not removed[i]:
            keep.append(i)
            removed |= (overlap(boxes[i : i + 1], boxes)[0] > threshold) & (idxs == idxs[i])
    return np.array(keep, np.int64)
