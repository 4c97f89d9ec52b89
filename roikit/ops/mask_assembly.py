"""Assembling masks from prototypes, on tensors; not differentiable, as what follows is a decision."""

import numpy as np
import torch

from roikit import _check, _core, _rle
from roikit._check import mask_assembly as checks
from roikit.ops._launch import backend, launch, view, workspace
from roikit.ops._library import register

__all__ = ["assemble_masks", "assemble_masks_rle"]


def _parts(op, prototypes, coefficients, boxes):
    """Tensors of the widest dtype of the three, float32 at least, on one device."""
    given = {"prototypes": prototypes, "coefficients": coefficients, "boxes": boxes}
    for name, x in given.items():
        _check.array(op, name, x)
        _check.tensor(op, name, x)
    checks.parts(op, **given)
    _check.same_device(op, **given)
    dtype = torch.float64 if any(x.dtype == torch.float64 for x in given.values()) else torch.float32
    return [x.to(dtype) for x in given.values()]


def assemble_masks(prototypes, coefficients, boxes, image_size, *, extent=None, threshold=0.5):
    """Combine the prototypes for each box, crop by the box, and resample to the image.

    Each box takes the sigmoid of its combination of prototypes in its own cells and a margin of one cell; beyond them
    its mask is 0. That is enlarged bilinearly to the image, as torch's ``interpolate`` does with
    ``align_corners=False``.

    Args:
        prototypes: (K, h, w) floating, maps of the whole image.
        coefficients: (N, K) floating, on the same device.
        boxes: (N, 4) floating, x1 y1 x2 y2 in pixels of the image, on the same device. T is the widest dtype of the
            three, half being cast to float32.
        image_size: (H, W).
        extent: rows and columns of cells that the image covers, from the first on, where it was padded before the
            prototypes were made; whole or not. None for all.
        threshold: at least 0: a pixel is inside where its value is above this, rounded to T; or None for the values
            themselves. (Where no prototype fires, a value is exactly a half.)

    Returns:
        (N, H, W) bool, or T with ``threshold=None``. Exact; without gradient. On the CPU, memory is touched only where
        masks are. A box that is not finite or is reversed gives an empty mask.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module in this build.

    Source: Bolya et al. 2019, arXiv:1904.02689, section 3.2; margin, resampling and comparison are those of the
    authors' code.
    """
    op = "assemble_masks"
    parts = _parts(op, prototypes, coefficients, boxes)
    height, width = _check.pair(op, "image_size", image_size, 0)
    covered = checks.extent(op, extent, prototypes)
    limit = None if threshold is None else checks.threshold(op, threshold)
    return torch.ops.roikit.assemble_masks(*parts, *covered, height, width, limit)


def assemble_masks_rle(prototypes, coefficients, boxes, image_size, *, extent=None, threshold=0.5):
    """`assemble_masks` as COCO run lengths, without an image: memory follows the inputs and the runs.

    On a GPU runs are made there, and they alone are copied to the host, which waits for them.

    Args:
        prototypes: (K, h, w), as in `assemble_masks`.
        coefficients: (N, K), as in `assemble_masks`.
        boxes: (N, 4), as in `assemble_masks`.
        image_size: (H, W), with H * W below 2^32.
        extent: as in `assemble_masks`.
        threshold: at least 0, as in `assemble_masks`, but not None.

    Returns:
        list of N dicts {"size": [H, W], "counts": bytes}: exactly `roikit.masks.encode` of what `assemble_masks` gives.

    Raises:
        TypeError, ValueError: a wrong kind, shape, value or device, in a sentence.
        BackendError: CUDA tensors, and no CUDA module in this build.
    """
    op = "assemble_masks_rle"
    parts = _parts(op, prototypes, coefficients, boxes)
    height, width = _rle.image_size(op, *_check.pair(op, "image_size", image_size, 0))
    covered, limit = checks.extent(op, extent, prototypes), checks.threshold(op, threshold)
    core = backend(parts[0], op)
    parts = [x.contiguous() for x in parts]
    runs = _runs_on_host if core is _core else _runs_on_device
    counts, offsets = runs(core, parts, covered, height, width, limit)
    strings = _rle.strings_from_counts(counts, offsets)
    return [{"size": [height, width], "counts": text} for text in strings]


def _runs_on_host(core, parts, covered, height, width, limit):
    """Run lengths of all masks, uint32, and where each mask's begin, int64 (N + 1,); both NumPy arrays."""
    offsets = np.empty(len(parts[2]) + 1, np.int64)
    counts = core.assemble_masks_rle(*map(view, parts), *covered, height, width, limit, core.View(offsets),
                                     launch(parts[0]))
    return counts, offsets


def _runs_on_device(core, parts, covered, height, width, limit):
    """What `_runs_on_host` gives, by the CUDA kernels: count, add up, write."""
    prototypes, _, boxes = parts
    scratch = workspace(prototypes, core.assemble_masks_workspace(view(prototypes), view(boxes)))
    changes = boxes.new_empty((len(boxes), max(width, 1)), dtype=torch.int64)
    core.assemble_masks_rle_count(*map(view, parts), *covered, height, width, limit, view(changes),
                                  launch(prototypes, scratch))
    upto = changes.view(-1).cumsum(0).view_as(changes)
    offsets = np.zeros(len(boxes) + 1, np.int64)
    offsets[1:] = upto[:, -1].cpu().numpy()
    ends = boxes.new_empty(int(offsets[-1]), dtype=torch.int32)
    counts = torch.empty_like(ends)
    core.assemble_masks_rle_write(view(prototypes), view(boxes), height, width, limit, view(upto), view(ends),
                                  view(counts), launch(prototypes, scratch))
    return counts.cpu().numpy().view(np.uint32), offsets


def _assemble_masks_kernel(prototypes, coefficients, boxes, extent_y, extent_x, height, width, threshold):
    core = backend(prototypes, "assemble_masks")
    parts = [x.contiguous() for x in (prototypes, coefficients, boxes)]
    shape = (boxes.shape[0], height, width)
    dtype = prototypes.dtype if threshold is None else torch.bool
    scratch = None
    if core is _core:
        # NumPy's zeros are pages that the system has not handed out yet; torch would write them all.
        kind = {torch.bool: np.bool_, torch.float32: np.float32, torch.float64: np.float64}[dtype]
        out = torch.from_numpy(np.zeros(shape, kind))
    else:
        out = boxes.new_zeros(shape, dtype=dtype)
        scratch = workspace(prototypes, core.assemble_masks_workspace(view(parts[0]), view(parts[2])))
    core.assemble_masks(*map(view, parts), extent_y, extent_x, threshold or 0.0, view(out), launch(prototypes, scratch))
    return out


def _assemble_masks_fake(prototypes, coefficients, boxes, extent_y, extent_x, height, width, threshold):
    dtype = prototypes.dtype if threshold is None else torch.bool
    return boxes.new_empty((boxes.shape[0], height, width), dtype=dtype)


register("assemble_masks(Tensor prototypes, Tensor coefficients, Tensor boxes, float extent_y, float extent_x, "
         "SymInt height, SymInt width, float? threshold) -> Tensor", _assemble_masks_kernel, _assemble_masks_fake)
