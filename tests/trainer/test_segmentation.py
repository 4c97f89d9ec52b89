"""Segmenters through training, evaluation and prediction: what detectors are promised."""

import copy
import json
import os
import signal

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from roikit import data
from roikit.cli import main
from roikit.data.images import read_labels
from roikit.errors import RoikitWarning
from roikit.masks import decode
from roikit.models import DetectorConfig, FCNHeadConfig, SegmenterConfig, SemanticFPNConfig
from roikit.trainer import IncompleteRun, checkpoint, evaluate, finish, load_config, predict, preset_names, train
from roikit.trainer.config import ConfigError, TrainConfig, config_text
from roikit.trainer.distributed import Process
from roikit.trainer.draw_pixels import class_colors, draw_classes, save_labels
from roikit.trainer.failures import Failures
from roikit.trainer.fields import parse_overrides, plain
from roikit.trainer.pixel_evaluation import label_table
from roikit.trainer.records import read_records
from roikit.trainer.start import fitted, new_state, seed
from roikit.trainer.step import optimise
from roikit.trainer.tasks import task_of

from .report_case import data_of

for library in ("yaml", "PIL", "matplotlib", "safetensors", "pycocotools"):
    pytest.importorskip(library)

MODEL = {"kind": "segmenter", "image": {"resize": False},
         "backbone": {"name": "resnet18", "norm": "group", "neck": "fpn", "levels": ["c2", "c3", "c4", "c5"],
                      "output_stride": 32, "fpn_channels": 8, "fpn_norm": "group"},
         "head": {"kind": "semantic_fpn", "channels": 8, "dropout": 0.1}}


@pytest.fixture
def pixels(settings, monkeypatch):
    """The configuration of a few steps, of a segmenter that draws from torch's generator."""
    monkeypatch.setattr(finish, "draw_curves", lambda records, path: path.write_bytes(b""))
    return {**settings, "model": MODEL}


@pytest.fixture
def maps(squares, tmp_path):
    """The images of the squares, and a folder of label maps: 1 and 2 are the squares, 255 the first row."""
    image = pytest.importorskip("PIL.Image")
    path, folder = squares
    dataset = data.SemanticDataset(folder, path)
    images, labels = tmp_path / "images", tmp_path / "labels"
    for place in (images, labels):
        place.mkdir()
    for k in range(len(dataset)):
        values = dataset.sample(k).semantic.copy()
        values[0] = 255
        image.fromarray(values).save(labels / f"{k}.png")
        image.open(dataset.image_path(k)).save(images / f"{k}.png")
    return images, labels


def changed(config, *words):
    return load_config(config, words)


def interrupted_after(step):
    def stop(record):
        if record["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)
    return stop


def test_law_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(same, pixels, tmp_path):
    train(pixels, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt, match="stopped at step 7 of 11"):
        train(pixels, out=tmp_path / "parts", on_step=interrupted_after(6))
    train(None, out=tmp_path / "parts", resume=True)
    same(*(checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "parts")))
    told = [[{k: v for k, v in r.items() if "seconds" not in k} for r in read_records(tmp_path / name / "log.jsonl")]
            for name in ("whole", "parts")]
    assert told[0] == told[1]


def test_contract_what_a_run_leaves(pixels, tmp_path):
    out = tmp_path / "run"
    metrics = train(pixels, out=out)
    assert {p.name for p in out.iterdir()} >= {
        "best.pt", "config.yaml", "confusion.json", "curves.png", "last.pt", "log.jsonl", "metrics.json",
        "model.safetensors", "predictions"}
    assert sorted(p.name for p in (out / "predictions").iterdir()) == ["0.png", "1.png"]
    assert json.loads((out / "metrics.json").read_text()) == metrics
    assert metrics["best"]["name"] == "semantic/mIoU"
    assert list(metrics["semantic"]["per_class"]) == ["background", "odd", "even"]
    evals = [r for r in read_records(out / "log.jsonl") if r["kind"] == "eval"]
    assert [r["step"] for r in evals] == [4, 8, 11]
    assert metrics["best"]["value"] == max(r["semantic/mIoU"] for r in evals)
    confusion = json.loads((out / "confusion.json").read_text())
    assert confusion["classes"] == ["background", "odd", "even"] and np.sum(confusion["matrix"]) == 7 * 16 * 16
    report = data_of(out / "report.html")
    assert report["pixels"] == {"names": [*confusion["classes"], "none of them"], "matrix": confusion["matrix"]}
    assert report["scores"]["semantic"] == metrics["semantic"] and len(report["curves"]) == 3
    saved = load_config(out / "config.yaml")
    assert plain(saved) == checkpoint.load(out / "last.pt")["config"]
    assert isinstance(saved.model, SegmenterConfig) and saved.model.num_classes == 3
    assert [c["id"] for c in checkpoint.load(out / "best.pt")["categories"]] == [0, 1, 2]
    # The images of another layout are found as those of `data.train=PATH` are.
    data.convert_data(pixels["data"]["val"]["annotations"], tmp_path / "folder", layout="labelme")
    with pytest.warns(RoikitWarning, match="paired by name"):  # labelme's categories are in the order of their names
        assert evaluate(out / "last.pt", tmp_path / "folder")["semantic"]["mIoU"] > 0
    # What was trained can be evaluated, to the same figures, from each of its files.
    for file in ("", "model.safetensors", "last.pt"):
        again = evaluate(out / file)
        if file:
            assert again["semantic"] == metrics["semantic"] and again["unread"] == 0


