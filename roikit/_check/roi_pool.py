"""What `roi_pool` checks."""

from roikit import _check


def planes(op, input):
    """The place of a maximum fits into 32 bits."""
    if input.shape[2] * input.shape[3] >= 2**31:
        raise ValueError(f"{op}: input must have H * W < 2**31, got {_check.shape_text(input)}")
