"""How well classes of pixels are found: every figure from one confusion matrix over the whole set.

Torch is not needed here.
"""

import numpy as np

__all__ = ["PIXEL_FIGURES", "confusion", "pixel_scores"]

PIXEL_FIGURES = ("mIoU", "pixel_accuracy", "mean_accuracy")


def confusion(found, truth, num_classes, ignored=255):
    """How many pixels of each class were taken for which.

    Args:
        found: whole numbers of any shape, the classes found; what is not in 0..num_classes - 1 is none of them.
        truth: the same shape, 0..num_classes - 1 or ``ignored``.
        num_classes: C.
        ignored: pixels of this truth are not counted.

    Returns:
        (C, C + 1) int64: row is the truth, column what was found, the last one none of the classes.

    Raises:
        ValueError: shapes differ, or a truth is no class.
    """
    found, truth = np.asarray(found), np.asarray(truth)
    if found.shape != truth.shape:
        raise ValueError(f"confusion: found and truth must have one shape, got {found.shape} and {truth.shape}")
    known = truth != ignored
    rows, columns = truth[known].astype(np.int64), found[known].astype(np.int64)
    if rows.size and not (0 <= rows.min() and rows.max() < num_classes):
        raise ValueError(f"confusion: truth must hold classes from 0 to {num_classes - 1} or {ignored}, got "
                         f"{rows.min()}..{rows.max()}")
    columns[(columns < 0) | (columns >= num_classes)] = num_classes
    size = num_classes + 1
    return np.bincount(rows * size + columns, minlength=num_classes * size).reshape(num_classes, size)


def pixel_scores(matrix, names):
    """The figures of a confusion matrix.

    Args:
        matrix: (C, C + 1), as of `confusion`; matrices of images and of processes are added up first.
        names: of the classes.

    Returns:
        dict: ``mIoU`` and ``mean_accuracy``, the means over the classes that the truth has of intersection over union
        and of the part of a class that is found; ``pixel_accuracy``, the part of all pixels that is right;
        ``per_class``, name -> IoU. -1 is what no pixel of the truth tells.

    Source: Long et al. 2015, arXiv:1411.4038, section 5. A class that the truth does not have is no term of the means,
    as in detectron2; where it is found, the classes that are there lose by it.
    """
    right = np.diagonal(matrix).astype(np.float64)
    there = matrix.sum(1)
    # The last column has no row: none of the classes is no class.
    union = there + matrix[:, :-1].sum(0) - right
    seen = there > 0
    shares = {"mIoU": right / np.maximum(union, 1), "mean_accuracy": right / np.maximum(there, 1)}
    means = {name: float(values[seen].mean()) if seen.any() else -1.0 for name, values in shares.items()}
    total = there.sum()
    names = [str(name) if list(map(str, names)).count(str(name)) == 1 else f"{name} ({value})"
             for value, name in enumerate(names)]
    return {"mIoU": means["mIoU"], "pixel_accuracy": float(right.sum() / total) if total else -1.0,
            "mean_accuracy": means["mean_accuracy"],
            "per_class": {name: float(iou) if is_seen else -1.0
                          for name, iou, is_seen in zip(names, shares["mIoU"], seen, strict=True)}}
