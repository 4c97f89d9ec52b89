"""What `cell_anchors` and `grid_anchors` check."""

from roikit import _check


def cell(op, sizes, aspect_ratios, order):
    """Positive sizes and ratios, as floats; a known order."""
    sizes, ratios = _check.positives(op, "sizes", sizes), _check.positives(op, "aspect_ratios", aspect_ratios)
    _check.choice(op, "order", order, ("ratio", "size"))
    return sizes, ratios


def grid(op, feature_size, stride, offset):
    """Height, width, stride along y, along x, offset."""
    height, width = _check.pair(op, "feature_size", feature_size, 0)
    return height, width, *_check.two_numbers(op, "stride", stride), _check.number(op, "offset", offset)
