"""The codec of rotated boxes on tensors, differentiable in both, and rotated anchors."""

import math

import torch

from roikit import _check
from roikit._check import rotated_codec as checks
from roikit._check.box_codec import CLIP
from roikit.ops._codec import factors, register_codec, to_decode, to_encode

__all__ = ["cell_anchors_rotated", "decode_boxes_rotated", "encode_boxes_rotated"]


def encode_boxes_rotated(boxes, anchors, weights=(1, 1, 1, 1, 1)):
    """Express rotated ``boxes`` relative to rotated ``anchors``.

    Args:
        boxes: (N, 5) floating: cx, cy, w, h in pixels, degrees counter-clockwise; half is cast to float32.
        anchors: (N, 5), likewise, on the same device; the two are computed in the wider dtype.
        weights: five positive factors of dx, dy, dw, dh, da.

    Returns:
        (N, 5): dx, dy in sides of the anchor, dw, dh natural logarithms of ratios, da the turn in radians, from within
        [-180, 180) degrees; infinities or NaN where a side is not positive. Differentiable in boxes and anchors.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: Ren et al. 2015, arXiv:1506.01497, section 3.1.2; the angle as detectron2's.
    """
    return torch.ops.roikit.encode_boxes_rotated(*to_encode("encode_boxes_rotated", boxes, anchors, weights, 5))


def decode_boxes_rotated(deltas, anchors, weights=(1, 1, 1, 1, 1), *, clip=CLIP):
    """Apply ``deltas`` to rotated ``anchors``.

    Args:
        deltas: (N, 5 C) floating, dx dy dw dh da of each of C classes; half is cast to float32.
        anchors: (N, 5), likewise, on the same device, shared by the classes of a row. The two are computed in the
            wider dtype.
        weights: the five positive factors that encoded the deltas.
        clip: dw and dh are limited to this from above, after the division by their weights.

    Returns:
        (N, 5 C): cx, cy, w, h and degrees in [-180, 180) of each class. Differentiable in deltas and anchors; dw and dh
        above the clip get 0.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: as `encode_boxes_rotated`; the clip as torchvision's.
    """
    return torch.ops.roikit.decode_boxes_rotated(*to_decode("decode_boxes_rotated", deltas, anchors, weights, clip, 5))


def cell_anchors_rotated(sizes, aspect_ratios, angles, *, dtype=torch.float32, device=None):
    """Rotated anchors around the origin, one for each size, ratio and angle.

    Args:
        sizes: S positive numbers, the square roots of the anchors' areas, pixels.
        aspect_ratios: R positive numbers, height over width.
        angles: A finite numbers, degrees counter-clockwise.
        dtype: float32 or float64; everything is cast to it and computed in it.
        device: of the result; computed on the CPU, so that every device gets the same bits.

    Returns:
        (S * R * A, 5), rows 0, 0, w, h, angle with the size outside, then the ratio, the angle inside (detectron2's
        order); the sides are those of `cell_anchors`. `grid_anchors` lays them out.

    Raises:
        TypeError, ValueError: dtype is another; a size or a ratio is not a positive number, an angle is not finite.

    Source: Ma et al. 2017, arXiv:1703.01086, section IV.
    """
    op = "cell_anchors_rotated"
    sizes, ratios, angles = checks.cell(op, sizes, aspect_ratios, angles)
    _check.real_dtype(op, dtype, (torch.float32, torch.float64))
    sizes, ratios, angles = (torch.tensor(v, dtype=dtype, device="cpu") for v in (sizes, ratios, angles))
    sides = 2 * torch.ops.roikit.cell_anchors(sizes, ratios, False, False)[:, None, 2:]
    shape = sides.shape[0], angles.shape[0]
    parts = [sides.new_zeros(*shape, 2), sides.expand(*shape, 2), angles[:, None].expand(*shape, 1)]
    return torch.cat(parts, dim=-1).flatten(0, 1).to(device, non_blocking=True)  # the host need not wait for the GPU


def _encode_backward(ctx, grad):
    boxes, anchors = ctx.saved_tensors
    weights = factors(boxes, ctx.weights)
    sides = anchors[:, 2:4]
    centre, scale = grad[:, :2] * weights[:2] / sides, grad[:, 2:4] * weights[2:4]
    turn = grad[:, 4:] * weights[4] * (math.pi / 180)
    of_sides = -(centre * (boxes[:, :2] - anchors[:, :2]) + scale) / sides
    return (torch.cat([centre, scale / boxes[:, 2:4], turn], dim=-1),
            torch.cat([-centre, of_sides, -turn], dim=-1), None)


def _decode_backward(ctx, grad):
    deltas, anchors = ctx.saved_tensors
    weights = factors(deltas, ctx.weights)
    grad, rows, sides = grad.unflatten(1, (-1, 5)), deltas.unflatten(1, (-1, 5)), anchors[:, None, 2:4]
    centre, size, turn = grad.split([2, 2, 1], dim=-1)
    d = rows[..., 2:4] / weights[2:4]
    growth = torch.where(d > ctx.clip, ctx.clip, d).exp()
    d_scale = torch.where(d <= ctx.clip, size * growth * sides / weights[2:4], 0)
    d_deltas = torch.cat([centre * sides / weights[:2], d_scale, turn * (180 / math.pi) / weights[4]], dim=-1)
    of_sides = centre * (rows[..., :2] / weights[:2]) + size * growth
    return d_deltas.flatten(1), torch.cat([centre, of_sides, turn], dim=-1).sum(1), None, None


register_codec("encode_boxes_rotated(Tensor boxes, Tensor anchors, float[] weights) -> Tensor", _encode_backward)
register_codec("decode_boxes_rotated(Tensor deltas, Tensor anchors, float[] weights, float clip) -> Tensor",
               _decode_backward)
