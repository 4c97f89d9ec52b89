"""weighted_boxes_fusion as others write it, each wrong in one deliberate way; see ``mutants``."""

import numpy as np

from roikit import kernels


def overlap(a, b):
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    inter = np.maximum(high - low, 0).prod()
    return inter / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inter)


def first_cluster(boxes, scores, idxs, models, weights, iou_threshold, skip_box_threshold, conf_type, allows_overflow):
    """A box joins the first cluster that it overlaps enough. The clusters are then scored one by one."""
    weights = np.array(weights, boxes.dtype)
    votes = scores * weights[models]
    boxes = np.where(np.tile(boxes[:, 2:] < boxes[:, :2], 2), boxes[:, [2, 3, 0, 1]], boxes)
    clusters = []
    for i in np.argsort(-votes, kind="stable"):
        area = (boxes[i, 2:] - boxes[i, :2]).prod()
        if area == 0 or not (scores[i] >= skip_box_threshold and np.isfinite(votes[i])):
            continue
        for fused, own in clusters:
            if idxs[own[0]] == idxs[i] and overlap(fused, boxes[i]) > boxes.dtype.type(iou_threshold):
                own.append(i)
                if votes[own].sum() > 0:
                    fused[:] = votes[own] @ boxes[own] / votes[own].sum()
                break
        else:
            clusters.append((boxes[i].copy(), [i]))
    clusters.sort(key=lambda cluster: cluster[1][0])
    # Scored as boxes in one place, which are fused whatever the threshold.
    place = np.array([[0, 0, 1, 1]], boxes.dtype)
    found = [kernels.weighted_boxes_fusion(np.tile(place, (len(own), 1)), scores[own], idxs[own], models[own],
                                           weights, 0.5, conf_type=conf_type, allows_overflow=allows_overflow)
             for _, own in clusters]
    scores = np.array([score for _, (score,), _ in found], boxes.dtype)
    order = np.argsort(-scores, kind="stable")
    fused = np.array([fused for fused, _ in clusters], boxes.dtype).reshape(-1, 4)
    return fused[order], scores[order], np.array([label for *_, (label,) in found], np.int64)[order]


def next_threshold(boxes, scores, idxs, models, weights, iou_threshold, **options):
    real = boxes.dtype.type
    below = np.nextafter(real(iou_threshold), real(0))
    return kernels.weighted_boxes_fusion(boxes, scores, idxs, models, weights, below, **options)


def always_max(*given, conf_type, **options):
    return kernels.weighted_boxes_fusion(*given, conf_type="max", **options)


def by_class(*given, **options):
    boxes, scores, idxs = kernels.weighted_boxes_fusion(*given, **options)
    order = np.argsort(idxs, kind="stable")
    return boxes[order], scores[order], idxs[order]


MUTANTS = [  # function, op, the convention's name
    (first_cluster, "weighted_boxes_fusion", "first-cluster"),
    (next_threshold, "weighted_boxes_fusion", "inclusive-threshold"),
    (always_max, "weighted_boxes_fusion", "always-max"),
    (by_class, "weighted_boxes_fusion", "class-order"),
]
