"""The box codec on tensors: boxes as deltas from anchors, and back; differentiable in both tensors."""

import torch

from roikit._check.box_codec import CLIP
from roikit.ops._codec import factors, register_codec, to_decode, to_encode

__all__ = ["decode_boxes", "encode_boxes"]


def encode_boxes(boxes, anchors, weights=(1, 1, 1, 1)):
    """Express ``boxes`` relative to ``anchors``.

    Args:
        boxes: (N, 4) floating, xyxy; half is cast to float32.
        anchors: (N, 4), likewise, on the same device; the two are computed in the wider dtype.
        weights: four positive factors of dx, dy, dw, dh.

    Returns:
        (N, 4): dx, dy in sizes of the anchor, dw, dh natural logarithms of ratios; infinities or NaN where a side is
        not positive. Differentiable in boxes and anchors.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.2.
    """
    return torch.ops.roikit.encode_boxes(*to_encode("encode_boxes", boxes, anchors, weights, 4))


def decode_boxes(deltas, anchors, weights=(1, 1, 1, 1), *, clip=CLIP):
    """Apply ``deltas`` to ``anchors``.

    Args:
        deltas: (N, 4 C) floating, dx dy dw dh of each of C classes; half is cast to float32.
        anchors: (N, 4), likewise, xyxy, on the same device, shared by the classes of a row. The two are computed in
            the wider dtype.
        weights: the four positive factors that encoded the deltas.
        clip: dw and dh are limited to this from above, after the division by their weights.

    Returns:
        (N, 4 C), x1 y1 x2 y2 of each class. Differentiable in deltas and anchors; dw and dh above the clip get 0.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.2; the clip as torchvision's.
    """
    return torch.ops.roikit.decode_boxes(*to_decode("decode_boxes", deltas, anchors, weights, clip, 4))


def _centre_and_size(boxes):
    """Along x and y together: (..., 2) each."""
    size = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * size, size


def _corners(centre, size):
    """The gradient of the corners (..., 4) from that of the centre and of the size."""
    return torch.cat([0.5 * centre - size, 0.5 * centre + size], dim=-1)


def _encode_backward(ctx, grad):
    boxes, anchors = ctx.saved_tensors
    weights = factors(boxes, ctx.weights)
    (g_centre, g_size), (a_centre, a_size) = _centre_and_size(boxes), _centre_and_size(anchors)
    centre = grad[:, :2] * weights[:2] / a_size
    scale = grad[:, 2:] * weights[2:]
    side = -(centre * (g_centre - a_centre) + scale) / a_size
    return _corners(centre, scale / g_size), _corners(-centre, side), None


def _decode_backward(ctx, grad):
    deltas, anchors = ctx.saved_tensors
    weights = factors(deltas, ctx.weights)
    grad, rows = grad.unflatten(1, (-1, 4)), deltas.unflatten(1, (-1, 4))  # (N, C, 4)
    a_size = (anchors[:, 2:] - anchors[:, :2]).unsqueeze(1)
    centre, size = grad[..., :2] + grad[..., 2:], 0.5 * (grad[..., 2:] - grad[..., :2])
    shift, d = rows[..., :2] / weights[:2], rows[..., 2:] / weights[2:]
    growth = torch.where(d > ctx.clip, ctx.clip, d).exp()
    d_scale = torch.where(d <= ctx.clip, size * growth * a_size / weights[2:], 0)
    d_deltas = torch.cat([centre * a_size / weights[:2], d_scale], dim=-1).flatten(1)
    return d_deltas, _corners(centre.sum(1), (centre * shift + size * growth).sum(1)), None, None


register_codec("encode_boxes(Tensor boxes, Tensor anchors, float[] weights) -> Tensor", _encode_backward)
register_codec("decode_boxes(Tensor deltas, Tensor anchors, float[] weights, float clip) -> Tensor", _decode_backward)
