"""Many masks at once, as flat runs: for those who measure a hundred thousand of them and ask for few as RLEs."""

import copy

import numpy as np

from roikit import _rle

__all__ = ["Runs", "iou_of_groups"]


class Runs:
    """N masks, each of a size of its own.

    Args:
        rles: list of N RLEs, compressed or not.

    Attributes:
        areas: (N,) int64, foreground pixels.
        boxes: (N, 4) float64, x y width height around the foreground; zeros without any.

    Raises:
        TypeError, ValueError: as ``roikit.masks.rle`` says.
    """

    def __init__(self, rles):
        self._counts, self._offsets, self._sizes = _rle.runs_of(rles, "Runs")
        self._rows = np.arange(len(self._sizes))
        self.areas = _rle.areas_of_runs(self._counts, self._offsets).astype(np.int64)
        self.boxes = _rle.boxes_of_runs(self._counts, self._offsets, self._sizes)

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, index):
        """The RLE of one mask."""
        row = self._rows[index]
        counts = self._counts[self._offsets[row]:self._offsets[row + 1]]
        return {"size": self._sizes[row].tolist(), "counts": _rle.string_from_counts(counts)}

    def take(self, rows):
        """The masks at these places, an int array, in that order; the runs are shared."""
        taken = copy.copy(self)
        taken._rows, taken.areas, taken.boxes = self._rows[rows], self.areas[rows], self.boxes[rows]
        return taken


def iou_of_groups(dt, gt, pyiscrowd, dt_starts, gt_starts):
    """`roikit.masks.iou` of every pair within a group, for many groups at once.

    Args:
        dt: `Runs`, or (D, 4) boxes x y width height.
        gt: likewise, of the same kind.
        pyiscrowd: (G,) flags; the intersection with a crowd is divided by the detection's area.
        dt_starts, gt_starts: (P + 1,) int64; group p is the rows ``starts[p]`` to ``starts[p + 1]``.

    Returns:
        float64, flat: of each group a matrix (D_p, G_p), row-major, one after the other.

    Raises:
        TypeError: one of each kind.
        ValueError: starts that do not ascend to the number of rows, flags of another number, masks of several sizes in
        a group.
    """
    starts = []
    for name, values, rows in (("dt_starts", dt_starts, len(dt)), ("gt_starts", gt_starts, len(gt))):
        values = np.ascontiguousarray(values, np.int64)
        if values.ndim != 1 or not len(values) or values[0] or values[-1] != rows or (np.diff(values) < 0).any():
            raise ValueError(f"iou_of_groups: {name} must ascend from 0 to {rows}")
        starts.append(values)
    if len(starts[0]) != len(starts[1]):
        raise ValueError(f"iou_of_groups: both must have the same number of groups, got {len(starts[0]) - 1} and "
                         f"{len(starts[1]) - 1}")
    crowd = (np.asarray(pyiscrowd).reshape(-1) != 0).view(np.uint8)
    if len(crowd) != len(gt):
        raise ValueError(f"iou_of_groups: pyiscrowd must have one flag for each of {len(gt)}, got {len(crowd)}")
    masks = isinstance(dt, Runs)
    if masks != isinstance(gt, Runs):
        raise TypeError("iou_of_groups: dt and gt must both be Runs or both be boxes")
    if masks:
        _one_size_each(dt, gt, *starts)
        sides, rows = [_rle.Measured(one._counts, one._offsets, one._sizes) for one in (dt, gt)], [dt._rows, gt._rows]
    else:
        sides = [np.ascontiguousarray(one, np.float64).reshape(-1, 4) for one in (dt, gt)]
        rows = [np.arange(len(one)) for one in sides]
    return _rle.iou_of_groups(*sides, crowd, *starts, *rows)


def _one_size_each(dt, gt, dt_starts, gt_starts):
    """Masks that meet in a group have one size."""
    both = (np.diff(dt_starts) > 0) & (np.diff(gt_starts) > 0)
    group = np.concatenate([np.repeat(np.arange(len(both)), np.diff(s)) for s in (dt_starts, gt_starts)])
    sizes = np.concatenate([dt._sizes[dt._rows], gt._sizes[gt._rows]])
    first = np.zeros((len(both), 2), np.int64)
    first[group[::-1]] = sizes[::-1]
    differ = (sizes != first[group]).any(1) & both[group]
    if differ.any():
        row = int(differ.argmax())
        raise ValueError("iou_of_groups: all masks of a group must have one size, got "
                         f"{first[group[row]].tolist()} and {sizes[row].tolist()}")
