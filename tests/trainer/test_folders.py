"""Folders of results belong to one process at a time."""

import json
import os
import signal
import warnings

import numpy as np
import pytest
from click.testing import CliRunner

from roikit.cli import main
from roikit.errors import RoikitWarning
from roikit.trainer import folders, load_config, predict, train
from roikit.trainer.folders import alone_in

pytest.importorskip("fcntl")
Image = pytest.importorskip("PIL.Image")
for library in ("yaml", "matplotlib", "safetensors"):
    pytest.importorskip(library)

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(folders, "_PATIENCE", 0.0)


def test_contract_a_folder_is_one_processs_until_it_ends(tmp_path, monkeypatch):
    with alone_in(tmp_path, "predict"):
        with pytest.raises(OSError, match="predict: another process is writing to .*; wait until"), \
                alone_in(tmp_path, "predict"):
            pass
        (tmp_path / "other").mkdir()
        with alone_in(tmp_path / "other", "predict"):
            pass
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with alone_in(tmp_path, "predict"):
            os.write(writing, b"x")
            signal.pause()
    os.read(reading, 1)
    with pytest.raises(OSError, match="another process"), alone_in(tmp_path, "predict"):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with alone_in(tmp_path, "predict"):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "other"]


def test_contract_a_child_that_still_runs_holds_no_folder(tmp_path):
    """A worker of a data loader, say, that an error's traceback keeps."""
    with alone_in(tmp_path, "train"):
        child = os.fork()
        if not child:
            signal.pause()
    try:
        with alone_in(tmp_path, "train"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_contract_a_file_system_without_locks_keeps_nobody_out(tmp_path, monkeypatch):
    def none(*args):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(folders.fcntl, "flock", none)
    with alone_in(tmp_path, "predict"), alone_in(tmp_path, "predict"):
        pass
    monkeypatch.setattr(folders, "fcntl", None)
    with alone_in(tmp_path, "predict"), alone_in(tmp_path, "predict"):
        pass


def test_contract_two_commands_at_once_do_not_mix_their_results(settings, tmp_path):
    steps = ["schedule.steps=1", "eval.every=null", "run.predictions=0"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        train(load_config(settings, steps), out=tmp_path / "run")
    photos, out = tmp_path / "photos", tmp_path / "found"
    photos.mkdir()
    for k in range(4):
        Image.fromarray(np.full((8, 9, 3), k, np.uint8)).save(photos / f"{k}.png")
    said = []

    def meanwhile(path, found):
        for more in ([], ["--resume"]):
            ended = CliRunner().invoke(main, ["predict", str(tmp_path / "run"), str(photos), "--out", str(out),
                                              "--score-threshold", "0", "--device", "cpu", *more])
            said.append((ended.exit_code, ended.output))

    results = predict(tmp_path / "run", photos, out=out, score_threshold=0, device="cpu", on_image=meanwhile)
    assert {code for code, _ in said} == {1} and len(said) == 8
    assert all("Error: predict: another process is writing to" in text for _, text in said), said
    assert len(results) == 4 and json.loads((out / "predictions.json").read_text()) == results
    for options in ({}, {"resume": True}):
        with alone_in(tmp_path / "run", "train"), pytest.raises(OSError, match="train: another process is writing to"):
            train(load_config(settings, steps), out=tmp_path / "run", **options)
    with pytest.raises(ValueError, match="holds a run already"):
        train(load_config(settings, steps), out=tmp_path / "run")


def test_contract_runs_that_start_at_once_have_folders_of_their_own(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = type(tmp_path).mkdir

    def late(path, *args, **kwargs):
        if path.name == "twin" and path.parent.name == "runs" and not path.exists():
            made(path, parents=True)  # by another process, at the last moment
        return made(path, *args, **kwargs)

    monkeypatch.setattr(type(tmp_path), "mkdir", late)
    steps = ["schedule.steps=1", "eval.every=null", "run.predictions=0", "run.name=twin"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        train(load_config(settings, steps))
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["twin", "twin-2"]
    assert not list((tmp_path / "runs" / "twin").iterdir())
