"""Detections judged against objects, as COCO does: the compiled face of roikit.reference.evaluation.

Host arrays alone: there is no torch face, and `roikit.kernels` does not export these beside the ops.

Detections and objects stand in P groups, those of one image and one class. A group is a range of rows in both:
``starts[p]`` to ``starts[p + 1]``. In a group detections fall in score. Overlaps are flat: of each group a matrix
(D_p, G_p), row-major, one after the other, as `roikit.masks.runs.iou_of_groups` gives them.
"""

import numpy as np

from roikit import _core
from roikit.kernels._launch import launch, view

__all__ = ["keypoint_similarity", "match_groups", "precision_recall"]


def keypoint_similarity(found, known, boxes, areas, sigmas, starts, known_starts, *, threads=None):
    """COCO's similarity of keypoints (OKS).

    Args:
        found: (D, J, 3) float64, x and y in pixels of J keypoints, and a third number that is not looked at.
        known: (G, J, 3) float64, likewise; the third is above 0 where the keypoint is labelled.
        boxes: (G, 4) float64, x y width height in pixels, what counts where no keypoint of an object is labelled.
        areas: (G,) float64, pixels.
        sigmas: (J,) float64, above 0.
        starts, known_starts: (P + 1,) int64.
        threads: how many may work.

    Returns:
        float64, flat, the similarities of each group; within 4 units in the last place of the specification's.

    Raises: TypeError or ValueError for a wrong kind or shape.
    """
    op = "keypoint_similarity"
    found, known = _array(op, "found", found, np.float64, 3), _array(op, "known", known, np.float64, 3)
    starts, known_starts = _starts(op, starts, known_starts, len(found), len(known))
    overlaps = np.empty(int((np.diff(starts) * np.diff(known_starts)).sum()), np.float64)
    _core.keypoint_similarity(view(found), view(known), view(_array(op, "boxes", boxes, np.float64, 2)),
                              view(_array(op, "areas", areas, np.float64, 1)),
                              view(_array(op, "sigmas", sigmas, np.float64, 1)), view(starts), view(known_starts),
                              view(overlaps), launch(op, threads))
    return overlaps


def match_groups(overlaps, starts, known_starts, ignored, crowds, outside, thresholds, *, threads=None):
    """Give each detection of each group an object, as COCO's evaluation does.

    A detection takes the free object that it overlaps most, the last of equals, where the overlap reaches the threshold
    (one above 1 - 1e-10 counts as that). An object that is ignored is taken only where no other is left; a crowd may be
    taken by many.

    Args:
        overlaps: flat float64.
        starts, known_starts: (P + 1,) int64.
        ignored: (A, G) bool, objects that count as neither found nor missed, for each of A ranges of areas.
        crowds: (G,) bool.
        outside: (A, D) bool, detections that are outside the range: not wrong where they take no object.
        thresholds: (T,) float64.
        threads: how many may work.

    Returns:
        matched (A, T, D) int64, the row of the object that a detection takes, -1 for none; outcome (A, T, D) int8, 1 of
        what is right, 0 of what is wrong, -1 of what is neither.

    Raises: TypeError or ValueError for a wrong kind or shape.
    """
    op = "match_groups"
    ignored, outside = _array(op, "ignored", ignored, bool, 2), _array(op, "outside", outside, bool, 2)
    thresholds = _array(op, "thresholds", thresholds, np.float64, 1)
    starts, known_starts = _starts(op, starts, known_starts, outside.shape[1], ignored.shape[1])
    shape = len(outside), len(thresholds), outside.shape[1]
    matched, outcome = np.empty(shape, np.int64), np.empty(shape, np.int8)
    _core.match_groups(view(_array(op, "overlaps", overlaps, np.float64, 1)), view(starts), view(known_starts),
                       view(ignored), view(_array(op, "crowds", crowds, bool, 1)), view(outside), view(thresholds),
                       view(matched), view(outcome), launch(op, threads))
    return matched, outcome


def precision_recall(outcome, order, class_starts, ranks, limits, totals, recalls, *, threads=None):
    """Precision at given recalls, and the recall that is reached, by COCO's arithmetic.

    Args:
        outcome: (A, T, D) int8, of `match_groups`.
        order: (D,) int64, the rows of each class by falling score.
        class_starts: (K + 1,) int64, where each class begins in ``order``.
        ranks: (D,) int64, the place of each row in its group, from 0.
        limits: (M,) int64; so many detections of each group count.
        totals: (A, K) int64, the objects that count.
        recalls: (R,) float64, ascending.
        threads: how many may work.

    Returns:
        precision (T, R, K, A, M) float64, the highest at that recall or beyond, 0 where it is not reached; recall
        (T, K, A, M) float64; -1 where no object counts.

    Raises: TypeError or ValueError for a wrong kind or shape.
    """
    op = "precision_recall"
    outcome, totals = _array(op, "outcome", outcome, np.int8, 3), _array(op, "totals", totals, np.int64, 2)
    limits, recalls = _array(op, "limits", limits, np.int64, 1), _array(op, "recalls", recalls, np.float64, 1)
    ranges, steps, _ = outcome.shape
    shape = totals.shape[1], ranges, len(limits)
    precision, recall = np.empty((steps, len(recalls), *shape)), np.empty((steps, *shape))
    _core.precision_recall(view(outcome), view(_array(op, "order", order, np.int64, 1)),
                           view(_array(op, "class_starts", class_starts, np.int64, 1)),
                           view(_array(op, "ranks", ranks, np.int64, 1)), view(limits), view(totals), view(recalls),
                           view(precision), view(recall), launch(op, threads))
    return precision, recall


def _array(op, name, values, dtype, rank):
    found = np.asarray(values)
    if not np.can_cast(found.dtype, dtype, "same_kind") and found.size:
        raise TypeError(f"{op}: {name} must be {np.dtype(dtype).name}, got {found.dtype}")
    if found.ndim != rank:
        raise ValueError(f"{op}: {name} must have {rank} axes, got shape {found.shape}")
    return np.ascontiguousarray(found, dtype)


def _starts(op, starts, known_starts, found, known):
    starts = _array(op, "starts", starts, np.int64, 1)
    known_starts = _array(op, "known_starts", known_starts, np.int64, 1)
    for name, one, rows in (("starts", starts, found), ("known_starts", known_starts, known)):
        if not len(one) or len(one) != len(starts) or one[0] or one[-1] != rows or (np.diff(one) < 0).any():
            raise ValueError(f"{op}: {name} must ascend from 0 to {rows}, one more than there are groups")
    return starts, known_starts
