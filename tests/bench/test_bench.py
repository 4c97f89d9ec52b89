"""`roikit bench`: the rows of small works, what is written, what a mistake looks like."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import roikit.bench as bench
from roikit.bench import peers, table, timing
from roikit.bench.timing import Device
from roikit.bench.work import Cost, Work, made, plain
from roikit.cli import main

RATES = {"read_bytes": 1e9, "write_bytes": 1e9, "operations": 1e9}


def tiny(**more):
    values = torch.arange(8.0)
    given = {"op": "boxes", "name": "tiny", "make": made(values), "ours": plain(lambda x: x + 1),
             "peers": {"numpy": plain(lambda x: x.numpy() + 1)}, "cost": lambda given, out: Cost(500_000, 500_000)}
    return Work(**given | more)


@pytest.fixture
def brief(monkeypatch):
    """The command with one tiny work for each of two ops, and no peers to import."""
    monkeypatch.setattr(bench, "WORKS", {"boxes": lambda peers, device: [tiny()],
                                         "nms": lambda peers, device: [tiny(op="nms", peers={})]})
    monkeypatch.setattr(bench, "import_peers", lambda *args: {})
    monkeypatch.setattr(bench, "rates", lambda device: RATES)
    monkeypatch.setattr(timing.Device, "__init__", quick_device)


def quick_device(self, name, quick=False):
    self.name, self.cuda, self.quick, self.seconds, self.warm_up, self.least = name, False, quick, 0, 1, 3


def call(*words, code=0):
    result = CliRunner().invoke(main, ["bench", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def test_contract_a_row_has_every_column():
    row = table.measure(tiny(goals={"cpu": ("floor", 1e9)}), Device("cpu", quick=True), RATES)
    assert set(row["times"]) == {"roikit", "numpy"} and row["best"] == "numpy"
    for times in row["times"].values():
        assert 0 < times["p10_ms"] <= times["median_ms"] <= times["p90_ms"] and times["runs"] >= 3
    assert row["ratio"] == pytest.approx(row["times"]["numpy"]["median_ms"] / row["times"]["roikit"]["median_ms"])
    assert row["floor_ms"] == pytest.approx(1.0) and row["times_floor"] == row["times"]["roikit"]["median_ms"]
    assert row["goal"]["met"] and row["floor_counts"]


def test_contract_the_floor_is_the_longer_of_moving_and_computing():
    assert table.floor_ms(Cost(10**6, 10**6, 0), RATES) == pytest.approx(2)
    assert table.floor_ms(Cost(10**6, 0, 5 * 10**6), RATES) == pytest.approx(5)


def test_contract_a_peer_that_fails_is_left_out_with_its_reason():
    def broken(x):
        raise RuntimeError("no such kernel")

    row = table.measure(tiny(peers={"other": plain(broken)}), Device("cpu", quick=True), RATES)
    assert set(row["times"]) == {"roikit"} and row["ratio"] is None and row["best"] is None
    assert "other failed: no such kernel" in row["note"]


def test_contract_the_table_and_the_json(brief, tmp_path):
    said = call("--threads", "1,2", "--json", tmp_path / "rows.json")
    for word in ("roikit ms", "p10-p90", "numpy ms", "ratio", "floor ms", "x floor", "threads"):
        assert word in said
    result = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["op"], row["threads"]) for row in result["rows"]] == [("boxes", 1), ("boxes", 2), ("nms", 1),
                                                                        ("nms", 2)]
    assert set(result["rates"]) == {"1", "2"} and result["machine"]["torch"] == torch.__version__
    assert len(call("nms").splitlines()) == len(call("boxes").splitlines())


def test_contract_a_work_that_fails_does_not_hide_the_others(brief, monkeypatch):
    def broken(x):
        raise RuntimeError("it broke")

    monkeypatch.setitem(bench.WORKS, "boxes", lambda peers, device: [tiny(ours=plain(broken)), tiny()])
    said = call("boxes", code=1)
    assert "FAILED: RuntimeError: it broke" in said and "2 rows" in said and "1 failed" in said


def test_contract_the_chart_is_a_png(brief, tmp_path):
    pytest.importorskip("matplotlib")
    call("--chart", tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_contract_mistakes_are_one_line(brief, monkeypatch, tmp_path):
    said = call("rio_align", code=1)
    assert "there is no op rio_align; there are boxes, nms" in said and len(said.splitlines()) == 1
    assert "1 or more" in call("--threads", "0", code=2)
    if not torch.cuda.is_available():
        assert "no CUDA device" in call("--device", "cuda", code=1)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "--chart needs matplotlib" in call("--chart", tmp_path / "chart.png", code=1)


def test_contract_the_help_names_what_it_takes():
    said = call("--help")
    for word in ("--threads", "--device", "--json", "--chart", "--torchvision-ops", "--quick", "roi_align"):
        assert word in said


# Beside an op where nobody else has it: they need no package.
OWN = {"torch", "roikit upright"}


def test_law_every_op_has_works_and_runs_without_peers():
    for op, works in bench.WORKS.items():
        listed = [work for work in works({}, "cpu") if "cpu" in work.devices]
        assert listed and all(work.op == op and set(work.peers) <= OWN for work in listed), op
        assert any(work.quick for work in listed)
        assert len({work.name for work in listed}) == len(listed)


class Lacking(types.SimpleNamespace):
    """A library of another release: a function of it is there when it is called, or an AttributeError."""

    def box_iou(self, first, second, fmt="xyxy"):
        if fmt == "cxcywhr":
            return torch.ops.torchvision.no_such_operator(first, second)
        return torch.zeros(len(first), len(second))


def test_contract_an_operator_that_torchvision_lacks_is_a_note_in_its_row():
    first, second, *rest = bench.WORKS["rotated"]({"torchvision": types.SimpleNamespace(ops=Lacking())}, "cpu")
    for work in (first, second):
        assert not work.peers and "torchvision has none: " in work.note and "no_such_operator" in work.note
    assert rest and not any("torchvision" in work.note for work in rest)


def test_contract_a_function_that_torchvision_lacks_is_a_note_in_its_row(monkeypatch):
    monkeypatch.setattr(bench, "WORKS", {"boxes": bench.WORKS["boxes"]})
    monkeypatch.setattr(bench, "import_peers", lambda *args: {"torchvision": types.SimpleNamespace(ops=Lacking())})
    monkeypatch.setattr(bench, "rates", lambda device: RATES)
    monkeypatch.setattr(timing.Device, "__init__", quick_device)
    rows = {row["work"]: row for row in bench.run(["boxes"], quick=True, say=lambda line: None)["rows"]}
    assert not any("failed" in row for row in rows.values())
    assert "torchvision" in rows["box_iou 1000 x 1000"]["times"]
    row = rows["complete_box_iou 1000 x 1000"]
    assert set(row["times"]) == {"roikit"} and "torchvision failed: " in row["note"]
    assert "complete_box_iou" in row["note"]


@pytest.mark.parametrize("op", bench.WORKS)
def test_law_a_peer_that_has_nothing_stops_no_op(op):
    class Bare(types.ModuleType):
        def __getattr__(self, name):
            raise AttributeError(f"it has no {name}")

    works = bench._works(op, {name: Bare(name) for name in peers.NAMES}, Device("cpu"))
    alone = [work.name for work in bench.WORKS[op]({}, "cpu") if "cpu" in work.devices]
    assert {work.name for work in works} <= set(alone) and len(works) == len(alone)


def test_contract_a_peer_without_what_the_works_name_is_told_in_the_notes():
    def make(some):
        yield tiny(peers={name: plain(peer.overlap) for name, peer in some.items()})

    whole, bare = types.SimpleNamespace(overlap=len), types.SimpleNamespace()
    (work,), lacking = peers.those_complete(make, {"whole": whole, "bare": bare})
    assert set(work.peers) == {"whole"} and set(lacking) == {"bare"} and "overlap" in lacking["bare"]


def test_contract_a_real_op_runs(run_python):
    run_python("""
import roikit.bench
(row,) = roikit.bench.run(["anchors"], quick=True, say=lambda line: None)["rows"]
assert row["op"] == "anchors" and row["times"]["roikit"]["median_ms"] > 0 and row["times_floor"] > 0
""")


def test_contract_importing_roikit_does_not_import_it(run_python):
    run_python("import sys, roikit, roikit.cli; assert not [m for m in sys.modules if m.startswith('roikit.bench')]")


def test_contract_every_work_of_a_page_is_an_op():
    pages = importlib.util.find_spec("roikit.ops").submodule_search_locations[0]
    ops = {path.stem for path in Path(pages).glob("[a-z]*.py")}
    assert set(bench.WORKS) == ops | {"rle", "polygon"}
