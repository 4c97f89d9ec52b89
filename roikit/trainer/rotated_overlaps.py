"""The overlaps of rotated boxes, as COCO's evaluation wants them."""

import numpy as np

from roikit.kernels import box_iou_rotated

__all__ = ["rotated_overlaps"]


def rotated_overlaps(found, known, crowds, starts, known_starts):
    """IoUs of rotated boxes; with a crowd the part of what was found that it covers, as COCO has it.

    Args:
        found: (D, 5) float64, cx, cy, w, h, degrees.
        known: (G, 5) float64, likewise.
        crowds: (G,) bool.
        starts, known_starts: (P + 1,) int64, where the rows of each group begin in both.

    Returns:
        float64, flat: of each group a matrix (D_p, G_p), one after the other.
    """
    parts = [np.empty(0)]
    area, other = found[:, 2:4].prod(1), known[:, 2:4].prod(1)
    for p in np.flatnonzero((np.diff(starts) > 0) & (np.diff(known_starts) > 0)):
        rows, own = slice(*starts[p:p + 2]), slice(*known_starts[p:p + 2])
        iou = box_iou_rotated(found[rows], known[own], threads=1)
        if crowds[own].any():
            common = iou * (area[rows, None] + other[own]) / (1 + iou)
            covered = np.divide(common, area[rows, None], out=np.zeros_like(common), where=area[rows, None] > 0)
            iou = np.where(crowds[own], covered, iou)
        parts.append(iou.ravel())
    return np.concatenate(parts)
