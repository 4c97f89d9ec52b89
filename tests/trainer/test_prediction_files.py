"""Prediction over folders as people have them: broken files, subfolders, names, what is kept when it ends."""

import json
import os
import re
import signal
import warnings

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from roikit import models
from roikit.cli import main
from roikit.data import transforms
from roikit.errors import RoikitWarning
from roikit.trainer import load_config, predict, train
from roikit.trainer.outputs import OUTPUTS, overlays
from roikit.trainer.picture_files import find_pictures, overlay_names, refuse_to_replace
from roikit.trainer.result_files import ResultFiles, write_results

from .stand_in import StandIn

pytestmark = pytest.mark.usefixtures("tiny")

Image = pytest.importorskip("PIL.Image")
for library in ("yaml", "pycocotools", "matplotlib", "safetensors"):
    pytest.importorskip(library)


@pytest.fixture
def run(settings, tmp_path, tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        train(load_config(settings, ["schedule.steps=1", "eval.every=null", "run.predictions=0"]), out=tmp_path / "run")
    return tmp_path / "run"


def picture(path, size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 20, 20)).save(path)


@pytest.fixture
def photos(tmp_path):
    """Three pictures of which one is cut, one is no picture and one is too large to be decoded safely."""
    folder = tmp_path / "photos"
    for name in ("a.png", "b.jpg", "z.png"):
        picture(folder / name)
    (folder / "0.jpg").write_bytes(b"not a picture")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:-30])
    Image.new("1", (20_000, 20_000)).save(folder / "large.png")
    return folder


def command(*words):
    return CliRunner().invoke(main, [str(w) for w in words])


def test_contract_unreadable_pictures_are_named_and_the_others_predicted(run, photos, tmp_path):
    out = tmp_path / "found"
    ended = command("predict", run, photos, "--out", out, "--score-threshold", 0, "--device", "cpu")
    assert ended.exit_code == 1 and isinstance(ended.exception, SystemExit), ended.exception
    for name in ("0.jpg", "cut.png", "large.png"):
        assert name in ended.output
    assert "3 of the files could not be used" in ended.output
    results = json.loads((out / "predictions.json").read_text())
    assert [r["file_name"] for r in results] == ["a.png", "b.jpg", "z.png"]
    listed = json.loads((out / "images.json").read_text())
    assert {i["id"]: i["file_name"] for i in listed["images"]} == {r["image_id"]: r["file_name"] for r in results}
    assert [u["file_name"] for u in listed["unread"]] == ["0.jpg", "cut.png", "large.png"]


def test_contract_a_caller_learns_of_each_failure(run, photos):
    failed = []
    results = predict(run, photos, score_threshold=0, device="cpu",
                      on_error=lambda path, error: failed.append(path.name))
    assert failed == ["0.jpg", "cut.png", "large.png"] and len(results) == 3
    with pytest.warns(RoikitWarning) as said:
        predict(run, photos, score_threshold=0, device="cpu")
    assert sum(bool(re.search(r"0\.jpg|cut\.png|large\.png", str(w.message))) for w in said) == 3


NO_MEMORY = [MemoryError(), RuntimeError(
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 "
    "bytes. Error code 12 (Cannot allocate memory)"), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    RuntimeError("std::bad_alloc")]


def unless_wide(function, error):
    """``function`` that has not the memory for an array (H, W, 3) wider than 20 pixels."""
    def call(image, *args, **kwargs):
        if image.shape[1] > 20:
            raise error
        return function(image, *args, **kwargs)

    return call


@pytest.mark.parametrize("error", NO_MEMORY)
def test_contract_a_picture_that_memory_does_not_suffice_for_is_named(run, tmp_path, monkeypatch, error):
    for k, width in enumerate((16, 40, 16)):
        picture(tmp_path / "photos" / f"{k}.png", (width, 16))
    monkeypatch.setattr(transforms, "image_tensor", unless_wide(transforms.image_tensor, error))
    ended = command("predict", run, tmp_path / "photos", "--out", tmp_path / "found", "--score-threshold", 0)
    assert ended.exit_code == 1 and isinstance(ended.exception, SystemExit), ended.exception
    assert "1.png: not enough memory" in ended.output and "alloc_cpu.cpp" not in ended.output
    results = json.loads((tmp_path / "found" / "predictions.json").read_text())
    assert [r["file_name"] for r in results] == ["0.png", "2.png"]


