"""Implementations of the ops as others write them, each wrong in one deliberate way: what `roikit verify` must name.

They are written on their own, without the models of roikit.testing, in NumPy and in torch.
"""

import math

import numpy as np
import torch

from roikit import kernels, ops, reference

GROWTH = math.log(1000 / 16)


def plain_iou(a, b, plus=0):
    """(N, M); 0 where the division gives NaN."""
    with np.errstate(all="ignore"):
        low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
        inter = np.maximum(high - low + a.dtype.type(plus), 0).prod(axis=2)
        area_a, area_b = (np.maximum(c[:, 2:] - c[:, :2] + c.dtype.type(plus), 0).prod(axis=1) for c in (a, b))
        union = (area_a[:, None] + area_b[None]) - inter
        iou = inter / union
    return np.where((union > 0) & ~np.isnan(iou), iou, a.dtype.type(0))


def greedy(boxes, scores, threshold, *, iou=plain_iou, hits=lambda iou, t: iou > t, order=None):
    threshold = boxes.dtype.type(threshold)
    order = list(np.argsort(-scores, kind="stable") if order is None else order)
    keep = []
    while order:
        best = order.pop(0)
        keep.append(best)
        order = [i for i in order if not hits(iou(boxes[best : best + 1], boxes[i : i + 1])[0, 0], threshold)]
    return np.array(keep, np.int64)


# boxes, matching, nms

def iou_plus_one(boxes1, boxes2):
    return plain_iou(boxes1, boxes2, plus=1)


def area_of_reversed(boxes):
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def iou_reversed_have_area(boxes1, boxes2):
    return plain_iou(*(np.concatenate([np.minimum(b[:, :2], b[:, 2:]), np.maximum(b[:, :2], b[:, 2:])], axis=1)
                       for b in (boxes1, boxes2)))


def iou_nan_for_empty(boxes1, boxes2):
    low, high = torch.maximum(boxes1[:, None, :2], boxes2[:, :2]), torch.minimum(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (high - low).clamp(min=0).prod(dim=2)
    area1, area2 = ((b[:, 2:] - b[:, :2]).clamp(min=0).prod(dim=1) for b in (boxes1, boxes2))
    return inter / (area1[:, None] + area2 - inter)


def iou_signed_areas(boxes1, boxes2):
    low, high = torch.maximum(boxes1[:, None, :2], boxes2[:, :2]), torch.minimum(boxes1[:, None, 2:], boxes2[:, 2:])
    inter = (high - low).clamp(min=0).prod(dim=2)
    area1, area2 = ((b[:, 2:] - b[:, :2]).prod(dim=1) for b in (boxes1, boxes2))
    return inter / (area1[:, None] + area2 - inter)


def nms_inclusive(boxes, scores, iou_threshold):
    return greedy(boxes, scores, iou_threshold, hits=lambda iou, t: iou >= t)


def nms_plus_one(boxes, scores, iou_threshold):
    return greedy(boxes, scores, iou_threshold, iou=lambda a, b: plain_iou(a, b, plus=1))


def nms_ties_backwards(boxes, scores, iou_threshold):
    return greedy(boxes, scores, iou_threshold, order=np.lexsort((-np.arange(len(scores)), -scores)))


def nms_unstable(boxes, scores, iou_threshold):
    shuffled = np.random.default_rng(len(scores)).permutation(len(scores))
    return greedy(boxes, scores, iou_threshold, order=shuffled[np.argsort(-scores[shuffled], kind="stable")])


def nms_nan_scores_first(boxes, scores, iou_threshold):
    order = torch.argsort(scores, descending=True, stable=True)  # torch takes NaN for the largest
    return torch.from_numpy(greedy(boxes.numpy(), scores.numpy(), iou_threshold, order=order.tolist()))


def nms_without_nan_boxes(boxes, scores, iou_threshold):
    finite = np.flatnonzero(np.isfinite(boxes).all(axis=1))
    return finite[greedy(boxes[finite], scores[finite], iou_threshold)]


def nms_sorted_by_index(boxes, scores, iou_threshold):
    return ops.nms(boxes, scores, iou_threshold).sort().values


def nms_removed_remove(boxes, scores, iou_threshold):
    order = np.argsort(-scores, kind="stable")
    hit = np.triu(plain_iou(boxes[order], boxes[order]) > boxes.dtype.type(iou_threshold), 1)
    return order[~hit.any(axis=0)]


def batched_nms_offset(boxes, scores, idxs, iou_threshold):
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64)
    offsets = idxs.to(boxes) * (boxes.max() + 1)
    return ops.nms(boxes + offsets[:, None], scores, iou_threshold)


