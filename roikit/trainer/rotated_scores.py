"""Average precision over the overlap of rotated boxes: COCO's, and PASCAL VOC's as DOTA states them.

Sources: Lin et al. 2014, arXiv:1405.0312; Everingham et al. 2010 and the VOC development kit (11 points in 2007, the
whole area since 2010); Xia et al. 2018, arXiv:1711.10398 (DOTA, which takes the kit's figures at an IoU of 0.5).
"""

import numpy as np

from roikit.kernels import box_iou_rotated

__all__ = ["VOC_IOU", "overlaps", "rotated_judge", "voc_scores"]

VOC_IOU = 0.5


def overlaps(found, objects, crowds):
    """(D, G) IoUs of rotated boxes; with a crowd the part of what was found that it covers, as COCO has it.

    Args:
        found: (D, 5) cx, cy, w, h, degrees.
        objects: (G, 5), likewise.
        crowds: (G,) bool.
    """
    found, objects = (np.asarray(boxes, np.float64).reshape(-1, 5) for boxes in (found, objects))
    iou = box_iou_rotated(found, objects)
    area, other = found[:, 2:4].prod(1)[:, None], objects[:, 2:4].prod(1)
    common = iou * (area + other) / (1 + iou)
    covered = np.divide(common, area, out=np.zeros_like(common), where=area > 0)
    return np.where(np.asarray(crowds, bool), covered, iou)


def rotated_judge(evaluator):
    """pycocotools' ``COCOeval`` as a class that compares ``rbox`` of objects and detections in place of ``bbox``."""

    class RotatedJudge(evaluator):
        def computeIoU(self, imgId, catId):  # pycocotools' names
            objects, found = self._gts[imgId, catId], self._dts[imgId, catId]
            if not self.params.useCats:
                objects, found = ([item for c in self.params.catIds for item in kept[imgId, c]]
                                  for kept in (self._gts, self._dts))
            if not objects and not found:
                return []
            order = np.argsort([-item["score"] for item in found], kind="mergesort")[:self.params.maxDets[-1]]
            return overlaps([found[k]["rbox"] for k in order], [item["rbox"] for item in objects],
                            [item["iscrowd"] for item in objects])

    return RotatedJudge


def voc_scores(objects, found, categories, iou=VOC_IOU):
    """The VOC development kit's average precision of every category, in both of its forms.

    A detection belongs to the object that it overlaps most, right where the overlap is above ``iou`` and no better
    detection has the object, and neither right nor wrong where that object is to be ignored (``iscrowd``).

    Args:
        objects: list of dicts ``image_id``, ``category_id``, ``rbox``, ``iscrowd``.
        found: list of dicts ``image_id``, ``category_id``, ``rbox``, ``score``.
        categories: the category ids.

    Returns:
        dict: category id -> (AP of 11 points, AP of the whole area); of categories without an object that counts,
        (-1, -1).
    """
    scores = {}
    for category in categories:
        own = [item for item in objects if item["category_id"] == category]
        named = sorted((item for item in found if item["category_id"] == category), key=lambda item: -item["score"])
        total = sum(not item["iscrowd"] for item in own)
        scores[category] = _precision(*_judged(own, named, iou), total) if total else (-1.0, -1.0)
    return scores


def _judged(objects, found, iou):
    """(D,) right and (D,) wrong, in the order of ``found``."""
    by_image = {}
    for item in objects:
        by_image.setdefault(item["image_id"], []).append(item)
    right, wrong = np.zeros(len(found), bool), np.zeros(len(found), bool)
    rows = {}
    for k, item in enumerate(found):
        rows.setdefault(item["image_id"], []).append(k)
    for image, places in rows.items():
        theirs = by_image.get(image, [])
        if not theirs:
            wrong[places] = True
            continue
        both = overlaps([found[k]["rbox"] for k in places], [item["rbox"] for item in theirs], [False] * len(theirs))
        taken = set()
        for k, row in zip(places, both, strict=True):
            best = int(row.argmax())
            if row[best] <= iou:
                wrong[k] = True
            elif not theirs[best]["iscrowd"]:
                right[k], wrong[k] = best not in taken, best in taken
                taken.add(best)
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
