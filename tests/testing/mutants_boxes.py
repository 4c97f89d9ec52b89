"""Boxes and suppression as others write them, each wrong in one deliberate way; see ``mutants``."""

import math

import numpy as np
import torch

from roikit import kernels, ops, reference

GROWTH = math.log(1000 / 16)


GROWTH = math.log(1000 / 16)


# relatives of box_iou

def sides_of(low, high):
    return (high - low).clamp(min=0)


def giou_signed_areas(boxes1, boxes2):
    area1, area2 = ((b[:, 2:] - b[:, :2]).prod(dim=1) for b in (boxes1, boxes2))
    inter = sides_of(torch.maximum(boxes1[:, None, :2], boxes2[:, :2]),
                     torch.minimum(boxes1[:, None, 2:], boxes2[:, 2:])).prod(dim=2)
    hull = sides_of(torch.minimum(boxes1[:, None, :2], boxes2[:, :2]),
                    torch.maximum(boxes1[:, None, 2:], boxes2[:, 2:])).prod(dim=2)
    union = area1[:, None] + area2 - inter
    return inter / union - (hull - union) / hull


def grown(boxes):
    return boxes + np.array([0, 0, 1, 1], boxes.dtype)


def giou_plus_one(boxes1, boxes2):
    return kernels.generalized_box_iou(grown(boxes1), grown(boxes2))


def diou_by_roots(boxes1, boxes2, eps=1e-7):
    iou = kernels.box_iou(boxes1, boxes2)
    real = iou.dtype.type
    with np.errstate(all="ignore"):
        low, high = np.minimum(boxes1[:, None], boxes2), np.maximum(boxes1[:, None], boxes2)
        width, height = (np.maximum(high[..., i + 2] - low[..., i], 0) for i in (0, 1))
        centres = [(b[:, :2] + b[:, 2:]) * real(0.5) for b in (boxes1, boxes2)]
        dx, dy = np.moveaxis(centres[0][:, None] - centres[1], 2, 0)
        share = np.sqrt(dx * dx + dy * dy) / np.sqrt(width * width + height * height + real(eps))
        return np.where(np.isfinite(share), iou - np.where(share > 1, real(1), share), iou)


def ciou_without_shape(boxes1, boxes2, eps=1e-7):
    return ops.distance_box_iou(boxes1, boxes2, eps)


def ciou_above_half(boxes1, boxes2, eps=1e-7):
    """mmdetection's: alpha counts only where the IoU is above 0.5."""
    near = kernels.box_iou(boxes1, boxes2) > 0.5
    return np.where(near, kernels.complete_box_iou(boxes1, boxes2, eps), kernels.distance_box_iou(boxes1, boxes2, eps))


# forms of boxes

def convert_plus_one(boxes, in_fmt, out_fmt):
    if in_fmt == out_fmt:
        return boxes.copy()
    x1, y1, x2, y2 = np.moveaxis(boxes, 1, 0)
    with np.errstate(all="ignore"):
        if in_fmt == "xywh":
            x2, y2 = x1 + x2 - 1, y1 + y2 - 1
        elif in_fmt == "cxcywh":
            w, h = x2, y2
            x1, y1 = x1 - w / 2, y1 - h / 2
            x2, y2 = x1 + w - 1, y1 + h - 1
        if out_fmt == "xywh":
            x2, y2 = x2 - x1 + 1, y2 - y1 + 1
        elif out_fmt == "cxcywh":
            x1, y1, x2, y2 = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1 + 1, y2 - y1 + 1
    return np.stack([x1, y1, x2, y2], axis=1)


def clip_to_last_pixel(boxes, size):
    return np.clip(boxes, 0, np.array(size[::-1] * 2, boxes.dtype) - 1)


def clip_size_wh(boxes, size):
    return kernels.clip_boxes_to_image(boxes, size[::-1])


def small_strict(boxes, min_size):
    sides = boxes[:, 2:] - boxes[:, :2]
    return torch.where((sides > torch.tensor(min_size, dtype=boxes.dtype)).all(dim=1))[0]


def small_mask(boxes, min_size):
    kept = np.zeros(len(boxes), bool)
    kept[kernels.remove_small_boxes(boxes, min_size)] = True
    return kept


def masks_exclusive(masks):
    return ops.masks_to_boxes(masks, inclusive=False)


def masks_yx(masks, *, inclusive=True):
    return kernels.masks_to_boxes(masks, inclusive=inclusive)[:, [1, 0, 3, 2]]


# more suppression

def padded_with_zeros(boxes, scores, iou_threshold, max_output):
    keep, count = kernels.nms_padded(boxes, scores, iou_threshold, max_output)
    return np.maximum(keep, 0), count


