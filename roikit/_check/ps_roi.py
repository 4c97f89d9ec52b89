"""What the position-sensitive ops check."""

from roikit import _check


def pooling(op, channels, output_size, spatial_scale):
    """As `_check.pooling`, where every bin has channels of its own, as many as the others."""
    scale, rows, columns = _check.pooling(op, output_size, spatial_scale)
    if channels % (rows * columns):
        raise ValueError(f"{op}: input must have a multiple of {rows} * {columns} channels, got {channels}")
    return scale, rows, columns
