"""Panoptic quality of segments of things and stuff."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from roikit.trainer.panoptic_scores import PANOPTIC_FIGURES, PanopticTally, figures_of

from .plain_panoptic_scores import plain_quality

CATEGORIES = (1, 2, 3)
THINGS = (True, True, False)
NAMES = ("cell", "dish", "table")


@st.composite
def sides(draw, shape, *, truth):
    """A map, and its segments with their categories."""
    ids = draw(nps.arrays(np.int64, shape, elements=st.sampled_from((0, 3, 5, 70000))))
    segments = []
    for number in draw(st.permutations(np.unique(ids[ids > 0]).tolist())):
        segment = {"id": number, "category": draw(st.sampled_from((None, *CATEGORIES) if truth else CATEGORIES))}
        if truth and draw(st.integers(0, 3)) == 0:
            segment["iscrowd"] = 1
        segments.append(segment)
    return ids, segments


@st.composite
def images(draw):
    """Some images of different sizes; half of what was found is the truth with a part of it changed."""
    found = []
    for shape in draw(st.lists(nps.array_shapes(min_dims=2, max_dims=2, max_side=5), min_size=1, max_size=3)):
        truth, true_segments = draw(sides(shape, truth=True))
        ids, segments = draw(sides(shape, truth=False))
        if draw(st.booleans()):
            keep = draw(nps.arrays(bool, shape, elements=st.sampled_from((True, True, True, False))))
            ids = np.where(keep, truth, ids)
            known = {s["id"]: s["category"] or 1 for s in true_segments} | {s["id"]: s["category"] for s in segments}
            segments = [{"id": i, "category": known[i]} for i in np.unique(ids[ids > 0]).tolist()]
        found.append((ids, segments, truth, true_segments))
    return found


def scored(cases):
    tally = PanopticTally(len(CATEGORIES))
    for case in cases:
        tally.add(*case)
    return figures_of(tally, NAMES, THINGS)


def assert_alike(one, other):
    for name, value in other.items():
        assert one[name] == pytest.approx(value, abs=1e-12)


@given(images())
def test_agreement_with_every_pair_compared_by_hand(cases):
    plain = plain_quality([(f.tolist(), fs, t.tolist(), ts) for f, fs, t, ts in cases], CATEGORIES)
    got = scored(cases)
    for place, name in enumerate(("PQ", "SQ", "RQ")):
        own = got["per_class" if name == "PQ" else f"per_class_{name}"]
        assert list(own.values()) == pytest.approx([plain.get(c, (-1.0,) * 3)[place] for c in CATEGORIES], abs=1e-12)
        for group, members in (("", CATEGORIES), ("_things", (1, 2)), ("_stuff", (3,))):
            values = [plain[c][place] for c in members if c in plain]
            assert got[name + group] == pytest.approx(sum(values) / len(values) if values else -1.0, abs=1e-12)


def as_found(truth, segments):
    """The truth as if it had been found: without crowds and without what is of no category."""
    kept = [{"id": s["id"], "category": s["category"]} for s in segments if s["category"] and not s.get("iscrowd")]
    return np.where(np.isin(truth, [s["id"] for s in kept]), truth, 0), kept


@given(images())
def test_law_the_truth_scores_1_and_nothing_found_0(cases):
    there = any(as_found(truth, segments)[1] for _, _, truth, segments in cases)
    best = scored([(*as_found(truth, segments), truth, segments) for _, _, truth, segments in cases])
    worst = scored([(np.zeros_like(truth), [], truth, segments) for _, _, truth, segments in cases])
    for name in ("PQ", "SQ", "RQ"):
        assert best[name] == (1.0 if there else -1.0) and worst[name] == (0.0 if there else -1.0)


@given(images(), st.randoms())
def test_law_other_ids_and_another_order_change_nothing(cases, random):
    def renamed(ids, segments):
        names = dict(zip([s["id"] for s in segments], random.sample(range(1, 2**24), len(segments)), strict=True))
        new = np.zeros_like(ids)
        for old, number in names.items():
            new[ids == old] = number
        return new, [{**s, "id": names[s["id"]]} for s in segments]

    moved = []
    for found, found_segments, truth, true_segments in cases:
        ids, segments = renamed(found, found_segments)
        moved.append((ids, random.sample(segments, len(segments)), *renamed(truth, true_segments)))
    assert_alike(scored(moved), scored(cases))


@given(images(), st.integers(1, 3))
def test_law_images_may_be_counted_apart(cases, processes):
    whole = PanopticTally(len(CATEGORIES))
    tallies = [PanopticTally(len(CATEGORIES)) for _ in range(processes)]
    for case in cases:
        whole.add(*case)
    pairs = {k: tallies[k % processes].add(*cases[k]) for k in sorted(range(len(cases)), key=lambda k: k % processes)}
    total = PanopticTally.together(tallies, [pairs[k] for k in sorted(pairs)])
    assert total.iou.tobytes() == whole.iou.tobytes()
    assert figures_of(total, NAMES, THINGS) == figures_of(whole, NAMES, THINGS)


def test_a_case_by_hand():
    truth = np.array([[1, 1, 1, 1, 0, 2, 2, 3]])
    found = np.array([[7, 7, 7, 7, 7, 8, 9, 9]])
    segments = [{"id": 1, "category": 1}, {"id": 2, "category": 3}, {"id": 3, "category": 2, "iscrowd": 1}]
    got = scored([(found, [{"id": 7, "category": 1}, {"id": 8, "category": 3}, {"id": 9, "category": 2}], truth,
                   segments)])
    # 7 is whole but for a void pixel; 8 is half of stuff 2, which is not above a half; 9 lies by half on a crowd of its
    # category, which is not above a half either.
    assert got["per_class"] == {"cell": 1.0, "dish": 0.0, "table": 0.0}
    assert [got[name] for name in PANOPTIC_FIGURES] == pytest.approx([1 / 3] * 3 + [0.5] * 3 + [0.0] * 3)


def test_what_does_not_fit_is_refused():
    tally = PanopticTally(1)
    with pytest.raises(ValueError, match="the map found must have the truth's shape"):
        tally.add(np.zeros((2, 2), int), [], np.zeros((2, 3), int), [])
    with pytest.raises(ValueError, match="the true map has the segment 4, which is not listed"):
        tally.add(np.zeros((1, 2), int), [], np.array([[0, 4]]), [])


def test_classes_of_one_name_keep_their_own_figures():
    tally = PanopticTally(2)
    tally.add(np.array([[1]]), [{"id": 1, "category": 1}], np.array([[1]]), [{"id": 1, "category": 1}])
    assert figures_of(tally, ["a", "a"], [True, False])["per_class"] == {"a (1)": 1.0, "a (2)": -1.0}


def test_agreement_with_torchmetrics():
    """Where every pixel is of a segment: torchmetrics also leaves out pixels of which nothing was found."""
    metrics = pytest.importorskip("torchmetrics.detection")
    import torch

    random, category = np.random.default_rng(0), np.array([0, 1, 1, 2, 3])
    metric = metrics.PanopticQuality(things={1, 2}, stuffs={3}, return_sq_and_rq=True)

    def drawn():
        return np.kron(random.integers(1, 5, (4, 5)), np.ones((3, 3), np.int64))

    def coloured(ids):
        return torch.from_numpy(np.stack([category[ids], np.where(category[ids] == 3, 0, ids)], -1))[None]

    cases = []
    for _ in range(6):
        truth = drawn()
        found = np.where(random.random(truth.shape) < 0.85, truth, drawn())
        metric.update(coloured(found), coloured(truth))
        cases.append([x for ids in (found, truth)
                      for x in (ids, [{"id": i, "category": int(category[i])} for i in np.unique(ids).tolist()])])
    got = scored(cases)
    assert [got[name] for name in ("PQ", "SQ", "RQ")] == pytest.approx(metric.compute().tolist(), abs=1e-6)