def padded_of_the_best(boxes, scores, iou_threshold, max_output):
    best = torch.sort(scores.nan_to_num(-math.inf, math.inf, -math.inf), descending=True, stable=True).indices
    best = best[: max_output].sort().values
    keep, count = ops.nms_padded(boxes[best], scores[best], iou_threshold, max_output)
    return torch.where(keep < 0, -1, best[keep] if len(best) else keep), count


def soften(boxes, scores, iou_threshold, sigma, min_score, method, *, least=None, spread=None, first=False, plus=0):
    """Soft-NMS with masks; the Gaussian's exp is NumPy's."""
    T = np.result_type(boxes, scores)
    boxes, scores, index = boxes.astype(T), scores.astype(T), np.arange(len(boxes))
    least = least or (lambda s: s < T.type(min_score))
    boxes = boxes + np.array([0, 0, plus, plus], T)
    keep, taken = [], []
    left = np.ones(len(boxes), bool) if first else ~(least(scores) | (scores == -np.inf))
    while left.any():
        best = index[left][np.argsort(-scores[left], kind="stable")[0]]
        keep.append(best)
        taken.append(scores[best])
        left[best] = False
        iou = reference.box_iou(boxes[best : best + 1], boxes)[0]
        with np.errstate(all="ignore"):
            if method == "gaussian":
                weight = np.exp(-(iou * iou) / T.type(spread or sigma))
            else:
                weight = np.where(iou > T.type(iou_threshold), 1 - iou if method == "linear" else 0, 1)
            scores = scores * weight.astype(T)
        left &= ~(least(scores) | (scores == -np.inf))
    return np.array(keep, np.int64), np.array(taken, T)


def soft_sigma_squared(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method="linear"):
    return soften(boxes, scores, iou_threshold, sigma, min_score, method, spread=2 * sigma * sigma)


def soft_min_exceeded(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method="linear"):
    return soften(boxes, scores, iou_threshold, sigma, min_score, method,
                  least=lambda s: s <= s.dtype.type(min_score))


def soft_best_kept(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method="linear"):
    return soften(boxes, scores, iou_threshold, sigma, min_score, method, first=True)


def soft_plus_one(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method="linear"):
    return soften(boxes, scores, iou_threshold, sigma, min_score, method, plus=1)


def soft_by_index(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method="linear"):
    keep, decayed = ops.soft_nms(boxes, scores, iou_threshold, sigma=sigma, min_score=min_score, method=method)
    order = keep.argsort()
    return keep[order], decayed[order]


def soft_as_it_was(boxes, scores, iou_threshold=0.3, *, sigma=0.5, min_score=1e-3, method="linear"):
    keep, decayed = kernels.soft_nms(boxes, scores, iou_threshold, sigma=sigma, min_score=min_score, method=method)
    return keep, scores.astype(decayed.dtype)[keep]


def fast_across(boxes, scores, idxs, iou_threshold, *, top_k=200):
    return kernels.fast_nms(boxes, scores, idxs, iou_threshold, top_k=top_k, cross_class=True)


def fast_top_after(boxes, scores, idxs, iou_threshold, *, top_k=200, cross_class=False):
    keep = kernels.fast_nms(boxes, scores, idxs, iou_threshold, top_k=10**6, cross_class=cross_class)
    label = np.zeros_like(idxs) if cross_class else idxs
    return np.array([k for i, k in enumerate(keep) if (label[keep[:i]] == label[k]).sum() < top_k], np.int64)


def fast_greedy(boxes, scores, idxs, iou_threshold, *, cross_class=False):
    return ops.batched_nms(boxes, scores, torch.zeros_like(idxs) if cross_class else idxs, iou_threshold)


def matrix_decays(boxes, scores, idxs, sigma, min_score, method, *, own=True, join=np.min):
    """SOLOv2's code on boxes, in NumPy."""
    T = np.result_type(boxes, scores)
    order = np.argsort(-scores, kind="stable")
    boxes, scores, idxs = boxes[order].astype(T), scores[order].astype(T), idxs[order]
    iou = np.triu(reference.box_iou(boxes, boxes) * (idxs[:, None] == idxs), 1)
    before = np.triu(np.ones_like(iou, bool), 1)
    best = iou.max(axis=0, initial=0)[:, None] if own else np.zeros((len(boxes), 1), T)
    with np.errstate(all="ignore"):
        if method == "gaussian":
            decay = np.exp(-T.type(sigma) * (iou * iou - best * best))
        else:
            decay = np.where(best == 1, 1, (1 - iou) / (1 - best))
        decay = join(np.where(before & (idxs[:, None] == idxs), decay, 1), axis=0, initial=1)
        decayed = scores * decay.astype(T)
        keep = np.argsort(-decayed, kind="stable")
        keep = keep[~((decayed[keep] < T.type(min_score)) | (decayed[keep] == -np.inf))]
    keep = keep[np.lexsort((order[keep], -decayed[keep]))]
    return order[keep], decayed[keep]


