"""The commands that take published names and files of other libraries."""

import hashlib
import json
import os
import pickle

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from roikit.cli import main
from roikit.models import detectron2_model, fcn_resnet50, load_checkpoint, maskrcnn_resnet50_fpn, save_checkpoint
from roikit.models.weights.published import Published
from roikit.trainer import trained
from roikit.trainer.trained import load_trained

NAME = "COCO-Detection/faster_rcnn_R_50_FPN_1x"


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def zoo_file(tmp_path_factory):
    """A file as detectron2 publishes one, whose model finds something everywhere."""
    torch.manual_seed(0)
    model = detectron2_model(NAME)
    path = tmp_path_factory.mktemp("zoo") / "model.pkl"
    save_checkpoint(model, path, "detectron2")
    return path


@pytest.fixture
def published_file(zoo_file, monkeypatch):
    digest = hashlib.sha256(zoo_file.read_bytes()).hexdigest()
    entry = Published(NAME, "detectron2", "faster_rcnn", "COCO", f"https://example.org/{zoo_file.name}", digest[:8],
                      "sha256", "MIT")
    monkeypatch.setattr(trained, "find_published", lambda _: entry)
    monkeypatch.setenv("ROIKIT_HOME", str(zoo_file.parent))


def test_contract_predict_takes_a_published_name(published_file, tmp_path):
    Image.new("RGB", (120, 90), (90, 120, 40)).save(tmp_path / "photo.jpg")
    done = run("predict", NAME, tmp_path / "photo.jpg", "--out", tmp_path / "out", "--score-threshold", 0.012,
               "--max-detections", 5)
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "out/predictions.json").read_text())
    assert 1 <= len(results) <= 5
    described = json.loads((tmp_path / "out/images.json").read_text())
    assert described["categories"][79]["name"] == "toothbrush"
    assert list((tmp_path / "out").glob("*.png"))


def test_contract_numbers_of_published_models(published_file):
    one = load_trained(NAME, "cpu", detections=3, at_least=7, score_threshold=0.25)
    assert one.model.roi_heads.box is one.config.model.box
    assert (one.config.model.box.detections_per_image, one.config.model.box.score_threshold) == (7, 0.25)
    assert not one.model.training and len(one.categories) == 80


@pytest.mark.parametrize("command", ["predict", "eval", "convert"])
def test_contract_what_is_neither_file_nor_name(command, tmp_path):
    done = run(command, "COCO-Detection/faster_rcnn_R_50_FPN", tmp_path)
    assert done.exit_code == 2 and "is no file or folder" in done.output and "did you mean" in done.output


def test_contract_convert_from_and_to_detectron2(zoo_file, tmp_path):
    done = run("convert", zoo_file, tmp_path / "ours.pth", "--model", NAME)
    assert done.exit_code == 0, done.output
    assert "tensors in roikit's layout" in done.output
    done = run("convert", tmp_path / "ours.pth", tmp_path / "again.pkl", "--model", NAME, "--layout", "detectron2")
    assert done.exit_code == 0, done.output
    before, after = (pickle.loads(path.read_bytes())["model"] for path in (zoo_file, tmp_path / "again.pkl"))
    assert before.keys() == after.keys() and all((before[name] == after[name]).all() for name in before)


def test_contract_convert_a_published_name(published_file, tmp_path):
    done = run("convert", NAME, tmp_path / "ours.pth")
    assert done.exit_code == 0, done.output
    load_checkpoint(detectron2_model(NAME), tmp_path / "ours.pth")


def test_contract_convert_takes_the_files_classes(tmp_path):
    model = maskrcnn_resnet50_fpn(num_classes=4)
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    done = run("convert", tmp_path / "mine.pth", tmp_path / "out.pth", "--model", "maskrcnn_resnet50_fpn", "--layout",
               "torchvision")
    assert done.exit_code == 0, done.output
    state = torch.load(tmp_path / "out.pth", weights_only=True)
    assert len(state["roi_heads.box_predictor.cls_score.bias"]) == 4


def test_contract_convert_says_what_is_missing_or_in_the_way(zoo_file, tmp_path):
    done = run("convert", zoo_file, tmp_path / "out.pth")
    assert done.exit_code == 1 and "does not say which model it is of; name it with model (--model)" in done.output
    done = run("convert", zoo_file, tmp_path / "out.pth", "--model", NAME, "--layout", "torchvision")
    assert done.exit_code == 1 and "box.aligned must be False, got True" in done.output
    done = run("convert", zoo_file, tmp_path / "out.pth", "--model", "maskrcnn_resnet50_fpn")
    assert done.exit_code == 1 and "looks like detectron2's Faster R-CNN on ResNet-50 with FPN" in done.output
    assert not os.listdir(tmp_path)


@pytest.fixture
def fcn_file(tmp_path, monkeypatch):
    """A file as torchvision publishes one of FCN, of random weights."""
    torch.manual_seed(0)
    folder = tmp_path / "home"
    folder.mkdir()
    path = folder / "fcn.pth"
    save_checkpoint(fcn_resnet50(aux_loss=True), path, "torchvision")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = Published("fcn_resnet50", "torchvision", "fcn", "COCO, VOC's classes", f"https://example.org/{path.name}",
                      digest[:8], "sha256", "BSD-3-Clause")
    monkeypatch.setattr(trained, "find_published", lambda _: entry)
    monkeypatch.setenv("ROIKIT_HOME", str(folder))
    return path


def test_contract_commands_take_a_published_segmenter(fcn_file, tmp_path):
    Image.new("RGB", (60, 45), (90, 120, 40)).save(tmp_path / "photo.jpg")
    names = [category["name"] for category in load_trained("fcn_resnet50", "cpu").categories]
    assert names[:2] == ["background", "aeroplane"] and len(names) == 21
    with pytest.raises(ValueError, match="max_detections is for detectors"):
        load_trained("fcn_resnet50", "cpu", detections=3)
    done = run("predict", "fcn_resnet50", tmp_path / "photo.jpg", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "out/predictions.json").read_text())
    assert results and (tmp_path / "out/labels/photo.png").is_file()
    done = run("convert", fcn_file, tmp_path / "ours.pth", "--model", "fcn_resnet50", "--layout",
               "torchvision")
    assert done.exit_code == 0, done.output
    assert torch.load(tmp_path / "ours.pth", weights_only=True)["classifier.4.bias"].shape == (21,)
