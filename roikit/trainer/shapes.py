"""Objects or detections as flat arrays, for one kind of overlap."""

from dataclasses import dataclass, fields

import numpy as np

from roikit.masks.runs import Runs

__all__ = ["Shapes", "box_rows"]


@dataclass(frozen=True)
class Shapes:
    """N objects or detections.

    Attributes:
        kind: "bbox", "segm", "keypoints" or "rbox".
        images, categories: (N,) int64, a Truth's numbers.
        boxes: (N, 4) float64, x y width height in pixels.
        areas: (N,) float64, pixels.
        crowds: (N,) bool, of objects what is to be ignored.
        scores: (N,) float64; zeros of objects.
        masks: `roikit.masks.runs.Runs` for "segm", else None.
        rotated: (N, 5) float64 for "rbox", cx cy w h and degrees counter-clockwise, else None.
        points: (N, J, 3) float64 for "keypoints", zeros for an object without any, else None.
    """

    kind: str
    images: np.ndarray
    categories: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    crowds: np.ndarray
    scores: np.ndarray
    masks: Runs | None = None
    rotated: np.ndarray | None = None
    points: np.ndarray | None = None

    @classmethod
    def of(cls, kind, images, categories, boxes, areas, forms, *, crowds=None, scores=None):
        """From arrays, and ``forms``: of each its RLE, rotated box or flat keypoints, what the kind needs.

        Raises:
            ValueError: keypoints of several numbers.
        """
        count = len(boxes)
        own = {"segm": ("masks", Runs), "rbox": ("rotated", _rotated), "keypoints": ("points", _points)}.get(kind)
        return cls(kind, np.asarray(images, np.int64).reshape(count), np.asarray(categories, np.int64).reshape(count),
                   boxes, areas, np.zeros(count, bool) if crowds is None else np.asarray(crowds, bool).reshape(count),
                   np.zeros(count) if scores is None else np.asarray(scores, np.float64).reshape(count),
                   **({own[0]: own[1](forms)} if own else {}))

    def __len__(self):
        return len(self.boxes)

    def __getitem__(self, row):
        """One as a dict: ``bbox``, and ``segmentation`` or ``rbox`` where the kind has it."""
        found = {"bbox": self.boxes[row].tolist()}
        if self.masks is not None:
            found["segmentation"] = self.masks[row]
        if self.rotated is not None:
            found["rbox"] = self.rotated[row].tolist()
        return found

    def take(self, rows):
        """Those at these places, an int array, in that order."""
        taken = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, np.ndarray):
                taken[one.name] = value[rows]
            else:
                taken[one.name] = value.take(rows) if isinstance(value, Runs) else value
        return Shapes(**taken)


def _rotated(forms):
    return np.asarray(forms, np.float64).reshape(-1, 5)


def _points(forms):
    counts = {len(form) // 3 for form in forms if form}
    if len(counts) > 1:
        raise ValueError(f"evaluate: all must have the same number of keypoints, got {sorted(counts)}")
    points = np.zeros((len(forms), counts.pop() if counts else 0, 3))
    rows = [k for k, form in enumerate(forms) if form]
    if rows:
        points[rows] = np.array([forms[k] for k in rows], np.float64).reshape(len(rows), -1, 3)
    return points


def box_rows(boxes):
    """Boxes in the plain form, lists of four numbers, all at once.

    Args:
        boxes: list of what stands under ``bbox``.

    Returns:
        (N, 4) float64, and (N,) bool, which of them are of that form and finite; the rows of the others are undefined.
    """
    plain = np.array([type(box) is list and len(box) == 4 for box in boxes], bool).reshape(-1)
    rows = np.flatnonzero(plain)
    found = np.zeros((len(boxes), 4))
    own = boxes if len(rows) == len(boxes) else [boxes[k] for k in rows]
    if not {int, float}.issuperset({type(v) for box in own for v in box}):
        rows = [k for k in rows if {int, float}.issuperset(map(type, boxes[k]))]
        plain[:] = False
        plain[rows] = True
        own = [boxes[k] for k in rows]
    try:
        found[rows] = np.array(own, np.float64).reshape(-1, 4)
    except OverflowError:  # of an int beyond double precision
        return found, np.zeros(len(boxes), bool)
    return found, plain & np.isfinite(found).all(1)