def test_label_maps_are_trained_on_and_evaluated_on(pixels, maps, tmp_path):
    images, labels = map(str, maps)
    part = {"images": images, "semantic": labels}
    config = {**pixels, "data": {"train": part, "val": {**part, "limit": 3}, "batch_size": 2,
                                 "classes": ["ground", "odd", "even"]}}
    config["run"] = config["run"] | {"doctor": True}
    metrics = train(config, ["schedule.steps=3"], out=tmp_path / "run")
    assert list(metrics["semantic"]["per_class"]) == ["ground", "odd", "even"]
    confusion = json.loads((tmp_path / "run" / "confusion.json").read_text())
    assert np.sum(confusion["matrix"]) == 3 * 15 * 16  # the ignored row does not count
    whole = evaluate(tmp_path / "run", labels, images, out=tmp_path / "again")
    assert whole["semantic"].keys() == metrics["semantic"].keys()
    assert np.sum(json.loads((tmp_path / "again" / "confusion.json").read_text())["matrix"]) == 7 * 15 * 16
    result = CliRunner().invoke(main, ["eval", str(tmp_path / "run"), labels, images])
    assert result.exit_code == 0 and "mIoU" in result.output and "ground: IoU" in result.output
    with pytest.raises(ValueError, match="annotations and images must be given together"):
        evaluate(tmp_path / "run", labels)
    # Two classes do not fit maps of three: the doctor says so before the first step.
    with pytest.raises(ValueError, match="the train part cannot be used as it is"):
        train(config, ["data.classes=[ground, odd]"], out=tmp_path / "wrong")
    with pytest.raises(ValueError, match=r"0.png has the label 1|has the label 2"):
        train(config, ["data.classes=[ground, odd]", "run.doctor=false"], out=tmp_path / "wrong")


def test_the_doctor_of_the_command_line_takes_label_maps(maps):
    images, labels = map(str, maps)
    result = CliRunner().invoke(main, ["doctor", labels, images])
    assert result.exit_code == 0 and result.output.startswith("7 images")
    result = CliRunner().invoke(main, ["doctor", labels, images, "--semantic-classes", "2"])
    assert result.exit_code == 1 and "has the label 2, and labels are 0..1 and 255" in result.output


def test_predictions_are_label_maps_results_and_pictures(pixels, squares, tmp_path):
    train(changed(pixels, "schedule.steps=4"), out=tmp_path / "run")
    images = [str(squares[1] / f"{k}.png") for k in range(3)]
    results = predict(tmp_path / "run", images, out=tmp_path / "found")
    assert {p.name for p in (tmp_path / "found").iterdir()} == {"0.png", "1.png", "2.png", "images.json", "labels",
                                                              "predictions.json", "predictions.jsonl"}
    assert json.loads((tmp_path / "found" / "predictions.json").read_text()) == results
    for number in (1, 2, 3):
        labels = read_labels(tmp_path / "found" / "labels" / f"{number - 1}.png")
        own = [r for r in results if r["image_id"] == number]
        assert labels.shape == (16, 16) and sorted(np.unique(labels)) == [r["category_id"] for r in own]
        for result in own:
            mask = decode(result["segmentation"]).astype(bool)
            assert np.array_equal(mask, labels == result["category_id"]) and result["area"] == mask.sum()
            assert result["category_name"] == ("background", "odd", "even")[result["category_id"]]
    command = CliRunner().invoke(main, ["predict", str(tmp_path / "run"), images[0], "--out", str(tmp_path / "more")])
    assert command.exit_code == 0 and "classes\n" in command.output
    (tmp_path / "some" / "labels" / "1.png").mkdir(parents=True)  # in the way
    failed = []
    for resume in (False, True):
        assert predict(tmp_path / "run", images, out=tmp_path / "some", resume=resume,
                       on_error=lambda path, error: failed.append(path)) == results
        assert (tmp_path / "some" / "labels" / "2.png").is_file()
    assert failed == [tmp_path / "some" / "1.png"] * 2
    with pytest.raises(ValueError, match="max_detections is for detectors, and this model is a segmenter"):
        predict(tmp_path / "run", images, max_detections=3)
    for options, name in (({"iou_types": ("bbox",)}, "iou_types"), ({"use_cats": False}, "use_cats"),
                          ({"sigmas": (0.1,)}, "sigmas")):
        with pytest.raises(ValueError, match=f"evaluate: {name} is for detectors"):
            evaluate(tmp_path / "run", **options)


