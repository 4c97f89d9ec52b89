"""Panoptic quality: how well segments of things and stuff are found, and how well those found fit.

Torch is not needed here.

Source: Kirillov et al. 2019, arXiv:1801.00868, section 4; void and crowds as in COCO's panopticapi.
"""

from dataclasses import dataclass, field

import numpy as np

__all__ = ["PANOPTIC_FIGURES", "PanopticTally", "figures_of"]

PANOPTIC_FIGURES = ("PQ", "SQ", "RQ", "PQ_things", "SQ_things", "RQ_things", "PQ_stuff", "SQ_stuff", "RQ_stuff")


@dataclass
class PanopticTally:
    """Counts of each category over the images seen so far.

    Attributes:
        count: how many categories there are; they are 1 to ``count``.
        iou: (count + 1,) float64, the sum of the overlaps of matched segments.
        matched, found_only, true_only: (count + 1,) int64: matched pairs, segments found that are not there, segments
            that are there and were not found.
    """

    count: int
    iou: np.ndarray = field(init=False)
    matched: np.ndarray = field(init=False)
    found_only: np.ndarray = field(init=False)
    true_only: np.ndarray = field(init=False)

    def __post_init__(self):
        self.iou = np.zeros(self.count + 1)
        self.matched, self.found_only, self.true_only = (np.zeros(self.count + 1, np.int64) for _ in range(3))

    def add(self, found, found_segments, truth, true_segments):
        """Take in one image.

        Args:
            found, truth: (H, W) whole numbers, the id of the segment of each pixel; 0 is void, where nothing is known
                or nothing was found.
            found_segments, true_segments: dicts of ``id``, above 0 and not twice, and ``category``, 1 to ``count``, or
                None of a truth of another category, which is void; of the truth perhaps ``iscrowd``, a region of a
                category whose objects are not told apart.

        A pair is matched that has one category and an overlap above 0.5, void pixels of the truth not counted. What was
        found on void and on crowds of its category, by more than half, is neither right nor wrong; crowds need not be
        found.

        Returns:
            of the matched pairs the categories, (M,) int64, and the overlaps, (M,) float64.

        Raises:
            ValueError: shapes differ, or a map has an id that its segments do not list.
        """
        found, truth = np.asarray(found), np.asarray(truth)
        if found.shape != truth.shape:
            raise ValueError(f"panoptic_scores: the map found must have the truth's shape {truth.shape}, got "
                             f"{found.shape}")
        ours, theirs = _Side("found", found, found_segments), _Side("true", truth, true_segments)
        # Rows are segments of the truth, columns those found; 0 is void.
        shared = np.bincount((theirs.places * ours.size + ours.places).reshape(-1),
                             minlength=theirs.size * ours.size).reshape(theirs.size, ours.size)
        # What is not of a category that counts is void as well.
        void = shared[theirs.category == 0].sum(0)
        union = shared.sum(1, keepdims=True) + shared.sum(0) - shared - void
        overlap = shared / np.maximum(union, 1)
        counts = (theirs.category > 0) & ~theirs.crowd
        good = (overlap > 0.5) & (theirs.category[:, None] == ours.category) & counts[:, None]
        rows, columns = np.nonzero(good)  # above a half no segment has two partners
        np.add.at(self.iou, ours.category[columns], overlap[rows, columns])
        np.add.at(self.matched, ours.category[columns], 1)
        left = np.setdiff1d(np.flatnonzero(counts), rows)
        np.add.at(self.true_only, theirs.category[left], 1)
        for column in np.setdiff1d(np.flatnonzero(ours.category > 0), columns):
            category, pixels = ours.category[column], shared[:, column].sum()
            # panopticapi knows one crowd of a category in an image, of several the last; ids would then matter.
            excused = void[column] + shared[theirs.crowd & (theirs.category == category), column].sum()
            if excused <= pixels / 2:
                self.found_only[category] += 1
        return ours.category[columns], overlap[rows, columns]

    @classmethod
    def together(cls, tallies, pairs):
        """The counts of several, of what several processes have seen.

        Args:
            tallies: list of them.
            pairs: what `add` returned for each image, in the order in which one process would have added them: a sum
                has other last digits in another order.
        """
        total = cls(tallies[0].count)
        for name in ("matched", "found_only", "true_only"):
            setattr(total, name, sum(getattr(tally, name) for tally in tallies))
        for categories, overlaps in pairs:
            np.add.at(total.iou, categories, overlaps)
        return total


class _Side:
    """A map and its segments, numbered 0 for void, 1, 2, ... in the order of the list."""

    def __init__(self, name, ids, segments):
        listed = np.array([0, *(segment["id"] for segment in segments)], np.int64)
        order = np.argsort(listed, kind="stable")
        place = np.searchsorted(listed[order], ids).clip(max=len(listed) - 1)
        strange = ids[listed[order][place] != ids]
        if len(strange):
            raise ValueError(f"panoptic_scores: the {name} map has the segment {strange[0]}, which is not listed")
        self.places = order[place].astype(np.int64)
        self.size = len(listed)
        self.category = np.array([0, *(segment["category"] or 0 for segment in segments)], np.int64)
        self.crowd = np.array([False, *(bool(segment.get("iscrowd")) for segment in segments)])
        self.crowd &= self.category > 0


def figures_of(tally, names, things):
    """PQ, SQ and RQ of all categories, of things and of stuff.

    Args:
        tally: ``PanopticTally``.
        names: of the categories 1, 2, ...
        things: of each, whether it is one of things.

    Returns:
        dict of ``PANOPTIC_FIGURES``: means over the categories of which there is anything, found or true, -1 where
        there is none; ``per_class``, name -> PQ, and ``per_class_SQ`` and ``per_class_RQ`` likewise; where several
        have one name, their numbers are added to it.
    """
    weight = tally.matched + (tally.found_only + tally.true_only) / 2
    seen = weight > 0
    recognised = tally.matched / np.where(seen, weight, 1)
    segmented = tally.iou / np.maximum(tally.matched, 1)
    values = {"PQ": tally.iou / np.where(seen, weight, 1), "SQ": segmented, "RQ": recognised}
    things = np.array([False, *map(bool, things)])
    told = np.arange(tally.count + 1) > 0
    groups = {"": told, "_things": told & things, "_stuff": told & ~things}
    figures = {}
    for group, chosen in groups.items():
        rows = chosen & seen
        figures |= {f"{name}{group}": float(value[rows].mean()) if rows.any() else -1.0
                    for name, value in values.items()}
    names = [str(name) for name in names]
    names = [name if names.count(name) == 1 else f"{name} ({k})" for k, name in enumerate(names, start=1)]
    for name, value in values.items():
        figures["per_class" if name == "PQ" else f"per_class_{name}"] = {
            own: float(value[k]) if seen[k] else -1.0 for k, own in enumerate(names, start=1)}
    return figures
