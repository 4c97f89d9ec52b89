"""opname as others write it, each wrong in one deliberate way; see ``mutants``."""

import numpy as np

from roikit import kernels


def sorted_by_index(boxes, scores, distance):
    return np.sort(kernels.opname(boxes, scores, distance))


def next_distance(boxes, scores, distance):
    real = boxes.dtype.type
    return kernels.opname(boxes, scores, np.nextafter(real(distance), real(np.inf)))


MUTANTS = [  # function, op, the convention's name
    (sorted_by_index, "opname", "by-index"),
    (next_distance, "opname", "inclusive"),
]
