"""Panoptic models through training, evaluation and prediction."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from roikit import data
from roikit.cli import main
from roikit.masks import area, decode
from roikit.trainer import checkpoint, evaluate, load_config, predict, train
from roikit.trainer.config import ConfigError
from roikit.trainer.kinds import figure_of, first_figure
from roikit.trainer.panoptic_evaluation import category_map, figures_known, look, pairs_of, scores_of
from roikit.trainer.panoptic_scores import PanopticTally, figures_of
from roikit.trainer.start import fitted, inspect, new_state, seed
from roikit.trainer.tasks import task_of
from roikit.trainer.truth import encoded

from .report_case import data_of

for library in ("yaml", "PIL", "matplotlib", "safetensors", "pycocotools"):
    pytest.importorskip(library)

MODEL = {"image": {"resize": False},
         "backbone": {"name": "resnet18", "norm": "group", "fpn_channels": 8, "fpn_norm": "group"},
         "rpn": {"anchor_sizes": [[4], [8], [16], [32], [64]], "keep_after_nms_train": 20, "keep_after_nms_test": 20},
         "box": {"representation": 8, "samples_per_image": 16, "score_threshold": 0.0, "detections_per_image": 10},
         "mask": {"layers": [8], "deconv_channels": 8},
         "panoptic": {"head": {"channels": 8}, "stuff_area": 4, "score_threshold": 0.0}}


@pytest.fixture(scope="module")
def run(squares):
    """The configuration of a few steps over the squares."""
    part = dict(zip(("annotations", "images"), map(str, squares), strict=True))
    return {"model": MODEL, "data": {"train": part, "val": part, "batch_size": 2}, "augment": {"rotate": True},
            "schedule": {"steps": 3}, "run": {"predictions": 2, "device": "cpu", "doctor": False, "seed": 5}}


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    """The folder of a run, and what it gave back."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, train(run, out=folder)


@pytest.fixture
def panoptic_file(squares, tmp_path):
    """The squares as a COCO panoptic file, with a class of stuff of which there is nothing."""
    path, folder = squares
    dataset = data.PanopticDataset(path, folder)
    images = []
    for place, number in enumerate(dataset.image_ids):
        ids, segments = dataset.truth(place)
        images.append(({"id": number, "file_name": dataset.image_path(place).name}, ids,
                       [{"id": s["id"], "category_id": dataset.categories[s["category"] - 1]["id"]} for s in segments]))
    out = tmp_path / "panoptic.json"
    data.write_panoptic(out, images, [*dataset.categories, {"id": 99, "name": "sky", "isthing": 0}])
    return out, folder


def built(config):
    config = load_config(config)
    task = task_of(config.model)
    dataset = task.train_set(config)
    seed(0)
    config = fitted(config, dataset)
    return config, dataset, new_state(config, torch.device("cpu"))[0].model.eval()


def test_law_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(same, run, trained, tmp_path):
    def stop(record):
        if record["step"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="stopped at step 2 of 3"):
        train(run, out=tmp_path, on_step=stop)
    train(None, out=tmp_path, resume=True)
    same(checkpoint.load(trained[0] / "last.pt"), checkpoint.load(tmp_path / "last.pt"))


def test_a_run_leaves_figures_of_the_whole_and_of_its_parts(run, trained, tmp_path):
    folder, metrics = trained
    assert {"panoptic", "bbox", "segm", "semantic"} <= metrics.keys() and metrics["best"]["name"] == "panoptic/PQ"
    assert list(metrics["panoptic"]["per_class"]) == ["odd", "even", "background"]
    assert len(list((folder / "predictions").glob("*.png"))) == 2
    again = evaluate(folder, out=tmp_path)
    assert again["panoptic"] == metrics["panoptic"] and again["unread"] == 0
    # What is written scores as the model did.
    file = data.PanopticFile(tmp_path / "panoptic.json")
    assert file.names == ["odd", "even", "background"] and file.things == [True, True, False]
    _, dataset, _ = built(run)
    tally = PanopticTally(3)
    for place, number in enumerate(dataset.image_ids):
        found = [{"id": s["id"], "category": s["label"]} for s in file.segments(number)]
        tally.add(file.ids(number, 16, 16), found, *dataset.truth(place))
    assert figures_of(tally, file.names, file.things) == again["panoptic"]


