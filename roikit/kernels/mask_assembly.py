"""Assembling masks from prototypes, on NumPy arrays. The compiled face of roikit.reference.mask_assembly."""

import numpy as np

from roikit import _check, _core, _rle
from roikit._check import mask_assembly as checks
from roikit.kernels._arguments import as_array
from roikit.kernels._launch import launch, result, view

__all__ = ["assemble_masks", "assemble_masks_rle"]


def _parts(op, prototypes, coefficients, boxes):
    """Contiguous arrays of the widest dtype of the three."""
    given = {"prototypes": prototypes, "coefficients": coefficients, "boxes": boxes}
    arrays = [as_array(op, name, x) for name, x in given.items()]
    checks.parts(op, *arrays)
    dtype = np.result_type(np.float32, *arrays)
    return [np.ascontiguousarray(x, dtype) for x in arrays]


def assemble_masks(prototypes, coefficients, boxes, image_size, *, extent=None, threshold=0.5, out=None, threads=None):
    """Combine the prototypes for each box and resample them: `roikit.ops.assemble_masks` for arrays.

    Args:
        prototypes: (K, h, w) float16, float32 or float64.
        coefficients: (N, K), likewise.
        boxes: (N, 4), likewise, xyxy.
        image_size: (H, W).
        extent, threshold: as in `roikit.ops.assemble_masks`.
        out: (N, H, W), for the result; all of it is written.
        threads: how many may work.

    Returns:
        (N, H, W) bool, or with ``threshold=None`` float32 or float64. Of a fresh result, pages without a mask stay
        untouched zeros.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "assemble_masks"
    parts = _parts(op, prototypes, coefficients, boxes)
    size = _check.pair(op, "image_size", image_size, 0)
    covered = checks.extent(op, extent, parts[0])
    limit = 0.0 if threshold is None else checks.threshold(op, threshold)
    dtype = parts[0].dtype if threshold is None else np.dtype(bool)
    shape = (len(parts[2]), *size)
    if out is None:
        out = np.zeros(shape, dtype)
    else:
        result(op, out, shape, dtype).fill(0)
    _core.assemble_masks(*map(view, parts), *covered, limit, view(out), launch(op, threads))
    return out


def assemble_masks_rle(prototypes, coefficients, boxes, image_size, *, extent=None, threshold=0.5, threads=None):
    """`assemble_masks` as COCO run lengths, without an image: `roikit.ops.assemble_masks_rle` for arrays.

    Args:
        prototypes, coefficients, boxes, extent, threads: as in `assemble_masks`.
        image_size: (H, W), with H * W below 2^32.
        threshold: at least 0.

    Returns:
        list of N dicts {"size": [H, W], "counts": bytes}.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "assemble_masks_rle"
    parts = _parts(op, prototypes, coefficients, boxes)
    height, width = _rle.image_size(op, *_check.pair(op, "image_size", image_size, 0))
    covered, limit = checks.extent(op, extent, parts[0]), checks.threshold(op, threshold)
    offsets = np.empty(len(parts[2]) + 1, np.int64)
    counts = _core.assemble_masks_rle(*map(view, parts), *covered, height, width, limit, view(offsets),
                                      launch(op, threads))
    strings = _rle.strings_from_counts(counts, offsets)
    return [{"size": [height, width], "counts": text} for text in strings]
