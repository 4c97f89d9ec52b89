"""Training, evaluation and prediction with everything at addresses: on an S3 server that fails every tenth request.

moto's server and s3fs are not among what the tests install: `pip install 'moto[server]' s3fs` has them run.
"""

import json
import os
import signal
import time
import warnings
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from roikit.cli import main
from roikit.data import nuclei_mini
from roikit.data.remote import asking, kept_at, local_path, mirror, results
from roikit.errors import RoikitWarning
from roikit.trainer import checkpoint, evaluate, load_config, predict, train
from roikit.trainer.picture_files import find_pictures
from roikit.trainer.trained import train_set, weights_file

from .flaky_s3 import flaky_s3

fsspec = pytest.importorskip("fsspec")
for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)

pytestmark = [pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning"), pytest.mark.usefixtures("tiny")]


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """The `Flaky` before moto's S3, a file system of the same files that works; an empty home."""
    s3fs = pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    with flaky_s3() as (flaky, endpoint, working):
        for name, value in {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
                            "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
                            "ROIKIT_HOME": str(tmp_path / "home")}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(asking, "WAITS", (0.01,) * 5)
        monkeypatch.setattr(asking, "_silent", set())
        s3fs.S3FileSystem.clear_instance_cache()
        fs = s3fs.S3FileSystem(endpoint_url=working, use_listings_cache=False)
        fs.mkdir("bucket")
        yield flaky, fs
        s3fs.S3FileSystem.clear_instance_cache()


def put(fs, folder, place):
    for path in Path(folder).rglob("*"):
        if path.is_file():
            fs.put_file(str(path), f"{place}/{path.relative_to(folder).as_posix()}")


def content(folder):
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def stored(fs, place):
    return {name.partition(f"{place}/")[2]: fs.cat(name) for name in fs.find(place)}


def without_pythons(state):
    """A checkpoint without the state of Python's generator, of which botocore draws how long it waits."""
    return {**state, "rng": [{**part, "python": None} for part in state["rng"]]}


def test_law_addresses_give_the_results_of_files(s3, settings, squares, same, tmp_path):
    flaky, fs = s3
    put(fs, squares[1], "bucket/set")
    part = {"annotations": "s3://bucket/set/instances.json", "images": "s3://bucket/set"}
    there = load_config(settings, {"data": {"train": part, "val": part, "workers": 2}})
    ours = train(load_config(settings, ["data.workers=2"]), out=tmp_path / "run")
    theirs = train(there, out="s3://bucket/runs/one")
    assert theirs["segm"] == ours["segm"] and theirs["bbox"] == ours["bbox"] and theirs["best"] == ours["best"]
    here, run = content(tmp_path / "run"), stored(fs, "bucket/runs/one")
    assert {name for name in here if "events" not in name} == {name for name in run if "events" not in name}
    assert run["detections.json"] == here["detections.json"]
    assert run["predictions/0.png"] == here["predictions/0.png"]
    for name in ("last.pt", "best.pt"):
        (tmp_path / name).write_bytes(run[name])
        states = checkpoint.load(tmp_path / name), checkpoint.load(tmp_path / "run" / name)
        for state in states:
            del state["config"]
        same(*map(without_pythons, states))

    own = evaluate(tmp_path / "run", *squares, out=tmp_path / "eval", device="cpu")
    found = evaluate("s3://bucket/runs/one", part["annotations"], part["images"], out="s3://bucket/eval", device="cpu")
    assert found["segm"] == own["segm"] and found["unread"] == 0
    judged = stored(fs, "bucket/eval")
    assert sorted(judged) == sorted(content(tmp_path / "eval"))
    assert judged["detections.json"] == (tmp_path / "eval" / "detections.json").read_bytes()

    write = ("overlays", "coco", "csv", "instances", "yolo")
    ours = predict(tmp_path / "run", squares[1], out=tmp_path / "found", score_threshold=0.0, write=write, device="cpu")
    theirs = predict("s3://bucket/runs/one", "s3://bucket/set", out="s3://bucket/set/found", score_threshold=0.0,
                     write=write, device="cpu")
    assert theirs == ours and len(ours) == 7
    here, there = content(tmp_path / "found"), stored(fs, "bucket/set/found")
    # The journal has the digest of the checkpoint, in which the addresses are.
    assert here.pop("predictions.jsonl").splitlines()[1:] == there.pop("predictions.jsonl").splitlines()[1:]
    assert here == there
    again = predict("s3://bucket/runs/one", "s3://bucket/set", out="s3://bucket/set/found", resume=True,
                    score_threshold=0.0, write=write, device="cpu")
    assert again == ours
    scored = evaluate("s3://bucket/set/found/predictions.json", part["annotations"])
    assert scored == evaluate(tmp_path / "found" / "predictions.json", squares[0])
    assert flaky.failures["cut"] > 0 and flaky.failures["refused"] > 5


def test_law_a_run_that_is_resumed_on_another_machine_ends_in_the_same_bits(s3, settings, squares, same, tmp_path,
                                                                            monkeypatch):
    _, fs = s3
    config = load_config(settings)
    train(config, out=tmp_path / "whole")

    def crash(record):
        if record["step"] == 6:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(config, out="s3://bucket/run", on_step=crash)
    with pytest.raises(ValueError, match="holds a run already"):
        train(config, out="s3://bucket/run")
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "another"))
    train(None, out="s3://bucket/run", resume=True)
    (tmp_path / "last.pt").write_bytes(fs.cat("bucket/run/last.pt"))
    states = checkpoint.load(tmp_path / "last.pt"), checkpoint.load(tmp_path / "whole" / "last.pt")
    same(*map(without_pythons, states))
    steps = [json.loads(line)["step"] for line in fs.cat("bucket/run/log.jsonl").splitlines() if b'"train"' in line]
    assert steps == list(range(1, 12))