def batched_nms_offset_range(boxes, scores, idxs, iou_threshold):
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64)
    offsets = idxs.to(boxes) * (boxes.max() - boxes.min() + 1)
    return ops.nms(boxes + offsets[:, None], scores, iou_threshold)


def batched_nms_across(boxes, scores, idxs, iou_threshold):
    return kernels.nms(boxes, scores, iou_threshold)


def match_strict_high(anchors, gt_boxes, high, low, *, allow_low_quality=True):
    index, label, iou = kernels.match_boxes(anchors, gt_boxes, high, low, allow_low_quality=False)
    label = np.where(iou > iou.dtype.type(high), 1, np.where(iou >= iou.dtype.type(low), -1, 0)).astype(np.int8)
    if allow_low_quality and len(gt_boxes) and len(anchors):
        matrix = kernels.box_iou(anchors, gt_boxes)
        best = matrix.max(axis=0)
        label[((matrix == best) & (best > 0)).any(axis=1)] = 1
    return index, label if len(gt_boxes) else np.zeros(len(anchors), np.int8), iou


def match_zero_promotes(anchors, gt_boxes, high, low, *, allow_low_quality=True):
    index, label, iou = ops.match_boxes(anchors, gt_boxes, high, low, allow_low_quality=False)
    if allow_low_quality and len(gt_boxes) and len(anchors):
        matrix = ops.box_iou(anchors, gt_boxes)
        label[(matrix == matrix.max(dim=0).values).any(dim=1)] = 1
    return index, label, iou


# codec and anchors

def encode_clipped(boxes, anchors, weights=(1, 1, 1, 1)):
    dx = kernels.encode_boxes(boxes, anchors, weights)
    limit = np.asarray(weights, dx.dtype)[2:] * dx.dtype.type(GROWTH)
    return np.concatenate([dx[:, :2], np.minimum(dx[:, 2:], limit)], axis=1)


def encode_plus_one(boxes, anchors, weights=(1, 1, 1, 1)):
    one = torch.tensor([0, 0, 1, 1], dtype=boxes.dtype)
    return ops.encode_boxes(boxes + one, anchors + one, weights)


def decode_unclipped(deltas, anchors, weights=(1, 1, 1, 1)):
    return ops.decode_boxes(deltas, anchors, weights, clip=math.inf)


