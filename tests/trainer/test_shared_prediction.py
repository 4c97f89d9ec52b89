"""Predictions that several processes share: the files of one process, whatever ends one of them."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import roikit
from roikit.errors import RoikitWarning
from roikit.trainer import load_config, predict, result_files, train
from roikit.trainer.distributed import Process
from roikit.trainer.shares import own_share

from .several import DONE, FAILED, LEFT, together

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.filterwarnings("ignore::DeprecationWarning"),
              pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

Image = pytest.importorskip("PIL.Image")
for library in ("yaml", "pycocotools", "matplotlib", "safetensors"):
    pytest.importorskip(library)

WRITE = ("overlays", "coco", "csv", "instances", "yolo", "labelme")
FEW = {"write": ("coco", "csv"), "score_threshold": 0, "device": "cpu"}
HOME = Path(roikit.__file__).resolve().parents[1]


@pytest.fixture
def run(settings, tmp_path, tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        train(load_config(settings, ["schedule.steps=1", "eval.every=null", "run.predictions=0"]), out=tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def photos(tmp_path):
    """60 pictures in three folders, one of which cannot be read."""
    drawn = np.random.default_rng(0)
    for k in range(60):
        path = tmp_path / "photos" / f"{k % 3}" / f"{k:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.integers(0, 255, (8 + k % 4, 9, 3), np.uint8)).save(path)
    (tmp_path / "photos" / "1" / "31.png").write_bytes(b"x")
    return tmp_path / "photos"


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def quiet(path, error):
    """What becomes of pictures that cannot be read is in ``images.json``."""


@pytest.mark.parametrize("count", [2, 3])
def test_law_several_processes_write_what_one_writes(run, photos, tmp_path, count):
    options = {"write": WRITE, "score_threshold": 0, "device": "cpu", "on_error": quiet}
    whole = predict(run, photos, out=tmp_path / "whole", **options)
    calls = tmp_path / "calls"

    def work(process):
        done = []
        found = predict(run, photos, out=tmp_path / "found", process=process, **options,
                        progress=lambda *numbers: done.append(numbers),
                        on_image=lambda path, found: open(f"{calls}-{process.rank}", "a").write(f"{path.name}\n"))
        assert found == (whole if process.first else [])
        assert done[0] == (0, done[1][1]) and done[-1] == (60, 60) if process.first else done == []

    assert together(count, work) == [DONE] * count
    assert content(tmp_path / "found") == content(tmp_path / "whole")
    told = [Path(f"{calls}-{rank}").read_text().split() for rank in range(count)]
    assert sorted(sum(told, [])) == sorted(path.name for path in photos.rglob("*.png") if path.name != "31.png")
    assert all(60 // count - 1 <= len(names) <= 60 // count for names in told)


def test_law_a_process_killed_at_random_moments_loses_and_doubles_nothing(run, photos, tmp_path):
    out, drawn, statuses, kills = tmp_path / "found", random.Random(0), [], 0
    predict(run, photos, out=tmp_path / "whole", on_error=quiet, **FEW)

    def lines():
        try:
            return sum(path.read_bytes().count(b"\n") for path in out.glob("predictions*.jsonl"))
        except FileNotFoundError:  # a part was joined meanwhile
            return lines()

    def work(process):
        predict(run, photos, out=out, resume=True, process=process if process.world > 1 else None, on_error=quiet,
                on_image=lambda path, found: time.sleep(0.04), **FEW)

    for count, more in ((2, 3), (2, 7), (3, 7), (1, 5), (2, 4), (2, 9), (3, 4), (2, 2)):
        goal = (lines() if out.exists() else 0) + more
        victim = drawn.randrange(count)

        def kill(children, goal=goal, victim=victim):
            if lines() < goal and os.waitid(os.P_PID, children[victim], os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
            for rank, child in enumerate(children):  # as torchrun does with the others
                os.kill(child, signal.SIGKILL if rank == victim else signal.SIGTERM)
            return True

        statuses = together(count, work, kill)
        kills += statuses[victim] == -signal.SIGKILL
        del statuses[victim]
        assert set(statuses) <= {DONE, LEFT, -signal.SIGTERM}, statuses
    assert kills >= 5
    assert together(2, work) == [DONE, DONE]
    assert content(out) == content(tmp_path / "whole")


def test_contract_going_on_looks_at_what_is_missing_alone(run, photos, tmp_path):
    out, calls = tmp_path / "found", tmp_path / "calls"
    first = predict(run, photos, out=out, on_error=quiet, **FEW)
    Image.new("RGB", (8, 8)).save(photos / "1" / "31.png")  # mended
    Image.new("RGB", (8, 8)).save(photos / "0" / "00a.png")  # new, and in the middle of the others
    (photos / "2" / "z.png").write_bytes(b"x")

    def work(process):
        predict(run, photos, out=out, resume=True, process=process, on_error=quiet, **FEW,
                on_image=lambda path, found: open(calls, "a").write(f"{path.name}\n"))

    assert together(2, work) == [DONE, DONE]
    assert sorted(calls.read_text().split()) == ["00a.png", "31.png"]
    ids = {r["file_name"]: r["image_id"] for r in json.loads((out / "predictions.json").read_text())}
    assert {name: ids[name] for name in ids if name not in ("1/31.png", "0/00a.png")} == {
        r["file_name"]: r["image_id"] for r in first}
    assert sorted(ids.values()) == list(range(1, 62))
    assert [fault["file_name"] for fault in json.loads((out / "images.json").read_text())["unread"]] == ["2/z.png"]
    again = predict(run, photos, out=out, resume=True, on_error=quiet, **FEW)  # one process goes on with several's
    assert len(again) == 61


def test_parts_that_were_left_go_where_a_prediction_begins_anew(run, photos, tmp_path):
    out = tmp_path / "found"

    def work(process):
        predict(run, photos, out=out, process=process, on_error=quiet, **FEW,
                on_image=lambda path, found: os.kill(os.getpid(), signal.SIGKILL) if not process.first else None)

    assert together(2, work) == [LEFT, -signal.SIGKILL]
    assert len(list(out.glob("predictions.part-*.jsonl"))) == 2
    assert len(predict(run, photos / "1", out=out, on_error=quiet, **FEW)) == 19
    assert {path.name for path in out.iterdir()} == {"predictions.jsonl", "predictions.json", "images.json",
                                                     "objects.csv"}


def test_a_failure_of_one_ends_the_others_and_what_was_found_is_kept(run, photos, tmp_path, capfd):
    out = tmp_path / "found"

    def work(process, fails=True):
        def told(path, found):
            if fails and not process.first and path.name > "2":
                raise KeyError(path.name)

        predict(run, photos, out=out, resume=True, process=process, on_error=quiet, on_image=told, **FEW)

    assert together(2, work) == [LEFT, FAILED] and "KeyError" in capfd.readouterr().err
    assert together(2, lambda process: work(process, fails=False)) == [DONE, DONE]
    predict(run, photos, out=tmp_path / "whole", on_error=quiet, **FEW)
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.parametrize("moment", ["before", "within", "after"])
def test_the_first_process_may_be_killed_while_it_joins_the_parts(run, photos, tmp_path, monkeypatch, moment):
    out = tmp_path / "found"

    def die(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    def work(process, dies=True):
        join = result_files.join
        if dies and moment == "within":
            monkeypatch.setattr("os.replace", die)
        elif dies:
            monkeypatch.setattr(result_files, "join", lambda *args: (moment == "after" and join(*args), die()))
        predict(run, photos, out=out, resume=True, process=process, on_error=quiet, **FEW)

    assert together(2, work) == [-signal.SIGKILL, LEFT]
    assert together(3, lambda process: work(process, dies=False)) == [DONE] * 3
    predict(run, photos, out=tmp_path / "whole", on_error=quiet, **FEW)
    assert content(out) == content(tmp_path / "whole")


@pytest.mark.parametrize("change, words", [
    (lambda rank, options: options | {"out": options["out"].with_name(f"found-{rank}")},
     "is not the folder that process 0 on .* has: out must be a folder on a disk that all machines share, or an addr"),
    (lambda rank, options: options | {"score_threshold": rank / 2},
     "predict: all processes must have the same, but process 1 on .* has score_threshold 0.5, process 0 on .* 0.0"),
    (lambda rank, options: options | {"images": str(Path(options["images"]) / "1") if rank else options["images"]},
     "process 1 on .* has images \"20 images \\(.*\\)\", process 0 on .* \"60 images"),
    (lambda rank, options: options | {"write": ("csv", "xml")}, "write must be of overlays"),
])
def test_contract_processes_that_do_not_fit_each_other_are_told(run, photos, tmp_path, capfd, change, words):
    (tmp_path / "found-1").mkdir()

    def work(process):
        options = change(process.rank, {"images": photos, "out": tmp_path / "found", **FEW})
        with pytest.raises((OSError, ValueError), match=words):
            predict(run, options.pop("images"), process=process, on_error=quiet, **options)

    assert together(2, work) == [DONE, DONE], capfd.readouterr().err


def test_results_without_a_folder_are_those_of_one_process(run, photos):
    options = {"score_threshold": 0, "device": "cpu", "on_error": quiet}
    whole = predict(run, photos, **options)

    def work(process):
        assert predict(run, photos, process=process, **options) == (whole if process.first else [])

    assert together(3, work) == [DONE] * 3


def test_a_segmenter_and_a_panoptic_model_close_their_files_once(squares, tmp_path, monkeypatch):
    from .test_panoptic import MODEL as PANOPTIC
    from .test_segmentation import MODEL as SEGMENTER

    monkeypatch.undo()
    part = dict(zip(("annotations", "images"), map(str, squares), strict=True))
    for name, model in (("pixels", SEGMENTER), ("segments", PANOPTIC)):
        train({"model": model, "data": {"train": part, "batch_size": 2}, "schedule": {"steps": 1},
               "run": {"predictions": 0, "device": "cpu", "doctor": False, "memory": False}}, out=tmp_path / name)
        options = {"score_threshold": 0, "device": "cpu"}
        images = squares[1] / "*.png"
        predict(tmp_path / name, images, out=tmp_path / f"{name}-one", **options)

        def work(process, name=name, options=options, images=images):
            predict(tmp_path / name, images, out=tmp_path / f"{name}-two", process=process, **options)

        assert together(2, work) == [DONE, DONE]
        assert content(tmp_path / f"{name}-two") == content(tmp_path / f"{name}-one")


def test_law_images_are_shared_out_by_their_names():
    names = [f"{k % 7}/{k}.png" for k in range(100)]
    shares = [own_share(names, Process(rank, 3)) for rank in range(3)]
    assert sorted(sum(shares, [])) == list(range(100)) and sorted(map(len, shares)) == [33, 33, 34]
    assert all(share == sorted(share) for share in shares) and shares[0] != list(range(0, 100, 3))
    mixed = random.Random(0).sample(names, 100)
    for rank, share in enumerate(shares):
        assert {mixed[k] for k in own_share(mixed, Process(rank, 3))} == {names[k] for k in share}


CLI = """
import importlib.util, os, signal, sys
from roikit import models
spec = importlib.util.spec_from_file_location("tiny", {conftest!r})
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
models.build_detector = tiny.TinyDetector
if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0" and os.environ.get("RANK") == {victim!r}:
    import roikit.trainer.shared_results as results
    add = results.SharedResults.add
    def killed(self, record, found):
        add(self, record, found)
        if len(self._part) == 5:
            os.kill(os.getpid(), signal.SIGKILL)
    results.SharedResults.add = killed
from roikit.cli import main
main()
"""


def test_the_command_under_torchrun(run, photos, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(CLI.format(conftest=str(Path(__file__).parent / "conftest.py"), victim="1"))

    def command(*torchrun, out):
        return subprocess.run([sys.executable, *torchrun, str(script), "predict", str(run), str(photos), "--out", out,
                               "--score-threshold", "0", "--device", "cpu", "--write", "coco,csv"],
                              env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOME)}, cwd=tmp_path,
                              capture_output=True, text=True, timeout=300)

    # One process is killed, and torchrun starts both anew, which go on.
    two = command("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1",
                  out="two")
    one = command(out="one")
    assert one.returncode == two.returncode == 1, two.stderr  # for the picture that cannot be read
    assert "Error: 1 of the files could not be used" in two.stderr and two.stderr.count("31.png is not an image") >= 1
    assert two.stdout.count("predictions.jsonl and what is made of it") == 1
    assert "images of before" in two.stdout and "killed" not in two.stdout
    assert content(tmp_path / "two") == content(tmp_path / "one")
