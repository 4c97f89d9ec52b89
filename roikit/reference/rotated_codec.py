"""Rotated boxes as deltas from rotated anchors, and back; and a cell of rotated anchors.

Rows are cx, cy, w, h in pixels and degrees counter-clockwise. T is the wider dtype of the two arrays
(half is cast to float32); weights, clip and the constants are rounded to T. All in T, in this order,
without fused multiply-add:

    encode  dx = wx * (gx - ax) / aw      dw = ww * log(gw / aw)      da = wa * (wrap(ga - aa) * (pi / 180))
    decode  d = dw / ww; d = d > clip ? clip : d;      w = exp(d) * aw
            x = (dx / wx) * aw + ax       angle = wrap((da / wa) * (180 / pi) + aa)

and likewise for y and h. wrap(a) is the number in [-180, 180) that differs from a by whole turns,
without rounding: r = fmod(a, 360); r >= 180 loses 360, r < -180 gains 360; a zero is +0. An infinite
angle gives NaN in its own column.

Bound. dx, dy and da, and the decoded centre and angle, are exact. |error of dw| <= TOLERANCE * |dw|,
|error of w| <= TOLERANCE * |w|, with the TOLERANCE of ``box_codec``. The gradients carry the same
bound, relative to the sum of the magnitudes of their terms; wrap has the slope 1.

Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.2; the angle as in detectron2 (Ma et al.,
arXiv:1703.01086).
"""

import math

import numpy as np

from roikit.reference.anchors import cell_anchors
from roikit.reference.arguments import as_boxes
from roikit.reference.box_codec import CLIP, prepare

__all__ = ["cell_anchors_rotated", "decode_boxes_rotated", "decode_boxes_rotated_backward", "encode_boxes_rotated",
           "encode_boxes_rotated_backward"]


def wrap_degrees(degrees):
    """Angles in [-180, 180), in the dtype of the argument; nothing is rounded."""
    with np.errstate(invalid="ignore"):
        r = np.fmod(degrees, degrees.dtype.type(360))
        r = np.where(r >= 180, r - 360, r)
        return np.where(r < -180, r + 360, r) + 0  # -0 becomes 0


def encode_boxes_rotated(boxes, anchors, weights=(1, 1, 1, 1, 1)):
    """Express rotated ``boxes`` relative to rotated ``anchors``.

    Args:
        boxes: (N, 5) float, cx, cy, w, h in pixels and degrees counter-clockwise.
        anchors: (N, 5) float.
        weights: five factors wx, wy, ww, wh, wa.

    Returns:
        T (N, 5): dx, dy in sides of the anchor, dw, dh natural logarithms of ratios, da radians.
    """
    boxes = as_boxes("encode_boxes_rotated", "boxes", boxes, 5)
    rows, anchors, w = prepare("encode_boxes_rotated", "boxes", boxes, anchors, weights, 5)
    g, radian = rows[:, 0], rows.dtype.type(math.pi / 180)
    with np.errstate(all="ignore"):
        shift = w[:2] * (g[:, :2] - anchors[:, :2]) / anchors[:, 2:4]
        scale = w[2:4] * np.log(g[:, 2:4] / anchors[:, 2:4])
        turn = w[4] * (wrap_degrees(g[:, 4:] - anchors[:, 4:]) * radian)
    return np.concatenate([shift, scale, turn], axis=1)


def encode_boxes_rotated_backward(grad, boxes, anchors, weights=(1, 1, 1, 1, 1)):
    """Gradients of ``encode_boxes_rotated``.

    Args:
        grad: (N, 5), the gradient of the deltas.
        boxes, anchors, weights: as given to the forward pass.

    Returns:
        the gradients of boxes and of anchors, each T (N, 5).
    """
    boxes = as_boxes("encode_boxes_rotated", "boxes", boxes, 5)
    rows, anchors, w = prepare("encode_boxes_rotated", "boxes", boxes, anchors, weights, 5)
    grad, g, sides = np.asarray(grad, anchors.dtype), rows[:, 0], anchors[:, 2:4]
    with np.errstate(all="ignore"):
        centre, scale = grad[:, :2] * w[:2] / sides, grad[:, 2:4] * w[2:4]
        turn = grad[:, 4:] * w[4] * rows.dtype.type(math.pi / 180)
        of_sides = -(centre * (g[:, :2] - anchors[:, :2]) + scale) / sides
        return (np.concatenate([centre, scale / g[:, 2:4], turn], axis=1),
                np.concatenate([-centre, of_sides, -turn], axis=1))


