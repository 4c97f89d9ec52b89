"""From what the caller gives to the arrays that a kernel takes: checked, contiguous, of a dtype that it has."""

import numpy as np

from roikit import _check


def as_array(op, name, x):
    """``x`` as a NumPy array without a copy: an array, a CPU tensor, a list of lists."""
    try:
        a = np.asarray(x)
    except Exception as reason:
        raise TypeError(f"{op}: {name} must be an array on the CPU, got {type(x).__name__} "
                        f"({reason})") from reason
    if a.dtype == object:
        raise TypeError(f"{op}: {name} must be an array of numbers, got {type(x).__name__}")
    return a


def as_floats(op, name, x):
    """An array of a floating dtype that NumPy and the kernels share."""
    a = as_array(op, name, x)
    _check.dtype(op, name, a, ("float16", "float32", "float64"))
    return a


def float32_at_least(a):
    """A floating array, contiguous; half is cast up."""
    return np.ascontiguousarray(a, np.float32 if a.dtype == np.float16 else None)


def wider(a, b):
    """Both floating arrays contiguous and in the wider of their dtypes, float32 at least."""
    dtype = np.result_type(np.float32, a, b)
    return np.ascontiguousarray(a, dtype), np.ascontiguousarray(b, dtype)


INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")  # what bitmaps may be


def as_bytes(masks):
    """Bitmaps (N, H, W) as bytes with rows in one piece, where not 0 is inside."""
    if masks.itemsize > 1:
        return masks != 0
    masks = masks.view(np.uint8)
    return masks if masks.strides[2] == 1 or masks.shape[2] <= 1 else np.ascontiguousarray(masks)


def as_boxes(op, name, x, columns=4):
    """A contiguous float32 or float64 (N, columns) array; half is cast up. ``columns`` as in `_check.box_array`."""
    a = as_array(op, name, x)
    _check.box_array(op, name, a, columns)
    return float32_at_least(a)


def as_candidates(op, boxes, scores, columns=4):
    """Boxes as in `as_boxes`, and one score of any float dtype for each, contiguous."""
    boxes, scores = as_array(op, "boxes", boxes), as_array(op, "scores", scores)
    _check.candidates(op, boxes, scores, columns)
    return float32_at_least(boxes), np.ascontiguousarray(scores)


def as_classes(op, name, x, boxes):
    """The class of each of the boxes as a contiguous int64 array; uint64 keeps its bits."""
    a = as_array(op, name, x)
    if a.dtype.kind in "iu":
        a = a.astype(np.uint64 if a.dtype == np.uint64 else np.int64, order="C", copy=False).view(np.int64)
    _check.classes(op, name, a, len(boxes))
    return a


def as_rois(op, x, columns=4):
    """RoIs as one contiguous (K, 1 + columns), batch index first, from that or from one (L, columns) array an image."""
    if not isinstance(x, (list, tuple)):
        return as_boxes(op, "boxes", x, 1 + columns)
    parts = [as_boxes(op, f"boxes[{i}]", part, columns) for i, part in enumerate(x)]
    dtype = np.result_type(np.float32, *parts)
    rois = np.empty((sum(map(len, parts)), 1 + columns), dtype)
    rois[:, 0] = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    rois[:, 1:] = np.concatenate([np.empty((0, columns), dtype), *parts])
    return rois


def as_map(op, name, x):
    """A (N, C, H, W) array of features or of gradients."""
    a = as_floats(op, name, x)
    _check.rank(op, name, a, ("N", "C", "H", "W"))
    return a


def as_argmax(op, x, dtype):
    """What a forward pass gave besides its output: an array of the integers ``dtype``, which its name says."""
    a = as_array(op, "argmax", x)
    _check.dtype(op, "argmax", a, (dtype,))
    return a


def as_maps(maps):
    """Feature maps (N, C, H, W) of one memory format: all contiguous, or all channels_last, copied where they differ.

    Returns:
        the list of arrays, and whether they are channels_last (a map that is both counts as contiguous).
    """
    if all(a.flags.c_contiguous for a in maps):
        return maps, False
    last = [a.transpose(0, 2, 3, 1) for a in maps]
    if all(a.flags.c_contiguous for a in last):
        return maps, True
    return [np.ascontiguousarray(a) for a in maps], False
