"""Greedy non-maximum suppression on tensors: plain, by class, padded. Nothing here is differentiable."""

import torch

from roikit import _check, _core
from roikit.ops._arguments import as_candidates, as_classes
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register
from roikit.ops._order import by_class, by_score, kept, kept_fake, room

__all__ = ["batched_nms", "nms", "nms_padded"]


def _arguments(op, boxes, scores, iou_threshold):
    return *as_candidates(op, boxes, scores), _check.number(op, "iou_threshold", iou_threshold)


def nms(boxes, scores, iou_threshold):
    """The boxes that no box of higher score overlaps by more than ``iou_threshold``.

    Args:
        boxes: (N, 4) floating, xyxy; half is cast to float32. N < 2^31.
        scores: (N,) of any float dtype, on the same device; equal scores go by index, NaN comes last.
        iou_threshold: compared strictly, after rounding to the dtype of the boxes.

    Returns:
        (K,) int64: the kept boxes in the order of their scores.

    Raises:
        TypeError, ValueError: a wrong kind, shape or device, a threshold that is NaN.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: Felzenszwalb et al., PAMI 2010, section 5.2.
    """
    return torch.ops.roikit.nms(*_arguments("nms", boxes, scores, iou_threshold))


def batched_nms(boxes, scores, idxs, iou_threshold):
    """`nms` within each class; the kept boxes of all classes in the order of their scores.

    Args:
        boxes: (N, 4), as in `nms`.
        scores: (N,), as in `nms`.
        idxs: (N,) integers of any dtype, the class of each box; negative ones too.
        iou_threshold: as in `nms`.

    Returns:
        (K,) int64. Boxes are never moved apart by offsets, so far and large ones keep their precision.

    Raises:
        TypeError, ValueError, BackendError: as in `nms`; idxs is not an integer vector of N.
    """
    boxes, scores, threshold = _arguments("batched_nms", boxes, scores, iou_threshold)
    idxs = as_classes("batched_nms", "idxs", idxs, boxes)
    return torch.ops.roikit.batched_nms(boxes, scores, idxs, threshold)


def nms_padded(boxes, scores, iou_threshold, max_output):
    """The first ``max_output`` boxes of `nms`, in a result whose shape does not depend on the data.

    Args:
        boxes, scores, iou_threshold: as in `nms`.
        max_output: a whole number of at least 0; the work ends when as many are found.

    Returns:
        keep (max_output,) int64, padded with -1; count () int64, how many are not padding.

    Raises:
        TypeError, ValueError, BackendError: as in `nms`; max_output is no whole number or negative.
    """
    boxes, scores, threshold = _arguments("nms_padded", boxes, scores, iou_threshold)
    size = _check.whole("nms_padded", "max_output", max_output, 0)
    return torch.ops.roikit.nms_padded(boxes, scores, threshold, size)


def _nms_padded_kernel(boxes, scores, iou_threshold, max_output):
    boxes, scores = boxes.contiguous(), scores.contiguous()
    keep, count = room(boxes, max_output)
    core = backend(boxes, "nms")
    if core is _core:
        core.nms(view(boxes), view(scores), iou_threshold, view(keep), view(count), launch(boxes))
    else:
        order = by_score(core, scores)
        scratch = workspace(boxes, core.nms_workspace(view(boxes)))
        core.nms_in_order(view(boxes), view(order), iou_threshold, view(keep), view(count), launch(boxes, scratch))
    return keep, count


def _nms_padded_fake(boxes, scores, iou_threshold, max_output):
    return room(boxes, max_output)


def _nms_kernel(boxes, scores, iou_threshold):
    keep, count = _nms_padded_kernel(boxes, scores, iou_threshold, boxes.shape[0])
    return keep[: count.item()].clone()


def _batched_nms_kernel(boxes, scores, idxs, iou_threshold):
    boxes, scores, idxs = boxes.contiguous(), scores.contiguous(), idxs.contiguous()
    core = backend(boxes, "batched_nms")
    if core is _core:
        return kept("batched_nms", boxes, view(scores), view(idxs), iou_threshold)
    ranked = by_class(core, scores, idxs)
    keep, count = room(boxes)
    scratch = workspace(boxes, core.nms_workspace(view(boxes)))
    core.batched_nms_in_order(view(boxes), *map(view, ranked), iou_threshold, view(keep), view(count),
                              launch(boxes, scratch))
    return keep[: count.item()].clone()


register("nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor", _nms_kernel, kept_fake, discrete=True)
register("batched_nms(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor",
         _batched_nms_kernel, kept_fake, discrete=True)
register("nms_padded(Tensor boxes, Tensor scores, float iou_threshold, SymInt max_output) -> (Tensor, Tensor)",
         _nms_padded_kernel, _nms_padded_fake, discrete=True)
