"""The best of boxes near each other on tensors. Nothing here is differentiable."""

import torch

from roikit import _check, _core
from roikit.ops._arguments import as_candidates
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register
from roikit.ops._order import by_score, kept, kept_fake, room

__all__ = ["opname"]


def opname(boxes, scores, distance):
    """The boxes with no better box nearer than ``distance``, centre to centre.

    Args:
        boxes: (N, 4) floating, xyxy; half is cast to float32. N < 2^31.
        scores: (N,) of any float dtype, on the same device; equal scores go by index, NaN comes last.
        distance: finite, at least 0; compared strictly, after rounding to the dtype of the boxes.

    Returns:
        (K,) int64: the kept boxes in the order of their scores.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device; a distance that is negative or not finite.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: this project's own.
    """
    boxes, scores = as_candidates("opname", boxes, scores)
    distance = _check.number_from("opname", "distance", distance, 0)
    return torch.ops.roikit.opname(boxes, scores, distance)


def _kernel(boxes, scores, distance):
    boxes, scores = boxes.contiguous(), scores.contiguous()
    core = backend(boxes, "opname")
    if core is _core:
        return kept("opname", boxes, view(scores), distance)
    order, (keep, count) = by_score(core, scores), room(boxes)
    scratch = workspace(boxes, core.opname_workspace(view(boxes)))
    core.opname_in_order(view(boxes), view(order), distance, view(keep), view(count),
                         launch(boxes, scratch))
    return keep[: count.item()].clone()


register("opname(Tensor boxes, Tensor scores, float distance) -> Tensor", _kernel, kept_fake,
         discrete=True)
