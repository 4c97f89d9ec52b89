"""RoIAlign of rotated boxes: the mean of bilinear samples in each bin.

Types A and T, grids, the bilinear rule and what a sample outside the map is worth are those of
``roi_align``. A box is cx, cy, w, h in pixels and degrees counter-clockwise. All in T, in this order,
without fused multiply-add, because a sample is dropped or kept by it:

- x = cx * s - 0.5; y = cy * s - 0.5; w = w * s; h = h * s; sin and cos are those of
  ``rotated.sin_cos_degrees`` (in double), rounded to T.
- Along the height start = -(0.5 * h) and bin = h / PH, along the width likewise with w and PW; g for
  each as in ``roi_align``; sample k of bin p is at (start + p * bin) + ((k + 0.5) * bin) / g.
- A sample at v along the height and u along the width lies at column (v * sin + u * cos) + x and row
  (v * cos - u * sin) + y. It counts if both do in ``roi_align``; then four pixels get the products of
  the two weights that ``roi_align`` gives a row and a column.

The value of a bin is the sum over its samples, divided by gh * gw, the number of them all.

A RoI gives 0, and gradient 0, if w or h is not above 0, if a number is NaN or infinite, or if x, y, w
or h is 2**24 or more in magnitude; so does a map with H = 0 or W = 0. A pixel of weight exactly 0
need not be read.

On a pyramid a RoI is on the level that ``assign_levels`` gives an upright box of its w and h, rounded
to float32; a negative side counts as 0.

Bound. As in ``roi_align``: each output element lies within TOLERANCE[dtype] * (the largest |feature|
of the RoI's image), each element of the gradient within TOLERANCE[dtype] * (largest |grad| +
roi_align_rotated_backward(|grad|)).

Source: Ma et al. 2017, arXiv:1703.01086, section IV; He et al. 2017, arXiv:1703.06870, section 3;
always shifted by half a pixel, as in detectron2.
"""

from bisect import bisect_left, bisect_right

import numpy as np

from roikit.reference.arguments import as_rois, pair
from roikit.reference.boxes import side
from roikit.reference.roi_align import levels_of_sides
from roikit.reference.rois import GRID_LIMIT, geometry
from roikit.reference.rotated import sin_cos_degrees

__all__ = ["multiscale_roi_align_rotated", "multiscale_roi_align_rotated_backward", "roi_align_rotated",
           "roi_align_rotated_backward"]

SIZE_LIMIT = 2.0**24  # up to here float32 knows pixels apart


def offsets(size, bins, sampling_ratio, low, high):
    """For each bin of an axis of the box, the offsets from its centre of the samples in [low, high]; and the grid."""
    real = size.dtype.type
    step = size / real(bins)
    grid = sampling_ratio if sampling_ratio > 0 else int(np.clip(np.ceil(step), 0, GRID_LIMIT))

    def of_bin(p):
        def position(k):
            return (-(real(0.5) * size) + real(p) * step) + ((real(k) + real(0.5)) * step) / real(grid)

        first, last = bisect_left(range(grid), low, key=position), bisect_right(range(grid), high, key=position)
        return np.array([position(k) for k in range(first, last)], size.dtype)

    return [of_bin(p) for p in range(bins)], grid


def bilinear(at, extent):
    """Low and high pixel of positions in [-1, extent], and the weight of the high one."""
    at = np.where(at > 0, at, at.dtype.type(0))
    low = at.astype(np.int64)
    edge = low >= extent - 1
    low = np.where(edge, extent - 1, low)
    return low, np.where(edge, low, low + 1), np.where(edge, at.dtype.type(0), at - low.astype(at.dtype))


def bin_weights(box, output_size, shape, spatial_scale, sampling_ratio):
    """Yields (ph, pw, weights T (H, W)) of the bins of one RoI that touch the map."""
    real, (rows, columns), (height, width) = box.dtype.type, output_size, shape
    scale, half = real(spatial_scale), real(0.5)
    with np.errstate(over="ignore", invalid="ignore"):
        x, y, w, h = box[0] * scale - half, box[1] * scale - half, box[2] * scale, box[3] * scale
    numbers = np.array([x, y, w, h])
    if not (np.abs(numbers) < SIZE_LIMIT).all() or not np.isfinite(box[4]) or min(w, h) <= 0 or 0 in shape:
        return
    sin, cos = (v.astype(box.dtype) for v in sin_cos_degrees(np.float64(box[4])))
    # The map's corners in the box's axes, with room for every rounding: samples beyond them do not count.
    at_x, at_y = np.meshgrid(np.array([-1, width]) - np.float64(x), np.array([-1, height]) - np.float64(y))
    along_v, along_u = at_x * sin + at_y * cos, at_x * cos - at_y * sin
    room = 64 * np.finfo(box.dtype).eps * (float(w) + float(h) + abs(float(x)) + abs(float(y)) + height + width)
    vs, gv = offsets(h, rows, sampling_ratio, along_v.min() - room, along_v.max() + room)
    us, gu = offsets(w, columns, sampling_ratio, along_u.min() - room, along_u.max() + room)
    for ph, pw in np.ndindex(rows, columns):
        v, u = vs[ph][:, None], us[pw][None, :]
        column, row = (v * sin + u * cos) + x, (v * cos - u * sin) + y
        counts = (column >= -1) & (column <= width) & (row >= -1) & (row <= height)
        top, bottom, down = bilinear(row[counts], height)
        left, right, across = bilinear(column[counts], width)
        weights = np.zeros(shape, box.dtype)
        np.add.at(weights, (top, left), (1 - down) * (1 - across))
        np.add.at(weights, (top, right), (1 - down) * across)
        np.add.at(weights, (bottom, left), down * (1 - across))
        np.add.at(weights, (bottom, right), down * across)
        if weights.any():
            yield ph, pw, weights / (real(gv) * real(gu))


