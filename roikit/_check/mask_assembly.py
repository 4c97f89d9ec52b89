"""What `assemble_masks` and `assemble_masks_rle` check."""

from roikit import _check


def parts(op, prototypes, coefficients, boxes):
    """Prototypes, and for each box as many coefficients as there are of them."""
    _check.array(op, "prototypes", prototypes)
    _check.dtype(op, "prototypes", prototypes)
    _check.rank(op, "prototypes", prototypes, ("K", "h", "w"))
    _check.box_array(op, "coefficients", coefficients, prototypes.shape[0])
    _check.box_array(op, "boxes", boxes)
    if boxes.shape[0] != coefficients.shape[0]:
        raise ValueError(f"{op}: boxes must have one row for each of the coefficients ({coefficients.shape[0]}), "
                         f"got {boxes.shape[0]}")


def extent(op, extent, prototypes):
    """Rows and columns of cells that the image covers, as two floats; all of them for None."""
    cells = tuple(prototypes.shape[1:])
    if extent is None:
        return tuple(float(count) for count in cells)
    if not isinstance(extent, (tuple, list)) or len(extent) != 2:
        raise TypeError(f"{op}: extent must be two numbers or None, got {extent!r}")
    found = tuple(_check.number(op, "extent", value) for value in extent)
    if not all(0 < value <= count or value == count for value, count in zip(found, cells, strict=True)):
        raise ValueError(f"{op}: extent must be above 0 and at most the prototypes' {cells}, got {tuple(extent)}")
    return found


def threshold(op, threshold):
    """At least 0; returns it as a float."""
    return _check.number_from(op, "threshold", threshold, 0)
