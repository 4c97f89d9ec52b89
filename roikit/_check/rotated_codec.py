"""What `cell_anchors_rotated` checks; the codec's checks are `roikit._check.box_codec`'s."""

from roikit import _check


def cell(op, sizes, aspect_ratios, angles):
    """Positive sizes and ratios, finite angles, as floats."""
    sizes, ratios = _check.positives(op, "sizes", sizes), _check.positives(op, "aspect_ratios", aspect_ratios)
    return sizes, ratios, _check.finites(op, "angles", angles)
