"""Evaluations that several processes share: the figures and the files of one."""

import json
import os
import warnings

import pytest

from roikit import models
from roikit.errors import RoikitWarning
from roikit.models import InferencePlan
from roikit.trainer import evaluate, train
from roikit.trainer.distributed import Process
from roikit.trainer.prepared import prepared
from roikit.trainer.shares import speed_of_all
from roikit.trainer.trained import load_trained

from .several import DONE, together
from .test_panoptic import MODEL as PANOPTIC
from .test_segmentation import MODEL as SEGMENTER

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"),
              pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

Image = pytest.importorskip("PIL.Image")
for library in ("yaml", "pycocotools", "matplotlib", "safetensors"):
    pytest.importorskip(library)


@pytest.fixture
def data(squares, tmp_path):
    """The squares many times over, and one image that cannot be read."""
    content = json.loads(squares[0].read_text())
    folder, records, objects = tmp_path / "images", [], []
    folder.mkdir()
    for k in range(12):
        record = content["images"][k % 7]
        records.append({**record, "id": 100 - k, "file_name": f"{k}.png"})
        objects += [{**a, "image_id": 100 - k, "id": len(objects) + 1} for a in content["annotations"]
                    if a["image_id"] == record["id"]]
        (folder / f"{k}.png").write_bytes((squares[1] / record["file_name"]).read_bytes() if k != 5 else b"x")
    path = tmp_path / "val.json"
    path.write_text(json.dumps({**content, "images": records, "annotations": objects}))
    return path, folder


def run_of(model, settings, folder):
    part = settings["data"]["train"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        train({**model, "data": {"train": part, "batch_size": 2}, "schedule": {"steps": 1},
               "run": {"predictions": 0, "device": "cpu", "doctor": False, "memory": False}}, out=folder)
    return folder


def content(folder):
    """The files, without how long it took."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found["metrics.json"] = {k: v for k, v in json.loads(found["metrics.json"]).items() if k != "speed"}
    return found


@pytest.mark.parametrize("options", [{}, {"tile": 8}, {"tta_flips": ("horizontal",)}])
def test_law_the_figures_are_those_of_one_process(settings, data, tmp_path, tiny, options):
    check(run_of({}, settings, tmp_path / "run"), data, tmp_path, options)


@pytest.mark.parametrize("model", [SEGMENTER, PANOPTIC], ids=["segmenter", "panoptic"])
def test_law_maps_are_judged_as_by_one_process(settings, data, tmp_path, model):
    check(run_of({"model": model}, settings, tmp_path / "run"), data, tmp_path, {"prepare": False})


def check(run, data, tmp_path, options):
    unread = tmp_path / "unread"

    def evaluated(out, process=None):
        with warnings.catch_warnings():
            warnings.simplefilter("error" if process is not None and not process.first else "ignore", RoikitWarning)
            return evaluate(run, *data, out=tmp_path / out, device="cpu", process=process, **options,
                            on_error=lambda path, error: open(unread, "a").write(f"{path}\n"))

    whole = evaluated("whole")

    def work(process):
        found = evaluated("found", process)
        assert found.pop("speed").keys() == whole["speed"].keys()
        assert found == {k: v for k, v in whole.items() if k != "speed"} and found["unread"] == 1

    assert together(3, work) == [DONE] * 3
    assert content(tmp_path / "found") == content(tmp_path / "whole")
    assert unread.read_text().splitlines() == [str(data[1] / "5.png")] * 2  # once each


def test_contract_processes_that_see_other_images_are_told(settings, data, tmp_path, tiny):
    run, other = run_of({}, settings, tmp_path / "run"), json.loads(data[0].read_text())
    other["images"].pop()
    other["annotations"] = [a for a in other["annotations"] if a["image_id"] != 89]
    (tmp_path / "other.json").write_text(json.dumps(other))

    def work(process):
        annotations = data[0] if process.first else tmp_path / "other.json"
        with pytest.raises(ValueError, match="evaluate: all processes must have the same, but process 1 on .* has "
                                             "images \"11 images"):
            evaluate(run, annotations, data[1], device="cpu", process=process, on_error=lambda *_: None)

    assert together(2, work) == [DONE, DONE]


def test_ready_results_are_scored_by_the_first(data, tmp_path):
    truth = json.loads(data[0].read_text())["annotations"]
    (tmp_path / "found.json").write_text(json.dumps([{**a, "score": 0.5} for a in truth]))
    whole = evaluate(str(tmp_path / "found.json"), data[0])

    def work(process):
        assert evaluate(str(tmp_path / "found.json"), data[0], out=tmp_path / "out", process=process) == whole

    assert together(2, work) == [DONE, DONE] and (tmp_path / "out" / "report.html").exists()


def test_law_all_follow_the_plan_of_the_first(settings, data, tmp_path):
    run = run_of({"model": {**PANOPTIC, "panoptic": None}}, settings, tmp_path / "run")

    def work(process):
        os.environ["ROIKIT_HOME"] = str(tmp_path / f"home-{process.rank}")  # machines of their own
        model = prepared(load_trained(run, "cpu"), 1 if process.first else 32, process=process).model
        assert InferencePlan.of(model).ways == {}  # for one picture nothing is measured
        assert isinstance(model, models.Detector)

    assert together(2, work) == [DONE, DONE]


def test_the_speed_is_that_of_all():
    class Two(Process):
        def gather(self, value):
            return [value, ({"data": 3.0, "forward": 1.0, "post": 0.0, "images_per_second": 0.5}, 1)]

    one = {"data": 0.0, "forward": 1.0, "post": 2.0, "images_per_second": 1.0}
    assert speed_of_all(Process(), one, 3) is one
    assert speed_of_all(Two(0, 2), one, 3) == {"data": 0.75, "forward": 1.0, "post": 1.5,
                                               "images_per_second": pytest.approx(4 / 3)}