@pytest.fixture
def run(settings, tmp_path, tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        train(load_config(settings, ["schedule.steps=1", "eval.every=null", "run.predictions=0"]), out=tmp_path / "run")
    return tmp_path / "run"


def test_the_commands_take_addresses(s3, run, squares, tmp_path):
    flaky, fs = s3
    put(fs, squares[1], "bucket/set")
    put(fs, run, "bucket/run")
    for words, out in (
            (["doctor", "s3://bucket/set/instances.json", "s3://bucket/set"], "7 images, 6 objects"),
            (["doctor", "s3://bucket/set/instances.json"], "7 images, 6 objects"),
            (["eval", "s3://bucket/run", "s3://bucket/set/instances.json", "s3://bucket/set", "--device", "cpu"], "AP"),
            (["train", "--show-config", "--resume", "--out", "s3://bucket/run",
              "schedule.steps=3"], "steps: 3"),
            (["convert-data", "s3://bucket/set", str(tmp_path / "coco.json")], "7 images, 6 objects"),
            (["predict", "s3://bucket/run", "s3://bucket/set/*.png", "--out", "s3://bucket/found", "--device", "cpu",
              "--score-threshold", "0"], "s3://bucket/found: 7 images")):
        result = CliRunner().invoke(main, words)
        assert result.exit_code in (0, 1) and out in result.output, result.output
    assert len(json.loads(fs.cat("bucket/found/predictions.json"))) == 7
    result = CliRunner().invoke(main, ["doctor", "s3://bucket/nothing.json", "s3://bucket/set"])
    assert result.exit_code == 1 and result.output.splitlines()[-1] == "Error: there is nothing at s3://bucket/nothing.json"


def test_a_server_that_goes_down_ends_the_pictures_it_has_and_resume_goes_on(s3, run, squares, tmp_path):
    flaky, fs = s3
    put(fs, squares[1], "bucket/set")
    failed = []

    def fall(path, found):
        flaky.down = True

    found = predict(run, "s3://bucket/set", out=tmp_path / "found", on_image=fall, device="cpu", score_threshold=0.0,
                    on_error=lambda path, error: failed.append(str(error)))
    assert len(found) == 1 and len(failed) == 6
    assert failed[0].startswith("s3://bucket/set/1.png could not be reached in 6 attempts and ")
    assert failed[5].startswith("s3://bucket/set/6.png could not be reached in 1 attempt and ")
    unread = json.loads((tmp_path / "found" / "images.json").read_text())["unread"]
    assert [fault["file_name"] for fault in unread] == [f"{k}.png" for k in range(1, 7)]
    flaky.down = False
    found = predict(run, "s3://bucket/set", out=tmp_path / "found", resume=True, device="cpu", score_threshold=0.0)
    assert [r["file_name"] for r in found] == [f"{k}.png" for k in range(7)]


def test_a_server_that_goes_down_ends_a_run_and_resume_goes_on(s3, settings, squares, same, tmp_path):
    flaky, fs = s3
    put(fs, squares[1], "bucket/set")
    part = {"annotations": "s3://bucket/set/instances.json", "images": "s3://bucket/set"}
    config = load_config(settings, {"data": {"train": part, "val": part}})
    whole = train(config, out=tmp_path / "whole")

    def fall(record):
        if record["step"] == 2:
            for path in local_path("s3://bucket/set").glob("*.png"):
                path.unlink()
            mirror._listings.clear()
            local_path("s3://bucket/set")  # stubs again
            flaky.down = True

    with pytest.raises(OSError, match="train: step 3: .*; .*last.pt was written, resume goes on from there"):
        train(config, out=tmp_path / "run", on_step=fall)
    flaky.down = False
    assert train(None, out=tmp_path / "run", resume=True)["segm"] == whole["segm"]
    states = (checkpoint.load(tmp_path / name / "last.pt") for name in ("run", "whole"))
    same(*map(without_pythons, states))


def test_results_that_cannot_be_copied_are_kept_here(s3, run, squares):
    flaky, fs = s3
    with pytest.raises(OSError, match="results could not be copied to s3://bucket/found: .*; all of them are in .* "
                                      "on this machine"):
        predict(run, squares[1], out="s3://bucket/found", device="cpu", score_threshold=0.0,
                on_image=lambda path, found: setattr(flaky, "down", True))
    flaky.down = False
    looked = []
    predict(run, squares[1], out="s3://bucket/found", device="cpu", score_threshold=0.0, resume=True,
            on_image=lambda path, found: looked.append(path))
    assert looked == [] and len(json.loads(fs.cat("bucket/found/predictions.json"))) == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process that is killed is forked")
def test_law_a_prediction_that_is_killed_goes_on_on_another_machine(s3, run, squares, tmp_path, monkeypatch):
    flaky, fs = s3
    monkeypatch.setattr(results, "EVERY", 0.05)
    asked = {"device": "cpu", "score_threshold": 0.0, "write": ("overlays", "coco"), "resume": True}
    whole = predict(run, squares[1], out=tmp_path / "whole", **asked)
    for machine in range(20):
        monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / f"machine{machine}"))
        lines = fs.cat("bucket/found/predictions.jsonl").count(b"\n") if fs.exists("bucket/found") else 0
        if not (child := os.fork()):
            torch.set_num_threads(1)
            try:
                predict(run, squares[1], out="s3://bucket/found", on_image=lambda *_: time.sleep(0.5), **asked)
            finally:
                os._exit(0)
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.02)
            if fs.exists("bucket/found/predictions.jsonl") and fs.cat("bucket/found/predictions.jsonl").count(
                    b"\n") > lines + 2:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            fs.invalidate_cache()
        else:
            break
    there = stored(fs, "bucket/found")
    assert machine > 0 and json.loads(there["predictions.json"]) == whole
    # Nothing is told of that is not there; what another machine drew is where it was put.
    assert {name: there[name] for name in there if name.endswith(".png")} == {
        name: value for name, value in content(tmp_path / "whole").items() if name.endswith(".png")}


