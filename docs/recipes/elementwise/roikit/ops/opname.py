"""The centres of boxes on tensors, differentiable any number of times."""

import torch

from roikit import _check
from roikit.ops._arguments import as_boxes
from roikit.ops._derivatives import linear
from roikit.ops._launch import backend, launch, view
from roikit.ops._library import register

__all__ = ["opname"]


def opname(boxes, stride=1.0):
    """The centre of each box, in pixels of a map of some stride.

    Args:
        boxes: (N, 4) floating, xyxy; half is cast to float32.
        stride: image pixels a pixel of the map, positive.

    Returns:
        (N, 2) float32 or float64: x, y. Differentiable in boxes.

    Raises:
        TypeError, ValueError: a wrong kind, shape or value, in a sentence.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: this project's own.
    """
    boxes = as_boxes("opname", "boxes", boxes)
    return torch.ops.roikit.opname(boxes, _check.positive("opname", "stride", stride))


def _fake(boxes, stride):
    return boxes.new_empty((boxes.shape[0], 2))


def _kernel(boxes, stride):
    boxes, out = boxes.contiguous(), _fake(boxes, stride)
    backend(boxes, "opname").opname(view(boxes), stride, view(out), launch(boxes))
    return out


def _context(ctx, inputs, output):
    ctx.stride = inputs[1]


def _gradient(ctx, grad):
    # torch's operations: they have derivatives of their own.
    share = grad / ctx.stride * 0.5
    return torch.cat([share, share], 1), None


register("opname(Tensor boxes, float stride) -> Tensor", _kernel, _fake, backward=_gradient,
         setup_context=_context, tangents={"boxes": linear})
