"""Mask targets on NumPy arrays. The compiled face of roikit.reference.mask_target."""

import numpy as np

from roikit import _core, _polygon
from roikit._check import mask_target as checks
from roikit.kernels._arguments import INTEGERS, as_array, as_bytes, float32_at_least
from roikit.kernels._launch import launch, result, view

__all__ = ["mask_targets"]


def mask_targets(masks, boxes, matched, size, *, rule="soft", image_size=None, out=None, threads=None):
    """Crop and average, for each box, the mask that it is matched to: `roikit.ops.mask_targets` for arrays.

    Args:
        masks: bitmaps (N, H, W), bool or integer; or a list of N RLE dicts; or a list of N lists of polygons.
        boxes: (R, 4) float16, float32 or float64, xyxy.
        matched: (R,) integer.
        size: S, cells along each side.
        rule: "soft" or "binary".
        image_size: (H, W), for polygons.
        out: float32 (R, S, S), for the result.
        threads: how many may work.

    Returns:
        float32 (R, S, S) in [0, 1].

    Raises: TypeError or ValueError for a wrong kind, shape or value, or for a malformed RLE or polygon among the masks
    that are matched; IndexError where ``matched`` names no mask.
    """
    op = "mask_targets"
    boxes, matched = as_array(op, "boxes", boxes), as_array(op, "matched", matched)
    listed = isinstance(masks, (list, tuple))
    masks = masks if listed else as_array(op, "masks", masks)
    size, binary, frame = checks.target(op, masks, boxes, matched, size, rule, image_size, INTEGERS)
    boxes, matched = float32_at_least(boxes), np.ascontiguousarray(matched, np.int64)
    out = result(op, out, (len(boxes), size, size), np.float32)
    last = binary, view(out), launch(op, threads)
    if not listed:
        _core.mask_targets(view(as_bytes(masks)), view(boxes), view(matched), *last)
        return out
    used, matched = np.unique(matched, return_inverse=True)
    checks.named(op, used.tolist(), len(masks))
    runs = _polygon.runs_of_masks([masks[i] for i in used], frame, op)
    matched = matched.reshape(-1).astype(np.int64, copy=False)
    _core.mask_targets_of_runs(*map(view, runs), view(boxes), view(matched), *last)
    return out
