"""Many masks as flat runs against one at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roikit import masks
from roikit.masks.runs import Runs, iou_of_groups


def drawn(random, count, size):
    bitmaps = np.zeros((count, *size), np.uint8)
    for bitmap in bitmaps:
        y, x = random.integers(0, size[0]), random.integers(0, size[1])
        bitmap[y:y + random.integers(0, 8), x:x + random.integers(0, 8)] = 1
    return [masks.encode(bitmap) for bitmap in bitmaps]


def grouped(random):
    """Of three groups, the RLEs of both sides and the flags, as lists."""
    sizes = [tuple(random.integers(6, 12, 2)) for _ in range(3)]
    sides = [[drawn(random, random.integers(0, 5), size) for size in sizes] for _ in range(2)]
    return *sides, [random.random(len(g)) < 0.3 for g in sides[1]]


def starts(groups):
    return np.cumsum([0, *map(len, groups)])


def flat(groups):
    return [one for group in groups for one in group]


@given(seed=st.integers(0, 2**32 - 1))
def test_groups_have_the_ious_of_their_own(seed):
    found, known, crowds = grouped(np.random.default_rng(seed))
    wanted = [masks.iou(d, g, c).ravel() for d, g, c in zip(found, known, crowds, strict=True)]
    edges = np.concatenate(crowds), starts(found), starts(known)
    assert np.array_equal(iou_of_groups(Runs(flat(found)), Runs(flat(known)), *edges), np.concatenate(wanted))
    boxes = [[[*masks.toBbox(one)] for one in flat(side)] for side in (found, known)]
    wanted = [masks.iou([masks.toBbox(r) for r in d], [masks.toBbox(r) for r in g], c).ravel()
              for d, g, c in zip(found, known, crowds, strict=True)]
    assert np.array_equal(iou_of_groups(*boxes, *edges), np.concatenate(wanted))


@given(seed=st.integers(0, 2**32 - 1))
def test_masks_come_out_as_they_went_in(seed):
    random = np.random.default_rng(seed)
    rles = flat(grouped(random)[0])
    runs, rows = Runs(rles), random.permutation(len(rles))
    assert [runs[k] for k in range(len(runs))] == rles
    taken = runs.take(rows)
    assert [taken[k] for k in range(len(taken))] == [rles[k] for k in rows]
    assert taken.areas.tolist() == [masks.area(rles[k]) for k in rows]
    assert taken.boxes.tolist() == [masks.toBbox(rles[k]).tolist() for k in rows]


def test_boxes_that_are_not_finite_overlap_nothing():
    one, nan = [[0.0, 0, 4, 4]], [[np.nan, 0, 4, 4]]
    assert iou_of_groups(one, one, [0], [0, 1], [0, 1]).tolist() == [1.0]
    assert iou_of_groups(one, nan, [0], [0, 1], [0, 1]).tolist() == [0.0]


def test_contract_groups_that_do_not_fit():
    rles = drawn(np.random.default_rng(0), 2, (6, 7))
    other = drawn(np.random.default_rng(0), 1, (7, 6))
    with pytest.raises(ValueError, match=r"of a group must have one size, got \[6, 7\] and \[7, 6\]"):
        iou_of_groups(Runs(rles), Runs(other), [0], [0, 2], [0, 1])
    assert iou_of_groups(Runs(rles), Runs(other), [0], [0, 2, 2], [0, 0, 1]).shape == (0,)
    with pytest.raises(ValueError, match="dt_starts must ascend from 0 to 2"):
        iou_of_groups(Runs(rles), Runs(rles), [0, 0], [0, 3], [0, 2])
    with pytest.raises(ValueError, match="the same number of groups, got 1 and 2"):
        iou_of_groups(Runs(rles), Runs(rles), [0, 0], [0, 2], [0, 1, 2])
    with pytest.raises(ValueError, match="one flag for each of 2, got 1"):
        iou_of_groups(Runs(rles), Runs(rles), [0], [0, 2], [0, 2])
    with pytest.raises(TypeError, match="both be Runs or both be boxes"):
        iou_of_groups(Runs(rles), [[0, 0, 1, 1]], [0], [0, 2], [0, 1])
