"""What `box_convert` checks."""

from roikit import _check

FORMATS = ("xyxy", "xywh", "cxcywh")


def formats(op, in_fmt, out_fmt):
    """Both are known."""
    _check.choice(op, "in_fmt", in_fmt, FORMATS)
    _check.choice(op, "out_fmt", out_fmt, FORMATS)
