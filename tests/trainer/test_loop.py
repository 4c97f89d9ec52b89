"""Whole runs of a tiny detector: what they leave, and that an interruption leaves no trace."""

import json
import os
import signal

import pytest
import torch
from torch import nn

from roikit import models
from roikit.errors import RoikitWarning
from roikit.models.parts.bf16 import has_bf16
from roikit.trainer import ConfigError, NonFiniteLoss, checkpoint, load_config, train
from roikit.trainer.fields import merge, plain
from roikit.trainer.records import read_records
from roikit.trainer.running import evaluation_of, native_bf16
from roikit.trainer.trained import train_set, val_set

pytestmark = [pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning"),
              pytest.mark.usefixtures("tiny")]

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)


def with_values(settings, *overrides):
    return load_config(settings, overrides)


def stop_at(step, how):
    def on_step(record):
        if record["step"] == step:
            how()

    return on_step


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def crash():
    raise RuntimeError("power cut")


@pytest.mark.parametrize("how, error, continues_at, workers", [
    (interrupt, KeyboardInterrupt, 7, 0), (interrupt, KeyboardInterrupt, 7, 2),
    (crash, RuntimeError, 4, 0)])
def test_law_an_interrupted_run_ends_in_the_same_bits(same, settings, tmp_path, how, error, continues_at, workers):
    config = with_values(settings, f"data.workers={workers}")
    whole = train(config, out=tmp_path / "whole")
    with pytest.raises(error):  # step 6 is in the middle of the second epoch of four steps
        train(config, out=tmp_path / "parts", on_step=stop_at(6, how))
    assert checkpoint.load(tmp_path / "parts" / "last.pt")["step"] == continues_at
    torch.rand(3)  # whatever the program does in between
    parts = train(config, out=tmp_path / "parts", resume=True)
    for name in ("last", "best"):
        same(checkpoint.load(tmp_path / "whole" / f"{name}.pt"),
             checkpoint.load(tmp_path / "parts" / f"{name}.pt"))
    assert whole["segm"] == parts["segm"]

    def told(name):
        return [{k: v for k, v in r.items() if "seconds" not in k}
                for r in read_records(tmp_path / name / "log.jsonl")]

    assert told("whole") == told("parts")


def test_law_workers_do_not_change_a_run(same, settings, tmp_path):
    states = []
    for workers in (0, 1):
        config = with_values(settings, f"data.workers={workers}", "schedule.steps=5")
        train(config, out=tmp_path / str(workers))
        states.append(checkpoint.load(tmp_path / str(workers) / "last.pt"))
    for state in states:
        del state["config"]
    same(*states)


def test_law_evaluating_does_not_change_a_run(same, settings, tmp_path):
    states = []
    for every in (2, 5):
        config = with_values(settings, f"eval.every={every}", "schedule.steps=5")
        train(config, out=tmp_path / str(every))
        states.append(checkpoint.load(tmp_path / str(every) / "last.pt"))
    for state in states:
        del state["config"], state["best"]
    same(*states)


def test_contract_what_a_run_leaves(settings, tmp_path):
    metrics = train(with_values(settings), out=tmp_path / "run")
    out = tmp_path / "run"
    assert {p.name for p in out.iterdir()} >= {
        "best.pt", "config.yaml", "curves.png", "detections.json", "last.pt", "log.jsonl",
        "metrics.json", "model.safetensors", "predictions"}
    assert sorted(p.name for p in (out / "predictions").iterdir()) == ["0.png", "1.png"]
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert set(metrics["segm"]["per_class"]) == {"odd", "even"}
    assert set(metrics["speed"]) == {"data", "forward", "post", "images_per_second"}
    steps = [r for r in read_records(out / "log.jsonl") if r["kind"] == "train"]
    assert [r["step"] for r in steps] == list(range(1, 12))
    assert [r["epoch"] for r in steps] == [0] * 4 + [1] * 4 + [2] * 3
    assert all(r["loss"] == pytest.approx(r["loss_classifier"] + r["loss_noise"]) for r in steps)
    assert steps[0]["lr"] == pytest.approx(0.05 * 0.001) and steps[3]["lr"] == pytest.approx(0.05)
    evals = [r["step"] for r in read_records(out / "log.jsonl") if r["kind"] == "eval"]
    assert evals == [4, 8, 11]
    results = json.loads((out / "detections.json").read_text())
    assert {r["image_id"] for r in results} == set(range(10, 17))
    assert {r["category_id"] for r in results} == {3}
    assert results[0]["bbox"] == [0, 0, 16, 16]
    assert isinstance(results[0]["segmentation"]["counts"], str)
    saved = load_config(out / "config.yaml")
    assert plain(saved) == checkpoint.load(out / "last.pt")["config"]
    assert saved.model.num_classes == 3


def test_contract_a_run_in_epochs(settings, tmp_path):
    train(with_values(settings, "schedule.steps=null", "schedule.epochs=1.5"), out=tmp_path / "r")
    assert checkpoint.load(tmp_path / "r" / "last.pt")["step"] == 6