@pytest.mark.filterwarnings("ignore:evaluate. AP is exactly 0")
def test_a_panoptic_file_trains_and_is_evaluated_as_the_objects_are(run, panoptic_file, tmp_path):
    path, folder = map(str, panoptic_file)
    part = {"annotations": path, "images": folder}
    config = {**run, "data": {"train": part, "val": {**part, "limit": 3}, "batch_size": 2}, "schedule": {"steps": 1}}
    metrics = train(config, out=tmp_path / "run")
    assert list(metrics["panoptic"]["per_class"]) == ["odd", "even", "background", "sky"]
    assert metrics["panoptic"]["per_class"]["sky"] in (-1.0, 0.0)  # there is none, whether it was found or not
    report = data_of(tmp_path / "run" / "report.html")
    assert list(report["scores"]) == ["panoptic", "bbox", "segm", "semantic"] and list(report["analyses"]) == [
        "bbox", "segm"]
    assert [item["size"] for item in report["pictures"]["items"]] == [[16, 16]] * 3
    assert all(item["thumb"] and item["known"] for item in report["pictures"]["items"])
    seen = checkpoint.load(tmp_path / "run" / "last.pt")
    assert [(c["name"], c["isthing"]) for c in seen["categories"]] == [
        ("odd", 1), ("even", 1), ("background", 0), ("sky", 0)]
    result = CliRunner().invoke(main, ["eval", str(tmp_path / "run"), path, folder])
    assert result.exit_code == 0 and "panoptic" in result.output


class Truthful(torch.nn.Module):
    """A model that finds what is annotated."""

    mask_format = "rle"

    def __init__(self, dataset, things):
        super().__init__()
        self.dataset, self.things, self.place = dataset, things, 0

    def forward(self, images):
        ids, segments = self.dataset.truth(self.place)
        sample = self.dataset[self.place][1]
        self.place += 1
        found = [{**s, "isthing": s["category"] <= self.things, "score": 0.9} for s in segments]
        scores = torch.full((len(sample["labels"]),), 0.9)
        return [{"boxes": sample["boxes"], "labels": sample["labels"], "scores": scores,
                 "masks": [encoded(mask, 16, 16) for mask in sample["masks"]], "classes": sample["semantic"].long(),
                 "panoptic": torch.from_numpy(ids), "segments": found}]


@pytest.mark.parametrize("source", ["objects", "panoptic file"])
def test_law_the_truth_has_the_best_figures(source, squares, panoptic_file):
    paths = squares if source == "objects" else panoptic_file
    dataset = data.PanopticDataset(*paths)
    pairs = pairs_of(dataset.categories, dataset, ("the model", "the data"))
    seen, _ = look(Truthful(dataset, 2), dataset, pairs)
    scores = scores_of(seen, dataset, pairs, load_config({}).eval)
    assert scores["panoptic"]["PQ"] == scores["semantic"]["mIoU"] == 1.0
    assert scores["bbox"]["AP"] == scores["segm"]["AP"] == pytest.approx(1.0)
    for name in figures_known((1, 10, 100), dataset.categories):
        kind, _, figure = name.partition("/")
        known = scores[kind]["per_class"] if figure.startswith("per_class/") else scores[kind]
        assert figure_of(scores, name) == known[figure.removeprefix("per_class/")]


