"""The box codec on tensors: boxes as deltas from anchors, and back; differentiable in both tensors."""

import torch

from roikit import _check
from roikit.ops._codec import CLIP, context, factors, fake, same_dtype
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import register

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
    _check.boxes("encode_boxes", "boxes", boxes)
    _check.boxes("encode_boxes", "anchors", anchors)
    _check.same_rows("encode_boxes", boxes=boxes, anchors=anchors)
    _check.same_device("encode_boxes", boxes=boxes, anchors=anchors)
    weights = _check.positives("encode_boxes", "weights", weights, 4)
    return torch.ops.roikit.encode_boxes(*same_dtype(boxes, anchors), weights)


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
    _check.deltas("decode_boxes", "deltas", deltas)
    _check.boxes("decode_boxes", "anchors", anchors)
    _check.same_rows("decode_boxes", deltas=deltas, anchors=anchors)
    _check.same_device("decode_boxes", deltas=deltas, anchors=anchors)
    weights = _check.positives("decode_boxes", "weights", weights, 4)
    clip = _check.number("decode_boxes", "clip", clip)
    return torch.ops.roikit.decode_boxes(*same_dtype(deltas, anchors), weights, clip)


def _encode_kernel(boxes, anchors, weights):
    g, a = boxes.contiguous(), anchors.contiguous()
    out = torch.empty_like(g)
    backend(g, "encode_boxes").encode_boxes(view(g), view(a), weights, view(out), launch(g))
    return out


def _decode_kernel(deltas, anchors, weights, clip):
    d, a = deltas.contiguous(), anchors.contiguous()
    out = torch.empty_like(d)
    backend(d, "decode_boxes").decode_boxes(view(d), view(a), weights, clip, view(out), launch(d))
    return out


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


register("encode_boxes(Tensor boxes, Tensor anchors, float[] weights) -> Tensor", _encode_kernel, fake,
         backward=_encode_backward, setup_context=context)
register("decode_boxes(Tensor deltas, Tensor anchors, float[] weights, float clip) -> Tensor", _decode_kernel, fake,
         backward=_decode_backward, setup_context=context)
