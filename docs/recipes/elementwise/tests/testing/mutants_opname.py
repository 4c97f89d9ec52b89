"""opname as others write it, each wrong in one deliberate way; see ``mutants``."""

from roikit import kernels


def first_corner(boxes, stride=1.0):
    return boxes[:, :2] / boxes.dtype.type(stride)


def strideless(boxes, stride=1.0):
    return kernels.opname(boxes)


MUTANTS = [  # function, op, the convention's name
    (first_corner, "opname", "corner"),
    (strideless, "opname", "no-stride"),
]
