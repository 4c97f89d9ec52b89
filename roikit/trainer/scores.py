"""COCO's average precision of detections, by pycocotools.

Torch is not needed here: the detections are COCO results, from a file or from a model.
"""

import contextlib
import io
import json
from pathlib import Path

import numpy as np

from roikit.trainer.extras import extra

__all__ = ["coco_scores", "read_json", "table"]

IOU_TYPES = ("bbox", "segm", "keypoints")
SIZES = {"s": "small", "m": "medium", "l": "large"}


def read_json(source):
    """What a JSON file holds; anything but a path is returned as it is."""
    if not isinstance(source, (str, Path)):
        return source
    with open(source, encoding="utf-8") as file:
        return json.load(file)


def coco_scores(annotations, results, iou_type, *, max_detections=None, use_cats=True,
                image_ids=None, per_class=True):
    """COCO's figures for one kind of overlap.

    Args:
        annotations: path of a COCO annotation file, or what it holds.
        results: path of a COCO results file, or its list of dicts ``image_id``, ``category_id``
            (the annotation file's), ``score`` and ``bbox`` (x, y, w, h), ``segmentation`` (RLE)
            or ``keypoints``. Results with masks alone get their boxes from the masks.
        iou_type: "bbox", "segm" or "keypoints".
        max_detections: ascending numbers of detections an image, the last is that of every AP;
            default (1, 10, 100), or (20,) for keypoints. COCO's own summary knows 100 alone.
        use_cats: False lets a detection match an object of any category.
        image_ids: score these images only (default: every image of the annotations).
        per_class: add the AP of each category.

    Returns:
        dict: ``AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl`` as floats (the numbers of
        ``AR*`` follow ``max_detections``), for keypoints ``AP AP50 AP75 APm APl AR AR50 AR75 ARm
        ARl``; -1 where no object counts, as COCO has it; ``per_class`` (category name -> AP).

    Raises:
        ValueError: an unknown kind, bad numbers, or results of images that are not annotated.

    Source: Lin et al. 2014, arXiv:1405.0312; pycocotools.cocoeval for the matching, the same
    means over its ``precision`` and ``recall`` arrays as its summary takes.
    """
    if iou_type not in IOU_TYPES:
        raise ValueError(f"evaluate: iou_type must be one of {', '.join(IOU_TYPES)}, "
                         f"got {iou_type!r}")
    keypoints = iou_type == "keypoints"
    limits = tuple(max_detections or ((20,) if keypoints else (1, 10, 100)))
    if any(int(n) != n or n < 1 for n in limits) or list(limits) != sorted(set(limits)):
        raise ValueError("evaluate: max_detections must be ascending positive numbers, "
                         f"got {limits}")
    if keypoints:
        limits = limits[-1:]
    truth = _ground_truth(annotations)
    found = _load_results(truth, read_json(results), iou_type)
    evaluator = extra("pycocotools.cocoeval", "evaluation").COCOeval
    with contextlib.redirect_stdout(io.StringIO()):
        judge = evaluator(truth, found, iou_type)
        judge.params.maxDets = list(limits)
        judge.params.useCats = int(use_cats)
        if image_ids is not None:
            judge.params.imgIds = sorted(image_ids)
        judge.evaluate()
        judge.accumulate()
    scores = _summary(judge, limits, keypoints)
    if per_class and use_cats:
        names = {c["id"]: c.get("name", str(c["id"])) for c in truth.dataset["categories"]}
        precision = judge.eval["precision"]
        scores["per_class"] = {_unique(names, category): _mean(precision[:, :, k, 0, -1])
                               for k, category in enumerate(judge.params.catIds)}
    return scores


def _unique(names, category):
    name = names[category]
    return name if list(names.values()).count(name) == 1 else f"{name} ({category})"


def _ground_truth(annotations):
    data = read_json(annotations)
    coco = extra("pycocotools.coco", "evaluation").COCO()
    # pycocotools rewrites polygons as RLE inside the annotations that it is given.
    coco.dataset = {"images": data["images"], "categories": data.get("categories", []),
                    "annotations": [{"iscrowd": 0, **a} for a in data.get("annotations", [])]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _load_results(truth, results, iou_type):
    if not isinstance(results, list):
        raise ValueError("evaluate: results must be a list of COCO results, "
                         f"got {type(results).__name__}")
    strangers = {r["image_id"] for r in results} - set(truth.imgs)
    if strangers:
        raise ValueError(f"evaluate: {len(strangers)} image ids of the results are not in the "
                         f"annotations, among them {sorted(strangers, key=str)[:5]}")
    if not results:
        empty = type(truth)()
        empty.dataset = {"images": truth.dataset["images"], "annotations": [],
                         "categories": truth.dataset["categories"]}
        with contextlib.redirect_stdout(io.StringIO()):
            empty.createIndex()
        return empty
    wanted = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[iou_type]
    if iou_type != "bbox" and any(wanted not in r for r in results):
        raise ValueError(f"evaluate: iou_type {iou_type!r} needs {wanted!r} in every result")
    # pycocotools takes a result's area from its box if it has one; a mask's area is the mask's.
    unwanted = {"bbox": ("caption", "keypoints"), "segm": ("caption", "bbox", "keypoints"),
                "keypoints": ("caption", "bbox", "segmentation")}[iou_type]
    results = [{k: v for k, v in r.items() if k not in unwanted} for r in results]
    with contextlib.redirect_stdout(io.StringIO()):
        return truth.loadRes(results)


def _mean(values):
    values = values[values > -1]
    return float(np.mean(values)) if values.size else -1.0


def _summary(judge, limits, keypoints):
    """The figures of COCO's summary; every AP at the last of ``limits``."""
    precision, recall = judge.eval["precision"], judge.eval["recall"]
    thresholds, areas = judge.params.iouThrs, judge.params.areaRngLbl
    at = {50: np.isclose(thresholds, 0.5), 75: np.isclose(thresholds, 0.75)}
    sizes = [(short, areas.index(long)) for short, long in SIZES.items() if long in areas]
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
    """The figures of several kinds as lines of text; ``scores`` is kind -> ``coco_scores``'s."""
    lines = []
    for kind, figures in scores.items():
        row = "  ".join(f"{name} {_shown(value)}" for name, value in figures.items()
                        if name != "per_class")
        lines.append(f"{kind:>9}  {row}")
        classes = figures.get("per_class", {})
        if len(classes) > 1:
            seen = sorted(((n, v) for n, v in classes.items() if v >= 0), key=lambda p: -p[1])
            lines += [f"{'':>11}{name}: AP {value:.3f}" for name, value in seen]
    return "\n".join(lines)


def _shown(value):
    return "   -  " if value < 0 else f"{value:.4f}"
