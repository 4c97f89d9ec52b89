"""What `mask_targets` and `mask_targets_rotated` check."""

from roikit import _check

RULES = ("soft", "binary")


def target(op, masks, boxes, matched, size, rule, image_size, integers, columns=4):
    """Masks, boxes and what they are matched to fit each other.

    Args:
        masks: an array, or a list, of which only the call that decodes it knows what is right.
        integers: the dtypes of integers that the caller's library has.
        columns: how many numbers make a box.

    Returns:
        size, whether the rule is "binary", and image_size as (H, W) or None.
    """
    _check.box_array(op, "boxes", boxes, columns)
    if not isinstance(masks, (list, tuple)):
        _check.array(op, "masks", masks)
        _check.dtype(op, "masks", masks, ("bool", *integers))
        _check.rank(op, "masks", masks, ("N", "H", "W"))
    _check.array(op, "matched", matched)
    _check.dtype(op, "matched", matched, integers)
    _check.vector(op, "matched", matched, boxes.shape[0], "boxes")
    size = _check.whole(op, "size", size, 1)
    _check.choice(op, "rule", rule, RULES)
    return size, rule == "binary", None if image_size is None else _check.pair(op, "image_size", image_size, 0)


def named(op, used, masks):
    """The sorted indices ``used`` name masks, of which there are so many."""
    for index in used[:1] + used[-1:]:
        if not 0 <= index < masks:
            raise IndexError(f"{op}: matched must lie in [0, {masks}), got {index}")
