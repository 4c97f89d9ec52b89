"""The box codec: boxes as deltas from anchors, and back (Faster R-CNN, eq. 2).

T is the wider dtype of the two tensors (half is cast to float32); weights and clip are rounded to
T. With w = x2 - x1 and cx = x1 + 0.5 * w of the anchor (a) and of the box (g), all in T, in this
order, without fused multiply-add:

    encode  dx = wx * (gcx - acx) / aw                  dw = ww * log(gw / aw)
    decode  d = dw / ww; d = d > clip ? clip : d;       w = exp(d) * aw
            cx = (dx / wx) * aw + acx                   x1 = cx - 0.5 * w;  x2 = cx + 0.5 * w

and likewise for y. A box or anchor without a positive size gives what IEEE arithmetic gives: an
infinity or NaN in the deltas of that row and axis, nowhere else. NaN deltas decode to NaN.

Bound. dx and dy are exact. ``log`` and ``exp`` differ between libraries by a few units in the last
place, so against this reference, with TOLERANCE of T: |error of dw| <= TOLERANCE * |dw|, and
|error of x1 or x2| <= TOLERANCE * (|x1| + |x2|); infinities and NaN stand in the same places
(unless an overflow hangs on the last bit). TOLERANCE is 8 units in the last place: 3 for either
library's function, and the roundings after it. The gradients carry the same bound, relative to the
sum of the magnitudes of their terms.

Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.2; the clip and its default as torchvision's.
"""

import math

import numpy as np

from roikit.reference.arguments import as_boxes, as_floats

__all__ = ["decode_boxes", "decode_boxes_backward", "encode_boxes", "encode_boxes_backward"]

CLIP = math.log(1000 / 16)  # a box grows at most to 62.5 times its anchor
TOLERANCE = {"float32": 8 * 2.0**-23, "float64": 8 * 2.0**-52}


def centres(boxes):
    """Centre x, centre y, width, height of boxes (..., 4): four arrays (...)."""
    half = boxes.dtype.type(0.5)
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    return boxes[..., 0] + half * width, boxes[..., 1] + half * height, width, height


def corner_gradient(grad_centre, grad_size):
    """Gradient of (first corner, second corner) from that of (centre, size) of one axis."""
    half = grad_centre.dtype.type(0.5)
    return half * grad_centre - grad_size, half * grad_centre + grad_size


