"""What the suppression ops share: checks of boxes with scores and classes, their order, results of unknown size."""

import torch

from roikit import _check
from roikit.ops._launch import launch, view

INTEGERS = ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")


def check(op, boxes, scores, columns=4):
    """``boxes`` is (N, columns), ``scores`` (N,), both floating, on one device; half boxes come back as float32."""
    _check.boxes(op, "boxes", boxes, columns)
    _check.array(op, "scores", scores)
    _check.dtype(op, "scores", scores)
    _check.vector(op, "scores", scores, boxes.shape[0], "boxes")
    _check.same_device(op, boxes=boxes, scores=scores)
    return boxes.float() if boxes.dtype in (torch.float16, torch.bfloat16) else boxes


def check_classes(op, boxes, idxs):
    """``idxs`` is (N,) of integers on the device of ``boxes``; it comes back as int64."""
    _check.array(op, "idxs", idxs)
    if _check.dtype_name(idxs) not in INTEGERS:
        raise TypeError(f"{op}: idxs must be integers, got {_check.dtype_name(idxs)}")
    _check.vector(op, "idxs", idxs, boxes.shape[0], "boxes")
    _check.same_device(op, boxes=boxes, idxs=idxs)
    return idxs.long()


def by_score(core, scores):
    """The boxes by descending score, sorted on the device. ``core`` is the module with the CUDA kernels."""
    keys = torch.empty_like(scores, dtype=torch.int64 if scores.dtype == torch.float64 else torch.int32)
    core.score_keys(view(scores), view(keys), launch(scores))
    return torch.sort(keys, stable=True).indices


def kept_fake(boxes, *_):
    """An index of at most N boxes whose length depends on the data."""
    most = boxes.shape[0]
    if isinstance(most, int) and most == 0:  # nothing to choose from; torch 2.4 takes no size that can only be 0
        return boxes.new_empty(0, dtype=torch.int64)
    limit = {"max": most} if isinstance(most, int) else {}
    kept = torch.library.get_ctx().new_dynamic_size(**limit)
    return boxes.new_empty(kept, dtype=torch.int64)
