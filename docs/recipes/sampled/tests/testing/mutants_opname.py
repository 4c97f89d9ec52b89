"""opname as others write it, each wrong in one deliberate way; see ``mutants``."""

import numpy as np

from roikit import kernels


def half_a_pixel(input, boxes, output_size, spatial_scale=1.0):
    with np.errstate(all="ignore"):
        corners = boxes[:, 1:] * boxes.dtype.type(spatial_scale) - boxes.dtype.type(0.5)
    return kernels.opname(input, np.concatenate([boxes[:, :1], corners], axis=1), output_size)


MUTANTS = [(half_a_pixel, "opname", "half-pixel")]  # function, op, the convention's name