def test_contract_an_overlay_that_memory_does_not_suffice_for_costs_no_result(run, tmp_path, monkeypatch):
    picture(tmp_path / "a.png", (40, 16))
    monkeypatch.setattr(overlays, "display_image", unless_wide(overlays.display_image, MemoryError()))
    failed = []
    results = predict(run, tmp_path / "a.png", out=tmp_path / "found", score_threshold=0, device="cpu",
                      on_error=lambda path, error: failed.append(path))
    assert len(results) == 1 and failed == [tmp_path / "found" / "a.png"]


@pytest.mark.parametrize("error", NO_MEMORY)
def test_contract_the_command_says_that_memory_does_not_suffice(run, tmp_path, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    picture(tmp_path / "a.png")
    monkeypatch.setattr("roikit.predict", fail)
    ended = command("predict", run, tmp_path / "a.png", "--out", tmp_path / "found")
    assert ended.exit_code == 1 and ended.output.startswith("Error: not enough memory")


def test_contract_what_was_found_is_kept_whatever_ends_a_prediction(run, tmp_path):
    for k in range(4):
        picture(tmp_path / "photos" / f"{k}.png")

    def stop(path, found):
        if path.stem == "2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict(run, tmp_path / "photos", out=tmp_path / "found", score_threshold=0, device="cpu", on_image=stop)
    kept = json.loads((tmp_path / "found" / "predictions.json").read_text())
    assert [r["file_name"] for r in kept] == ["0.png", "1.png", "2.png"]


def test_contract_what_was_found_is_kept_when_the_command_is_terminated(run, tmp_path, monkeypatch):
    for k in range(10, 50):
        picture(tmp_path / "photos" / f"{k}.png")
    monkeypatch.setattr("roikit.trainer.outputs.overlays.save_png",
                        lambda path, pixels: path.stem == "20" and os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    ended = command("predict", run, tmp_path / "photos", "--out", tmp_path / "found", "--score-threshold", 0)
    assert ended.exit_code == 130 and "terminated" in ended.output
    kept = json.loads((tmp_path / "found" / "predictions.json").read_text())
    # What has been begun is finished: a few more, none left out between them.
    assert [r["file_name"] for r in kept] == [f"{10 + k}.png" for k in range(len(kept))] and 5 < len(kept) < 30
    assert signal.getsignal(signal.SIGTERM) is before


def test_contract_devices_without_kernels_get_a_sentence(run, tmp_path):
    picture(tmp_path / "a.png")
    for device in ("mps", "meta", "tpu"):
        ended = command("predict", run, tmp_path / "a.png", "--out", tmp_path / "found", "--device", device)
        assert ended.exit_code == 1 and ended.output.startswith("Error: device: must be auto, cpu"), ended.output


def result_files(out, **options):
    return ResultFiles(out, [{"id": 1, "name": "x"}], about={}, writers={"predictions.json": write_results}, **options)


def test_law_result_files_are_whole_at_any_time_and_not_rewritten_for_each_image(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("roikit.trainer.result_files.write_atomically", lambda path, write: written.append(path.name))
    with result_files(tmp_path, every=1e9) as kept:
        for k in range(100):
            kept.add({"id": k, "file_name": f"{k}.png"}, [{"image_id": k}])
        assert written == []
    assert written == ["predictions.json", "images.json"]
    monkeypatch.undo()
    with result_files(tmp_path, every=0) as kept:
        kept._cost = 0.0
        kept.add({"id": 1, "file_name": "a.png"}, [{"image_id": 1}])
        assert json.loads((tmp_path / "predictions.json").read_text()) == [{"image_id": 1}]
        kept.add_unread("b.png", 2, "cut")
    listed = json.loads((tmp_path / "images.json").read_text())
    assert listed == {"images": [{"id": 1, "file_name": "a.png"}], "unread": [{"file_name": "b.png", "error": "cut"}],
                      "categories": [{"id": 1, "name": "x"}]}


def test_contract_a_folder_that_cannot_be_written_to_is_found_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="cannot be written to"), result_files(tmp_path):
        pass


class ManyDetector(StandIn):
    """Finds as many objects as it is configured to, at most 300."""

    def forward(self, images):
        n = min(300, self.config.box.detections_per_image)
        box = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
        return [{"boxes": box.repeat(n, 1), "labels": torch.ones(n, dtype=torch.int64),
                 "scores": torch.linspace(1, 0.9, n)} for _ in images]


def test_contract_max_detections_is_the_number_that_comes_at_most(run, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "build_detector", ManyDetector)
    picture(tmp_path / "a.png")
    configured = load_config(run / "config.yaml").model.box.detections_per_image
    for asked, come in ((3, 3), (250, 250), (None, configured)):
        results = predict(run, tmp_path / "a.png", max_detections=asked, device="cpu")
        assert len(results) == come
    ended = command("predict", run, tmp_path / "a.png", "--out", tmp_path / "found", "--max-detections", 3)
    assert ended.exit_code == 0 and "3 objects" in ended.output


def test_contract_subfolders_and_every_format_are_read_and_the_rest_is_counted(run, tmp_path):
    folder = tmp_path / "photos"
    for name in ("b.gif", "a/x.jp2", "a/b/x.tga", "a/x.webp", "c.PNG"):
        picture(folder / name)
    (folder / "notes.txt").write_text("x")
    (folder / "a" / "list.txt").write_text("x")
    (folder / ".hidden.png").write_text("x")
    out = folder / "found"
    for _ in range(2):  # what the first time wrote is no picture to the second
        with pytest.warns(RoikitWarning, match=r"passed over .*: 2 \.txt, 1 hidden"):
            results = predict(run, folder, out=out, score_threshold=0, device="cpu")
        assert [r["file_name"] for r in results] == ["a/b/x.tga", "a/x.jp2", "a/x.webp", "b.gif", "c.PNG"]
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.png")) == [
        "a/b/x.png", "a/x-3.png", "a/x.png", "b.png", "c.png"]


def test_contract_names_differ_where_folders_hold_files_of_one_name(tmp_path):
    for name in ("one/images/1.png", "two/images/1.png", "two/images/2.png"):
        picture(tmp_path / name)
    found = find_pictures([tmp_path / "one" / "images", tmp_path / "two" / "images", tmp_path / "two/images/2.png"])
    assert found.names == ["one/images/1.png", "two/images/1.png", "2.png"]
    assert [p.name for p in found.paths] == ["1.png", "1.png", "2.png"]
    assert overlay_names(["a.png", "a.jpg", "A.gif", "a-2.png"]) == ["a.png", "a-2.png", "A-3.png", "a-2-4.png"]


def test_contract_links_in_a_circle_end(tmp_path):
    picture(tmp_path / "photos" / "in" / "1.png")
    try:
        (tmp_path / "photos" / "in" / "up").symlink_to(tmp_path / "photos", target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    assert find_pictures(tmp_path / "photos").names == ["in/1.png"]


def test_contract_overlays_replace_no_image(run, tmp_path):
    picture(tmp_path / "photos" / "1.png")
    before = (tmp_path / "photos" / "1.png").read_bytes()
    with pytest.raises(ValueError, match=r"overlay .*1\.png would replace an image"):
        predict(run, tmp_path / "photos", out=tmp_path / "photos", device="cpu")
    assert (tmp_path / "photos" / "1.png").read_bytes() == before
    predict(run, tmp_path / "photos", out=tmp_path / "photos", device="cpu", overlays=False)
    assert (tmp_path / "photos" / "predictions.json").is_file()


def test_contract_no_picture_replaces_an_image_or_a_picture_of_another_kind(run, tmp_path):
    picture(tmp_path / "photos" / "a.jpg")
    picture(tmp_path / "photos" / "instances" / "a.jpg")
    with pytest.raises(ValueError, match=r"instances/a\.png would be the overlay of one image and the label image of "):
        predict(run, tmp_path / "photos", out=tmp_path / "found", write=("overlays", "instances"), device="cpu")
    assert not (tmp_path / "found").exists()
    picture(tmp_path / "found" / "instances" / "b.png")
    with pytest.raises(ValueError, match=r"the label image .*instances/b\.png would replace an image"):
        predict(run, tmp_path / "found" / "instances" / "b.png", out=tmp_path / "found", write="instances",
                device="cpu")
    names = overlay_names(["a.jpg", "labels/a.jpg"])
    with pytest.raises(ValueError, match=r"labels/a\.png would be the overlay of one image and the label map of ano"):
        refuse_to_replace([], tmp_path, names, {"overlay": "", "label map": "labels"})


def test_contract_results_of_a_list_stay_in_their_folder(run, tmp_path):
    for name in ("photos/a.jpg", "photos/in/a.jpg", "lists/up/a.jpg"):
        picture(tmp_path / name)
    before = sorted(tmp_path.joinpath("photos").rglob("*"))
    (tmp_path / "lists" / "all.txt").write_text("../photos/a.jpg\n../photos/in/a.jpg\nup/a.jpg\n")
    found = find_pictures(tmp_path / "lists" / "all.txt")
    assert found.names == ["photos/a.jpg", "in/a.jpg", "up/a.jpg"]
    out = tmp_path / "found"
    predict(run, tmp_path / "lists" / "all.txt", out=out, write=("overlays", "yolo", "labelme"), score_threshold=0,
            device="cpu")
    assert sorted(tmp_path.joinpath("photos").rglob("*")) == before
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.*") if path.parent != out} >= {
        "photos/a.png", "in/a.png", "yolo/labels/photos/a.txt", "labelme/up/a.json"}
    found = find_pictures(str(tmp_path / "*" / ".." / "photos" / "in" / "*"))
    assert [name.count("..") for name in found.names] == [0] * len(found.names)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_contract_a_name_that_is_no_text_is_in_all_files(run, tmp_path):
    picture(tmp_path / "a.png")
    name = os.fsdecode(b"\xff.png")
    try:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / name).write_bytes((tmp_path / "a.png").read_bytes())
    except OSError:
        pytest.skip("such a name cannot be had here")
    result, = predict(run, tmp_path / "photos", out=tmp_path / "found", write=OUTPUTS, score_threshold=0, device="cpu")
    assert result["file_name"] == name and (tmp_path / "found" / name).is_file()
    assert "1,\\udcff.png,1," in (tmp_path / "found" / "objects.csv").read_text(encoding="utf-8")


