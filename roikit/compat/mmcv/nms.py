"""mmcv.ops.nms."""

import numpy as np
import torch

import roikit.ops
from roikit.compat._arguments import class_indices, renamed, shaped
from roikit.compat.mmcv._conventions import at_least, degrees, grown, wide

__all__ = ["batched_nms", "nms", "nms_match", "nms_rotated", "soft_nms"]


def _tensor(x):
    return torch.from_numpy(x) if isinstance(x, np.ndarray) else x


def _like(example, *results):
    """The results as NumPy arrays if the example is one."""
    return tuple(r.numpy() for r in results) if isinstance(example, np.ndarray) else results


def _with_scores(boxes, scores):
    return torch.cat([boxes, scores.reshape(-1, 1)], dim=1)


def _chosen(keep, scores, score_threshold, max_num):
    """Of boxes that suppression kept, those that a score threshold and a number leave.

    A box whose score is too low comes after all others, so it suppressed none of them.
    """
    if score_threshold > 0:
        keep = keep[scores[keep] > score_threshold]
    return keep[:max_num] if max_num > 0 else keep


@renamed(iou_thr="iou_threshold")
def nms(boxes, scores, iou_threshold, offset=0, score_threshold=0, max_num=-1):
    """mmcv.ops.nms.

    Args:
        boxes: (N, 4) xyxy, tensor or NumPy array.
        scores: (N,), likewise; equal scores go by index.
        iou_threshold: compared strictly.
        offset: 0 or 1: added to widths and heights.
        score_threshold: if above 0, boxes of at most this score are left out.
        max_num: if above 0, how many boxes to give at most.

    Returns:
        dets (K, 5), the kept boxes with their scores in the order of these; inds (K,) int64. Arrays for arrays.

    Raises:
        TypeError, ValueError, BackendError: as roikit.ops.nms; another offset.
    """
    b, s = _tensor(boxes), _tensor(scores)
    keep = _chosen(roikit.ops.nms(grown(b, offset), s, iou_threshold), s, score_threshold, max_num)
    return _like(boxes, _with_scores(b[keep], s[keep]), keep)


@renamed(iou_thr="iou_threshold")
def soft_nms(boxes, scores, iou_threshold=0.3, sigma=0.5, min_score=1e-3, method="linear", offset=0):
    """mmcv.ops.soft_nms.

    Args:
        boxes: (N, 4) xyxy, tensor or NumPy array.
        scores: (N,), likewise.
        iou_threshold: of "linear" and "naive": scores decay where the IoU is at least this.
        sigma, min_score, method: as in roikit.ops.soft_nms.
        offset: 0 or 1: added to widths and heights.

    Returns:
        dets (K, 5), the boxes with their decayed scores in the order in which they were taken; inds (K,) int64.
        Arrays for arrays.

    Raises:
        TypeError, ValueError, BackendError: as roikit.ops.soft_nms; another offset.
    """
    b, s = _tensor(boxes), _tensor(scores)
    threshold = at_least(iou_threshold, torch.promote_types(wide(b).dtype, s.dtype))
    keep, decayed = roikit.ops.soft_nms(grown(b, offset), s, threshold, sigma=sigma, min_score=min_score,
                                        method=method)
    return _like(boxes, _with_scores(b[keep], decayed), keep)


def nms_match(dets, iou_threshold):
    """mmcv.ops.nms_match: suppression that remembers which box each box fell to.

    Args:
        dets: (N, 5), boxes xyxy and scores, tensor or NumPy array.
        iou_threshold: a box falls to the best kept one with which its IoU is at least this.

    Returns:
        a list with the int64 indices of each kept box and those that fell to it, by descending score. Memory follows N
        times the kept boxes.

    Raises:
        TypeError, ValueError, BackendError: as roikit.ops.nms.
    """
    d = _tensor(dets)
    if len(d) == 0:
        return []
    shaped("nms_match", "dets", d, "N", 5)
    boxes, scores = wide(d[:, :4]), d[:, 4]
    threshold = at_least(iou_threshold, boxes.dtype)
    keep = roikit.ops.nms(boxes, scores, threshold)
    owner = (roikit.ops.box_iou(boxes[keep], boxes) > threshold).to(torch.int8).argmax(dim=0)
    owner[keep] = torch.arange(len(keep), device=keep.device)
    by_score = scores.nan_to_num(-torch.inf, torch.inf, -torch.inf).argsort(descending=True, stable=True)
    members = by_score[owner[by_score].argsort(stable=True)]
    groups = members.split(owner.bincount(minlength=len(keep)).tolist())
    return [_like(dets, group)[0] for group in groups]


