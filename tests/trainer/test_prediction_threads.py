"""Prediction with threads beside the network gives the same files and calls as one by one; models are prepared."""

import json
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from roikit import models
from roikit.errors import RoikitWarning
from roikit.models.parts.fused import FusedConv2d
from roikit.trainer import load_config, picture_work, predict, prediction, train
from roikit.trainer.outputs import overlays
from roikit.trainer.prepared import prepared
from roikit.trainer.running import native_bf16
from roikit.trainer.trained import Trained, load_trained

Image = pytest.importorskip("PIL.Image")
for library in ("yaml", "pycocotools", "matplotlib", "safetensors"):
    pytest.importorskip(library)

BUILD = models.build_detector  # before a test puts another in its place
WRITE = ("overlays", "coco", "csv", "instances", "yolo", "labelme")


@pytest.fixture
def run(settings, tmp_path, tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        train(load_config(settings, ["schedule.steps=1", "eval.every=null", "run.predictions=0"]), out=tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def photos(tmp_path):
    """30 pictures of several sizes, two of which cannot be read."""
    random = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(30):
        Image.fromarray(random.integers(0, 255, (8 + k % 3, 9, 3), np.uint8)).save(folder / f"{k:02}.png")
    for k in (7, 8):
        (folder / f"{k:02}.png").write_bytes(b"x")
    return folder


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unevenly(function, seed=0):
    """``function``, which takes now longer, now shorter."""
    random = np.random.default_rng(seed)

    def call(*args, **kwargs):
        time.sleep(random.uniform(0, 0.01))
        return function(*args, **kwargs)

    return call


def told_of(run, photos, out, **options):
    """All calls of a prediction in their order."""
    told = []
    results = predict(run, photos, out=out, write=WRITE, score_threshold=0, device="cpu",
                      on_image=lambda path, found: told.append((path.name, found)),
                      on_error=lambda path, error: told.append((path.name, str(error))),
                      progress=lambda done, total: told.append((done, total)), **options)
    return results, told


def test_law_threads_change_no_file_and_no_call(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "thread_count", lambda: 1)
    alone = told_of(run, photos, tmp_path / "alone")
    monkeypatch.setattr(prediction, "thread_count", lambda: 6)
    monkeypatch.setattr(picture_work, "open_picture", unevenly(picture_work.open_picture))
    monkeypatch.setattr(overlays, "save_png", unevenly(overlays.save_png))
    together = told_of(run, photos, tmp_path / "together")
    assert alone == together and len(alone[0]) == 28
    one, other = (content(tmp_path / name) for name in ("alone", "together"))
    assert one == other and {"predictions.jsonl", "objects.csv", "00.png", "instances/00.png"} <= one.keys()


def test_law_the_network_sees_one_picture_at_a_time(run, photos, monkeypatch):
    inside, most = [], []

    class Counting(models.build_detector):
        def logits(self, images):
            inside.append(len(images))
            most.append(sum(inside))
            time.sleep(0.002)
            inside.pop()
            return super().logits(images)

    monkeypatch.setattr(prediction, "thread_count", lambda: 6)
    monkeypatch.setattr(models, "build_detector", Counting)
    assert len(predict(run, photos, score_threshold=0, device="cpu", on_error=lambda *_: None)) == 28
    assert len(most) == 28 and max(most) == 1


def test_law_large_pictures_after_small_ones_are_worked_on_one_by_one(run, tmp_path, monkeypatch):
    sizes = [8] * 12 + [40] * 4 + [8] * 3
    for k, side in enumerate(sizes):
        Image.new("RGB", (side, side)).save(tmp_path / f"{k:02}.png")
    inside, most, small = [], [], []

    def opened(path, **how):
        picture = open_picture(path, **how)
        inside.append(picture.size[0])
        most.append(inside.count(40))
        small.append(inside.count(8))
        time.sleep(0.02)
        return picture

    open_picture = picture_work.open_picture
    monkeypatch.setattr(prediction, "thread_count", lambda: 5)
    monkeypatch.setattr(prediction, "PIXELS", 1000)
    monkeypatch.setattr(picture_work, "open_picture", opened)
    monkeypatch.setattr(overlays, "save_png", lambda path, pixels: inside.remove(sizes[int(path.stem)]))
    assert len(predict(run, str(tmp_path / "*.png"), out=tmp_path / "out", score_threshold=0, device="cpu")) == 19
    assert max(most) == 1 and max(small) > 1 and inside == []


@pytest.mark.parametrize("error, ends", [(OSError("full"), False), (MemoryError(), False), (KeyError("x"), True)])
def test_contract_a_fault_in_a_thread_costs_its_picture_in_its_turn(run, photos, tmp_path, monkeypatch, error, ends):
    def save(path, pixels):
        time.sleep(0.01 if path.stem < "05" else 0)
        if path.stem == "05":
            raise error

    monkeypatch.setattr(prediction, "thread_count", lambda: 6)
    monkeypatch.setattr(overlays, "save_png", save)
    failed = []

    def go():
        return predict(run, photos, out=tmp_path / "out", score_threshold=0, device="cpu",
                       on_error=lambda path, error: failed.append(path.name))

    if ends:
        with pytest.raises(KeyError):
            go()
        kept = json.loads((tmp_path / "out" / "predictions.json").read_text())
        assert [r["file_name"] for r in kept] == [f"{k:02}.png" for k in range(5)] and failed == []
    else:
        assert len(go()) == 28 and failed == ["05.png", "07.png", "08.png"]


def test_contract_a_warning_of_an_image_is_the_caller_s(run, photos, tmp_path):
    (tmp_path / "list.txt").write_text("photos/07.png\nnone.png\nphotos/06.png\n")
    with pytest.warns(RoikitWarning, match=r"none\.png|07\.png") as said:
        predict(run, tmp_path / "list.txt", score_threshold=0, device="cpu")
    assert [w.filename for w in said if "predict: " in str(w.message)] == [__file__] * 2


@pytest.mark.parametrize("amp", ["off", "auto", "fp16"])
def test_contract_roikits_models_are_prepared_on_a_cpu(run, amp, monkeypatch):
    trained = load_trained(run, "cpu")
    assert prepared(trained) is trained  # a model of another library is run as it is
    assert prepared(trained, prepare=False) is trained
    config = models.DetectorConfig(num_classes=3, backbone=models.BackboneConfig("resnet18", norm="group"))
    real = Trained(BUILD(config), replace(trained.config, run=replace(trained.config.run, amp=amp)),
                   trained.categories, torch.device("cpu"), trained.path)
    found = prepared(real)
    if amp == "fp16":
        assert found is real
        return
    assert found.config.run.amp == "off" and any(isinstance(part, FusedConv2d) for part in found.model.modules())
    assert not any(isinstance(part, FusedConv2d) for part in real.model.modules())
    assert prepared(replace(real, device=torch.device("cuda"))).model is real.model
    # A few pictures do not pay for a measurement; nor is the order of pictures to decide what is measured.
    measured = real.model
    monkeypatch.setattr("roikit.trainer.prepared.prepare_with_kept_plan", lambda model: measured)
    assert (prepared(real, 32).model is measured) == (amp == "off" or not native_bf16("cpu"))
    few = prepared(real, 31).model
    assert all(part.measured is None and not part.ways or part.dtype == torch.bfloat16
               for part in few.modules() if isinstance(part, FusedConv2d))


def test_contract_what_was_trained_in_bf16_is_prepared_in_float32_where_there_is_none(run, monkeypatch):
    trained = load_trained(run, "cpu")
    config = models.DetectorConfig(num_classes=3, backbone=models.BackboneConfig("resnet18", norm="group"))
    real = replace(trained, model=BUILD(config), config=replace(trained.config,
                                                                run=replace(trained.config.run, amp="bf16")))
    monkeypatch.setattr("roikit.trainer.running.has_bf16", lambda device: False)
    found = prepared(real, 1)
    assert found.config.run.amp == "off"
    assert {part.dtype for part in found.model.modules() if isinstance(part, FusedConv2d)} == {torch.float32}


def test_contract_a_prediction_prepares_its_model_unless_told_not_to(run, photos, monkeypatch):
    seen = []

    def noted(trained, *given, prepare, **how):
        seen.append(prepare)
        return prepared(trained, *given, prepare=prepare, **how)
    monkeypatch.setattr(prediction, "prepared", noted)
    first = photos / "00.png"
    predict(run, first, device="cpu", prepare=False)
    predict(run, first, device="cpu")
    assert seen == [False, True]
