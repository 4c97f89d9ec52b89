"""Boxes in the order of their scores, by class where there are any, and the indices of those that are kept."""

import torch

from roikit import _core
from roikit.ops._launch import launch, view


def by_score(core, scores):
    """The boxes by descending score, sorted on the device. ``core`` is the module with the CUDA kernels."""
    keys = torch.empty_like(scores, dtype=torch.int64 if scores.dtype == torch.float64 else torch.int32)
    core.score_keys(view(scores), view(keys), launch(scores))
    return torch.sort(keys, stable=True).indices


def by_class(core, scores, classes):
    """The boxes by descending score; their classes in ascending order and the ranks that have them."""
    order = by_score(core, scores)
    return order, *torch.sort(classes[order], stable=True)


def room(boxes, size=None):
    """What a kernel fills that keeps some of the boxes: keep, int64 (N,) or (size,), and count, int64 ()."""
    size = boxes.shape[0] if size is None else size
    return boxes.new_empty(size, dtype=torch.int64), boxes.new_empty((), dtype=torch.int64)


def kept(op, boxes, *arguments):
    """What the CPU kernel ``op`` keeps of the boxes: their indices, int64 (K,)."""
    keep, count = room(boxes)
    getattr(_core, op)(view(boxes), *arguments, view(keep), view(count), launch(boxes))
    return keep[: count.item()].clone()


def kept_with_scores(core, op, boxes, *arguments, scratch=None):
    """What the kernel ``op`` of the module keeps of the boxes, and the scores, of their dtype, that it gives these."""
    (keep, count), scores = room(boxes), boxes.new_empty(boxes.shape[0])
    getattr(core, op)(view(boxes), *arguments, view(keep), view(scores), view(count), launch(boxes, scratch))
    found = count.item()
    return keep[:found].clone(), scores[:found].clone()


def kept_fake(boxes, *_):
    """An index of at most N boxes whose length depends on the data."""
    most = boxes.shape[0]
    if isinstance(most, int) and most == 0:  # nothing to choose from; torch 2.4 takes no size that can only be 0
        return boxes.new_empty(0, dtype=torch.int64)
    limit = {"max": most} if isinstance(most, int) else {}
    count = torch.library.get_ctx().new_dynamic_size(**limit)
    return boxes.new_empty(count, dtype=torch.int64)
