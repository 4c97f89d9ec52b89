"""COCO's average precision of detections, with pycocotools' figures.

Torch is not needed here: the detections are COCO results, from a file or from a model.
"""

import warnings
from collections import Counter
from dataclasses import replace

import numpy as np

from roikit.errors import RoikitWarning
from roikit.trainer.judging import IOUS, RANGES, curves, grouped, judged
from roikit.trainer.results import Placed, detections_of, place_results, read_results
from roikit.trainer.rotated_scores import voc_scores
from roikit.trainer.truth import objects_of, read_truth

__all__ = ["COCO_KEYPOINTS", "DEFAULT_LIMITS", "class_names", "coco_scores", "figure_names", "table",
           "warn_of_reasons"]

IOU_TYPES = ("bbox", "segm", "keypoints", "rbox")
COCO_KEYPOINTS = 17
# How far annotators differ on each of COCO's keypoints, as a part of an object's size.
_SIGMAS = np.array([.26, .25, .25, .35, .35, .79, .79, .72, .72, .62, .62, 1.07, 1.07, .87, .87, .89, .89]) / 10.0
DEFAULT_LIMITS = (1, 10, 100)
VOC = ("VOC07", "VOC12")
SIZES = {"s": "small", "m": "medium", "l": "large"}


def coco_scores(annotations, results, iou_type, *, max_detections=None, use_cats=True,
                image_ids=None, per_class=True, sigmas=None):
    """COCO's figures for one kind of overlap.

    What training leaves out (an object without a usable mask among others with masks, or with a box without area) is a
    region to ignore, as crowds are: finding it is neither right nor wrong. Missing ids, areas, crowd flags and boxes
    are filled in; ids may be anything, for the matching works on numbers of its own. Masks are RLE of any form or
    polygons, those of results also arrays of the whole image.

    Args:
        annotations: path of a COCO annotation file, or what it holds.
        results: path of a COCO results file, or its list of dicts ``image_id``, ``category_id``
            (the annotation file's), ``score`` and ``bbox`` (x, y, w, h), ``segmentation``
            or ``keypoints`` or ``rbox`` (cx, cy, w, h, degrees counter-clockwise). Results with masks alone get their
            boxes from the masks. Where they have ``file_name``, images are paired by it instead of ``image_id``. Where
            they have ``mask_score``, it is their score for "segm".
        iou_type: "bbox", "segm", "keypoints" or "rbox". Rotated boxes of objects are their ``rbox``, ``rbbox`` or
            ``obb``, five numbers or four corners, or else the smallest around their masks.
        max_detections: ascending numbers of detections an image, the last is that of every AP;
            default (1, 10, 100), or (20,) for keypoints. COCO's own summary knows 100 alone.
        use_cats: False lets a detection match an object of any category.
        image_ids: list; score these images only (default: every image of the annotations).
        per_class: add the AP of each category.
        sigmas: a number for each keypoint, how far annotators differ on it as a part of the object's size; needed
            for keypoints other than COCO's 17.

    Returns:
        dict: ``AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl`` as floats (the numbers of
        ``AR*`` follow ``max_detections``), for keypoints ``AP AP50 AP75 APm APl AR AR50 AR75 ARm
        ARl``; for rotated boxes also ``VOC07`` and ``VOC12``, the means over the categories of the VOC development
        kit's average precision at an IoU of 0.5 in its two forms, as DOTA states them; -1 where no object counts, as
        COCO has it; ``per_class`` (category name -> AP).

    Raises:
        OSError: a file cannot be read.
        ValueError: an unknown kind, bad numbers, malformed or unusable annotations, or results that do not fit them;
            one sentence.

    Source: Lin et al. 2014, arXiv:1405.0312; pycocotools.cocoeval, of which these are the figures,
    computed by `roikit.trainer.judging`.
    """
    if iou_type not in IOU_TYPES:
        raise ValueError(f"evaluate: iou_type must be one of {', '.join(IOU_TYPES)}, "
                         f"got {iou_type!r}")
    keypoints = iou_type == "keypoints"
    limits = checked_limits(max_detections or ((20,) if keypoints else DEFAULT_LIMITS))
    if keypoints:
        limits = limits[-1:]
    truth = read_truth(annotations, use_cats=use_cats)
    placed = results if isinstance(results, Placed) else place_results(read_results(results), truth, use_cats=use_cats)
    found = detections_of(placed, truth, iou_type)  # first, for it may tell sizes of images
    objects, reasons = objects_of(truth, iou_type)
    warn_of_reasons(reasons, iou_type)
    images = sorted(truth.image_numbers.values()) if image_ids is None else _chosen(truth, image_ids)
    if keypoints:
        found, objects, sigmas = _with_sigmas(found, objects, sigmas)
    groups = grouped(found, objects, images, len(truth.categories), use_cats=use_cats, limit=limits[-1])
    names = [name for name in RANGES if not (keypoints and name == "small")]
    _, outcome, ignored = judged(groups, [RANGES[name] for name in names], sigmas)
    precision, recall = curves(groups, outcome, ignored, limits)
    scores = _summary(precision, recall, names, limits, keypoints)
    if iou_type == "rbox":
        kit = voc_scores(grouped(found, objects, images, len(truth.categories), use_cats=use_cats))
        kit = kit[kit[:, 0] >= 0]
        scores |= dict(zip(VOC, kit.mean(0).tolist() if len(kit) else (-1.0, -1.0), strict=True))
    if per_class and use_cats:
        scores["per_class"] = {name: _mean(precision[:, :, k, 0, -1]) for k, name in enumerate(class_names(truth))}
    return scores