def test_an_image_that_cannot_be_read_counts_as_missed(run, tmp_path, monkeypatch):
    config, dataset, model = built(run)
    pairs = pairs_of(dataset.categories, dataset, ("the model", "the data"))
    whole, _ = look(model, dataset, pairs)
    read, failed = data.PanopticDataset.sample, []

    def broken(self, index):
        if index == 2:
            raise OSError("the disk is gone")
        return read(self, index)

    monkeypatch.setattr(data.PanopticDataset, "sample", broken)
    seen, _ = look(model, dataset, pairs, on_error=lambda path, error: failed.append((path.name, str(error))))
    assert failed == [("2.png", "the disk is gone")] and len(seen.objects) == len(whole.objects)
    there = (whole.tally.matched + whole.tally.true_only).sum()
    assert (seen.tally.matched + seen.tally.true_only).sum() == there


def test_predictions_are_segments_pictures_and_a_panoptic_file(trained, squares, tmp_path):
    results = predict(trained[0], sorted(squares[1].glob("*.png")), out=tmp_path / "out", score_threshold=0.0)
    assert {r["category_name"] for r in results} <= {"odd", "even", "background"} and results
    file = data.PanopticFile(tmp_path / "out" / "panoptic.json")
    for number in range(1, 8):
        ids = file.ids(number, 16, 16)
        own = [r for r in results if r["image_id"] == number]
        assert [r["area"] for r in own] == [int(area(r["segmentation"])) for r in own]
        assert sum(r["area"] for r in own) == (ids > 0).sum()
        for result in own:
            assert len(np.unique(ids[decode(result["segmentation"]) > 0])) == 1
            assert ("score" in result) == bool(result["isthing"])
    assert len(list((tmp_path / "out").glob("*.png"))) == 7


def test_the_threshold_of_a_prediction_is_that_of_the_merge():
    config = load_config({"model": MODEL})
    changed = task_of(config.model).adjusted(config, score_threshold=0.7).model
    assert changed.panoptic.score_threshold == changed.box.score_threshold == 0.7


def test_the_report_names_segments_that_are_not_listed(run, panoptic_file, capsys):
    path, folder = panoptic_file
    content = json.loads(path.read_text())
    content["annotations"][1]["segments_info"].pop()
    path.write_text(json.dumps(content))
    part = {"annotations": str(path), "images": str(folder)}
    config = load_config({**run, "data": {"train": part, "val": part}})
    with pytest.raises(ValueError, match="the train part cannot be used as it is"):
        inspect(config)
    assert "which" in capsys.readouterr().out


NAMED = [{"id": 1, "name": "cell", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}]


@pytest.mark.parametrize(("wanted", "meant"), [("segm/AP", "panoptic/PQ"), ("panoptic/SQ_stuff", "panoptic/SQ_stuff"),
                                               ("bbox/AP50", "bbox/AP50"), ("semantic/mIoU", "semantic/mIoU"),
                                               ("panoptic/per_class/cell", "panoptic/per_class/cell"),
                                               ("semantic/per_class/sky", "semantic/per_class/sky")])
def test_the_best_figure(wanted, meant):
    assert first_figure(wanted, figures_known((1, 10, 100), NAMED)) == meant


def test_an_unknown_figure_is_refused():
    with pytest.raises(ConfigError, match="did you mean panoptic/PQ"):
        first_figure("panoptic/PW", figures_known((1, 10, 100), NAMED))


def test_options_of_detectors_are_refused(trained):
    with pytest.raises(ValueError, match="iou_types is for detectors"):
        evaluate(trained[0], iou_types=("bbox",))


def test_categories_without_anything_in_common_are_refused(squares):
    dataset = data.PanopticDataset(*squares)
    others = [{"id": 50, "name": "a", "isthing": 1}, {"id": 51, "name": "b", "isthing": 0}]
    with pytest.raises(ValueError, match="the data has no category of the model"):
        pairs_of(others, dataset, ("the model", "the data"))


def test_a_map_of_categories():
    ids = np.array([[0, 4], [9, 7]])
    segments = [{"id": 4, "category": 2}, {"id": 9, "category": None}, {"id": 7, "category": 1, "iscrowd": 1}]
    assert category_map(ids, segments, 3).tolist() == [[255, 1], [255, 255]]
