"""The best of boxes near each other on NumPy arrays. The compiled face of roikit.reference.opname."""

from roikit import _check
from roikit.kernels._arguments import as_candidates
from roikit.kernels._launch import kept, view

__all__ = ["opname"]


def opname(boxes, scores, distance, *, threads=None):
    """The boxes with no better box near their centres: `roikit.ops.opname` for arrays.

    Args:
        boxes: (N, 4) float16, float32 or float64, xyxy. N < 2^31.
        scores: (N,) of any float dtype.
        distance: finite, at least 0; compared strictly.
        threads: how many may work.

    Returns:
        (K,) int64, in the order of the scores.

    Raises: TypeError or ValueError for a wrong kind, shape or value.
    """
    op = "opname"
    boxes, scores = as_candidates(op, boxes, scores)
    return kept(op, threads, boxes, view(scores), _check.number_from(op, "distance", distance, 0))
