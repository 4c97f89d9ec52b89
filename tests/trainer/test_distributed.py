"""Two gloo processes under torchrun on the tiny detector."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import roikit
from roikit.trainer import checkpoint
from roikit.trainer.records import read_records

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)

HOME = Path(roikit.__file__).resolve().parents[1]  # of the roikit that is tested, installed or not
SCRIPT = """
import glob, importlib.util, json, os, signal, sys, warnings
import torch
from roikit import models, train
from roikit.errors import RoikitWarning
from roikit.trainer import IncompleteRun, validation

spec = importlib.util.spec_from_file_location("tiny", {conftest!r})
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
made = []
models.build_detector = lambda config: made.append(tiny.TinyDetector(config)) or made[-1]
warnings.simplefilter("ignore", RoikitWarning)

settings, out, interrupted = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3] == "interrupt"
rank = os.environ["RANK"]
seen = []
if sys.argv[3] == "fail":  # one process in its share of the first evaluation, the other in scoring the second
    owner, name, call = ((validation, "detect", 1) if rank == "1" else (validation.Validation, "score", 1))
    work, calls = getattr(owner, name), []

    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise KeyError(f"{{name}} on {{rank}}")
        return work(*args, **kwargs)

    setattr(owner, name, failing)

def on_step(record):
    seen.append(record["loss"])
    if interrupted and rank == "1" and record["step"] == 6:
        os.kill(os.getpid(), signal.SIGINT)

try:
    metrics = train(settings, out=out, resume=sys.argv[3] == "resume", on_step=on_step)
except KeyboardInterrupt:
    metrics = None
except IncompleteRun as error:
    metrics = [str(error), error.metrics]
threads = [open(f"{{place}}/comm").read() for place in glob.glob("/proc/self/task/*")]  # none where there is no Linux
assert not any("gloo" in name for name in threads), threads  # one of them could end the interpreter
torch.save({{"weights": dict(made[0].named_parameters()), "losses": seen, "metrics":
            json.dumps(metrics)}}, f"{{out}}-{{rank}}.pt")
"""


@pytest.fixture
def run(settings, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(conftest=str(Path(__file__).parent / "conftest.py")))
    settings["schedule"]["steps"], settings["eval"]["every"] = 9, 4
    (tmp_path / "settings.json").write_text(json.dumps(settings))

    def run(name, how):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOME)}
        done = subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
             str(script), str(tmp_path / "settings.json"), str(tmp_path / name), how],
            env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        told = [torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1)]
        return tmp_path / name, told

    return run


def test_law_two_processes_agree_and_resume_in_the_same_bits(run):
    whole, told = run("whole", "plain")
    for name, value in told[0]["weights"].items():
        assert torch.equal(value, told[1]["weights"][name]), name
    assert told[0]["losses"] == told[1]["losses"] and len(told[0]["losses"]) == 9
    assert told[0]["metrics"] == told[1]["metrics"]
    steps = [r for r in read_records(whole / "log.jsonl") if r["kind"] == "train"]
    assert [r["loss"] for r in steps] == told[0]["losses"]
    results = json.loads((whole / "detections.json").read_text())
    assert [r["image_id"] for r in results] == list(range(10, 17))
    state = checkpoint.load(whole / "last.pt")
    assert len(state["rng"]) == 2
    assert not torch.equal(state["rng"][0]["torch"], state["rng"][1]["torch"])

    parts, told = run("parts", "interrupt")  # one process alone is told to stop
    assert told[0]["metrics"] == "null" and told[1]["metrics"] == "null"
    assert checkpoint.load(parts / "last.pt")["step"] == 7
    run("parts", "resume")
    again = checkpoint.load(parts / "last.pt")
    assert again["step"] == 9
    for name, value in state["model"].items():
        assert torch.equal(value, again["model"][name]), name
    for before, after in zip(state["rng"], again["rng"], strict=True):
        assert torch.equal(before["torch"], after["torch"])


def test_law_a_process_that_fails_stops_no_other(run):
    out, told = run("run", "fail")
    assert told[0]["metrics"] == told[1]["metrics"]
    text, metrics = json.loads(told[0]["metrics"])
    assert "the evaluation failed: KeyError: 'detect on 1'" in text and "segm" in metrics
    evals = [r["step"] for r in read_records(out / "log.jsonl") if r["kind"] == "eval"]
    assert evals == [9] and checkpoint.load(out / "last.pt")["step"] == 9
    assert [r["image_id"] for r in json.loads((out / "detections.json").read_text())] == list(range(10, 17))


def test_contract_the_trainer_is_imported_where_torch_has_no_collectives(run_python):
    run_python("import sys; sys.modules['torch.distributed.nn'] = None; import roikit.trainer.loop")


def test_law_processes_agree_on_what_is_repeated_passed_over_and_when_to_stop(run, settings, squares, tmp_path):
    content = json.loads(squares[0].read_text())
    (tmp_path / "images").mkdir()
    for name in ("0.png", "1.png"):
        (tmp_path / "images" / name).write_bytes((squares[1] / name).read_bytes())
    (tmp_path / "images" / "broken.png").write_bytes(b"no picture")
    names = ["broken.png", *("0.png", "1.png") * 60]
    content["images"] = [{**content["images"][0], "id": k, "file_name": name} for k, name in enumerate(names)]
    content["annotations"] = [{**content["annotations"][0], "id": k, "image_id": k, "category_id": 3 if k % 9 else 8}
                              for k in range(len(names))]
    path = tmp_path / "many.json"
    path.write_text(json.dumps(content))
    settings["data"] |= {"train": {"annotations": str(path), "images": str(tmp_path / "images")}, "batch_size": 140,
                         "on_error": "skip", "repeat_below": 0.5}
    settings["augment"] |= {"copy_paste": 0.5}
    settings["eval"] |= {"every": 1, "patience": 2, "best": "bbox/per_class/even"}  # which the model never finds
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    out, told = run("run", "plain")
    assert told[0]["losses"] == told[1]["losses"] and len(told[0]["losses"]) == 3
    metrics = json.loads(told[0]["metrics"])
    assert metrics["best"]["step"] == 1 and metrics["training"]["unread"] == 1
    unread = [r for r in read_records(out / "log.jsonl") if r["kind"] == "unread"]
    assert [(r["image_id"], r["step"]) for r in unread] == [(0, 0)]
    for name, value in told[0]["weights"].items():
        assert torch.equal(value, told[1]["weights"][name]), name
