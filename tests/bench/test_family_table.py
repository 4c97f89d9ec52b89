"""`python -m benchmarks.family_table`: what is trained, what is trained again, the figures of the tables."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from roikit.models import DetectorConfig
from roikit.trainer import load_config, preset_names

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.family_table")


def run(bbox=0.5, segm=None, **more):
    given = {"preset": "nuclei-mini", "changes": [], "steps": 7, "seed": 0, "threads": 1, "parameters": 2_340_000,
             "train_images_per_second": 3.0, "predict_images_per_second": 40.0, "seconds": 1.0,
             "bbox": {"AP": bbox, "AP50": bbox, "AP75": bbox}}
    return {**given, **({} if segm is None else {"segm": {"AP": segm, "AP50": segm, "AP75": segm}}), **more}


@pytest.fixture
def trained(table, monkeypatch, tmp_path):
    """Runs the command with results in place of trainings, name -> a function of the seed; tells what was asked for."""
    asked = []

    def call(results, *words):
        def one(row, changes, steps, seed, threads):
            asked.append((row.preset, (*row.changes, *changes), seed))
            figures = results.get(row.preset, lambda seed: run(segm=0.4))(seed)
            return figures and {**figures, "preset": row.preset, "changes": [*row.changes, *changes], "steps": steps,
                                "seed": seed}
        monkeypatch.setattr(table, "train_one", one)
        asked.clear()
        failed = table.main([*words, "--results", str(tmp_path / "family.jsonl"), "--markdown",
                             str(tmp_path / "family.md")])
        return failed, (tmp_path / "family.md").read_text(), list(asked)
    return call


def row_of(text, name):
    lines = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in lines[0].strip("|").split("|")]


def test_contract_medians_with_least_and_largest(trained):
    boxes, masks = {0: 0.5, 1: 0.25, 2: 0.375}, {0: 0.1, 1: 0.3, 2: 0.2}
    failed, text, asked = trained({"nuclei-mini": lambda seed: run(boxes[seed], masks[seed]),
                                   "faster-rcnn-fpn": lambda seed: run(boxes[seed] + 0.1)},
                                  "--presets", "nuclei-mini", "faster-rcnn-fpn")
    assert failed == 0 and [seed for *_, seed in asked] == [0, 0, 1, 1, 2, 2]
    assert row_of(text, "nuclei-mini") == ["nuclei-mini", "2.3", "3.0", "40.0", "0.375 (0.250 to 0.500)",
                                           "0.375 (0.250 to 0.500)", "0.200 (0.100 to 0.300)", "3"]
    assert row_of(text, "faster-rcnn-fpn")[4:] == ["0.475 (0.350 to 0.600)"] * 2 + ["-", "3"]
    assert ("faster-rcnn-fpn: bbox/AP 0.475 (0.350 to 0.600), +0.100 against 0.375 (0.250 to 0.500) of nuclei-mini"
            in text)


def test_contract_a_run_that_is_there_is_not_done_again(trained):
    words = ("--presets", "nuclei-mini", "--steps", "7", "--seeds", "0", "1")
    assert len(trained({}, *words)[2]) == 2
    failed, text, asked = trained({}, *words, "--seeds", "0", "1", "2")
    assert asked == [("nuclei-mini", (), 2)] and row_of(text, "nuclei-mini")[-1] == "3"
    for other in (("--steps", "8"), ("--set", "optimizer.lr=0.1")):
        assert len(trained({}, *words, *other)[2]) == 2


def test_contract_a_run_that_fails_is_told_and_tried_again(trained, capsys):
    words = ("--presets", "nuclei-mini", "htc", "--seeds", "0")
    failed, text, _ = trained({"htc": lambda seed: None}, *words)
    assert failed == 1 and "# htc, seed 0: failed" in capsys.readouterr().out
    assert row_of(text, "htc")[1:] == ["-"] * 6 + ["0"]
    assert trained({}, *words)[2] == [("htc", (), 0)]


def test_contract_the_ablation_has_the_papers_figures(table, trained):
    _, text, asked = trained({}, "--ablation", "--seeds", "0")
    assert len(asked) == len(set(asked)) == 8
    assert row_of(text, "RoIPool, max")[1] == "0.269" and row_of(text, "RoIAlign, mean")[1:3] == ["0.303", "0.400"]
    assert row_of(text, "class-agnostic")[1] == "-"
    assert "RoIAlign, mean: segm/AP 0.400, +0.000 against 0.400 of RoIPool, max; expected +0.02 or more: no" in text
    for rows in table.ABLATION.values():
        for row in rows:
            load_config(row.preset, row.changes)


@pytest.mark.parametrize("one, two, met", [(0.48, 0.5, "yes"), (0.46, 0.5, "no")])
def test_contract_a_system_may_stay_behind_by_the_margin(trained, one, two, met):
    text = trained({"nuclei-mini": lambda seed: run(0.1, two), "mask-rcnn-ohem": lambda seed: run(0.9, one)},
                   "--presets", "nuclei-mini", "mask-rcnn-ohem")[1]
    line, = (line for line in text.splitlines() if line.startswith("- mask-rcnn-ohem: "))
    assert line.endswith(f"expected -0.03 or more: {met}")


def test_contract_all_systems_are_those_whose_data_are_in_the_package(table):
    rows = table.rows_of(table.parsed([]))
    assert rows[0].preset == "nuclei-mini"
    found = {name: load_config(name) for name in preset_names()}
    assert {row.preset for row in rows} == {name for name, config in found.items() if config.data.bundled is not None
                                            and isinstance(config.model, DetectorConfig)}


def test_agreement_of_a_run_with_its_process(tmp_path):
    # From a folder with the benchmarks alone: in the checkout its `roikit` would stand before the installed one.
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    words = ["model.image.min_size=[64]", "model.image.max_size=64", "model.rpn.keep_after_nms_train=20",
             "model.rpn.keep_after_nms_test=20", "data.train.limit=2", "data.val.limit=2", "data.batch_size=2"]
    result = tmp_path / "family.jsonl"
    done = subprocess.run([sys.executable, "-m", "benchmarks.family_table", "--presets", "faster-rcnn-fpn",
                           "--steps", "2", "--seeds", "5", "--threads", "1", "--results", str(result),
                           *(part for word in words for part in ("--set", word))],
                          cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found, = map(json.loads, result.read_text().splitlines())
    assert found["changes"] == words and (found["steps"], found["seed"], found["threads"]) == (2, 5, 1)
    assert found["parameters"] > 10**7 and found["train_images_per_second"] > 0 < found["predict_images_per_second"]
    assert set(found["bbox"]) == {"AP", "AP50", "AP75"} and 0 <= found["bbox"]["AP"] <= 1 and "segm" not in found
    assert row_of(done.stdout, "faster-rcnn-fpn")[-1] == "1"
