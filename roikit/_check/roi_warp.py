"""What `roi_warp` checks."""

from roikit import _check

REDUCE = ("max", "mean")  # as the kernels number them


def reduction(op, reduce):
    """The kernels' number of ``reduce``."""
    _check.choice(op, "reduce", reduce, REDUCE)
    return REDUCE.index(reduce)
