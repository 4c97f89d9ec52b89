"""`python -m benchmarks.comforts_table`: what is trained once, means with their spread, gains by seed."""

import importlib
from pathlib import Path

import pytest

from roikit.trainer import load_config

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.comforts_table")


@pytest.fixture
def trained(table, monkeypatch, tmp_path):
    """Runs the command with mask APs in place of trainings, row -> seed -> AP; what was asked for and the table."""
    def call(results, *words):
        asked = []

        def one(row, changes, options, seed):
            asked.append((row, seed))
            value = results[row].get(seed)
            views = {view: {"segm": {"AP": value + 0.01 * k}} for k, view in enumerate(table.VIEWS)} if value else None
            return views and {"row": row, "changes": list(changes), "asked": table.asked(options), "seed": seed,
                              "steps": 100 + seed, "seconds": 1.0, "views": views}

        monkeypatch.setattr(table, "train_one", one)
        failed = table.main(["--results", str(tmp_path / "c.jsonl"), "--markdown", str(tmp_path / "c.md"), "--rows",
                             *results, *words])
        return failed, asked, (tmp_path / "c.md").read_text()

    return call


def test_contract_means_spread_and_gains_by_seed(trained):
    failed, asked, text = trained({"baseline": {0: 0.40, 1: 0.50, 2: 0.60}, "rotation": {0: 0.42, 1: 0.51, 2: 0.63}})
    assert failed == 0 and asked == [(row, seed) for seed in (0, 1, 2) for row in ("baseline", "rotation")]
    assert "| baseline | 100 to 102 | 0.5000 ± 0.1000 | 0.5100 ± 0.1000 (+0.0100 ± 0.0000)" in text
    assert "| rotation | 100 to 102 | 0.5200 ± 0.1054 (+0.0200 ± 0.0100)" in text and "8 minutes a run" in text


def test_contract_what_is_there_is_not_done_again(trained):
    results = {"baseline": {0: 0.4}, "copy-paste": {0: 0.5}}
    failed, asked, text = trained(results)
    assert failed == 4 and "| copy-paste | 100 | 0.5000 (+0.1000)" in text
    results["baseline"][1] = 0.6
    failed, asked, _ = trained(results)
    assert failed == 3 and ("baseline", 0) not in asked and ("copy-paste", 0) not in asked
    assert trained(results, "--steps", "5")[1][0] == ("baseline", 0)  # another length is another run
    assert trained(results, "--set", "optimizer.lr=1")[1][0] == ("baseline", 0)


def test_contract_each_row_has_its_own_comforts(table):
    plain = load_config("nuclei-mini", table.ROWS[table.BASE])
    assert not plain.augment.copy_paste and not plain.augment.mosaic and not plain.augment.degrees
    for name, changes in table.ROWS.items():
        config = load_config("nuclei-mini", changes)
        assert (config == plain) == (name == table.BASE)
        assert bool(config.augment.copy_paste) == ("copy-paste" in name)
