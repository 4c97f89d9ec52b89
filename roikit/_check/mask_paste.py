"""What `paste_masks`, `paste_masks_rle` and those of rotated boxes check."""

from roikit import _check

RULES = ("continuous", "integer")  # as the kernels number them


def masks(op, masks, boxes, rule="continuous", columns=4):
    """Square masks, a box of so many numbers for each, a known rule; returns the masks as (N, M, M)."""
    _check.array(op, "masks", masks)
    _check.dtype(op, "masks", masks)
    if masks.ndim == 4 and masks.shape[1] == 1:
        masks = masks[:, 0]
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"{op}: masks must have shape (N, M, M) or (N, 1, M, M), got {_check.shape_text(masks)}")
    _check.box_array(op, "boxes", boxes, columns)
    if boxes.shape[0] != masks.shape[0]:
        raise ValueError(f"{op}: boxes must have one row a mask ({masks.shape[0]}), got {boxes.shape[0]}")
    _check.choice(op, "rule", rule, RULES)
    return masks


def threshold(op, threshold, masks):
    """Above 0 in the dtype of ``masks``, float32 or float64; returns it as a float."""
    value = _check.number(op, "threshold", threshold)
    # 2^-150 and what is below it round to 0 in float32.
    if not value > (2.0**-150 if _check.dtype_name(masks) == "float32" else 0.0):
        raise ValueError(f"{op}: threshold must be above 0, got {threshold}")
    return value
