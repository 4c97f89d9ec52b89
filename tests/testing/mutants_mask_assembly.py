"""mask_assembly as others write it, each wrong in one deliberate way; see ``mutants``."""

import numpy as np

from roikit import kernels
from roikit.masks import encode


def assemble_whole(prototypes, coefficients, boxes, image_size, *, extent=None, threshold=0.5):
    boxes = np.where(np.isfinite(boxes).all(1, keepdims=True), [0, 0, image_size[1], image_size[0]], np.nan)
    return kernels.assemble_masks(prototypes, coefficients, boxes.astype(prototypes.dtype), image_size, extent=extent,
                                  threshold=threshold)


def assemble_inclusive(prototypes, coefficients, boxes, image_size, *, extent=None, threshold=0.5):
    soft = kernels.assemble_masks(prototypes, coefficients, boxes, image_size, extent=extent, threshold=None)
    return soft if threshold is None else soft >= soft.dtype.type(threshold)


def assemble_all_cells(prototypes, coefficients, boxes, image_size, *, extent=None, threshold=0.5):
    return kernels.assemble_masks(prototypes, coefficients, boxes, image_size, threshold=threshold)


def runs_inclusive(prototypes, coefficients, boxes, image_size, *, extent=None, threshold=0.5):
    masks = assemble_inclusive(prototypes, coefficients, boxes, image_size, extent=extent, threshold=threshold)
    return [encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]


def runs_of_all_cells(prototypes, coefficients, boxes, image_size, *, extent=None, threshold=0.5):
    return kernels.assemble_masks_rle(prototypes, coefficients, boxes, image_size, threshold=threshold)


MUTANTS = [
    (assemble_whole, "assemble_masks", "not-cropped"),
    (assemble_inclusive, "assemble_masks", "inclusive-threshold"),
    (assemble_all_cells, "assemble_masks", "whole-extent"),
    (runs_inclusive, "assemble_masks_rle", "inclusive-threshold"),
    (runs_of_all_cells, "assemble_masks_rle", "whole-extent"),
]  # function, op, the convention's name