def prepare(op, name, first, anchors, weights, columns=4):
    """Both arrays cast to T, the first as rows (N, C, columns), and the weights in T."""
    anchors, first = as_boxes(op, "anchors", anchors, columns), as_floats(op, name, first)
    if first.ndim != 2 or first.shape[1] % columns or first.shape[1] == 0:
        raise ValueError(f"{op}: {name} must have shape (N, {columns}C), got {first.shape}")
    if len(first) != len(anchors):
        raise ValueError(
            f"{op}: {name} must have one row an anchor ({len(anchors)}), got {len(first)}")
    dtype = np.result_type(first, anchors)
    rows = first.astype(dtype).reshape(len(first), first.shape[1] // columns, columns)
    return rows, anchors.astype(dtype), np.asarray(weights, dtype)


def encode_boxes(boxes, anchors, weights=(1, 1, 1, 1)):
    """Express ``boxes`` relative to ``anchors``.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2 in pixels.
        anchors: (N, 4) float.
        weights: four factors wx, wy, ww, wh.

    Returns:
        T (N, 4): dx, dy in sizes of the anchor, dw, dh natural logarithms of ratios.
    """
    boxes = as_boxes("encode_boxes", "boxes", boxes)
    rows, anchors, (wx, wy, ww, wh) = prepare("encode_boxes", "boxes", boxes, anchors, weights)
    with np.errstate(all="ignore"):
        acx, acy, aw, ah = centres(anchors)
        gcx, gcy, gw, gh = centres(rows[:, 0])
        return np.stack([wx * (gcx - acx) / aw, wy * (gcy - acy) / ah,
                         ww * np.log(gw / aw), wh * np.log(gh / ah)], axis=1)


def encode_boxes_backward(grad, boxes, anchors, weights=(1, 1, 1, 1)):
    """Gradients of ``encode_boxes``.

    Args:
        grad: (N, 4), the gradient of the deltas.
        boxes, anchors, weights: as given to the forward pass.

    Returns:
        the gradients of boxes and of anchors, each T (N, 4).
    """
    boxes = as_boxes("encode_boxes", "boxes", boxes)
    rows, anchors, (wx, wy, ww, wh) = prepare("encode_boxes", "boxes", boxes, anchors, weights)
    grad = np.asarray(grad, anchors.dtype)
    boxes_grad, anchors_grad = np.empty_like(anchors), np.empty_like(anchors)
    with np.errstate(all="ignore"):
        acx, acy, aw, ah = centres(anchors)
        gcx, gcy, gw, gh = centres(rows[:, 0])
        for axis, (w_centre, w_size, a_centre, a_size, g_centre, g_size) in enumerate(
                [(wx, ww, acx, aw, gcx, gw), (wy, wh, acy, ah, gcy, gh)]):
            shift, scale = grad[:, axis], grad[:, axis + 2]
            centre = shift * w_centre / a_size
            a_side = -(centre * (g_centre - a_centre) + scale * w_size) / a_size
            boxes_grad[:, axis], boxes_grad[:, axis + 2] = corner_gradient(
                centre, scale * w_size / g_size)
            anchors_grad[:, axis], anchors_grad[:, axis + 2] = corner_gradient(-centre, a_side)
    return boxes_grad, anchors_grad


def decode_boxes(deltas, anchors, weights=(1, 1, 1, 1), *, clip=CLIP):
    """Apply ``deltas`` to ``anchors``.

    Args:
        deltas: (N, 4 C) float, dx dy dw dh of each of C classes.
        anchors: (N, 4) float, x1 y1 x2 y2 in pixels, shared by the classes of a row.
        weights: the four factors that encoded them.
        clip: dw and dh are limited to this from above, after the division by their weights.

    Returns:
        T (N, 4 C), x1 y1 x2 y2 of each class.
    """
    rows, anchors, (wx, wy, ww, wh) = prepare("decode_boxes", "deltas", deltas, anchors, weights)
    limit, half = anchors.dtype.type(clip), anchors.dtype.type(0.5)
    with np.errstate(all="ignore"):
        acx, acy, aw, ah = (part[:, None] for part in centres(anchors))
        dw, dh = rows[..., 2] / ww, rows[..., 3] / wh
        width = np.exp(np.where(dw > limit, limit, dw)) * aw
        height = np.exp(np.where(dh > limit, limit, dh)) * ah
        cx = (rows[..., 0] / wx) * aw + acx
        cy = (rows[..., 1] / wy) * ah + acy
        boxes = np.stack([cx - half * width, cy - half * height,
                          cx + half * width, cy + half * height], axis=-1)
    return boxes.reshape(np.shape(deltas))


def decode_boxes_backward(grad, deltas, anchors, weights=(1, 1, 1, 1), *,
                          clip=CLIP):
    """Gradients of ``decode_boxes``; dw and dh above ``clip`` (or NaN) have gradient 0.

    Args:
        grad: (N, 4 C), the gradient of the boxes.
        deltas, anchors, weights, clip: as given to the forward pass.

    Returns:
        the gradient of deltas T (N, 4 C), and of anchors T (N, 4), summed over the classes.
    """
    rows, anchors, (wx, wy, ww, wh) = prepare("decode_boxes", "deltas", deltas, anchors, weights)
    grad = np.asarray(grad, anchors.dtype).reshape(rows.shape)
    limit, half = anchors.dtype.type(clip), anchors.dtype.type(0.5)
    deltas_grad, anchors_grad = np.empty_like(rows), np.empty_like(anchors)
    with np.errstate(all="ignore"):
        _, _, aw, ah = (part[:, None] for part in centres(anchors))
        for axis, (w_centre, w_size, a_size) in enumerate([(wx, ww, aw), (wy, wh, ah)]):
            centre = grad[..., axis] + grad[..., axis + 2]
            size = half * (grad[..., axis + 2] - grad[..., axis])
            shift, d = rows[..., axis] / w_centre, rows[..., axis + 2] / w_size
            growth = np.exp(np.where(d > limit, limit, d))
            deltas_grad[..., axis] = centre * a_size / w_centre
            deltas_grad[..., axis + 2] = np.where(d <= limit, size * growth * a_size / w_size, 0)
            anchors_grad[:, axis], anchors_grad[:, axis + 2] = corner_gradient(
                centre.sum(axis=1), (centre * shift + size * growth).sum(axis=1))
    return deltas_grad.reshape(np.shape(deltas)), anchors_grad
