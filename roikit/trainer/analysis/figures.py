"""The content of ``analysis.json``."""

import json
from pathlib import Path

import numpy as np

from roikit.errors import naming
from roikit.trainer.analysis.confusion import confusion
from roikit.trainer.analysis.error_kinds import ENOUGH, LITTLE, error_costs, outcomes
from roikit.trainer.analysis.matches import IOUS, match_truth
from roikit.trainer.analysis.precision import RECALLS, best_threshold, class_order, precision_at_recalls

__all__ = ["analyse", "analyse_matches", "write_analysis"]


def analyse(annotations, results, iou_type, *, max_detections=100, use_cats=True, image_ids=None,
            score_threshold=0.5, iou=0.5):
    """What lies behind an average precision: by class, by kind of error, and which classes are taken for which.

    Args:
        annotations, results: as for `coco_scores`.
        iou_type: "bbox", "segm" or "rbox".
        max_detections: so many of the best detections of a class on an image count.
        use_cats: False where a detection may match an object of any category.
        image_ids: list; these images only. Default: all of the annotations.
        score_threshold: detections below it do not count in the confusion matrices.
        iou: the overlap from which on an object is found where one is to be chosen, above 0 and at most 1. It may be
            one that COCO does not have, and APs do not depend on it.

    Returns:
        dict, ready for JSON:

        ious, recalls   COCO's 10 overlaps, and the chosen one behind them where it is another; its 101 recalls
        iou             the chosen overlap
        classes         a dict for each category: ``id``, ``name``, ``objects`` and ``detections`` (numbers), ``AP``,
                        ``AP50`` and ``AP75`` (-1 where there is no object, as COCO has it), ``recall`` (at the
                        chosen overlap, of all detections), ``best`` (the score from which on detections are best kept
                        at it, and its ``f1``, ``precision`` and ``recall``; None where no detection is right) and
                        ``precision`` (for each of ``ious`` 101 numbers, or None where there is no object)
        confusion       ``score_threshold``, and ``counts``: for each of ``ious`` a list of [annotated, predicted,
                        number], places in ``classes``; as many as there are of those stands for the background, that
                        is for objects that are missed and for detections of what is no object
        errors          ``iou`` and ``background_iou``, the overlaps from which on an object is found, or touched;
                        ``AP50``; and ``kinds``: classification, localisation, both, duplicate, background, missed ->
                        ``count`` and ``cost``, by how much AP50 would be higher without

    Raises:
        OSError, ValueError: as `coco_scores` does.
    """
    return analyse_matches(match_truth(annotations, results, iou_type, max_detections=max_detections,
                                       use_cats=use_cats, image_ids=image_ids, iou=iou),
                           score_threshold=score_threshold)


def analyse_matches(matches, *, score_threshold=0.5):
    """`analyse` of Matches."""
    counts = []
    for at in range(len(matches.thresholds)):
        table = confusion(matches, at, score_threshold)
        counts.append([[int(a), int(p), int(table[a, p])] for a, p in np.argwhere(table)])
    errors = error_costs(matches, *outcomes(matches))
    return {"ious": matches.thresholds.tolist(), "iou": float(matches.thresholds[matches.chosen]),
            "recalls": RECALLS.tolist(),
            "classes": [_class(matches, c, total) for c, total in enumerate(matches.totals().tolist())],
            "confusion": {"score_threshold": score_threshold, "counts": counts},
            "errors": {"iou": ENOUGH, "background_iou": LITTLE, **errors}}


def _class(matches, label, total):
    rows = class_order(matches, label)
    right = matches.right[:, rows]
    wrong = ~right & ~matches.unjudged[:, rows]
    found = {"id": matches.category_ids[label], "name": matches.names[label], "objects": total,
             "detections": len(rows), "AP": -1.0, "AP50": -1.0, "AP75": -1.0, "recall": -1.0, "best": None,
             "precision": None}
    if not total:
        return found
    own = matches.chosen
    curves = np.array([precision_at_recalls(r, w, total) for r, w in zip(right, wrong, strict=True)])
    at75 = int(np.isclose(IOUS, 0.75).argmax())
    return found | {"AP": float(curves[:len(IOUS)].mean()), "AP50": float(curves[0].mean()),
                    "AP75": float(curves[at75].mean()), "recall": float(right[own].sum() / total),
                    "best": best_threshold(matches.scores[rows], right[own], wrong[own], total),
                    "precision": curves.tolist()}


def write_analysis(out, analyses):
    """Write ``analysis.json``: kind of overlap -> what `analyse` gives, into the folder ``out``."""
    with naming(Path(out) / "analysis.json"):
        (Path(out) / "analysis.json").write_text(json.dumps(analyses) + "\n", encoding="utf-8")
