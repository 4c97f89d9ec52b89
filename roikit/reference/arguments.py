"""From what the caller gives to the arrays of the specification: their kinds, shapes and dtypes.

T, where the ops name it, is the dtype of what these functions give: float32 or float64, half being cast to float32.
"""

import numpy as np


def as_floats(op, name, array):
    """``array`` as float32 or float64; half is cast to float32, anything else is a TypeError."""
    array = np.asarray(array)
    if array.dtype not in (np.float16, np.float32, np.float64):
        raise TypeError(f"{op}: {name} must be float16, float32 or float64, got {array.dtype}")
    return array.astype(np.float32) if array.dtype == np.float16 else array


def as_boxes(op, name, boxes, *columns):
    """``boxes`` as an (N, 4) array of float32 or float64, or with other columns; half is cast to float32."""
    boxes = as_floats(op, name, boxes)
    if boxes.ndim != 2 or boxes.shape[1] not in (columns or (4,)):
        shapes = " or ".join(f"(N, {n})" for n in columns or (4,))
        raise ValueError(f"{op}: {name} must have shape {shapes}, got {boxes.shape}")
    return boxes


def as_candidates(op, boxes, scores, columns=4):
    """Boxes (N, columns), and a score for each."""
    boxes, scores = as_boxes(op, "boxes", boxes, columns), as_floats(op, "scores", scores)
    if scores.shape != (len(boxes),):
        raise ValueError(f"{op}: scores must have shape ({len(boxes)},), got {scores.shape}")
    return boxes, scores


def as_classes(op, name, classes, boxes):
    """The class of each of the boxes, any integer."""
    classes = np.asarray(classes)
    if classes.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name} must be integers, got {classes.dtype}")
    if classes.shape != (len(boxes),):
        raise ValueError(f"{op}: {name} must have shape ({len(boxes)},), got {classes.shape}")
    return classes


def as_rois(op, boxes, images, columns=4):
    """Split RoIs into the image of each and its corners.

    Args:
        op: the op's name, for messages.
        boxes: (K, 5) float, batch index first, or a list with one (L, 4) float array an image.
        images: N, the number of images that a batch index may name.
        columns: how many numbers make a box: 5 for a rotated one.

    Returns:
        batch index int64 (K,), corners float32 or float64 (K, columns).

    Raises:
        IndexError: a batch index is not whole (NaN included), negative, or at least N.
    """
    if isinstance(boxes, (list, tuple)):
        parts = [as_boxes(op, f"boxes[{i}]", part, columns) for i, part in enumerate(boxes)]
        index = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        corners = np.concatenate([np.empty((0, columns), np.float32), *parts])
    else:
        rois = as_floats(op, "boxes", boxes)
        if rois.ndim != 2 or rois.shape[1] != 1 + columns:
            raise ValueError(f"{op}: boxes must have shape (K, {1 + columns}), got {rois.shape}")
        index, corners = rois[:, 0], rois[:, 1:]
    for value in index:
        if not (0 <= value < images and value == np.floor(value)):
            raise IndexError(
                f"{op}: boxes must have a whole batch index in [0, {images}), got {value}")
    return index.astype(np.int64), corners


def pair(x):
    """A number, or two of them, along y and x."""
    return tuple(x) if np.ndim(x) else (x, x)