def nms_rotated(dets, scores, iou_threshold, labels=None, clockwise=True):
    """mmcv.ops.nms_rotated.

    Args:
        dets: (N, 5) cx, cy, w, h, radians.
        scores: (N,).
        iou_threshold: compared strictly, as mmcv's CUDA kernel does; its CPU kernel also removes at equality.
        labels: (N,), classes that are apart.
        clockwise: the direction of the angles.

    Returns:
        (K, 6), the kept boxes with their scores in the order of these; keep (K,) int64.

    Raises:
        TypeError, ValueError, BackendError: as roikit.ops.nms_rotated.
    """
    shaped("nms_rotated", "dets", dets, "N", 5)
    boxes = degrees(dets, clockwise)
    if labels is None:
        keep = roikit.ops.nms_rotated(boxes, scores, iou_threshold)
    else:
        keep = roikit.ops.batched_nms_rotated(boxes, scores, class_indices(labels), iou_threshold)
    return _with_scores(dets[keep], scores[keep]), keep


def _nms_by_class(boxes, scores, idxs, iou_threshold, offset=0, score_threshold=0, max_num=-1):
    keep = roikit.ops.batched_nms(grown(boxes, offset), scores, idxs, iou_threshold)
    keep = _chosen(keep, scores, score_threshold, max_num)
    return keep, scores[keep]


def _nms_rotated_by_class(boxes, scores, idxs, iou_threshold, clockwise=True, max_num=-1):
    shaped("batched_nms", "boxes", boxes, "N", 5)
    keep = roikit.ops.batched_nms_rotated(degrees(boxes, clockwise), scores, idxs, iou_threshold)
    keep = _chosen(keep, scores, 0, max_num)
    return keep, scores[keep]


def _any_by_class(op, boxes, scores, idxs, max_num=-1, **arguments):
    """``op`` (boxes, scores, ...) -> dets, inds on each class by itself; the results by descending new score."""
    kept, changed = [scores.new_empty(0, dtype=torch.int64)], [wide(scores[:0])]
    for value in idxs.unique():
        members = (idxs == value).nonzero().flatten()
        dets, inds = op(boxes[members], scores[members], **arguments)
        kept.append(members[inds])
        changed.append(dets[:, -1])
    kept, place = torch.cat(kept).sort()
    changed, order = torch.cat(changed)[place].sort(descending=True, stable=True)
    end = max_num if max_num > 0 else len(kept)
    return kept[order][:end], changed[:end]


def batched_nms(boxes, scores, idxs, nms_cfg, class_agnostic=False):
    """mmcv.ops.batched_nms, without its offsets between classes.

    Args:
        boxes: (N, 4) xyxy, or (N, 5) rotated, a tensor.
        scores: (N,).
        idxs: (N,), the class of each box; not looked at where class_agnostic.
        nms_cfg: None: only sort. Else a dict: type "nms" (by default), "soft_nms", "nms_rotated" or a function
            (boxes, scores, ...) -> dets, inds; class_agnostic; max_num; the other arguments of that function.
            split_thr is taken and not needed.
        class_agnostic: take all boxes for one class.

    Returns:
        (K, 5) or (K, 6), the kept boxes with their scores in the order of these; keep (K,) int64.

    Raises:
        TypeError, ValueError, BackendError: as the function's; another type.
    """
    if nms_cfg is None:
        scores, keep = scores.sort(descending=True, stable=True)
        return _with_scores(boxes[keep], scores), keep
    config = dict(nms_cfg)
    op = config.pop("type", "nms")
    config.pop("split_thr", None)
    if "iou_thr" in config:
        config["iou_threshold"] = config.pop("iou_thr")
    agnostic = config.pop("class_agnostic", class_agnostic)
    idxs = torch.zeros_like(scores, dtype=torch.int64) if agnostic else class_indices(idxs)
    if op in ("nms", nms):
        keep, scores = _nms_by_class(boxes, scores, idxs, **config)
    elif op in ("nms_rotated", nms_rotated):
        keep, scores = _nms_rotated_by_class(boxes, scores, idxs, **config)
    elif op == "soft_nms" or callable(op):
        keep, scores = _any_by_class(soft_nms if op == "soft_nms" else op, boxes, scores, idxs, **config)
    else:
        raise ValueError("batched_nms: the type in nms_cfg must be \"nms\", \"soft_nms\", \"nms_rotated\" or a "
                         f"function, got {op!r}")
    return _with_scores(boxes[keep], scores), keep
