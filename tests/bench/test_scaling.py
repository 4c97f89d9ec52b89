"""`roikit bench --scaling`: what counts as memory, where a curve ends, what is said and drawn."""

import importlib
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from roikit.bench import scaling, scaling_report
from roikit.bench.curves import Curve, curves
from roikit.bench.work import plain
from roikit.cli import main

MB = 1_000_000
SETTINGS = {"ops": ("nms",), "threads": 1, "quick": True, "torchvision_ops": None}


def point(n, ms=1.0, rival="roikit", **more):
    return {"op": "nms", "curve": "nms, 100 objects", "of": "boxes", "n": n, "rival": rival, "median_ms": ms, "runs": 3,
            "extra_bytes": 2 * MB, "result_bytes": 1000} | more


def curve(call, sizes=(1, 3, 10, 100), **more):
    return Curve("nms", "tiny", "boxes", sizes, lambda n: (torch.ones(n),), plain(call), **more)


def followed(*given, longest=60, seconds=60, quick=False):
    return list(scaling.points(*given, longest, time.monotonic() + seconds, quick))


def test_law_a_curve_is_followed_from_small_to_large():
    rows = followed(curve(torch.clone), "roikit")
    assert [row["n"] for row in rows] == [1, 3, 10, 100]
    for row in rows:
        assert row["median_ms"] > 0 and 1 <= row["runs"] <= scaling.RUNS and row["result_bytes"] == 4 * row["n"]
    assert [row["n"] for row in followed(curve(torch.clone), "roikit", quick=True)] == [1, 10, 100]


def test_contract_a_curve_ends_before_it_takes_too_long():
    rows = followed(curve(lambda x: time.sleep(0.002 * len(x)) or x), "roikit", longest=0.05)
    assert [row["n"] for row in rows] == [1, 3, 10, 100]
    assert rows[-1]["why"].startswith("would take about 0.") and "median_ms" not in rows[-1]


def test_contract_a_curve_ends_before_it_needs_too_much(monkeypatch):
    monkeypatch.setattr(scaling, "available", lambda: 700 * 2)
    rows = followed(curve(lambda x: x.repeat(10)), "roikit")
    # Of the call itself some pages may count.
    assert "would need about" in rows[-1]["why"] and rows[-1]["n"] in (3, 10, 100)


def test_contract_a_curve_ends_when_the_time_is_up():
    assert [row["why"] for row in followed(curve(torch.clone), "roikit", seconds=-1)] == ["the time is up"]


def test_contract_a_rival_that_fails_ends_its_curve():
    def broken(x):
        if len(x) > 1:
            raise RuntimeError("no such size")
        return x

    first, last = followed(curve(torch.clone, peers={"other": plain(broken)}), "other")
    assert first["rival"] == "other" and last["failed"] and last["why"] == "RuntimeError: no such size"


@pytest.mark.parametrize("rows, seconds, size", [
    ([], 0, 0),
    ([point(1000, 1)], 0.01, 10 * (2 * MB + 1000)),
    ([point(100, 1), point(1000, 100)], 1, 10 * (2 * MB + 1000)),  # noise decides what is below BELIEVED_MS
    ([point(100, 10), point(1000, 1000)], 100, 10 * (2 * MB + 1000)),  # quadratic
    ([point(100, 1000), point(1000, 100)], 1, 10 * (2 * MB + 1000)),  # never less than linear
    ([point(1000, 1, extra_bytes=None)], 0.01, 10_000),
])
def test_law_the_next_point_is_foretold(rows, seconds, size):
    assert scaling.foretold(rows, 10_000) == pytest.approx((seconds, size))


def test_law_what_a_result_holds():
    assert scaling.held((torch.ones(3), torch.ones(2, dtype=torch.int64))) == 28
    runs = [{"size": [8, 8], "counts": b"x" * 1000}] * 3
    assert 3000 < scaling.held(runs) < 6000


