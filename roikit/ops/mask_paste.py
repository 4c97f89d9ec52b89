"""Pasting predicted masks into images, on tensors; not differentiable, as what follows is a decision."""

import numpy as np
import torch

from roikit import _check, _core, _rle
from roikit._check import mask_paste as checks
from roikit.ops._arguments import wider
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register
from roikit.ops._masks import counted_runs, zeros

__all__ = ["paste_masks", "paste_masks_rle"]


def _of_boxes(op, masks, boxes, rule):
    """Masks (N, M, M) and boxes (N, 4) of the wider dtype, on one device."""
    _check.array(op, "masks", masks)
    _check.tensor(op, "masks", masks)
    square = checks.masks(op, masks, boxes, rule)
    _check.same_device(op, masks=masks, boxes=boxes)
    return wider(square, boxes)


def paste_masks(masks, boxes, image_size, *, threshold=0.5, rule="continuous"):
    """Resample each mask into its box, in an image of its own.

    Args:
        masks: (N, M, M) or (N, 1, M, M) floating, the probability of each cell.
        boxes: (N, 4) floating, x1 y1 x2 y2 in pixels, on the same device. T is the wider dtype of
            the two, half being cast to float32.
        image_size: (H, W).
        threshold: above 0: a pixel is inside where its value is at least this, rounded to T; or
            None for the values themselves.
        rule: "continuous" (detectron2's) or "integer" (torchvision's).

    Returns:
        (N, H, W) bool, or T with ``threshold=None``. Exact; without gradient. On the CPU, memory is
        touched only where masks are: the other pages stay untouched zeros. A box that is not
        finite, or is outside the image, gives an empty mask.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: He et al. 2017, arXiv:1703.06870, section 3; the rules are detectron2's and
    torchvision's.
    """
    op = "paste_masks"
    masks, boxes = _of_boxes(op, masks, boxes, rule)
    height, width = _check.pair(op, "image_size", image_size, 0)
    limit = None if threshold is None else checks.threshold(op, threshold, masks)
    return torch.ops.roikit.paste_masks(masks, boxes, height, width, limit, rule)


def paste_masks_rle(masks, boxes, image_size, *, threshold=0.5, rule="continuous"):
    """`paste_masks` as COCO run lengths, without an image: memory follows the inputs and the runs.

    On a GPU runs are made there, and they alone are copied to the host, which waits for them.

    Args:
        masks: (N, M, M) or (N, 1, M, M), as in `paste_masks`.
        boxes: (N, 4), as in `paste_masks`.
        image_size: (H, W), with H * W below 2^32.
        threshold: above 0, as in `paste_masks`, but not None.
        rule: as in `paste_masks`.

    Returns:
        list of N dicts {"size": [H, W], "counts": bytes}: exactly `roikit.masks.encode` of what `paste_masks` gives.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module in this build.
    """
    op = "paste_masks_rle"
    masks, boxes = _of_boxes(op, masks, boxes, rule)
    height, width = _rle.image_size(op, *_check.pair(op, "image_size", image_size, 0))
    limit = checks.threshold(op, threshold, masks)
    core = backend(masks, op)
    masks, boxes = masks.contiguous(), boxes.contiguous()
    runs = _runs_on_host if core is _core else _runs_on_device
    counts, offsets = runs(core, masks, boxes, height, width, limit, checks.RULES.index(rule))
    strings = _rle.strings_from_counts(counts, offsets)
    return [{"size": [height, width], "counts": text} for text in strings]


def _runs_on_host(core, masks, boxes, height, width, limit, rule):
    """Run lengths of all masks, uint32, and where each mask's begin, int64 (N + 1,); both NumPy arrays."""
    offsets = np.empty(len(masks) + 1, np.int64)
    counts = core.paste_masks_rle(view(masks), view(boxes), height, width, limit, rule, core.View(offsets),
                                  launch(masks))
    return counts, offsets


def _runs_on_device(core, masks, boxes, height, width, limit, rule):
    """What `_runs_on_host` gives, by the CUDA kernels: count, add up, write."""
    scratch = workspace(masks, core.paste_masks_workspace(view(masks)))
    return counted_runs(
        masks, core.paste_masks_rle_chunks(width),
        lambda changes: core.paste_masks_rle_count(view(masks), view(boxes), height, width, limit, rule, view(changes),
                                                   launch(masks, scratch)),
        lambda *runs: core.paste_masks_rle_write(view(masks), height, width, limit, *map(view, runs),
                                                 launch(masks, scratch)))


def _paste_masks_kernel(masks, boxes, height, width, threshold, rule):
    core = backend(masks, "paste_masks")
    masks, boxes = masks.contiguous(), boxes.contiguous()
    out = zeros(masks, (masks.shape[0], height, width), masks.dtype if threshold is None else torch.bool, core)
    scratch = None if core is _core else workspace(masks, core.paste_masks_workspace(view(masks)))
    core.paste_masks(view(masks), view(boxes), threshold or 0.0, checks.RULES.index(rule), view(out),
                     launch(masks, scratch))
    return out


def _paste_masks_fake(masks, boxes, height, width, threshold, rule):
    dtype = masks.dtype if threshold is None else torch.bool
    return masks.new_empty((masks.shape[0], height, width), dtype=dtype)


register("paste_masks(Tensor masks, Tensor boxes, SymInt height, SymInt width, float? threshold, "
         "str rule) -> Tensor", _paste_masks_kernel, _paste_masks_fake)
