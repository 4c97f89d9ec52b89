"""The law of COCO's evaluation: which object a detection takes, and precision at recalls.

Source: Lin et al. 2014, arXiv:1405.0312, as pycocotools 2.0.11 computes it. Groups, rows and flat overlaps are those of
``roikit.kernels.evaluation``.
"""

import numpy as np

__all__ = ["keypoint_similarity", "match_groups", "precision_recall"]


def keypoint_similarity(found, known, boxes, areas, sigmas, starts, known_starts):
    """Flat float64: for each pair in a group the mean of exp(-squared distance / (2 area (2 sigma)^2)) over the
    labelled keypoints; where none is labelled, over all, with the distance to the object's box made three times as
    large.
    """
    overlaps = []
    for p in range(len(starts) - 1):
        for d in range(starts[p], starts[p + 1]):
            for g in range(known_starts[p], known_starts[p + 1]):
                labelled = known[g, :, 2] > 0
                distance = found[d, :, :2] - known[g, :, :2]
                if not labelled.any():
                    low, high = boxes[g, :2] - boxes[g, 2:], boxes[g, :2] + boxes[g, 2:] * 2
                    distance = np.maximum(0, low - found[d, :, :2]) + np.maximum(0, found[d, :, :2] - high)
                    labelled = ~labelled
                e = (distance**2).sum(1) / (sigmas * 2)**2 / (areas[g] + np.spacing(1)) / 2
                overlaps.append(np.exp(-e[labelled]).sum() / labelled.sum())
    return np.array(overlaps, np.float64)


def match_groups(overlaps, starts, known_starts, ignored, crowds, outside, thresholds):
    """matched (A, T, D) and outcome (A, T, D)."""
    shape = len(outside), len(thresholds), outside.shape[1]
    matched, outcome, place = np.full(shape, -1, np.int64), np.zeros(shape, np.int8), 0
    for p in range(len(starts) - 1):
        rows, own = range(starts[p], starts[p + 1]), range(known_starts[p], known_starts[p + 1])
        iou = np.reshape(overlaps[place:place + len(rows) * len(own)], (len(rows), len(own)))
        place += iou.size
        for a, t in np.ndindex(shape[:2]):
            taken = set()
            for k, d in enumerate(rows):
                fits = [(not ignored[a, g], iou[k, j], g) for j, g in enumerate(own)
                        if iou[k, j] >= min(thresholds[t], 1 - 1e-10) and (crowds[g] or g not in taken)]
                if fits:  # one that counts before one that is ignored, the best, the last of equals
                    matched[a, t, d] = max(fits)[2]
                    taken.add(max(fits)[2])
                    outcome[a, t, d] = -1 if ignored[a, max(fits)[2]] else 1
                else:
                    outcome[a, t, d] = -1 if outside[a, d] else 0
    return matched, outcome


def precision_recall(outcome, order, class_starts, ranks, limits, totals, recalls):
    """precision (T, R, K, A, M) and recall (T, K, A, M)."""
    ranges, steps, _ = outcome.shape
    shape = len(class_starts) - 1, ranges, len(limits)
    precision, recall = np.full((steps, len(recalls), *shape), -1.0), np.full((steps, *shape), -1.0)
    for k, a, m in np.ndindex(shape):
        rows = order[class_starts[k]:class_starts[k + 1]]
        rows = rows[ranks[rows] < limits[m]]
        if not totals[a, k]:
            continue
        for t in range(steps):
            right = np.cumsum(outcome[a, t, rows] == 1).astype(np.float64)
            wrong = np.cumsum(outcome[a, t, rows] == 0).astype(np.float64)
            best = np.maximum.accumulate((right / (wrong + right + np.spacing(1)))[::-1])[::-1]
            at = np.searchsorted(right / totals[a, k], recalls, side="left")
            precision[t, :, k, a, m] = np.append(best, 0)[at]
            recall[t, k, a, m] = right[-1] / totals[a, k] if len(rows) else 0
    return precision, recall
