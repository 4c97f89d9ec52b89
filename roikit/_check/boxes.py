"""What `box_convert` checks."""

from roikit import _check

UPRIGHT = ("xyxy", "xywh", "cxcywh")
ROTATED = ("cxcywhr", "xywhr", "xyxyxyxy")


def formats(op, in_fmt, out_fmt):
    """Both are known, and of one kind; the number of columns of the first."""
    _check.choice(op, "in_fmt", in_fmt, UPRIGHT + ROTATED)
    _check.choice(op, "out_fmt", out_fmt, UPRIGHT + ROTATED)
    if (in_fmt in ROTATED) != (out_fmt in ROTATED):
        raise ValueError(f"{op}: in_fmt and out_fmt must both be upright ({', '.join(UPRIGHT)}) or both rotated "
                         f"({', '.join(ROTATED)}), got {in_fmt!r} and {out_fmt!r}")
    return 4 if in_fmt in UPRIGHT else 8 if in_fmt == "xyxyxyxy" else 5
