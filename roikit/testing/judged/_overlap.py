"""The IoU of boxes with every habit that we have met: what boxes, matching and suppression share."""

import numpy as np

from roikit.testing.variants import trait


def iou_matrix(a, b, *, plus_one=False, sort=False, signed=False, loose=False, empty="zero"):
    """IoU (N, M) in the dtype of the boxes.

    Args:
        plus_one: sides are x2 - x1 + 1.
        sort: the corners of a reversed box are put in order first.
        signed: the sides of a reversed box are multiplied as they are for its area.
        loose: the sides of the intersection are not limited to 0 from below.
        empty: what 0 / 0 and NaN become: "zero", "nan", or "eps": the union is at least 1e-6.
    """
    dtype = np.result_type(a, b)
    real = dtype.type
    a, b = a.astype(dtype)[:, None], b.astype(dtype)[None]
    one = real(1 if plus_one else 0)
    if sort:
        a, b = (np.concatenate([np.minimum(c[..., :2], c[..., 2:]), np.maximum(c[..., :2], c[..., 2:])], axis=-1)
                for c in (a, b))

    def side(low, high, free=False):
        length = high - low + one
        return length if free else np.where(length < 0, real(0), length)

    def area(box):
        return side(box[..., 0], box[..., 2], signed) * side(box[..., 1], box[..., 3], signed)

    with np.errstate(all="ignore"):
        corners = np.where(a > b, a, b), np.where(a < b, a, b)
        inter = (side(corners[0][..., 0], corners[1][..., 2], loose)
                 * side(corners[0][..., 1], corners[1][..., 3], loose))
        union = (area(a) + area(b)) - inter
        if empty == "eps":
            union = np.where(union > real(1e-6), union, real(1e-6))
        quotient = inter / union
    if empty == "nan":
        return quotient
    return np.where((union > 0) & ~np.isnan(quotient), quotient, real(0))


SIDES = (
    trait("plus-one", "boxes include their last pixel: a side is x2 - x1 + 1", plus_one=True),
    trait("corners-sorted", "the corners of a reversed box are put in order: it has an area and overlaps", sort=True),
)
DIVISION = (
    trait("nan-iou", "the IoU of empty, NaN and infinite boxes is NaN where the division says so, not 0", empty="nan"),
    trait("nan-iou-signed-areas", "the IoU is NaN where the division gives NaN, and reversed boxes have the area of "
          "their sides multiplied as they are (torchvision)", empty="nan", signed=True),
    trait("eps-union", "the union is kept above 1e-6 instead of 0 / 0 being 0", empty="eps"),
)
LOOSE = trait("loose-intersection", "the sides of an intersection are not limited to 0: boxes apart on both axes "
              "overlap", loose=True)