def decode_boxes_rotated(deltas, anchors, weights=(1, 1, 1, 1, 1), *, clip=CLIP):
    """Apply ``deltas`` to rotated ``anchors``.

    Args:
        deltas: (N, 5 C) float, dx dy dw dh da of each of C classes.
        anchors: (N, 5) float, shared by the classes of a row.
        weights: the five factors that encoded them.
        clip: dw and dh are limited to this from above, after the division by their weights.

    Returns:
        T (N, 5 C), cx, cy, w, h and degrees in [-180, 180) of each class.
    """
    rows, anchors, w = prepare("decode_boxes_rotated", "deltas", deltas, anchors, weights, 5)
    limit, a = rows.dtype.type(clip), anchors[:, None]
    with np.errstate(all="ignore"):
        d = rows[..., 2:4] / w[2:4]
        sides = np.exp(np.where(d > limit, limit, d)) * a[..., 2:4]
        centre = (rows[..., :2] / w[:2]) * a[..., 2:4] + a[..., :2]
        angle = wrap_degrees((rows[..., 4:] / w[4]) * rows.dtype.type(180 / math.pi) + a[..., 4:])
    return np.concatenate([centre, sides, angle], axis=-1).reshape(np.shape(deltas))


def decode_boxes_rotated_backward(grad, deltas, anchors, weights=(1, 1, 1, 1, 1), *, clip=CLIP):
    """Gradients of ``decode_boxes_rotated``; dw and dh above ``clip`` (or NaN) have gradient 0.

    Args:
        grad: (N, 5 C), the gradient of the boxes.
        deltas, anchors, weights, clip: as given to the forward pass.

    Returns:
        the gradient of deltas T (N, 5 C), and of anchors T (N, 5), summed over the classes.
    """
    rows, anchors, w = prepare("decode_boxes_rotated", "deltas", deltas, anchors, weights, 5)
    grad = np.asarray(grad, anchors.dtype).reshape(rows.shape)
    limit, sides = rows.dtype.type(clip), anchors[:, None, 2:4]
    with np.errstate(all="ignore"):
        centre, size, turn = grad[..., :2], grad[..., 2:4], grad[..., 4:]
        d = rows[..., 2:4] / w[2:4]
        growth = np.exp(np.where(d > limit, limit, d))
        deltas_grad = [centre * sides / w[:2], np.where(d <= limit, size * growth * sides / w[2:4], 0),
                       turn * rows.dtype.type(180 / math.pi) / w[4]]
        anchors_grad = [centre, centre * (rows[..., :2] / w[:2]) + size * growth, turn]
        return (np.concatenate(deltas_grad, axis=-1).reshape(np.shape(deltas)),
                np.concatenate(anchors_grad, axis=-1).sum(axis=1))


def cell_anchors_rotated(sizes, aspect_ratios, angles, *, dtype=np.float32):
    """Rotated anchors around the origin, one for each size, ratio and angle.

    Args:
        sizes: S numbers, the square root of an anchor's area, pixels.
        aspect_ratios: R numbers above 0, height over width.
        angles: A numbers, degrees counter-clockwise.
        dtype: T, float32 or float64.

    Returns:
        T (S * R * A, 5), rows 0, 0, w, h, angle with the size outside, then the ratio, the angle inside
        (detectron2's order). The sides are those of ``cell_anchors``.
    """
    cell = cell_anchors(sizes, aspect_ratios, order="size", dtype=dtype)
    angles = np.asarray(angles, cell.dtype)
    anchors = np.zeros((len(cell), len(angles), 5), cell.dtype)
    anchors[..., 2:4] = 2 * cell[:, None, 2:]
    anchors[..., 4] = angles
    return anchors.reshape(-1, 5)
