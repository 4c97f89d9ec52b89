"""`python -m benchmarks.model_table`: its rows, those that fail, its figures."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from roikit.models.parts.int8 import has_int8

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def module(monkeypatch):
    """A module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return lambda name: importlib.import_module(name)


def test_contract_a_row_that_fails_stops_no_other(module, capsys):
    table, rivals, acts = (module(name) for name in ("benchmarks.model_table", "benchmarks.model_rivals", "model_rows"))
    rows = {name: rivals.Row(getattr(acts, name), patience=20) for name in ("breaks", "dies", "runs")}
    rows["sleeps"] = rivals.Row(acts.sleeps, patience=0.1)
    table.taken(rows, 2)
    assert rows["runs"].seconds == [2.0, 2.0] and rows["runs"].words == "it runs"
    for row in rows.values():
        row.end()
    detections = {"labels": torch.tensor([1]), "boxes": torch.zeros(1, 4), "scores": torch.ones(1)}
    lines = dict(zip(rows, table.lines(table.figures(rows, {"runs": detections}, {"runs": 0.5})), strict=True))
    assert "none: No module named 'other'" in lines["breaks"]
    assert "none: its process ended with 3" in lines["dies"]
    assert "none: no answer for 0.1 s" in lines["sleeps"]
    for words in ("2.000 s (2.000 to 2.000)", "1.00x", "4.00 x floor", "7 faults, ", " 3 MB", "same labels", "it runs"):
        assert words in lines["runs"]


def test_contract_what_differs_is_told(module):
    difference = module("benchmarks.model_table").difference
    first = {"labels": torch.tensor([1, 2]), "boxes": torch.zeros(2, 4), "scores": torch.ones(2),
             "masks": torch.zeros(2, 1, 4, 4)}
    assert difference(first, first) == "2 detections, same labels, boxes 0 px, scores 0, masks 0"
    assert "boxes 3 px, scores 0, masks 0" in difference(first | {"boxes": torch.full((2, 4), 3.0)}, first)
    assert "other labels" in difference(first | {"labels": torch.tensor([2, 1])}, first)
    assert "other labels" in difference({key: value[:1] for key, value in first.items()}, first)
    none = {key: value[:0] for key, value in first.items()}
    assert difference(none, none).startswith("0 detections, same labels")


def test_contract_the_floor_counts_convolutions_and_linear_layers(module):
    counted = module("benchmarks.multiplications")
    conv, linear = torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Linear(7, 2)
    with torch.no_grad():
        found = counted.multiplications(lambda images: linear(conv(images[0][None])), torch.rand(3, 4, 7))
    assert found == 3 * 5 * 9 * 4 * 7 + 5 * 4 * 7 * 2
    for dtype in (torch.float32, *[torch.int8] * has_int8()):
        assert counted.peak(dtype, 0.0) > 1e8


def test_contract_a_row_without_its_library_leaves_a_table(module, tmp_path):
    """The whole command, with a small image; OpenVINO is made to be missing."""
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")  # roikit is the one that is tested, not the sources
    (tmp_path / "openvino.py").write_text("raise ImportError('no OpenVINO here')\n")
    code = ("import sys; sys.path.insert(0, {!r}); sys.argv[1:] = {!r}\n"
            "if __name__ == '__main__':\n    from benchmarks.model_table import main; main()")
    words = ["--models", "fasterrcnn_resnet50_fpn", "--size", "64,96", "--rounds", "2", "--threads", "1", "--rows",
             "OpenVINO", "roikit", "prepared", "--json", str(tmp_path / "table.json")]
    script = tmp_path / "script.py"
    script.write_text(code.format(str(tmp_path), words))
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "none: no OpenVINO here" in done.stdout and "billion multiplications" in done.stdout
    (table,) = json.loads((tmp_path / "table.json").read_text())
    assert table["rows"]["OpenVINO"] == {"failed": "no OpenVINO here"}
    for name in ("roikit", "prepared"):
        row = table["rows"][name]
        assert row["beside"] == "roikit" and 0 < row["p10_s"] <= row["median_s"] <= row["p90_s"]
        assert row["times_floor"] == pytest.approx(row["median_s"] / row["floor_s"])
        assert "detections, same labels" in row["says"]
