"""RoI ops as others write them, each wrong in one deliberate way; see ``mutants``."""

import numpy as np
import torch

from roikit import kernels, ops, reference


def pair(size):
    return size if np.ndim(size) else (size, size)


def bins_first(input, size):
    """The channels (PH, PW, C) of a map as (C, PH, PW)."""
    rows, columns = pair(size)
    n, channels, *rest = input.shape
    return input.reshape(n, rows * columns, channels // (rows * columns), *rest).swapaxes(1, 2).reshape(input.shape)


def ps_align_bins_first(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    return ops.ps_roi_align(bins_first(input, output_size), boxes, output_size, spatial_scale, sampling_ratio)


def ps_align_unshifted(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    """RoIAlign without aligned, and the diagonal of its channels."""
    rows, columns = pair(output_size)
    full = ops.roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, False)
    channels = input.shape[1] // (rows * columns)
    full = full.reshape(len(boxes), channels, rows * columns, rows * columns)
    return full.diagonal(dim1=2, dim2=3).reshape(len(boxes), channels, rows, columns)


def ps_align_two_by_two(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    return kernels.ps_roi_align(input, boxes, output_size, spatial_scale, sampling_ratio if sampling_ratio > 0 else 2)


def ps_align_nan(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    """torchvision's 0 / 0."""
    out = kernels.ps_roi_align(input, boxes, output_size, spatial_scale, sampling_ratio)
    with np.errstate(all="ignore"):
        scaled = boxes[:, 1:] * boxes.dtype.type(spatial_scale) - boxes.dtype.type(0.5)
        grid = np.ceil((scaled[:, 2:] - scaled[:, :2]) / np.array(pair(output_size)[::-1], boxes.dtype))
    out[(grid == 0).any(axis=1) & np.isfinite(boxes).all(axis=1) & (sampling_ratio <= 0)] = np.nan
    return out


def ps_pool_whole_map(input, boxes, output_size, spatial_scale=1.0):
    """One more row and column, never read."""
    return kernels.ps_roi_pool(np.pad(input, ((0, 0), (0, 0), (0, 1), (0, 1))), boxes, output_size, spatial_scale)


def ps_pool_bins_first(input, boxes, output_size, spatial_scale=1.0):
    return kernels.ps_roi_pool(bins_first(input, output_size), boxes, output_size, spatial_scale)


def ps_pool_plus_one(input, boxes, output_size, spatial_scale=1.0):
    with np.errstate(all="ignore"):
        scaled = boxes[:, 1:] * boxes.dtype.type(spatial_scale)
        corners = np.copysign(np.floor(np.abs(scaled) + boxes.dtype.type(0.5)), scaled)
    whole = np.concatenate([boxes[:, :1], corners + np.array([0, 0, 1, 1], boxes.dtype)], axis=1)
    return kernels.ps_roi_pool(input, whole, output_size, 1.0)


def warp_half_even(input, boxes, output_size, spatial_scale=1.0, *, reduce="max"):
    with np.errstate(all="ignore"):
        corners = np.rint(boxes[:, 1:] * boxes.dtype.type(spatial_scale))
    return kernels.roi_warp(input, np.concatenate([boxes[:, :1], corners], axis=1), output_size, 1.0, reduce=reduce)


def warp_always_mean(input, boxes, output_size, spatial_scale=1.0):
    return ops.roi_warp(input, boxes, output_size, spatial_scale, reduce="mean")


def align_ignores_reduce(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False, *,
                         reduce="mean"):
    return ops.roi_align(input, boxes, output_size, spatial_scale, sampling_ratio, aligned)


def multiscale_always_max(features, boxes, output_size, scales, **rule):
    return kernels.multiscale_roi_align(features, boxes, output_size, scales, **{**rule, "reduce": "max"})


def paste_rle_strict(masks, boxes, image_size, *, threshold=0.5, rule="continuous"):
    from roikit.masks import encode

    soft = kernels.paste_masks(masks, boxes, image_size, threshold=None, rule=rule)
    return [encode(np.asfortranarray(mask.astype(np.uint8))) for mask in soft > soft.dtype.type(threshold)]


def paste_rle_integer(masks, boxes, image_size, *, threshold=0.5):
    return ops.paste_masks_rle(masks, boxes, image_size, threshold=threshold, rule="integer")


def align_rotated_clockwise(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    boxes = boxes * np.array([1, 1, 1, 1, 1, -1], boxes.dtype)
    return kernels.roi_align_rotated(input, boxes, output_size, spatial_scale, sampling_ratio)


def align_rotated_height_first(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    return ops.roi_align_rotated(input, boxes[:, [0, 1, 2, 4, 3, 5]], output_size, spatial_scale, sampling_ratio)


def align_rotated_two_by_two(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    return ops.roi_align_rotated(input, boxes, output_size, spatial_scale, sampling_ratio if sampling_ratio > 0 else 2)


def align_rotated_unshifted(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    shift = torch.tensor([0, 0.5, 0.5, 0, 0, 0], dtype=torch.float64) / spatial_scale
    return ops.roi_align_rotated(input, boxes.double() + shift, output_size, spatial_scale, sampling_ratio)


def multiscale_rotated_clockwise(features, boxes, output_size, scales, **rule):
    boxes = boxes * np.array([1, 1, 1, 1, 1, -1], boxes.dtype)
    return kernels.multiscale_roi_align_rotated(features, boxes, output_size, scales, **rule)


def multiscale_rotated_in_radians(features, boxes, output_size, scales, **rule):
    boxes = boxes.double() * torch.tensor([1, 1, 1, 1, 1, 180 / np.pi])
    return ops.multiscale_roi_align_rotated(features, boxes, output_size, scales, **rule)


def multiscale_rotated_by_level(features, boxes, output_size, scales, *, sampling_ratio=2, canonical_scale=224,
                                canonical_level=4):
    sides = np.concatenate([0 * boxes[:, 3:5], boxes[:, 3:5]], 1)
    order = np.argsort(reference.assign_levels(sides, scales, canonical_scale, canonical_level), kind="stable")
    return kernels.multiscale_roi_align_rotated(
        features, boxes[order], output_size, scales, sampling_ratio=sampling_ratio, canonical_scale=canonical_scale,
        canonical_level=canonical_level)


def deform_x_first(input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), mask=None):
    swapped = offset.unflatten(1, (-1, 2)).flip(2).flatten(1, 2)
    return ops.deform_conv2d(input, swapped, weight, bias, stride, padding, dilation, mask)


def deform_v1(input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), mask=None):
    return kernels.deform_conv2d(input, offset, weight, bias, stride, padding, dilation)


def deform_at_the_border(input, offset, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), mask=None):
    """Each tap by grid_sample with border padding, summed."""
    images, channels, height, width = input.shape
    (rows, columns), (kh, kw) = offset.shape[2:], weight.shape[2:]
    shared = offset.shape[1] // (2 * kh * kw)
    out = input.new_zeros(images, len(weight), rows, columns)
    for g, ky, kx in np.ndindex(shared, kh, kw):
        tap = (g * kh + ky) * kw + kx
        y = offset[:, 2 * tap] + (torch.arange(rows) * stride[0] - padding[0] + ky * dilation[0])[:, None]
        x = offset[:, 2 * tap + 1] + torch.arange(columns) * stride[1] - padding[1] + kx * dilation[1]
        far = y.isnan() | x.isnan()
        y, x = (c.double().nan_to_num().clamp(0, side - 1) for c, side in ((y, height), (x, width)))
        place = torch.stack([(x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1], dim=3)
        part = slice(g * channels // shared, (g + 1) * channels // shared)
        taken = torch.zeros(images, channels, rows, columns, dtype=torch.float64)
        taken[:, part] = torch.nn.functional.grid_sample(input[:, part].double(), place, padding_mode="border",
                                                         align_corners=False) * ~far[:, None]
        if mask is not None:
            taken = taken * mask[:, tap, None]
        out += torch.nn.functional.conv2d(taken, weight[:, :, ky, kx, None, None].double(),
                                          groups=channels // weight.shape[1]).to(out)
    return out if bias is None else out + bias[:, None, None]


def keypoints_inside(keypoints, boxes, size):
    """A point on the right or lower edge is out."""
    target, valid = kernels.encode_keypoints(keypoints, boxes, size)
    with np.errstate(all="ignore"):
        inside = (keypoints[..., :2] < boxes[:, None, 2:]).all(axis=2)
    return np.where(inside, target, 0), valid & inside


def keypoints_unseen(keypoints, boxes, size):
    keypoints = keypoints.clone()
    keypoints[..., 2] = 2
    return ops.encode_keypoints(keypoints, boxes, size)


def keypoints_at_corners(maps, boxes):
    """The half pixel of the largest value's cell is missing."""
    xy, scores = kernels.decode_keypoints(maps, boxes)
    real = xy.dtype.type
    with np.errstate(all="ignore"):
        sides = np.maximum(boxes[:, 2:] - boxes[:, :2], real(1))
        cell = sides / np.minimum(np.ceil(sides), real(4096))
        known = np.isfinite(boxes).all(axis=1) & np.isfinite(boxes[:, 2:] - boxes[:, :2]).all(axis=1)
        return np.where(known[:, None, None], xy - (cell * real(0.5))[:, None], xy), scores


def keypoints_of_the_map(maps, boxes):
    """The largest value of the map itself, not resized."""
    rows, columns = maps.shape[2:]
    flat = maps.reshape(*maps.shape[:2], rows * columns)
    best = torch.where(flat.isnan(), -torch.inf, flat).max(dim=2)
    place = torch.where(best.values == -torch.inf, 0, best.indices)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    cells = torch.stack([place % columns, place.div(columns, rounding_mode="floor")], dim=2) + 0.5
    xy = cells * (sides / torch.tensor([columns, rows]))[:, None] + boxes[:, None, :2]
    scores = flat.gather(2, place[..., None])[..., 0]
    known = (boxes.isfinite().all(dim=1) & sides.isfinite().all(dim=1))[:, None]
    return torch.where(known[..., None], xy, 0).to(maps), torch.where(known, scores, 0)


MUTANTS = [  # function, op, the convention's name
    (ps_align_bins_first, "ps_roi_align", "channels-bin-major"),
    (ps_align_unshifted, "ps_roi_align", "aligned-off-least-size"),
    (ps_align_nan, "ps_roi_align", "empty-nan"),
    (ps_align_two_by_two, "ps_roi_align", "grid-2x2"),
    (ps_pool_whole_map, "ps_roi_pool", "last-row-read"),
    (ps_pool_bins_first, "ps_roi_pool", "channels-bin-major"),
    (ps_pool_plus_one, "ps_roi_pool", "plus-one"),
    (warp_half_even, "roi_warp", "rounded-half-even"),
    (warp_always_mean, "roi_warp", "always-mean"),
    (align_ignores_reduce, "roi_align", "always-mean"),
    (multiscale_always_max, "multiscale_roi_align", "max"),
    (align_rotated_clockwise, "roi_align_rotated", "clockwise"),
    (align_rotated_height_first, "roi_align_rotated", "height-first"),
    (align_rotated_two_by_two, "roi_align_rotated", "grid-2x2"),
    (align_rotated_unshifted, "roi_align_rotated", "aligned-off"),
    (multiscale_rotated_clockwise, "multiscale_roi_align_rotated", "clockwise"),
    (multiscale_rotated_in_radians, "multiscale_roi_align_rotated", "radians"),
    (multiscale_rotated_by_level, "multiscale_roi_align_rotated", "rows-by-level"),
    (deform_x_first, "deform_conv2d", "x-first"),
    (deform_v1, "deform_conv2d", "mask-ignored"),
    (deform_at_the_border, "deform_conv2d", "edge-border"),
    (keypoints_inside, "encode_keypoints", "open-edges"),
    (keypoints_unseen, "encode_keypoints", "visibility-ignored"),
    (keypoints_at_corners, "decode_keypoints", "no-half"),
    (keypoints_of_the_map, "decode_keypoints", "map-not-resized"),
    (paste_rle_strict, "paste_masks_rle", "strict-threshold"),
    (paste_rle_integer, "paste_masks_rle", "integer-rule"),
]