def roi_align_rotated(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1):
    """Pool each rotated RoI into PH x PW means of bilinear samples. The module states the rule.

    Args:
        input: (N, C, H, W) float16, float32 or float64 features.
        boxes: (K, 6) float with the batch index first, then cx, cy, w, h, degrees, or a list with one
            (L, 5) array an image.
        output_size: P, or (PH, PW); rows lie along the box's height.
        spatial_scale: map pixels an input pixel.
        sampling_ratio: samples a bin along each axis; 0 or less means ceil(bin), adaptive.

    Returns:
        (K, C, PH, PW), the dtype of ``input``.

    Raises:
        IndexError: a batch index is not whole, negative, or at least N.
    """
    input = np.asarray(input)
    size = pair(output_size)
    accumulate, batch, boxes = geometry("roi_align_rotated", input.dtype, boxes, len(input), 5)
    output = np.zeros((len(boxes), input.shape[1], *size), accumulate)
    for k, box in enumerate(boxes):
        image = input[batch[k]].astype(accumulate)
        for ph, pw, weights in bin_weights(box, size, input.shape[2:], spatial_scale, sampling_ratio):
            y, x = np.nonzero(weights)
            output[k, :, ph, pw] = (image[:, y, x] * weights[y, x].astype(accumulate)).sum(axis=1)
    with np.errstate(over="ignore"):
        return output.astype(input.dtype)


def roi_align_rotated_backward(grad, boxes, input_shape, output_size, spatial_scale=1.0, sampling_ratio=-1):
    """Gradient of ``roi_align_rotated`` with respect to its input; the boxes have none.

    Args:
        grad: (K, C, PH, PW), the gradient of the output; its dtype is that of the features.
        boxes, output_size, spatial_scale, sampling_ratio: as given to the forward pass.
        input_shape: (N, C, H, W).

    Returns:
        (N, C, H, W), the dtype of ``grad``: each bin's gradient times the weight of each pixel,
        added in A and rounded once.
    """
    grad = np.asarray(grad)
    size = pair(output_size)
    accumulate, batch, boxes = geometry("roi_align_rotated", grad.dtype, boxes, input_shape[0], 5)
    result = np.zeros(input_shape, accumulate)
    for k, box in enumerate(boxes):
        for ph, pw, weights in bin_weights(box, size, input_shape[2:], spatial_scale, sampling_ratio):
            y, x = np.nonzero(weights)
            result[batch[k], :, y, x] += weights[y, x].astype(accumulate)[:, None] * grad[k, :, ph, pw]
    with np.errstate(over="ignore"):
        return result.astype(grad.dtype)


def pyramid_rois(op, boxes, scales, images, canonical_scale, canonical_level):
    """RoIs as (K, 6) and the level of each; ``boxes`` is (K, 6) or a list."""
    if len(scales) == 0:
        raise ValueError(f"{op}: scales must name at least one level, got none")
    batch, boxes = as_rois(op, boxes, images, 5)
    with np.errstate(over="ignore"):
        w, h = (side(np.float32(0), boxes[:, i].astype(np.float32)) for i in (2, 3))
    return (np.concatenate([batch[:, None].astype(boxes.dtype), boxes], axis=1),
            levels_of_sides(w, h, scales, canonical_scale, canonical_level))


def multiscale_roi_align_rotated(features, boxes, output_size, scales, *, sampling_ratio=2, canonical_scale=224,
                                 canonical_level=4):
    """``roi_align_rotated`` of each RoI on the pyramid level that its size asks for.

    Args:
        features: list of (N, C, H_i, W_i), one a level, finest first, of one dtype.
        boxes: (K, 6) float with the batch index first, or a list with one (L, 5) array an image; in
            input pixels.
        output_size, sampling_ratio: as in `roi_align_rotated`.
        scales, canonical_scale, canonical_level: as in `multiscale_roi_align`.

    Returns:
        (K, C, PH, PW), rows in the order of the boxes.

    Raises:
        ValueError: no level, or ``features`` and ``scales`` differ in length.
        IndexError: as in ``roi_align_rotated``.
    """
    op = "multiscale_roi_align_rotated"
    if len(features) != len(scales):
        raise ValueError(f"{op}: scales must have one value a level, got {len(scales)} for {len(features)}")
    rois, levels = pyramid_rois(op, boxes, scales, len(features[0]) if len(features) else 0, canonical_scale,
                                canonical_level)
    parts = [roi_align_rotated(features[level], rois[k : k + 1], output_size, scales[level], sampling_ratio)
             for k, level in enumerate(levels)]
    return np.concatenate([roi_align_rotated(features[0], rois[:0], output_size), *parts])


def multiscale_roi_align_rotated_backward(grad, boxes, input_shapes, output_size, scales, *, sampling_ratio=2,
                                          canonical_scale=224, canonical_level=4):
    """Gradients of ``multiscale_roi_align_rotated`` with respect to each level's features.

    Args:
        grad: (K, C, PH, PW), the gradient of the output.
        boxes, output_size, scales, sampling_ratio, canonical_scale, canonical_level: as given to the forward pass.
        input_shapes: list of (N, C, H_i, W_i).

    Returns:
        list of (N, C, H_i, W_i), the dtype of ``grad``; zeros on a level without RoIs.
    """
    rois, levels = pyramid_rois("multiscale_roi_align_rotated", boxes, scales, input_shapes[0][0], canonical_scale,
                                canonical_level)
    return [roi_align_rotated_backward(grad[levels == i], rois[levels == i], shape, output_size, scales[i],
                                       sampling_ratio) for i, shape in enumerate(input_shapes)]
