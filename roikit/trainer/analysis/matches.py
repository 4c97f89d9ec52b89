"""Pairs of detections and objects by COCO's rule, with all overlaps of an image kept.

Source: Lin et al. 2014, arXiv:1405.0312, and pycocotools' cocoeval, whose choices among equals are kept.
"""

from dataclasses import dataclass

import numpy as np

from roikit.trainer.judging import IOUS, RANGES, grouped, judged, overlaps_of
from roikit.trainer.results import Placed, detections_of, place_results, read_results
from roikit.trainer.shapes import Shapes
from roikit.trainer.truth import objects_of, read_truth

__all__ = ["IOUS", "KINDS", "Matches", "match_truth"]

KINDS = ("bbox", "segm", "rbox")


@dataclass(frozen=True)
class Matches:
    """Detections and objects of the images that are scored, and which belong together.

    D detections stand by image, in it by class, in it by falling score; G objects by image. A class is a number from 0.

    Attributes:
        kind: "bbox", "segm" or "rbox", whose overlap is meant.
        names: name of each class.
        category_ids: the annotation file's id of each class.
        image_ids: the annotation file's ids of the images.
        found, known: Shapes of D detections and G objects.
        found_image, found_class: (D,) int64, places in ``image_ids`` and classes.
        scores: (D,) float64.
        known_image, known_class: (G,) int64.
        ignored: (G,) bool, objects that finding is neither right nor wrong of, crowds among them.
        found_starts, known_starts: (N + 1,) int64, where the rows of each image begin.
        overlaps: flat float64, of each image a matrix (D_i, G_i), the overlaps whatever the class; with a crowd the
            part of the detection that it covers.
        thresholds: (T,) float64, the IoUs from which on an object is found: COCO's ten, and the chosen one behind them
            where it is another.
        chosen: its place in ``thresholds``.
        matched: (T, D) int64, the row of the object that a detection has found at each of these IoUs; -1 for none.
        unjudged: (T, D) bool, detections that are neither right nor wrong.
    """

    kind: str
    names: list
    category_ids: list
    image_ids: list
    found: Shapes
    known: Shapes
    found_image: np.ndarray
    found_class: np.ndarray
    scores: np.ndarray
    known_image: np.ndarray
    known_class: np.ndarray
    ignored: np.ndarray
    found_starts: np.ndarray
    known_starts: np.ndarray
    overlaps: np.ndarray
    thresholds: np.ndarray
    chosen: int
    matched: np.ndarray
    unjudged: np.ndarray

    @property
    def right(self):
        """(T, D) bool, detections that are right at each IoU."""
        return (self.matched >= 0) & ~self.unjudged

    def rows(self, image):
        """Slices of an image's detections and of its objects."""
        return (slice(*self.found_starts[image:image + 2].tolist()),
                slice(*self.known_starts[image:image + 2].tolist()))

    def pairs(self):
        """(P,) rows of detections, ascending, and (P,) rows of objects: all pairs of one image, as ``overlaps``."""
        width = np.diff(self.known_starts)[self.found_image]
        found = np.repeat(np.arange(len(self.found)), width)
        first = self.known_starts[self.found_image] - np.cumsum(width) + width
        return found, np.arange(len(found)) + np.repeat(first, width)

    def totals(self):
        """(K,) number of objects of each class that count."""
        return np.bincount(self.known_class[~self.ignored], minlength=len(self.names))


def match_truth(annotations, results, kind, *, max_detections=100, use_cats=True, image_ids=None, iou=0.5):
    """Pair results with the objects of an annotation file.

    Args:
        annotations: as for `coco_scores`; or a Truth.
        results: as for `coco_scores`; or results that are Placed.
        kind: "bbox", "segm" or "rbox".
        max_detections: so many of the best detections of a class on an image count.
        use_cats: False where a detection may match an object of any category: there is one class, "object", then.
        image_ids: list; these images only. Default: all of the annotations.
        iou: the chosen overlap, above 0 and at most 1.

    Returns:
        Matches.

    Raises:
        OSError, ValueError: as `coco_scores` does.
    """
    if kind not in KINDS:
        raise ValueError(f"analyse: iou_type must be one of {', '.join(KINDS)}, got {kind!r}")
    if isinstance(iou, bool) or not isinstance(iou, (int, float)) or not 0 < iou <= 1:
        raise ValueError(f"analyse: iou must be a number above 0 and at most 1, got {iou!r}")
    truth = read_truth(annotations, use_cats=use_cats)
    placed = results if isinstance(results, Placed) else place_results(read_results(results), truth, use_cats=use_cats)
    found = detections_of(placed, truth, kind)  # first, for it may tell sizes of images
    known, _ = objects_of(truth, kind)
    image_ids = list(truth.images) if image_ids is None else list(image_ids)
    unknown = [i for i in image_ids if i not in truth.images]
    if unknown:
        raise ValueError(f"analyse: image_ids must be ids of annotated images, got {unknown[0]!r}")
    image_ids.sort(key=truth.image_numbers.get)
    if use_cats:
        names = [str(c["id"] if c.get("name") is None else c["name"]) for c in truth.categories]
        ids = [c["id"] for c in truth.categories]
    else:
        names, ids = ["object"], [None]
    images = np.array([truth.image_numbers[i] for i in image_ids], np.int64)
    groups = grouped(found, known, images, len(truth.categories), use_cats=use_cats, limit=max_detections)
    return _by_image(kind, names, ids, image_ids, images, groups, float(iou))


def _by_image(kind, names, ids, image_ids, images, groups, iou):
    """Matches of Grouped, whose rows are by class."""
    near = np.isclose(IOUS, iou, rtol=0, atol=1e-9)
    thresholds, chosen = (IOUS, int(near.argmax())) if near.any() else (np.append(IOUS, iou), len(IOUS))
    (matched,), (outcome,), (ignored,) = judged(groups, [RANGES["all"]], thresholds=thresholds)
    order, known_order = (np.lexsort((label, one.images)) for label, one in
                          ((groups.found_class, groups.found), (groups.known_class, groups.known)))
    place = np.empty(len(known_order) + 1, np.int64)  # of each object among those by image; -1 of none
    place[known_order], place[-1] = np.arange(len(known_order)), -1
    found, known = groups.found.take(order), groups.known.take(known_order)
    found_image, known_image = np.searchsorted(images, found.images), np.searchsorted(images, known.images)
    places = np.arange(len(image_ids) + 1)
    found_starts, known_starts = np.searchsorted(found_image, places), np.searchsorted(known_image, places)
    overlaps = overlaps_of(found, known, found_starts, known_starts)
    return Matches(kind, names, ids, image_ids, found, known, found_image, groups.found_class[order], found.scores,
                   known_image, groups.known_class[known_order], ignored[known_order], found_starts, known_starts,
                   overlaps, thresholds, chosen, place[matched[:, order]], outcome[:, order] < 0)