def test_of_the_folder_of_a_run_what_is_needed_comes_alone_and_a_source_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "home"))
    fs = fsspec.filesystem("memory")
    for name, size in (("last.pt", 5000), ("detections.json", 9000), ("model.safetensors", 7000)):
        fs.pipe(f"/run17/{name}", bytes(size))
    for path in nuclei_mini("val")[0].parent.parent.rglob("*.*"):
        fs.pipe(f"/set17/{path.relative_to(nuclei_mini('val')[0].parent.parent).as_posix()}", path.read_bytes())
    path = weights_file("memory://run17")
    assert path.name == "last.pt" and path.stat().st_size == 5000
    assert all((path.parent / name).stat().st_size < 300 for name in ("detections.json", "model.safetensors"))
    config = load_config("nuclei-mini", ["data.train.source=memory://set17"])
    assert len(train_set(config)) == 48 and config.data.train.source == "memory://set17"


def test_a_list_may_have_addresses(s3, squares, tmp_path):
    _, fs = s3
    put(fs, squares[1], "bucket/set")
    (tmp_path / "list.txt").write_text(f"s3://bucket/set/3.png\n{squares[1] / '4.png'}\ns3://bucket/set/nothing.png\n")
    found = find_pictures(tmp_path / "list.txt")
    assert found.names == ["3.png", "4.png"]
    assert [str(error) for _, error in found.closed] == ["there is nothing at s3://bucket/set/nothing.png"]


def test_empty_files_in_the_place_of_folders_are_passed_over(s3, squares):
    _, fs = s3
    put(fs, squares[1], "bucket/set/sub")
    for name in ("set/", "set/sub/", "set/sub"):
        fs.call_s3("put_object", Bucket="bucket", Key=name, Body=b"")
    assert find_pictures("s3://bucket/set").names == [f"sub/{k}.png" for k in range(7)]


def test_results_of_a_folder_are_not_looked_at_again(s3, squares):
    _, fs = s3
    put(fs, squares[1], "bucket/set")
    with kept_at("s3://bucket/set/found") as folder:
        (folder / "1.png").write_bytes((squares[1] / "1.png").read_bytes())
    with kept_at("s3://bucket/set/found", go_on=True) as folder:
        assert len(find_pictures("s3://bucket/set", leave_out=folder).paths) == 7
    assert len(find_pictures("s3://bucket/set").paths) == 8