def test_law_two_processes_share_the_images(pixels, squares):
    """Their matrices add up to that of one, whichever images each has looked at."""
    config = load_config(pixels)
    task = task_of(config.model)
    dataset = task.train_set(config)
    config = fitted(config, dataset)
    torch.manual_seed(0)
    model = task.build(config.model)
    val = task.prepare_validation(config, dataset.categories, Process())
    options = {"device": torch.device("cpu"), "failures": Failures(Process(), print)}
    whole = val.evaluate(model, config, process=Process(), **options)

    class Other(Process):
        """One of two, whose partner's share is gathered as nothing."""

        def gather(self, value):
            return [value]

        def share_buffers(self, model):
            pass

    parts = [val.evaluate(model, config, process=Other(rank, 2), **options) for rank in (0, 1)]
    assert np.array_equal(sum(part["results"]["matrix"] for part in parts), whole["results"]["matrix"])
    assert parts[0]["results"]["maps"].keys() == {0} and parts[1]["results"]["maps"].keys() == {1}


def test_classes_of_the_val_part_are_paired_by_name(pixels, squares, tmp_path):
    content = json.loads(squares[0].read_text())
    for category in content["categories"]:  # the labels change places, and a class is added
        category["id"] = {3: 9, 8: 4}[category["id"]]
    for annotation in content["annotations"]:
        annotation["category_id"] = {3: 9, 8: 4}[annotation["category_id"]]
    content["categories"].append({"id": 1, "name": "other"})
    val = tmp_path / "val.json"
    val.write_text(json.dumps(content))
    one, other = (data.SemanticDataset(squares[1], path) for path in (squares[0], val))
    table, note = label_table(one.categories, other, ("train", "val"))
    assert "only in val: other" in note and table[1] == 255
    assert all(np.array_equal(table[other.sample(k).semantic], one.sample(k).semantic) for k in range(len(one)))
    for category in content["categories"]:
        category["name"] = f"new {category['name']}"
    val.write_text(json.dumps(content))
    metrics = train(changed(pixels, "schedule.steps=2", f"data.val.annotations={val}"), out=tmp_path / "run")
    assert metrics["semantic"]["per_class"]["odd"] == -1.0  # nothing but the background is the same


def test_images_that_cannot_be_read_are_named_and_the_run_is_kept(pixels, maps, tmp_path):
    images, labels = maps
    part = {"images": str(images), "semantic": str(labels)}
    config = {**pixels, "data": {"train": {**part, "limit": 5}, "val": part, "batch_size": 2,
                                 "classes": ["ground", "odd", "even"]}}
    spoiled = labels / "6.png"
    spoiled.write_bytes(b"")
    with pytest.raises(IncompleteRun, match="1 of 7, whose pixels do not count; the first is .*6.png") as raised:
        train(config, ["schedule.steps=2"], out=tmp_path / "run")
    assert raised.value.metrics["semantic"]["mIoU"] >= 0 and (tmp_path / "run" / "best.pt").exists()


@pytest.mark.parametrize("words, told", [
    (["eval.best=semantic/mIou"], "did you mean semantic/mIoU?"),
    (["model.head.bins=[1]"], "unknown key model.head.bins"),
    (["model.head.kind=mlp"], "model.head.kind must be one of fcn, pooling, skips, semantic_fpn, got 'mlp'"),
    (["model.kind=panorama"], "model.kind must be one of segmenter, got 'panorama'"),
    (["model.rpn.conv_depth=2"], "unknown key model.rpn"),
    (["data.classes=[one]"], "classes must be 2 to 255 names"),
    (["schedule.power=0"], "power must be above 0"),
    (["augment.scale_of=pixels"], "scale_of needs a crop"),
])
def test_contract_faulty_configurations_are_named(pixels, words, told, tmp_path):
    with pytest.raises(ConfigError, match=told.replace("?", r"\?").replace("[", r"\[")):
        train(pixels, words, out=tmp_path / "run")


def test_contract_data_must_be_named(pixels, tmp_path):
    with pytest.raises(ValueError, match="data.train.images must be given, and data.train.semantic"):
        train({**pixels, "data": {}}, out=tmp_path / "run")
    with pytest.raises(ValueError, match="data.classes names the values of PNG label maps, and the training part has"):
        train(pixels, ["data.classes=[one, two]", "run.doctor=false"], out=tmp_path / "run")
    with pytest.raises(ConfigError, match="keep_empty=false looks at objects, and so needs annotations"):
        load_config({**pixels, "data": {"train": {"semantic": "maps", "images": "photos", "keep_empty": False}}})
    with pytest.raises(ConfigError, match="data.classes names the values of a segmenter's label maps"):
        load_config({"data": {"classes": ["one", "two"]}})
    with pytest.raises(ConfigError, match="semantic needs annotations and images, or for a segmenter images alone"):
        load_config({**pixels, "data": {"train": {"semantic": "maps"}}})