@pytest.fixture
def rivals(monkeypatch):
    """tests/bench/rivals.py by a name that a process of its own can import, wherever the tests run from."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("rivals")


def test_contract_a_process_that_dies_ends_its_curve_alone(monkeypatch, rivals):
    monkeypatch.setattr(scaling, "walk", rivals.dies)
    ended, row = scaling.follow("other", SETTINGS, 60)
    assert ended == {"curve": "first", "rival": "other", "why": "its process ended with 3", "failed": True}
    assert row["curve"] == "second"


def test_contract_a_process_that_hangs_is_ended(monkeypatch, rivals):
    monkeypatch.setattr(scaling, "walk", rivals.sleeps)
    monkeypatch.setattr(scaling, "START", 3)
    (ended,) = scaling.follow("other", SETTINGS, 0)
    assert ended["why"] == "took too long" and ended["failed"]


def test_law_the_curves_grow_as_far_as_the_page_says():
    found = curves({})
    assert {c.op for c in found} == {"nms", "boxes", "matching", "roi_align", "mask_paste"}
    assert len({c.name for c in found}) == len(found)
    for c in found:
        last = {"roi_align": 100_000, "mask_paste": 10_000}.get(c.op, 1_000_000)
        assert c.sizes[-1] == last and not c.peers
        assert all(b / a == pytest.approx(3, rel=0.2) for a, b in pairwise(c.sizes))


@pytest.mark.parametrize("made", curves({}), ids=lambda made: made.name)
def test_law_every_curve_runs_at_its_first_size(made):
    row = scaling.measured(made, made.rival("roikit"), made.sizes[0], warm=False)
    assert row["median_ms"] > 0 and row["result_bytes"] > 0
    assert made.rival("nobody") is None


def test_contract_lines_and_table():
    points = [point(1000), point(3000), point(10_000, 20), point(1000, 8, "other", extra_bytes=None)]
    said = [scaling_report.line(p) for p in points]
    assert "1.00 ms" in said[0] and "2.0 MB" in said[0] and said[0].startswith("roikit") and "<0.1 MB" in said[0]
    assert "? MB" in said[3]
    end = scaling_report.line({"curve": "nms, 100 objects", "rival": "other", "n": 10_000, "of": "boxes", "why": "why"})
    assert "ends before 10000 boxes: why" in end
    rows = list(scaling_report.table({"points": points}))
    assert len(rows) == 4 and len({row.count("|") for row in rows}) == 1  # 3,000 is no power of ten
    assert rows[2] == "| nms, 100 objects | 1 000 | <0.1 | 1.00 | 2.0 | 8.00 | ? |  |"
    assert rows[3].endswith("| n^1.30 |")


def test_contract_a_chart_for_each_op(tmp_path):
    pytest.importorskip("matplotlib")
    facts = {"roikit": "1", "processor": "some", "threads": 2}
    points = [point(10), point(100, 5), point(10, 3, "other"), point(10, op="boxes", curve="box_iou", extra_bytes=None)]
    scaling_report.charts({"machine": facts, "points": points}, tmp_path / "scaling.png")
    assert {path.name for path in tmp_path.iterdir()} == {"scaling_nms.png", "scaling_boxes.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_contract_the_command_follows_a_curve(monkeypatch, tmp_path):
    def followed_here(rival, settings, seconds):
        assert settings["threads"] == 1 and settings["quick"] and 0 < seconds <= 60
        yield from scaling.points(curve(torch.clone), rival, 1, time.monotonic() + 9, settings["quick"])

    monkeypatch.setattr(scaling, "follow", followed_here)
    monkeypatch.setattr(scaling, "import_peers", lambda *given: {})
    run = partial(CliRunner().invoke, main)
    done = run(["bench", "nms", "--scaling", "--quick", "--threads", "1", "--json", str(tmp_path / "a.json")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "a.json").is_file() and "| tiny | 100 |" in done.output and "threads: 1" in done.output
    for words, text in ((["--threads", "1,2"], "one number of threads, got 1, 2"), (["--device", "cuda"], "the CPU's"),
                        (["anchors"], "no curve of anchors; there are those of nms, boxes")):
        said = run(["bench", "--scaling", *words])
        assert said.exit_code == 1 and text in said.output and len(said.output.splitlines()) == 1
    monkeypatch.setattr(scaling, "follow", lambda *given: iter([{"curve": "a", "rival": "roikit", "why": "it broke",
                                                                 "failed": True}]))
    assert run(["bench", "--scaling"]).exit_code == 1
