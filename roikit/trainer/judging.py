"""Detections paired with objects by COCO's rule, all images and classes at once; and what follows from the pairs.

Source: Lin et al. 2014, arXiv:1405.0312, and pycocotools' cocoeval, whose choices among equals are kept. Where it takes
an annotation id of 0 for "not found", and two annotations of one id for one, objects here are rows, whatever their ids.
"""

from dataclasses import dataclass

import numpy as np

from roikit.kernels.evaluation import keypoint_similarity, match_groups, precision_recall
from roikit.masks.runs import iou_of_groups
from roikit.trainer.rotated_overlaps import rotated_overlaps
from roikit.trainer.shapes import Shapes

__all__ = ["IOUS", "RANGES", "RECALLS", "Grouped", "curves", "grouped", "judged", "overlaps_of", "ranks_of"]

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
# COCO's ranges of areas, in pixels. What is larger than the first is ignored.
RANGES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True)
class Grouped:
    """Detections and objects of the images in question, by class, in it by image, in it detections by falling score.

    Attributes:
        found, known: Shapes of D detections and G objects.
        found_places: (D,) int64, the places of the detections among those that were given.
        found_class, known_class: (D,) and (G,) int64, from 0.
        starts, known_starts: (P + 1,) int64, where each group, an image and a class, begins in both.
        ranks: (D,) int64, the place of each detection in its group.
        classes: how many classes there are.
    """

    found: Shapes
    known: Shapes
    found_places: np.ndarray
    found_class: np.ndarray
    known_class: np.ndarray
    starts: np.ndarray
    known_starts: np.ndarray
    ranks: np.ndarray
    classes: int


def grouped(found, known, images, classes, *, use_cats=True, limit=None):
    """Detections and objects as Grouped.

    Args:
        found, known: Shapes.
        images: numbers of the images in question.
        classes: the number of categories, whose numbers are 1 to that.
        use_cats: False where all are of one class.
        limit: so many of the best detections of a class on an image are kept; None for all.
    """
    sides, places = [], []
    for one in (found, known):
        rows = np.flatnonzero(np.isin(one.images, images))
        label = one.categories[rows] - 1 if use_cats else np.zeros(len(rows), np.int64)
        # Equals stand as in the file; where all are of one class, by category before that.
        keys = (one.categories[rows], -one.scores[rows], one.images[rows], label)
        order = rows[np.lexsort(keys)]
        places.append(order)
        sides.append((one.images[order], one.categories[order] - 1 if use_cats else np.zeros(len(order), np.int64)))
    (image, label), _ = sides
    ranks = ranks_of(image, label)
    if limit is not None:
        kept = ranks < limit
        places[0], ranks, sides[0] = places[0][kept], ranks[kept], (image[kept], label[kept])
    span = max(map(int, images), default=0) + 1
    keys = [label * span + image for image, label in sides]
    groups = np.unique(np.concatenate(keys))
    starts = [np.append(np.searchsorted(key, groups), len(key)) for key in keys]
    return Grouped(found.take(places[0]), known.take(places[1]), places[0], sides[0][1], sides[1][1], *starts, ranks,
                   classes if use_cats else 1)


def ranks_of(image, label):
    """The place of each row among those of its image and class, which stand together."""
    new = np.ones(len(image), bool)
    new[1:] = (image[1:] != image[:-1]) | (label[1:] != label[:-1])
    at = np.arange(len(image))
    return at - np.maximum.accumulate(np.where(new, at, 0))


def overlaps_of(found, known, starts, known_starts, sigmas=None):
    """Flat float64: the overlaps of each group of rows, (D_p, G_p), one after the other.

    Args:
        found, known: Shapes of one kind.
        starts, known_starts: (P + 1,) int64.
        sigmas: (J,) float64, for keypoints.
    """
    if found.kind == "keypoints":
        return keypoint_similarity(found.points, known.points, known.boxes, known.areas, sigmas, starts, known_starts)
    if found.kind == "rbox":
        return rotated_overlaps(found.rotated, known.rotated, known.crowds, starts, known_starts)
    sides = (found.masks, known.masks) if found.kind == "segm" else (found.boxes, known.boxes)
    return iou_of_groups(*sides, known.crowds, starts, known_starts)


def judged(groups, ranges, sigmas=None, thresholds=IOUS):
    """Which object each detection takes, and what is right and wrong.

    Args:
        groups: Grouped.
        ranges: list of A pairs, the least and the largest area.
        sigmas: (J,) float64, for keypoints.
        thresholds: (T,) float64, overlaps from which on an object is found.

    Returns:
        matched (A, T, D) int64, outcome (A, T, D) int8 as of `roikit.kernels.evaluation.match_groups`; ignored (A, G)
        bool, the objects that do not count.
    """
    found, known = groups.found, groups.known
    ignored = known.crowds | _beyond(known.areas, ranges)
    if found.kind == "keypoints":
        ignored |= ~(known.points[:, :, 2] > 0).any(1)
    overlaps = overlaps_of(found, known, groups.starts, groups.known_starts, sigmas)
    matched, outcome = match_groups(overlaps, groups.starts, groups.known_starts, ignored, known.crowds,
                                    _beyond(found.areas, ranges), thresholds)
    return matched, outcome, ignored


def _beyond(areas, ranges):
    low, high = np.array(ranges, np.float64).T[:, :, None]
    return (areas < low) | (areas > high)


def curves(groups, outcome, ignored, limits):
    """COCO's precision (T, 101, K, A, M) and recall (T, K, A, M) of K classes at M limits of detections an image.

    Args:
        groups: Grouped, with the last of the limits.
        outcome, ignored: of `judged`.
        limits: list of M.
    """
    order = np.lexsort((-groups.found.scores, groups.found_class))
    class_starts = np.searchsorted(groups.found_class, np.arange(groups.classes + 1))
    totals = np.array([np.bincount(groups.known_class[~row], minlength=groups.classes) for row in ignored], np.int64)
    return precision_recall(outcome, order, class_starts, groups.ranks, np.array(limits, np.int64),
                            totals.reshape(len(ignored), groups.classes), RECALLS)
