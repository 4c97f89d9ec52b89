"""PASCAL VOC's average precision over the overlap of rotated boxes, as DOTA states it.

Sources: Everingham et al. 2010 and the VOC development kit (11 points in 2007, the whole area since 2010); Xia et al.
2018, arXiv:1711.10398 (DOTA, which takes the kit's figures at an IoU of 0.5).
"""

import numpy as np

from roikit.trainer.rotated_overlaps import rotated_overlaps

__all__ = ["VOC_IOU", "voc_scores"]

VOC_IOU = 0.5


def voc_scores(groups, iou=VOC_IOU):
    """The VOC development kit's average precision of every class, in both of its forms.

    A detection belongs to the object that it overlaps most, right where the overlap is above ``iou`` and no better
    detection has the object, and neither right nor wrong where that object is to be ignored.

    Args:
        groups: `roikit.trainer.judging.Grouped` of rotated boxes, without a limit.

    Returns:
        (K, 2) float64: AP of 11 points and AP of the whole area; -1 for classes without an object that counts.
    """
    right, wrong = _judged(groups, iou)
    order = np.lexsort((groups.found_places, -groups.found.scores))
    totals = np.bincount(groups.known_class[~groups.known.crowds], minlength=groups.classes)
    scores = np.full((groups.classes, 2), -1.0)
    for label in np.flatnonzero(totals):
        rows = order[groups.found_class[order] == label]
        scores[label] = _precision(right[rows], wrong[rows], totals[label])
    return scores


def _judged(groups, iou):
    """(D,) right and (D,) wrong."""
    found, known, starts, known_starts = groups.found, groups.known, groups.starts, groups.known_starts
    overlaps = rotated_overlaps(found.rotated, known.rotated, np.zeros(len(known), bool), starts, known_starts)
    right, wrong, place = np.zeros(len(found), bool), np.ones(len(found), bool), 0
    for p in np.flatnonzero((np.diff(starts) > 0) & (np.diff(known_starts) > 0)):
        count, first = known_starts[p + 1] - known_starts[p], known_starts[p]
        rows = np.arange(starts[p], starts[p + 1])
        both = overlaps[place:place + len(rows) * count].reshape(len(rows), count)
        place += both.size
        best, reached = both.argmax(1), both.max(1) > iou
        seen = np.flatnonzero(reached & ~known.crowds[first + best])
        wrong[rows[reached]] = False
        _, at = np.unique(best[seen], return_index=True)  # of each object the best detection, which stands first
        wrong[rows[seen]] = True
        right[rows[seen[at]]], wrong[rows[seen[at]]] = True, False
    return right, wrong


def _precision(right, wrong, total):
    """AP of 11 points, and of the area under the curve whose precision never grows."""
    right, wrong = right.cumsum(), wrong.cumsum()
    recall = right / total
    precision = right / np.maximum(right + wrong, 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    eleven = [highest[np.searchsorted(recall, step)] if len(recall) and step <= recall[-1] else 0.0
              for step in np.arange(11) / 10]
    steps = np.diff(recall, prepend=0.0)
    return float(np.mean(eleven)), float((steps * highest).sum())