def decode_clipped_twice(deltas, anchors, weights=(1, 1, 1, 1), *, clip=GROWTH):
    sizes = np.tile([False, False, True, True], deltas.shape[1] // 4)
    limit = np.tile(np.asarray(weights, deltas.dtype), deltas.shape[1] // 4) * deltas.dtype.type(clip)
    return kernels.decode_boxes(np.where(sizes & (deltas < -limit), -limit, deltas), anchors, weights, clip=clip)


def cells_size_major(sizes, aspect_ratios, *, rounded=False):
    return kernels.cell_anchors(sizes, aspect_ratios, rounded=rounded, order="size")


def cells_truncated(sizes, aspect_ratios, *, rounded=False, order="ratio"):
    cell = kernels.cell_anchors(sizes, aspect_ratios, order=order)
    return np.trunc(cell) if rounded else cell


def cells_width_over_height(sizes, aspect_ratios, *, rounded=False, order="ratio"):
    return kernels.cell_anchors(sizes, [1 / np.float32(r) for r in aspect_ratios], rounded=rounded, order=order)


def grid_at_centres(cell_anchors, feature_size, stride):
    return kernels.grid_anchors(cell_anchors, feature_size, stride, offset=0.5)


# RoI ops

def align_flipped(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
    return ops.roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, not aligned)


def align_always(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    return kernels.roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned=True)


def align_two_by_two(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
    return ops.roi_align(input, boxes, output_size, spatial_scale, sampling_ratio if sampling_ratio > 0 else 2, aligned)


def align_plus_one(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
    boxes = boxes + torch.tensor([0, 0, 0, 1, 1], dtype=boxes.dtype)
    return ops.roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned)


def align_by_grid_sample(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False):
    """Samples on grid_sample with zeros padding: the edge fades instead of being replicated."""
    ph, pw = output_size if np.ndim(output_size) else (output_size, output_size)
    out = input.new_zeros(len(boxes), input.shape[1], ph, pw)
    height, width = input.shape[2:]
    for k, (image, *box) in enumerate(boxes.tolist()):
        off = 0.5 if aligned else 0.0
        x1, y1, x2, y2 = (np.float32(c) * np.float32(spatial_scale) - np.float32(off) for c in box)
        w, h = x2 - x1, y2 - y1
        if not np.isfinite([x1, y1, w, h]).all() or not height * width:
            continue
        w, h = (w, h) if aligned else (max(w, np.float32(1)), max(h, np.float32(1)))
        gh, gw = ((sampling_ratio,) * 2 if sampling_ratio > 0
                  else (max(math.ceil(h / np.float32(ph)), 0), max(math.ceil(w / np.float32(pw)), 0)))
        if not gh or not gw:
            continue
        y = float(y1) + (torch.arange(ph * gh, dtype=torch.float64) + 0.5) * float(h) / (ph * gh)
        x = float(x1) + (torch.arange(pw * gw, dtype=torch.float64) + 0.5) * float(w) / (pw * gw)
        grid = torch.stack([((x + 0.5) / width * 2 - 1)[None].expand(len(y), -1),
                            ((y + 0.5) / height * 2 - 1)[:, None].expand(-1, len(x))], dim=-1)
        plane = input[int(image)][None].double()
        samples = torch.nn.functional.grid_sample(plane, grid[None], padding_mode="zeros", align_corners=False)[0]
        out[k] = samples.reshape(-1, ph, gh, pw, gw).mean(dim=(2, 4)).to(out)
    return out


def pool_mmcv(input, boxes, output_size, spatial_scale=1.0):
    ph, pw = output_size if np.ndim(output_size) else (output_size, output_size)
    output = np.zeros((len(boxes), input.shape[1], ph, pw), input.dtype)
    for k, (image, *corners) in enumerate(boxes):
        if not np.isfinite(corners).all():
            continue
        scale = boxes.dtype.type(spatial_scale)
        with np.errstate(all="ignore"):
            x1, y1 = corners[0] * scale, corners[1] * scale
            x2, y2 = ((c + boxes.dtype.type(1)) * scale for c in corners[2:])
            step_y, step_x = (y2 - y1) / boxes.dtype.type(ph), (x2 - x1) / boxes.dtype.type(pw)
        if not (step_y > 0 and step_x > 0):
            continue
        for p, q in np.ndindex(ph, pw):
            real = boxes.dtype.type
            edges = [np.floor(real(p) * step_y + y1), np.ceil(real(p + 1) * step_y + y1),
                     np.floor(real(q) * step_x + x1), np.ceil(real(q + 1) * step_x + x1)]
            top, bottom = (int(min(max(e, 0), input.shape[2])) for e in edges[:2])
            left, right = (int(min(max(e, 0), input.shape[3])) for e in edges[2:])
            for c, plane in enumerate(input[int(image)]):
                part = plane[top:bottom, left:right]
                part = part[~np.isnan(part) & (part > -np.inf)]
                output[k, c, p, q] = part.max() if part.size else 0
    return output


def pool_whole(rounding):
    """RoIPool whose corners are made whole by ``rounding``; kernels.roi_pool keeps whole numbers as they are."""
    def pool(input, boxes, output_size, spatial_scale=1.0):
        with np.errstate(all="ignore"):
            corners = rounding(boxes[:, 1:] * boxes.dtype.type(spatial_scale))
        return kernels.roi_pool(input, np.concatenate([boxes[:, :1], corners], axis=1), output_size, 1.0)
    return pool


pool_half_even, pool_truncated = pool_whole(np.rint), pool_whole(np.trunc)


def pool_no_plus_one(input, boxes, output_size, spatial_scale=1.0):
    ph, pw = output_size if np.ndim(output_size) else (output_size, output_size)
    real = boxes.dtype.type
    output = np.zeros((len(boxes), input.shape[1], ph, pw), input.dtype)
    for k, box in enumerate(boxes):
        if not np.isfinite(box).all():
            continue
        with np.errstate(over="ignore"):
            scaled = np.clip(box[1:] * real(spatial_scale), -(2**30), 2**30)
        x1, y1, x2, y2 = (int(math.copysign(math.floor(abs(c) + 0.5), c)) for c in scaled)
        step_y, step_x = real(max(y2 - y1, 1)) / real(ph), real(max(x2 - x1, 1)) / real(pw)
        for p, q in np.ndindex(ph, pw):
            top, left = max(int(np.floor(real(p) * step_y)) + y1, 0), max(int(np.floor(real(q) * step_x)) + x1, 0)
            bottom, right = int(np.ceil(real(p + 1) * step_y)) + y1, int(np.ceil(real(q + 1) * step_x)) + x1
            for c, plane in enumerate(input[int(box[0])]):
                part = plane[top : max(bottom, 0), left : max(right, 0)]
                part = part[~np.isnan(part) & (part > -np.inf)]
                output[k, c, p, q] = part.max() if part.size else 0
    return output


def multiscale_by_level(features, boxes, output_size, scales, *, sampling_ratio=2, aligned=False, canonical_scale=224,
                        canonical_level=4):
    rule = {"sampling_ratio": sampling_ratio, "aligned": aligned, "canonical_scale": canonical_scale,
            "canonical_level": canonical_level}
    order = np.argsort(reference.assign_levels(boxes[:, 1:], scales, canonical_scale, canonical_level), kind="stable")
    return kernels.multiscale_roi_align(features, boxes[order], output_size, scales, **rule)


def multiscale_two_by_two(features, boxes, output_size, scales, *, sampling_ratio=2, aligned=False, canonical_scale=224,
                          canonical_level=4):
    return ops.multiscale_roi_align(features, boxes, output_size, scales, aligned=aligned,
                                    sampling_ratio=sampling_ratio if sampling_ratio > 0 else 2,
                                    canonical_scale=canonical_scale, canonical_level=canonical_level)


# masks

def paste_integer(masks, boxes, image_size, *, threshold=0.5):
    return ops.paste_masks(masks, boxes, image_size, threshold=threshold, rule="integer")


def paste_strict(masks, boxes, image_size, *, threshold=0.5, rule="continuous"):
    soft = kernels.paste_masks(masks, boxes, image_size, threshold=None, rule=rule)
    return soft if threshold is None else soft > soft.dtype.type(threshold)


def paste_nearest_edge(masks, boxes, image_size, *, threshold=0.5):
    """grid_sample's border padding within the box."""
    height, width = image_size
    out = np.zeros((len(masks), height, width), masks.dtype)
    cells, real = masks.shape[-1], masks.dtype.type
    for n, box in enumerate(boxes):
        if not np.isfinite(box).all() or not (box[2] > box[0] and box[3] > box[1]):
            continue
        taps = []
        for low, high, extent in ((box[0], box[2], width), (box[1], box[3], height)):
            with np.errstate(over="ignore"):
                length = high - low
            place = np.arange(extent, dtype=masks.dtype) + real(0.5) - low
            u = np.clip(place / length * real(cells) - real(0.5), 0, real(cells - 1))
            first = np.floor(u).astype(int)
            taps.append(((place >= 0) & (place <= length) & np.isfinite(length), first,
                         np.minimum(first + 1, cells - 1), u - np.floor(u)))
        (in_x, left, right, fx), (in_y, top, bottom, fy) = taps
        rows = masks[n][:, left] * (1 - fx) + masks[n][:, right] * fx
        value = rows[top] * (1 - fy)[:, None] + rows[bottom] * fy[:, None]
        out[n] = np.where(in_y[:, None] & in_x, value, 0)
    return out if threshold is None else out >= real(threshold)


def targets_always_soft(masks, boxes, matched, size, *, rule="soft"):
    return ops.mask_targets(masks, boxes, matched, size)


def targets_binary(masks, boxes, matched, size):
    return kernels.mask_targets(masks, boxes, matched, size, rule="binary")


def encode_rows_first(mask):
    from roikit.masks import encode

    flipped = encode(np.asfortranarray(mask.T))
    return {"size": list(mask.shape), "counts": flipped["counts"]}


MUTANTS = [  # function, op, the convention's name
    (iou_plus_one, "box_iou", "plus-one"),
    (area_of_reversed, "box_area", "signed-sides"),
    (iou_reversed_have_area, "box_iou", "corners-sorted"),
    (iou_nan_for_empty, "box_iou", "nan-iou"),
    (iou_signed_areas, "box_iou", "nan-iou-signed-areas"),
    (nms_inclusive, "nms", "inclusive-threshold"),
    (nms_plus_one, "nms", "plus-one"),
    (nms_ties_backwards, "nms", "ties-high-index"),
    (nms_unstable, "nms", "ties-in-no-order"),
    (nms_nan_scores_first, "nms", "nan-scores-first"),
    (nms_without_nan_boxes, "nms", "nan-boxes-dropped"),
    (nms_sorted_by_index, "nms", "index-order"),
    (nms_removed_remove, "nms", "removed-boxes-remove"),
    (batched_nms_offset, "batched_nms", "offset-trick"),
    (batched_nms_offset_range, "batched_nms", "offset-trick-range"),
    (batched_nms_across, "batched_nms", "classes-ignored"),
    (match_strict_high, "match_boxes", "strict-high"),
    (match_zero_promotes, "match_boxes", "zero-promotes"),
    (encode_clipped, "encode_boxes", "clipped-log"),
    (encode_plus_one, "encode_boxes", "plus-one"),
    (decode_unclipped, "decode_boxes", "unclipped"),
    (decode_clipped_twice, "decode_boxes", "clipped-both-sides"),
    (cells_size_major, "cell_anchors", "size-major"),
    (cells_truncated, "cell_anchors", "truncated"),
    (cells_width_over_height, "cell_anchors", "ratio-is-width"),
    (grid_at_centres, "grid_anchors", "half-offset"),
    (align_flipped, "roi_align", "aligned-flipped"),
    (align_always, "roi_align", "aligned-on"),
    (align_two_by_two, "roi_align", "grid-2x2"),
    (align_plus_one, "roi_align", "plus-one"),
    (align_by_grid_sample, "roi_align", "edge-zeros"),
    (pool_mmcv, "roi_pool", "mmcv-rule"),
    (pool_half_even, "roi_pool", "rounded-half-even"),
    (pool_truncated, "roi_pool", "truncated-corners"),
    (pool_no_plus_one, "roi_pool", "no-plus-one"),
    (multiscale_by_level, "multiscale_roi_align", "rows-by-level"),
    (multiscale_two_by_two, "multiscale_roi_align", "grid-2x2"),
    (paste_integer, "paste_masks", "integer-rule"),
    (paste_strict, "paste_masks", "strict-threshold"),
    (paste_nearest_edge, "paste_masks", "edge-replicated"),
    (targets_always_soft, "mask_targets", "soft-rule"),
    (targets_binary, "mask_targets", "binary-rule"),
    (encode_rows_first, "rle_encode", "row-major"),
]