def matrix_uncompensated(boxes, scores, idxs, *, sigma=2.0, min_score=1e-3, method="gaussian"):
    return matrix_decays(boxes, scores, idxs, sigma, min_score, method, own=False)


def matrix_multiplied(boxes, scores, idxs, *, sigma=2.0, min_score=1e-3, method="gaussian"):
    return matrix_decays(boxes, scores, idxs, sigma, min_score, method, join=np.prod)


def matrix_always_linear(boxes, scores, idxs, *, min_score=1e-3, method="gaussian"):
    return ops.matrix_nms(boxes, scores, idxs, min_score=min_score, method="linear")


def matrix_sigma_divides(boxes, scores, idxs, *, sigma=2.0, min_score=1e-3, method="gaussian"):
    return kernels.matrix_nms(boxes, scores, idxs, sigma=1 / sigma, min_score=min_score, method=method)


# rotated boxes

def in_radians(boxes):
    with np.errstate(all="ignore"):
        return np.concatenate([boxes[:, :4].astype(np.float64), np.degrees(boxes[:, 4:].astype(np.float64))], axis=1)


def iou_of_radians(boxes1, boxes2):
    return kernels.box_iou_rotated(in_radians(boxes1), in_radians(boxes2)).astype(boxes1.dtype)


def iou_clockwise(boxes1, boxes2):
    turned = torch.tensor([1, 1, 1, 1, -1], dtype=boxes1.dtype)
    return ops.box_iou_rotated(boxes1 * turned, boxes2 * turned)


def iou_tiny_is_empty(boxes1, boxes2):
    """detectron2's and mmcv's: an area below 1e-14 is none."""
    small = [b[:, 2].astype(float) * b[:, 3] < 1e-14 for b in (boxes1, boxes2)]
    return np.where(small[0][:, None] | small[1], 0, kernels.box_iou_rotated(boxes1, boxes2))


def iou_over_first(boxes1, boxes2):
    """mmcv's mode="iof"."""
    iou = kernels.box_iou_rotated(boxes1.astype(np.float64), boxes2)
    with np.errstate(all="ignore"):
        area1, area2 = (b[:, 2].astype(np.float64) * b[:, 3] for b in (boxes1, boxes2))
        inter = iou * (area1[:, None] + area2) / (1 + iou)
        return np.where(iou > 0, inter / area1[:, None], 0).astype(boxes1.dtype)


def greedy_rotated(boxes, scores, threshold, hits=lambda iou, t: iou > t, idxs=None):
    order = list(np.argsort(-scores, kind="stable"))
    iou = kernels.box_iou_rotated(boxes, boxes)
    idxs = np.zeros(len(boxes)) if idxs is None else idxs
    keep = []
    while order:
        keep.append(order.pop(0))
        order = [i for i in order if not (hits(iou[keep[-1], i], iou.dtype.type(threshold))
                                          and idxs[i] == idxs[keep[-1]])]
    return np.array(keep, np.int64)


def nms_rotated_inclusive(boxes, scores, iou_threshold):
    """detectron2's on the CPU."""
    return greedy_rotated(boxes, scores, iou_threshold, hits=lambda iou, t: iou >= t)


def nms_rotated_clockwise(boxes, scores, iou_threshold):
    return kernels.nms_rotated(boxes * np.array([1, 1, 1, 1, -1], boxes.dtype), scores, iou_threshold)


def nms_rotated_upright(boxes, scores, iou_threshold):
    with np.errstate(all="ignore"):
        flat = boxes * np.array([1, 1, 1, 1, 0], boxes.dtype)
    return kernels.nms_rotated(flat, scores, iou_threshold)


def batched_rotated_across(boxes, scores, idxs, iou_threshold):
    return ops.nms_rotated(boxes, scores, iou_threshold)


def batched_rotated_inclusive(boxes, scores, idxs, iou_threshold):
    return greedy_rotated(boxes, scores, iou_threshold, hits=lambda iou, t: iou >= t, idxs=idxs)


def encode_rotated_in_degrees(boxes, anchors, weights=(1, 1, 1, 1, 1)):
    deltas = kernels.encode_boxes_rotated(boxes, anchors, weights)
    return np.concatenate([deltas[:, :4], np.degrees(deltas[:, 4:])], axis=1)