def test_the_kind_of_a_mapping_says_what_it_is_of():
    assert isinstance(load_config({}).model, DetectorConfig)
    config = load_config({"model": {"kind": "segmenter", "num_classes": 7}})
    assert isinstance(config.model, SegmenterConfig) and isinstance(config.model.head, FCNHeadConfig)
    wider = load_config(config, ["model.head.channels=32"])
    assert wider.model.head == FCNHeadConfig(32) and wider.model.num_classes == 7
    other = load_config(config, parse_overrides(["model.head={kind: semantic_fpn, fusion: concat}",
                                                 "model.backbone.neck=fpn", "model.backbone.output_stride=32"]))
    assert other.model.head == SemanticFPNConfig(fusion="concat")
    assert load_config(config_text_of(other)) == other
    assert TrainConfig(model=SegmenterConfig()) == load_config({"model": {"kind": "segmenter"}})


def config_text_of(config):
    """The configuration as a file of it is read."""
    return pytest.importorskip("yaml").safe_load(config_text(config))


SEGMENTERS = [name for name in preset_names() if name != "semantic-nuclei"  # which is for files that are not bundled
              and isinstance(load_config(name).model, SegmenterConfig)]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_contract_every_preset_learns_and_predicts(name):
    config = load_config(name, ["augment.crop=[48, 64]", "run.amp=off", "run.device=cpu"])
    task = task_of(config.model)
    dataset = task.train_set(config)
    config = fitted(config, dataset)
    assert config.model.num_classes == 2 and len(dataset) == 48
    seed(0)
    state, _ = new_state(config, torch.device("cpu"))
    before = copy.deepcopy(dict(state.model.named_parameters()))
    images, targets = data.collate([dataset[0], dataset[1]])
    assert images[0].shape == (3, 48, 64)
    losses, norm, _ = optimise(state.model, state, images, targets, config, device=torch.device("cpu"),
                               process=Process.start("cpu"), stop=False)
    wanted = {"loss", "loss_semantic", *(["loss_auxiliary"] if config.model.auxiliary else [])}
    assert set(losses) == wanted and norm > 0
    assert all(not torch.equal(value, before[key]) for key, value in state.model.named_parameters()
               if key.endswith(("predictor.weight", "conv1.weight")))
    with torch.no_grad():
        found, = state.model.eval()([images[0]])
    assert found["classes"].shape == (48, 64)


def test_init_backbone_goes_into_the_body(pixels, tmp_path):
    config = load_config(pixels)
    body = task_of(config.model).build(config.model).backbone.body
    torch.save(body.state_dict() | {"fc.weight": torch.zeros(10, 512)}, tmp_path / "body.pth")
    state, lines = new_state(load_config(config, [f"run.init_backbone={tmp_path / 'body.pth'}"]), torch.device("cpu"))
    loaded = state.model.backbone.body.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in body.state_dict().items())
    assert "tensors loaded" in lines[0]


def test_pictures_have_a_legend_and_maps_come_back(tmp_path):
    labels = np.array([[0, 0, 1], [2, 255, 1]], np.uint8)
    names = ["background", "a nucleus", "чашка"]
    colors = class_colors(3, names)
    save_labels(tmp_path / "labels.png", labels, colors)
    assert np.array_equal(read_labels(tmp_path / "labels.png"), labels)
    assert len({tuple(c) for c in colors[[0, 1, 2, 255]].tolist()}) == 4 and not colors[0].any()
    assert class_colors(3, ["sky", "tree", "road"])[0].any()
    image = np.full((2, 3, 3), 100, np.uint8)
    picture = draw_classes(image, labels, names, about=600)
    assert picture.shape[1] == 600 and picture.shape[0] > 400
    assert (picture[50:150, 50:150] == 100).all()  # the background stays as it is
    assert (picture[50, 550] != 100).any() and picture[401:].max() == 255


def test_export_is_compared_with_the_segmenter(pixels, squares, tmp_path):
    pytest.importorskip("onnxscript")
    train(changed(pixels, "schedule.steps=1", "run.predictions=0"), out=tmp_path / "run")
    result = CliRunner().invoke(main, ["export", str(tmp_path / "run"), str(tmp_path / "model.onnx"), "--image",
                                       str(squares[1] / "0.png")])
    assert result.exit_code == 0 and "out: classes" in result.output
