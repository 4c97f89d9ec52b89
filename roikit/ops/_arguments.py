"""From what the caller gives to the tensors that an operator takes: checked, on one device, of a dtype that it has."""

import torch

from roikit import _check


def float32_at_least(x):
    """A floating tensor; half is cast up."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def wider(a, b):
    """Both floating tensors in the wider of their dtypes, float32 at least."""
    dtype = torch.float64 if torch.float64 in (a.dtype, b.dtype) else torch.float32
    return a.to(dtype), b.to(dtype)


def as_boxes(op, name, x, columns=4):
    """A float32 or float64 (N, columns) tensor; half is cast up. ``columns`` as in `_check.box_array`."""
    _check.box_array(op, name, x, columns)
    _check.tensor(op, name, x)
    return float32_at_least(x)


def as_candidates(op, boxes, scores, columns=4):
    """Boxes as in `as_boxes`, and one score of any float dtype for each, on the same device."""
    _check.candidates(op, boxes, scores, columns)
    _check.same_device(op, boxes=boxes, scores=scores)
    return float32_at_least(boxes), scores


def as_classes(op, name, x, boxes):
    """The class of each of the boxes, as int64 on their device."""
    _check.classes(op, name, x, boxes.shape[0])
    _check.same_device(op, **{"boxes": boxes, name: x})
    return x.long()


def as_rois(op, boxes, like, columns=4):
    """(K, 1 + columns) float32 or float64, batch index first, from that or from one (L, columns) tensor an image."""
    if not isinstance(boxes, (list, tuple)):
        rois = as_boxes(op, "boxes", boxes, 1 + columns)
        _check.same_device(op, input=like, boxes=boxes)
        return rois
    rois = [like.new_empty((0, 1 + columns), dtype=torch.float32)]
    for i, part in enumerate(boxes):
        corners = as_boxes(op, f"boxes[{i}]", part, columns)  # half knows few images
        _check.same_device(op, input=like, **{f"boxes[{i}]": part})
        index = torch.full((corners.shape[0], 1), i, dtype=corners.dtype, device=corners.device)
        rois.append(torch.cat([index, corners], dim=1))
    return torch.cat(rois)


def as_map(op, name, x):
    """A floating (N, C, H, W) tensor of features."""
    _check.array(op, name, x)
    _check.tensor(op, name, x)
    _check.dtype(op, name, x)
    _check.rank(op, name, x, ("N", "C", "H", "W"))
    return x


def reduced(loss, reduction):
    """The loss by its `reduction`: "none", "mean" or "sum"."""
    if reduction == "none":
        return loss
    if reduction == "sum" or loss.numel() == 0:  # the mean of nothing is 0, and has a gradient
        return loss.sum()
    return loss.mean()