def test_contract_an_overlay_that_cannot_be_written_costs_no_result(run, tmp_path):
    picture(tmp_path / "photos" / "a" / "1.png")
    picture(tmp_path / "photos" / "b" / "1.png")
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "a").write_text("in the way")
    failed = []
    results = predict(run, tmp_path / "photos", out=tmp_path / "found", score_threshold=0, device="cpu",
                      on_error=lambda path, error: failed.append(path))
    assert failed == [tmp_path / "found" / "a" / "1.png"]
    assert len(results) == 2 and (tmp_path / "found" / "b" / "1.png").is_file()


def test_contract_no_traceback_for_files_that_are_something_else(run, tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "text.pt").write_text("x")
    (tmp_path / "text.safetensors").write_text("x" * 100)
    torch.save({"format": "roikit-checkpoint", "version": 1}, tmp_path / "bare.pt")
    (tmp_path / "file").write_text("x")
    for words in (["predict", tmp_path / "text.pt", tmp_path / "a.png"],
                  ["predict", tmp_path / "text.safetensors", tmp_path / "a.png"],
                  ["predict", tmp_path / "bare.pt", tmp_path / "a.png"],
                  ["predict", run, tmp_path / "a.png", "--out", tmp_path / "file" / "in"]):
        ended = command(*words)
        assert ended.exit_code == 1 and isinstance(ended.exception, SystemExit), (words, ended.exception)
        assert ended.output.startswith("Error: ") and str(tmp_path) in ended.output, ended.output


def test_law_a_picture_is_found_where_its_file_name_says(run, tmp_path):
    picture(tmp_path / "photos" / "in" / "1.png", (10, 12))
    predict(run, tmp_path / "photos", out=tmp_path / "found", score_threshold=0, device="cpu")
    listed = json.loads((tmp_path / "found" / "images.json").read_text())["images"]
    assert listed == [{"id": 1, "file_name": "in/1.png", "height": 12, "width": 10}]
    assert np.asarray(Image.open(tmp_path / "photos" / listed[0]["file_name"])).shape[:2] == (12, 10)
