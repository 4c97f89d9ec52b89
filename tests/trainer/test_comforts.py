"""What makes training easier: stopping early, rates and workers by themselves, rare classes, images passed over."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from roikit.trainer import checkpoint, load_config, preset_names, train
from roikit.trainer import validation as val
from roikit.trainer.automatic import usable_cores, workers_of
from roikit.trainer.fields import ConfigError
from roikit.trainer.records import read_records
from roikit.trainer.trained import train_set

pytestmark = [pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning"),
              pytest.mark.usefixtures("tiny")]

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)

EVERYTHING = ("data.repeat_below=0.9", "augment.copy_paste=0.7", "augment.mosaic=0.5", "augment.degrees=40",
              "data.on_error=skip")


@pytest.fixture
def quick(settings):
    """The configuration of a few steps, without pictures."""
    settings["run"] |= {"predictions": 0, "report": 0, "batch_picture": 0}
    return settings


@pytest.fixture
def figures(monkeypatch):
    """A list; each evaluation takes its figure from the front of it."""
    values = []
    monkeypatch.setattr(val.Validation, "figure", lambda self, metrics: values.pop(0))
    return values


def evaluated(out):
    return [r["step"] for r in read_records(out / "log.jsonl") if r["kind"] == "eval"]


def stop_at(step):
    def on_step(record):
        if record["step"] == step:
            raise RuntimeError("power cut")

    return on_step


def test_contract_a_run_stops_when_nothing_becomes_better(quick, figures, tmp_path, capfd):
    figures += [0.1, 0.3, 0.3, 0.2, 0.9]  # as good is not better
    config = load_config(quick, ["eval.every=1", "eval.patience=2"])
    metrics = train(config, out=tmp_path / "r")
    assert figures == [0.9] and evaluated(tmp_path / "r") == [1, 2, 3, 4]
    assert metrics["training"]["steps"] == metrics["step"] == 4 and metrics["training"]["images"] == 8
    assert metrics["best"] == {"name": "segm/AP", "value": 0.3, "step": 2}
    assert "stopped at step 4 of 11: 2 evaluations since the best segm/AP, 0.3000 at step 2" in capfd.readouterr().err
    assert (tmp_path / "r" / "model.safetensors").exists()
    figures[:] = [0.2]
    again = train(None, out=tmp_path / "r", resume=True)  # it is over
    assert again["step"] == 4 and figures == []
    figures[:] = [0.2] * 4 + [0.5] + [0.4] * 5
    longer = train(None, ["eval.patience=8"], out=tmp_path / "r", resume=True)
    assert longer["step"] == 11 and longer["best"]["step"] == 9


def test_law_evaluations_before_an_interruption_count(quick, figures, tmp_path):
    figures += [0.5, 0.4, 0.3, 0.2, 0.1]
    config = load_config(quick, ["eval.every=2", "eval.patience=3", "run.checkpoint_every=1"])
    with pytest.raises(RuntimeError):
        train(config, out=tmp_path / "r", on_step=stop_at(6))
    assert train(config, out=tmp_path / "r", resume=True)["step"] == 8
    assert evaluated(tmp_path / "r") == [2, 4, 6, 8]


def test_error_patience_without_evaluations(quick, tmp_path):
    with pytest.raises(ConfigError, match="eval: patience counts evaluations, and so needs every"):
        load_config(quick, ["eval.patience=2", "eval.every=null"])
    quick["data"]["val"] = {}
    with pytest.raises(ConfigError, match="eval.patience counts evaluations, and there is no val part"):
        train(load_config(quick, ["eval.patience=2"]), out=tmp_path / "r")


@pytest.mark.parametrize("name", ["segm/AP50", "bbox/AR100", "segm/per_class/even"])
def test_contract_any_figure_picks_the_best(quick, tmp_path, name):
    metrics = train(load_config(quick, [f"eval.best={name}", "schedule.steps=1"]), out=tmp_path / "r")
    kind, _, figure = name.partition("/")
    value = metrics[kind]["per_class"]["even"] if "even" in figure else metrics[kind][figure]
    assert metrics["best"] == {"name": name, "value": value, "step": 1}
    with pytest.raises(ConfigError, match="did you mean segm/per_class/even"):
        train(load_config(quick, ["eval.best=segm/per_class/evenn"]), out=tmp_path / "e")


def test_contract_the_rate_follows_from_the_batch(quick, tmp_path, capfd):
    words = ["optimizer.lr=auto", "optimizer.reference_lr=0.004", "optimizer.reference_batch=8", "data.batch_size=2",
             "schedule.steps=2", "schedule.warmup_steps=0", "schedule.kind=constant"]
    train(load_config(quick, words), out=tmp_path / "r")
    assert [r["lr"] for r in read_records(tmp_path / "r" / "log.jsonl") if r["kind"] == "train"] == [0.001] * 2
    assert "optimizer.lr=auto: 0.001 for 2 images a step, as 0.004 is for 8" in capfd.readouterr().err
    assert load_config(tmp_path / "r" / "config.yaml").optimizer.lr == 0.001


@pytest.mark.parametrize("name", preset_names())
def test_law_the_rate_of_a_preset_is_its_reference(name):
    config = load_config(name)
    assert (config.optimizer.reference_lr, config.optimizer.reference_batch) == (config.optimizer.lr,
                                                                                 config.data.batch_size)


@pytest.mark.parametrize("cores, processes, device, expected", [
    (1, 1, "cpu", 0), (2, 1, "cpu", 0), (16, 1, "cpu", 4), (16, 4, "cpu", 1), (1, 1, "cuda", 0), (6, 1, "cuda", 5),
    (64, 1, "cuda", 8), (16, 4, "cuda", 3)])
def test_case_workers_by_the_cores(monkeypatch, cores, processes, device, expected):
    monkeypatch.setattr("roikit.trainer.automatic.usable_cores", lambda: cores)
    config = load_config({"data": {"workers": "auto"}})
    count, line = workers_of(config, SimpleNamespace(type=device), {"LOCAL_WORLD_SIZE": str(processes)})
    assert count == expected and line.startswith(f"data.workers=auto: {expected}") and f"of {cores} core" in line
    assert workers_of(load_config({"data": {"workers": 3}}), None) == (3, None)
    assert usable_cores() >= 1


@pytest.mark.parametrize("workers", [0, 2])
def test_law_a_run_with_everything_resumes_in_the_same_bits(same, quick, tmp_path, workers):
    whole = train(load_config(quick, EVERYTHING), out=tmp_path / "whole")
    config = load_config(quick, [*EVERYTHING, f"data.workers={workers}", "run.checkpoint_every=1"])
    with pytest.raises(RuntimeError):
        train(config, out=tmp_path / "parts", on_step=stop_at(6))
    parts = train(config, out=tmp_path / "parts", resume=True)
    states = [checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "parts")]
    for state in states:
        del state["config"]
    same(*states)
    assert whole["segm"] == parts["segm"]


def test_contract_rare_classes_are_shown_more_often(quick, tmp_path, capfd):
    content = json.loads(open(quick["data"]["train"]["annotations"]).read())
    for annotation in content["annotations"][1:]:
        annotation["category_id"] = 8  # class 3 is on one image of seven
    path = tmp_path / "rare.json"
    path.write_text(json.dumps(content))
    quick["data"]["train"]["annotations"] = str(path)
    config = load_config(quick, ["data.repeat_below=0.5", "schedule.steps=null", "schedule.epochs=1",
                                 "data.batch_size=1", "eval.every=null"])
    seen = []
    train(config, out=tmp_path / "r", on_step=seen.append)
    assert len(seen) == 8  # 6 images and one of sqrt(0.5 / (1 / 7)) = 1.87
    assert "an epoch shows 8 images for 7, the one of the rarest class 1.87 times" in capfd.readouterr().err


def test_contract_classes_of_images_are_those_of_their_objects(quick):
    dataset = train_set(load_config(quick))
    dataset._objects.crowd[1] = True
    assert dataset.labels_of_images.tolist() == [[0, 1], [2, 1], [3, 2], [4, 1], [5, 2]]


def test_law_an_image_shown_again_is_changed_otherwise(quick):
    dataset = train_set(load_config(quick, ["augment.brightness=0.3"]))
    (first, _), (plain, _), (again, _) = dataset[0], dataset[0, 0], dataset[0, 1]
    assert torch.equal(first, plain) and not torch.equal(first, again)
    assert torch.equal(again, dataset[0, 1][0])


@pytest.fixture
def many(quick, squares, tmp_path):
    """A function: how many of 200 images are broken -> the configuration."""
    def make(broken):
        folder = tmp_path / "images"
        shutil.copytree(squares[1], folder)
        (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
        content = json.loads(squares[0].read_text())
        objects = [{**content["annotations"][0], "id": k, "image_id": k} for k in range(200)]
        images = [{**content["images"][0], "id": k, "file_name": "broken.png" if k < broken else "0.png"}
                  for k in range(200)]
        path = tmp_path / "many.json"
        path.write_text(json.dumps({**content, "images": images, "annotations": objects}))
        quick["data"] = {**quick["data"], "train": {"annotations": str(path), "images": str(folder)}, "batch_size": 20,
                         "on_error": "skip"}
        return quick

    return make


@pytest.mark.parametrize("workers", [0, 2])
def test_contract_images_are_passed_over_and_counted(many, tmp_path, capfd, workers):
    config = load_config(many(2), [f"data.workers={workers}", "schedule.steps=10", "augment.copy_paste=0.5",
                                   "eval.every=null"])
    metrics = train(config, out=tmp_path / "r")
    records = read_records(tmp_path / "r" / "log.jsonl")
    unread = [r for r in records if r["kind"] == "unread"]
    assert sorted(r["image_id"] for r in unread) == [0, 1] and all("broken.png" in r["text"] for r in unread)
    counts = [r["unread"] for r in records if r["kind"] == "train"]
    assert counts == sorted(counts) and counts[-1] == metrics["training"]["unread"] == 2
    assert capfd.readouterr().err.count("passed over: ") == 2
    # A resumed run knows them, and does not tell of them again.
    train(config, ["schedule.steps=12"], out=tmp_path / "r", resume=True)
    assert [r for r in read_records(tmp_path / "r" / "log.jsonl") if r["kind"] == "unread"] == unread


def test_error_too_many_images_to_pass_over(many, tmp_path):
    with pytest.raises(OSError, match=r"3 of 200 training images cannot be read, and data.on_error=skip passes over 2, "
                                      r"1 % of them; the first is .*broken.png"):
        train(load_config(many(3), ["schedule.steps=10"]), out=tmp_path / "r")


def test_error_stop_is_the_default(many, tmp_path):
    with pytest.raises(OSError, match="broken.png"):
        train(load_config(many(1), ["data.on_error=stop", "schedule.steps=10"]), out=tmp_path / "r")


def test_contract_the_doctor_lets_pass_what_is_passed_over(many, tmp_path):
    words = ["run.doctor=true", "schedule.steps=1"]
    config = load_config(many(1), words)
    train(config, out=tmp_path / "r")
    with pytest.raises(ValueError, match="the train part cannot be used as it is"):
        train(load_config(config, ["data.on_error=stop"]), out=tmp_path / "s")


def test_error_masks_are_needed(quick, tmp_path):
    content = json.loads(open(quick["data"]["train"]["annotations"]).read())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    quick["data"]["train"]["annotations"] = str(path)
    for field in ("copy_paste", "degrees"):
        with pytest.raises(ConfigError, match=f"config: augment.{field} needs masks"):
            train_set(load_config(quick, [f"augment.{field}=0.5"]))
    image, target = train_set(load_config(quick, ["augment.mosaic=1"]))[0]
    assert image.shape == (3, 16, 16) and len(target["boxes"]) == len(target["labels"])


def test_contract_the_first_batch_is_drawn(settings, tmp_path):
    from PIL import Image

    train(load_config(settings, ["schedule.steps=1"]), out=tmp_path / "r")
    picture = np.array(Image.open(tmp_path / "r" / "batch.png"))
    assert picture.shape[1] > picture.shape[0] > 384  # two images beside each other, a title above
    train(load_config(settings, ["schedule.steps=1", "run.batch_picture=0"]), out=tmp_path / "s")
    assert not (tmp_path / "s" / "batch.png").exists()


@pytest.mark.parametrize("word, sentence", [
    ("optimizer.lr=fast", "optimizer.lr must be a number or auto, got 'fast'"),
    ("optimizer.lr=0", "lr must be auto or above 0"),
    ("optimizer.reference_lr=0", "reference_lr must be above 0, got 0"),
    ("optimizer.reference_batch=0", "reference_batch must be at least 1, got 0"),
    ("data.workers=some", "data.workers must be a whole number or auto"),
    ("data.workers=-1", "workers must be auto or not negative"),
    ("data.on_error=ignore", "data.on_error must be one of stop, skip, got 'ignore'"),
    ("data.repeat_below=0", "repeat_below must be above 0 and at most 1"), ("data.repeat_below=2", "at most 1"),
    ("augment.degrees=181", "degrees must be within 0 and 180, got 181"),
    ("augment.copy_paste=1.5", "copy_paste must be within 0 and 1, got 1.5"),
    ("augment.mosaic=-1", "mosaic must be within 0 and 1, got -1"), ("eval.patience=0", "patience must be at least 1"),
    ("run.batch_picture=-1", "batch_picture must not be negative, got -1"), ("run.memory=2", "must be true or false")])
def test_error_bad_values(quick, word, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_config(quick, [word])
