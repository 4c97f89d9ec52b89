"""Precision and recall of each class, their average, and the score at which F1 is best.

Source: Lin et al. 2014, arXiv:1405.0312, with pycocotools' accumulation (101 recalls, precision that never rises).
"""

import numpy as np

__all__ = ["RECALLS", "average_precision", "best_threshold", "class_order", "precision_at_recalls"]

RECALLS = np.linspace(0.0, 1.0, 101)


def class_order(matches, label):
    """Rows of a class's detections by falling score, as COCO orders equals."""
    rows = np.flatnonzero(matches.found_class == label)
    return rows[np.argsort(-matches.scores[rows], kind="stable")]


def precision_at_recalls(right, wrong, total):
    """Precision at each of `RECALLS`.

    Args:
        right, wrong: (D,) bool, detections by falling score.
        total: number of objects; above 0.

    Returns:
        (101,) float64; 0 where the recall is not reached.
    """
    right, wrong = np.cumsum(right, dtype=np.float64), np.cumsum(wrong, dtype=np.float64)
    precision = right / (right + wrong + np.spacing(1))
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(right / total, RECALLS, side="left")
    return np.append(highest, 0.0)[np.minimum(at, len(highest))]


def average_precision(right, wrong, total):
    """Mean of `precision_at_recalls`; -1 where there is no object."""
    return float(precision_at_recalls(right, wrong, total).mean()) if total else -1.0


def best_threshold(scores, right, wrong, total):
    """The score from which on detections are best kept, by F1.

    Args:
        scores: (D,) falling.
        right, wrong: (D,) bool.
        total: number of objects.

    Returns:
        dict ``score``, ``f1``, ``precision``, ``recall`` of the detections of at least that score, the highest of
        equals; None where no detection is right.
    """
    if not total or not np.any(right):
        return None
    ends = np.flatnonzero(np.append(scores[1:] < scores[:-1], True))  # equal scores are kept together
    right, wrong = np.cumsum(right)[ends], np.cumsum(wrong)[ends]
    f1 = 2 * right / (right + wrong + total)
    best = int(f1.argmax())
    return {"score": float(scores[ends[best]]), "f1": float(f1[best]),
            "precision": float(right[best] / (right[best] + wrong[best])), "recall": float(right[best] / total)}
