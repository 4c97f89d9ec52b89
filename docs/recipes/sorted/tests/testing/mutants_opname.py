"""opname as others write it, each wrong in one deliberate way; see ``mutants``."""

import numpy as np

from roikit import kernels


def sorted_by_index(boxes, scores, distance):
    return np.sort(kernels.opname(boxes, scores, distance))


def next_distance(boxes, scores, distance):
    return kernels.opname(boxes, scores, np.nextafter(boxes.dtype.type(distance), boxes.dtype.type(np.inf)))


MUTANTS = [(sorted_by_index, "opname", "by-index"), (next_distance, "opname", "inclusive")]  # function, op, convention
