"""Pairs of detections and objects by COCO's rule, with all overlaps of an image kept.

Source: Lin et al. 2014, arXiv:1405.0312, and pycocotools' cocoeval, whose choices among equals are kept.
"""

from dataclasses import dataclass

import numpy as np

from roikit import masks as rle
from roikit.trainer.results import Placed, detections_of, place_results, read_results
from roikit.trainer.rotated_scores import overlaps
from roikit.trainer.truth import objects_of, read_truth

__all__ = ["IOUS", "KINDS", "Matches", "match_truth", "matched_objects"]

KINDS = ("bbox", "segm", "rbox")
IOUS = np.linspace(0.5, 0.95, 10)

# COCO's area range "all", in pixels: what is larger is ignored.
_LARGEST = 1e10


@dataclass(frozen=True)
class Matches:
    """Detections and objects of the images that are scored, and which belong together.

    D detections stand by image, in it by class, in it by falling score; G objects by image. A class is a number from 0.

    Attributes:
        kind: "bbox", "segm" or "rbox", whose overlap is meant.
        names: name of each class.
        category_ids: the annotation file's id of each class.
        image_ids: the annotation file's ids of the images.
        found, known: lists of D detections and G objects, dicts of `detections_of` and `objects_of`.
        found_image, found_class: (D,) int64, places in ``image_ids`` and classes.
        scores: (D,) float64.
        known_image, known_class: (G,) int64.
        ignored: (G,) bool, objects that finding is neither right nor wrong of, crowds among them.
        found_starts, known_starts: (N + 1,) int64, where the rows of each image begin.
        ious: list of N arrays (D_i, G_i), the overlaps in an image whatever the class; with an ignored object the part
            of the detection that it covers.
        matched: (10, D) int64, the row of the object that a detection has found at each IoU of COCO's; -1 for none.
        unjudged: (10, D) bool, detections that are neither right nor wrong.
    """

    kind: str
    names: list
    category_ids: list
    image_ids: list
    found: list
    known: list
    found_image: np.ndarray
    found_class: np.ndarray
    scores: np.ndarray
    known_image: np.ndarray
    known_class: np.ndarray
    ignored: np.ndarray
    found_starts: np.ndarray
    known_starts: np.ndarray
    ious: list
    matched: np.ndarray
    unjudged: np.ndarray

    @property
    def right(self):
        """(10, D) bool, detections that are right at each IoU."""
        return (self.matched >= 0) & ~self.unjudged

    def rows(self, image):
        """Slices of an image's detections and of its objects."""
        return (slice(*self.found_starts[image:image + 2].tolist()),
                slice(*self.known_starts[image:image + 2].tolist()))

    def totals(self):
        """(K,) number of objects of each class that count."""
        return np.bincount(self.known_class[~self.ignored], minlength=len(self.names))


def match_truth(annotations, results, kind, *, max_detections=100, use_cats=True, image_ids=None):
    """Pair results with the objects of an annotation file.

    Args:
        annotations: as for `coco_scores`; or a Truth.
        results: as for `coco_scores`; or results that are Placed.
        kind: "bbox", "segm" or "rbox".
        max_detections: so many of the best detections of a class on an image count.
        use_cats: False where a detection may match an object of any category: there is one class, "object", then.
        image_ids: list; these images only. Default: all of the annotations.

    Returns:
        Matches.

    Raises:
        OSError, ValueError: as `coco_scores` does.
    """
    if kind not in KINDS:
        raise ValueError(f"analyse: iou_type must be one of {', '.join(KINDS)}, got {kind!r}")
    truth = read_truth(annotations, use_cats=use_cats)
    placed = results if isinstance(results, Placed) else place_results(read_results(results), truth, use_cats=use_cats)
    found = detections_of(placed, truth, kind)  # first, for it may tell sizes of images
    known, _ = objects_of(truth, kind)
    image_ids = list(truth.images) if image_ids is None else list(image_ids)
    unknown = [i for i in image_ids if i not in truth.images]
    if unknown:
        raise ValueError(f"analyse: image_ids must be ids of annotated images, got {unknown[0]!r}")
    image_ids.sort(key=truth.image_numbers.get)
    place = {truth.image_numbers[i]: k for k, i in enumerate(image_ids)}
    if use_cats:
        names = [str(c["id"] if c.get("name") is None else c["name"]) for c in truth.categories]
        ids = [c["id"] for c in truth.categories]
    else:
        names, ids = ["object"], [None]
    return _matches(kind, names, ids, image_ids, _chosen(found, place), _chosen(known, place), place, max_detections)