def test_contract_a_loss_that_is_not_finite_stops_with_its_name_and_images(
        settings, tmp_path, monkeypatch):
    detector = models.build_detector  # the tiny one
    forward = detector.forward

    def spoiled(self, images, targets=None):
        losses = forward(self, images, targets)
        if self.training and any(t["image_id"] == 12 for t in targets):
            losses["loss_noise"] = losses["loss_noise"] * float("nan")
        return losses

    monkeypatch.setattr(detector, "forward", spoiled)
    with pytest.raises(NonFiniteLoss, match=r"loss_noise = nan at step \d+ .*image ids \[") as stop:
        train(with_values(settings), out=tmp_path / "run")
    assert 12 in stop.value.image_ids and len(stop.value.image_ids) == 2
    assert list(stop.value.losses) == ["loss_noise"]
    assert isinstance(stop.value, FloatingPointError)
    steps = read_records(tmp_path / "run" / "log.jsonl")
    assert all(r["step"] < stop.value.step for r in steps)


def test_contract_a_folder_with_a_run_is_not_overwritten(settings, tmp_path):
    config = with_values(settings, "schedule.steps=2")
    train(config, out=tmp_path / "run")
    with pytest.raises(ValueError, match="holds a run already"):
        train(config, out=tmp_path / "run")
    again = train(None, out=tmp_path / "run", resume=True)
    assert again["step"] == 2
    longer = train(None, ["schedule.steps=4"], out=tmp_path / "run", resume=True)
    assert longer["step"] == 4


def test_contract_resume_errors(settings, tmp_path, squares):
    with pytest.raises(ValueError, match="resume needs out"):
        train(with_values(settings), resume=True)
    with pytest.raises(ValueError, match="needs .*last.pt"):
        train(None, out=tmp_path / "none", resume=True)
    config = with_values(settings, "schedule.steps=2")
    train(config, out=tmp_path / "run")
    with pytest.raises(ValueError, match="epochs have 4 steps, .* make 2"):
        train(config, ["data.batch_size=4"], out=tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match="optimizer.ema must stay"):
        train(config, ["optimizer.ema=null"], out=tmp_path / "run", resume=True)


def test_contract_an_ap_of_zero_warns(settings, tmp_path):
    config = merge(with_values(settings, "schedule.steps=1"), {"data": {"val": {"limit": 1}}})
    with pytest.warns(RoikitWarning, match="AP is exactly 0"):
        train(config, out=tmp_path / "run")


def test_contract_bf16_is_native_only_where_onednn_has_it(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert not native_bf16("cpu")


def test_contract_a_processor_without_bf16_is_told_before_any_work(settings, tmp_path, monkeypatch):
    """It would train twenty times as slowly as in float32; what was trained elsewhere is looked at in float32."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(ConfigError, match="run.amp=bf16 needs oneDNN's bfloat16, .* run.amp=auto trains in float32"):
        train(with_values(settings, "run.amp=bf16"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    seen = []
    model = nn.Identity()
    model.forward = lambda images: seen.append(torch.is_autocast_enabled("cpu"))
    with evaluation_of(model, "cpu", "bf16") as run:
        run([])
    assert seen == [False]


@pytest.mark.parametrize("amp", ["auto", "bf16", "fp16"])
def test_law_autocast_leaves_the_weights_in_float32(settings, tmp_path, amp):
    if amp == "bf16" and not has_bf16("cpu"):
        pytest.skip("oneDNN has no bfloat16 here")
    train(with_values(settings, f"run.amp={amp}", "schedule.steps=2"), out=tmp_path / "run")
    state = checkpoint.load(tmp_path / "run" / "last.pt")
    assert all(torch.isfinite(v).all() for v in state["model"].values())
    assert state["model"]["conv.weight"].dtype == torch.float32
    assert (state["scaler"] is not None) == (amp == "fp16")


def test_law_a_limit_keeps_the_lowest_image_ids(settings, tmp_path):
    config = with_values(settings, "data.train.limit=2", "schedule.steps=3", "data.val.limit=3")
    train(config, out=tmp_path / "run")
    assert checkpoint.load(tmp_path / "run" / "last.pt")["sampler"]["steps_per_epoch"] == 1
    results = json.loads((tmp_path / "run" / "detections.json").read_text())
    assert {r["image_id"] for r in results} == {10, 11, 12}


def test_law_images_without_objects_stay_out_where_asked(settings, squares, tmp_path):
    content = json.loads(squares[0].read_text())
    emptied = content["images"][0]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != emptied]
    (tmp_path / "some.json").write_text(json.dumps(content))
    config = with_values(settings, "schedule.steps=1", "data.train.keep_empty=false", "data.val.keep_empty=false",
                         *(f"data.{part}.annotations={tmp_path / 'some.json'}" for part in ("train", "val")))
    train(config, out=tmp_path / "run")
    left = {annotation["image_id"] for annotation in content["annotations"]}
    assert emptied not in left
    assert set(train_set(config).image_ids) == set(val_set(config).image_ids) == left
    results = json.loads((tmp_path / "run" / "detections.json").read_text())
    assert {r["image_id"] for r in results} == left


def test_contract_data_without_masks_say_how_to_train_boxes_alone(settings, squares, tmp_path):
    content = json.loads(squares[0].read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    config = with_values(settings, f"data.train.annotations={tmp_path / 'boxes.json'}",
                         "schedule.steps=1")
    with pytest.raises(ValueError, match="no masks; model.mask=null"):
        train(config, out=tmp_path / "run")
    metrics = train(config, ["model.mask=null"], out=tmp_path / "boxes")
    assert "bbox" in metrics and "segm" not in metrics