def encode_rotated_in_frame(boxes, anchors, weights=(1, 1, 1, 1, 1)):
    """mmrotate's proj_xy=True."""
    deltas = ops.encode_boxes_rotated(boxes, anchors, weights)
    shift, turn = boxes[:, :2] - anchors[:, :2], torch.deg2rad(anchors[:, 4])
    c, s = turn.cos(), turn.sin()
    along = torch.stack([c * shift[:, 0] - s * shift[:, 1], s * shift[:, 0] + c * shift[:, 1]], dim=1)
    return torch.cat([along / anchors[:, 2:4] * torch.tensor(weights[:2], dtype=boxes.dtype), deltas[:, 2:]], dim=1)


def decode_rotated_unclipped(deltas, anchors, weights=(1, 1, 1, 1, 1)):
    return ops.decode_boxes_rotated(deltas, anchors, weights, clip=math.inf)


def decode_rotated_unwrapped(deltas, anchors, weights=(1, 1, 1, 1, 1), *, clip=GROWTH):
    boxes = kernels.decode_boxes_rotated(deltas, anchors, weights, clip=clip)
    with np.errstate(all="ignore"):
        boxes[:, 4::5] = np.degrees(deltas[:, 4::5] / boxes.dtype.type(weights[4])) + anchors[:, 4:]
    return boxes


def cells_rotated_by_angle(sizes, aspect_ratios, angles):
    return np.concatenate([kernels.cell_anchors_rotated(sizes, aspect_ratios, [angle]) for angle in angles]
                          or [np.zeros((0, 5), np.float32)])


MUTANTS = [  # function, op, the convention's name
    (giou_signed_areas, "generalized_box_iou", "nan-undefined-signed-areas"),
    (giou_plus_one, "generalized_box_iou", "plus-one"),
    (diou_by_roots, "distance_box_iou", "distance-not-squared"),
    (ciou_without_shape, "complete_box_iou", "no-shape"),
    (ciou_above_half, "complete_box_iou", "shape-above-half"),
    (convert_plus_one, "box_convert", "plus-one"),
    (clip_to_last_pixel, "clip_boxes_to_image", "last-pixel"),
    (clip_size_wh, "clip_boxes_to_image", "size-wh"),
    (small_strict, "remove_small_boxes", "strict-size"),
    (small_mask, "remove_small_boxes", "mask"),
    (masks_exclusive, "masks_to_boxes", "exclusive"),
    (masks_yx, "masks_to_boxes", "yx-order"),
    (padded_with_zeros, "nms_padded", "padded-with-0"),
    (padded_of_the_best, "nms_padded", "limit-first"),
    (soft_sigma_squared, "soft_nms", "sigma-is-deviation"),
    (soft_min_exceeded, "soft_nms", "min-score-exceeded"),
    (soft_best_kept, "soft_nms", "best-never-dropped"),
    (soft_plus_one, "soft_nms", "plus-one"),
    (soft_by_index, "soft_nms", "index-order"),
    (soft_as_it_was, "soft_nms", "undecayed-scores"),
    (fast_across, "fast_nms", "classes-ignored"),
    (fast_top_after, "fast_nms", "top-k-after"),
    (fast_greedy, "fast_nms", "greedy"),
    (matrix_uncompensated, "matrix_nms", "uncompensated"),
    (matrix_multiplied, "matrix_nms", "decays-multiplied"),
    (matrix_always_linear, "matrix_nms", "always-linear"),
    (matrix_sigma_divides, "matrix_nms", "sigma-divides"),
    (iou_of_radians, "box_iou_rotated", "radians"),
    (iou_clockwise, "box_iou_rotated", "clockwise"),
    (iou_tiny_is_empty, "box_iou_rotated", "tiny-is-empty"),
    (iou_over_first, "box_iou_rotated", "over-first"),
    (nms_rotated_inclusive, "nms_rotated", "inclusive-threshold"),
    (nms_rotated_clockwise, "nms_rotated", "clockwise"),
    (nms_rotated_upright, "nms_rotated", "angle-ignored"),
    (batched_rotated_across, "batched_nms_rotated", "classes-ignored"),
    (batched_rotated_inclusive, "batched_nms_rotated", "inclusive-threshold"),
    (encode_rotated_in_degrees, "encode_boxes_rotated", "angle-in-degrees"),
    (encode_rotated_in_frame, "encode_boxes_rotated", "frame-of-anchor"),
    (decode_rotated_unclipped, "decode_boxes_rotated", "unclipped"),
    (decode_rotated_unwrapped, "decode_boxes_rotated", "angle-unwrapped"),
    (cells_rotated_by_angle, "cell_anchors_rotated", "angle-major"),
]