def _chosen(items, place):
    """Those of the images in question, by category, as the file has them among themselves."""
    return sorted((item for item in items if item["image_id"] in place), key=lambda item: item["category_id"])


def _matches(kind, names, ids, image_ids, found, known, place, limit):
    one = len(names) == 1
    number = {"found": found, "known": known}
    image = {w: np.array([place[i["image_id"]] for i in items], np.int64) for w, items in number.items()}
    label = {w: np.array([0 if one else i["category_id"] - 1 for i in items], np.int64) for w, items in number.items()}
    scores = np.array([item["score"] for item in found], np.float64)
    order = np.lexsort((-scores, label["found"], image["found"]))
    order = order[_rank(image["found"][order], label["found"][order]) < limit]
    known_order = np.argsort(image["known"], kind="stable")
    found, known = [found[k] for k in order], [known[k] for k in known_order]
    found_image, found_class, scores = image["found"][order], label["found"][order], scores[order]
    known_image, known_class = image["known"][known_order], label["known"][known_order]
    ignored = np.array([bool(i["iscrowd"]) or not 0 <= i["area"] <= _LARGEST for i in known], bool)
    crowds = np.array([bool(i["iscrowd"]) for i in known], bool)
    places = np.arange(len(image_ids) + 1)
    found_starts, known_starts = np.searchsorted(found_image, places), np.searchsorted(known_image, places)

    matched = np.full((len(IOUS), len(found)), -1, np.int64)
    ious = []
    for n in range(len(image_ids)):
        rows, own = slice(*found_starts[n:n + 2]), slice(*known_starts[n:n + 2])
        iou = _overlaps(kind, found[rows], known[own], crowds[own])
        ious.append(iou)
        for c in np.intersect1d(found_class[rows], known_class[own]):
            mine = np.flatnonzero(found_class[rows] == c)
            theirs = np.flatnonzero(known_class[own] == c)
            chosen = matched_objects(iou[np.ix_(mine, theirs)], ignored[own][theirs], crowds[own][theirs])
            matched[:, found_starts[n] + mine] = np.where(chosen < 0, -1, known_starts[n] + theirs[chosen])
    unjudged = np.where(matched >= 0, np.append(ignored, False)[matched], False)
    sizeless = np.array([not 0 <= item["area"] <= _LARGEST for item in found], bool)
    unjudged |= (matched < 0) & sizeless
    return Matches(kind, names, ids, image_ids, found, known, found_image, found_class, scores, known_image,
                   known_class, ignored, found_starts, known_starts, ious, matched, unjudged)


def _rank(image, label):
    """The place of each row among those of its image and class, which stand together."""
    new = np.ones(len(image), bool)
    new[1:] = (image[1:] != image[:-1]) | (label[1:] != label[:-1])
    at = np.arange(len(image))
    return at - np.maximum.accumulate(np.where(new, at, 0))


def _overlaps(kind, found, known, crowds):
    if not found or not known:
        return np.zeros((len(found), len(known)))
    if kind == "rbox":
        return overlaps([i["rbox"] for i in found], [i["rbox"] for i in known], crowds)
    field = "bbox" if kind == "bbox" else "segmentation"
    return np.ascontiguousarray(rle.iou([i[field] for i in found], [i[field] for i in known], crowds))


def matched_objects(iou, ignored, crowds, thresholds=IOUS):
    """The object that each detection takes at each threshold: the free one that it overlaps most, the last of equals.

    One that is ignored is taken only where no other is left; a crowd may be taken by many.

    Args:
        iou: (D, G), detections by falling score.
        ignored, crowds: (G,) bool.
        thresholds: (T,).

    Returns:
        (T, D) int64, columns of ``iou``; -1 for none.
    """
    chosen = np.full((len(thresholds), len(iou)), -1, np.int64)
    if not iou.size:
        return chosen
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    taken = np.zeros((len(thresholds), iou.shape[1]), bool)
    last = iou.shape[1] - 1
    for d in np.flatnonzero(iou.max(1) >= least.min()):
        reached = (iou[d] >= least) & (~taken | crowds)
        counted = reached & ~ignored
        reached = np.where(counted.any(1, keepdims=True), counted, reached)
        best = last - np.where(reached, iou[d], -1.0)[:, ::-1].argmax(1)
        rows = np.flatnonzero(reached.any(1))
        chosen[rows, d] = best[rows]
        taken[rows, best[rows]] = True
    return chosen
