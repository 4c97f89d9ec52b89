"""What `encode_keypoints` and `decode_keypoints` check."""

from roikit import _check


def of_boxes(op, name, values, boxes, pattern):
    """``values`` has the shape in words, its numbers as they are, H and W at least 1; and ``boxes`` is (N, 4)."""
    _check.array(op, name, values)
    _check.dtype(op, name, values)
    shape = tuple(values.shape)
    if len(shape) != len(pattern) or any(n == 0 if axis in ("H", "W") else n != axis and not isinstance(axis, str)
                                         for n, axis in zip(shape, pattern, strict=True)):
        least = " with H and W at least 1" if "H" in pattern else ""
        raise ValueError(f"{op}: {name} must have shape ({', '.join(map(str, pattern))}){least}, got "
                         f"{_check.shape_text(values)}")
    _check.box_array(op, "boxes", boxes)
    _check.same_rows(op, **{name: values, "boxes": boxes})