def warn_of_reasons(reasons, iou_type):
    """Warn of the objects that do not count; ``reasons`` is of `objects_of`."""
    if reasons:
        listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        warnings.warn(f"evaluate: {iou_type}: annotations that do not count: {listed}", RoikitWarning, stacklevel=4)


def figure_names(iou_type, max_detections):
    """The names of the numbers that `coco_scores` gives, in its order, for these ``max_detections``."""
    means = ["AP", "AP50", "AP75"]
    if iou_type == "keypoints":
        return [*means, "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"]
    names = [*means, "APs", "APm", "APl", *(f"AR{n}" for n in checked_limits(max_detections)), "ARs", "ARm", "ARl"]
    return [*names, *VOC] if iou_type == "rbox" else names


def checked_limits(limits):
    """Numbers of detections an image as a tuple.

    Raises:
        ValueError: they are not ascending positive whole numbers.
    """
    try:
        numbers = tuple(int(n) for n in limits)
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or numbers != tuple(limits) or min(numbers) < 1 or list(numbers) != sorted(set(numbers)):
        raise ValueError(f"evaluate: max_detections must be ascending positive numbers, got {limits}")
    return numbers


def class_names(truth):
    """A name for each category, its id added where several have the same."""
    names = [str(c["id"] if c.get("name") is None else c["name"]) for c in truth.categories]
    count = Counter(names)
    return [name if count[name] == 1 else f"{name} ({c['id']})"
            for name, c in zip(names, truth.categories, strict=True)]


def _chosen(truth, image_ids):
    numbers = [truth.image_numbers.get(i) for i in image_ids]
    if None in numbers:
        raise ValueError(f"evaluate: image_ids must be ids of annotated images, got {image_ids[numbers.index(None)]!r}")
    return sorted(numbers)


def _with_sigmas(found, objects, sigmas):
    """Both with the same number of keypoints, and (J,) a number for each."""
    counts = {side.points.shape[1] for side in (found, objects) if side.points.shape[1]}
    if len(counts) > 1:
        raise ValueError(f"evaluate: all must have the same number of keypoints, got {sorted(counts)}")
    count = counts.pop() if counts else len(_SIGMAS if sigmas is None else sigmas)
    if sigmas is None and count != len(_SIGMAS):
        raise ValueError(f"evaluate: objects have {count} keypoints, and COCO's sigmas are for {len(_SIGMAS)}: pass "
                         f"sigmas, {count} numbers (COCO's are 0.025 to 0.107)")
    sigmas = np.asarray(_SIGMAS if sigmas is None else sigmas, np.float64).reshape(-1)
    if len(sigmas) != count or not (sigmas > 0).all():
        raise ValueError(f"evaluate: sigmas must be {count} numbers above 0, one a keypoint, got {len(sigmas)}: "
                         f"{', '.join(f'{s:g}' for s in sigmas[:20])}")
    found, objects = (side if side.points.shape[1] else replace(side, points=np.zeros((len(side), count, 3)))
                      for side in (found, objects))
    return found, objects, sigmas


def _mean(values):
    values = values[values > -1]
    return float(np.mean(values)) if values.size else -1.0


def _summary(precision, recall, ranges, limits, keypoints):
    """The figures of COCO's summary; every AP at the last of ``limits``."""
    at = {50: np.isclose(IOUS, 0.5), 75: np.isclose(IOUS, 0.75)}
    sizes = [(short, ranges.index(long)) for short, long in SIZES.items() if long in ranges]
    scores = {"AP": _mean(precision[..., 0, -1])}
    scores.update({f"AP{n}": _mean(precision[rows][..., 0, -1]) for n, rows in at.items()})
    scores.update({f"AP{s}": _mean(precision[..., a, -1]) for s, a in sizes})
    if keypoints:
        scores["AR"] = _mean(recall[..., 0, -1])
        scores.update({f"AR{n}": _mean(recall[rows][..., 0, -1]) for n, rows in at.items()})
    else:
        scores.update({f"AR{n}": _mean(recall[..., 0, m]) for m, n in enumerate(limits)})
    scores.update({f"AR{s}": _mean(recall[..., a, -1]) for s, a in sizes})
    return scores


def table(scores):
    """The figures of several kinds as lines of text; ``scores`` is kind -> those of ``coco_scores`` and its like."""
    lines = []
    for kind, figures in scores.items():
        row = "  ".join(f"{name} {_shown(value)}" for name, value in figures.items()
                        if not isinstance(value, dict))
        lines.append(f"{kind:>9}  {row}")
        classes = figures.get("per_class", {})
        what = "IoU" if "mIoU" in figures else "PQ" if "PQ" in figures else "AP"
        if len(classes) > 1:
            seen = sorted(((n, v) for n, v in classes.items() if v >= 0), key=lambda p: -p[1])
            lines += [f"{'':>11}{name}: {what} {value:.3f}" for name, value in seen]
    return "\n".join(lines)


def _shown(value):
    return "   -  " if value < 0 else f"{value:.4f}"
