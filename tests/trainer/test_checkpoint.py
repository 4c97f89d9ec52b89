"""Checkpoints: whole or absent, plain data, every random state in them."""

import os
import random
import subprocess

import numpy as np
import pytest
import torch

from roikit.models import load_checkpoint
from roikit.trainer import checkpoint
from roikit.trainer.optim import WeightAverage, build_optimizer


def state(**changes):
    model = torch.nn.Linear(3, 2)
    values = {"model": model.state_dict(), "average": None, "optimizer": {}, "scaler": None, "step": 5,
              "epoch": 1, "sampler": {"start": 5}, "rng": [checkpoint.read_rng()], "best": None,
              "config": {"a": [1, None, "x"]}, "categories": [{"id": 7, "name": "cell"}]}
    return {**values, **changes}


def test_law_saved_is_loaded_with_weights_only(tmp_path):
    saved = state()
    checkpoint.save(tmp_path / "last.pt", saved)
    loaded = torch.load(tmp_path / "last.pt", weights_only=True)
    assert {"format", "version", *saved} == set(loaded)
    for name in ("step", "epoch", "sampler", "best", "config", "categories"):
        assert loaded[name] == saved[name]
    assert torch.equal(checkpoint.load(tmp_path / "last.pt")["model"]["weight"],
                       saved["model"]["weight"])


def draw():
    return (torch.rand(4).tolist(), np.random.randn(4).tolist(),  # noqa: NPY002
            random.gauss(0, 1), random.random())


def test_law_restored_generators_go_on_alike(tmp_path):
    random.gauss(0, 1), np.random.randn()  # noqa: NPY002  (half of a pair is now stored)
    checkpoint.save(tmp_path / "c.pt", state())
    first = draw()
    checkpoint.restore_rng(checkpoint.load(tmp_path / "c.pt")["rng"][0])
    assert draw() == first


def test_law_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, state(step=1))

    def half(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        checkpoint.write_atomically(path, half)
    assert checkpoint.load(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.skipif(os.name != "posix", reason="only POSIX tells whether a process is there")
def test_law_what_killed_processes_left_is_taken_away(tmp_path):
    child = subprocess.Popen(["true"])
    child.wait()
    for name in (f".last.pt.{child.pid}.part", f".last.pt.{os.getppid()}.part", ".last.pt.x.part", ".other.pt.1.part"):
        (tmp_path / name).write_bytes(b"half")
    checkpoint.save(tmp_path / "last.pt", state())
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f".last.pt.{os.getppid()}.part", ".last.pt.x.part", ".other.pt.1.part", "last.pt"]


def test_contract_files_that_are_no_checkpoint_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        checkpoint.load(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        checkpoint.load(tmp_path / "text.pt")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "plain.pt")
    with pytest.raises(ValueError, match="not written by roikit's trainer"):
        checkpoint.load(tmp_path / "plain.pt")
    torch.save({"format": checkpoint.FORMAT, "version": 9}, tmp_path / "new.pt")
    with pytest.raises(ValueError, match="version 9, this roikit reads version 1"):
        checkpoint.load(tmp_path / "new.pt")


class Code:
    """Not plain data."""


def test_law_no_advice_to_run_what_a_file_holds(tmp_path):
    files = {name: tmp_path / name for name in ("image.png", "data.json", "empty.pt", "cut.pt", "code.pt")}
    files["image.png"].write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    files["data.json"].write_text('{"images": []}')
    files["empty.pt"].write_bytes(b"")
    checkpoint.save(tmp_path / "whole.pt", state())
    files["cut.pt"].write_bytes((tmp_path / "whole.pt").read_bytes()[:900])
    torch.save({"model": Code()}, files["code.pt"])
    for path in files.values():
        for load in (checkpoint.load, lambda path: load_checkpoint(torch.nn.Linear(3, 2), path)):
            with pytest.raises(ValueError, match="no whole file of torch.save, or it holds code") as end:
                load(path)
            assert "weights_only" not in str(end.value) and str(path) in str(end.value)


def test_agreement_of_exported_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    weights = {"b": torch.arange(6.0).view(2, 3).t(), "a": torch.tensor(3)}
    checkpoint.export_safetensors(tmp_path / "m.safetensors", weights, {"x": 1}, [{"id": 7}])
    with safetensors.safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert file.metadata()["roikit"] == '{"config": {"x": 1}, "categories": [{"id": 7}]}'
        assert torch.equal(file.get_tensor("b"), weights["b"])


class Settings:
    kind, lr, momentum, nesterov, betas, weight_decay = "sgd", 0.1, 0.9, False, (0.9, 0.99), 0.5
    decay_norm_and_bias = False


def test_law_vectors_are_kept_from_weight_decay():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    model[0].weight.requires_grad_(False)
    groups = build_optimizer(Settings, model).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(3, 0.0)]
    model[0].weight.requires_grad_(True)
    groups = build_optimizer(Settings, model).param_groups
    assert [(len(g["params"]), g["weight_decay"]) for g in groups] == [(1, 0.5), (3, 0.0)]


def test_law_the_average_of_constant_weights_is_those_weights():
    model = torch.nn.Linear(2, 2)
    mean = WeightAverage(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(3.0)
    for _ in range(200):
        mean.update(model)
    assert torch.allclose(mean.model.weight, model.weight, atol=1e-5)
    assert mean.updates == 200 and not mean.model.weight.requires_grad
