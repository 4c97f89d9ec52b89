"""A prediction that is killed and gone on with; folders, patterns and lists; outputs by name."""

import csv
import json
import os
import random
import shutil
import signal
import time
import warnings

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from roikit import masks as rle
from roikit.cli import main
from roikit.errors import RoikitWarning
from roikit.trainer import evaluate, load_config, predict, train
from roikit.trainer.picture_files import find_pictures

pytestmark = pytest.mark.usefixtures("tiny")

Image = pytest.importorskip("PIL.Image")
for library in ("yaml", "pycocotools", "matplotlib", "safetensors"):
    pytest.importorskip(library)

FILES = ("coco", "csv", "instances")


@pytest.fixture
def run(settings, tmp_path, tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        train(load_config(settings, ["schedule.steps=1", "eval.every=null", "run.predictions=0"]), out=tmp_path / "run")
    return tmp_path / "run"


def pictures(folder, count):
    random = np.random.default_rng(count)
    for k in range(count):
        path = folder / f"{k % 3}" / f"{k:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (8, 9, 3), np.uint8)).save(path)
    return folder


def content(folder):
    """What every file but the journal holds, whose lines are in the order of the work."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".jsonl"}


def killed_at(lines, journal, work):
    """Run ``work`` in a process that is killed as soon as its journal has so many lines; whether it was still at it."""
    child = os.fork()
    if not child:
        torch.set_num_threads(1)
        try:
            work()
        finally:
            os._exit(0)
    end = time.monotonic() + 60
    while time.monotonic() < end and not (journal.exists() and journal.read_bytes().count(b"\n") >= lines):
        pass
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] != 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_law_a_prediction_killed_at_random_moments_has_every_image_once(run, tmp_path):
    folder, out = pictures(tmp_path / "photos", 120), tmp_path / "found"

    def go_on():
        return predict(run, folder, out=out, write=FILES, score_threshold=0, device="cpu", resume=True)

    journal, kills, drawn = out / "predictions.jsonl", 0, random.Random(0)
    for lines in sorted(drawn.sample(range(1, 110), 10)):
        kills += killed_at(lines, journal, go_on)
    assert kills > 5
    results = go_on()
    whole = predict(run, folder, out=tmp_path / "whole", write=FILES, score_threshold=0, device="cpu")
    assert results == whole and len(results) == 120
    assert content(out) == content(tmp_path / "whole")
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert sorted(line["image"]["file_name"] for line in lines[1:]) == sorted({r["file_name"] for r in results})


def test_contract_going_on_looks_at_what_is_missing_alone(run, tmp_path):
    folder, out = pictures(tmp_path / "photos", 5), tmp_path / "found"
    (folder / "0" / "bad.png").write_bytes(b"x")
    seen, failed = [], []

    def go_on(**options):
        seen.clear(), failed.clear()
        return predict(run, folder, out=out, score_threshold=0, device="cpu", resume=True,
                       on_image=lambda path, found: seen.append(path.name),
                       on_error=lambda path, error: failed.append(path.name), **options)

    first = go_on()
    assert len(seen) == 5 and failed == ["bad.png"]
    Image.new("RGB", (8, 8)).save(folder / "0" / "0000a.png")  # new, and in the middle of the others
    ids = {r["file_name"]: r["image_id"] for r in first}
    second = go_on()
    assert seen == ["0000a.png"] and failed == ["bad.png"]
    assert {name: i for name, i in ((r["file_name"], r["image_id"]) for r in second) if name in ids} == ids
    assert len({r["image_id"] for r in second}) == 6
    Image.new("RGB", (8, 8)).save(folder / "0" / "bad.png")  # mended: tried again, and no longer among the unread
    assert len(go_on()) == 7 and seen == ["bad.png"]
    assert json.loads((out / "images.json").read_text())["unread"] == []
    with pytest.raises(ValueError, match=r"made with score_threshold 0, now it is 0\.7: .* give another folder"):
        predict(run, folder, out=out, score_threshold=0.7, device="cpu", resume=True)
    assert len(predict(run, folder / "1", out=out, score_threshold=0, device="cpu")) == 2  # begins anew
    with pytest.raises(ValueError, match="resume needs the folder out"):
        predict(run, folder, resume=True)


def test_contract_the_command_goes_on_and_says_how_fast_it_was(run, tmp_path):
    folder, out = pictures(tmp_path / "photos", 3), tmp_path / "found"
    words = ["predict", str(run), str(folder), "--out", str(out), "--score-threshold", "0", "--device", "cpu"]
    ended = CliRunner().invoke(main, [*words, "--write", "csv,instances", "--pixel-size", "0.25"])
    assert ended.exit_code == 0 and "3 images in 0:0" in ended.output and "images/s" in ended.output, ended.output
    assert {path.name for path in out.iterdir()} == {"predictions.jsonl", "images.json", "objects.csv", "instances"}
    with open(out / "objects.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["area"]) for row in rows] == [8 * 9 / 16] * 3 and rows[0]["class"] == "odd"
    assert np.array(Image.open(out / "instances" / "0" / "0000.png")).tolist() == [[1] * 9] * 8
    ended = CliRunner().invoke(main, [*words, "--write", "csv", "--resume"])
    assert ended.exit_code == 0 and "0 images in 0:00" in ended.output and "3 images of before" in ended.output
    ended = CliRunner().invoke(main, [*words, "--write", "xml"])
    assert ended.exit_code == 1 and "write must be of overlays" in ended.output


def test_contract_photographs_are_turned_and_data_sets_as_stored(run, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "a.jpg", exif=exif)
    for upright, size in ((True, (20, 10)), (False, (10, 20))):
        out = tmp_path / str(upright)
        predict(run, tmp_path / "a.jpg", out=out, score_threshold=0, device="cpu", upright=upright)
        record, = json.loads((out / "images.json").read_text())["images"]
        assert (record["height"], record["width"]) == size
        assert np.array(Image.open(out / "a.png")).shape[:2] == tuple(38 * side for side in size)


def test_contract_pictures_above_the_limit_of_pixels_are_named(run, tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "large.png")
    Image.new("RGB", (10, 10)).save(tmp_path / "small.png")
    words = ["predict", str(run), *(str(tmp_path / name) for name in ("large.png", "small.png"))]
    ended = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "found"), "--max-pixels", "199"])
    assert ended.exit_code == 1 and "large.png has more pixels than are taken for safe" in ended.output
    assert "small.png: " in ended.output


def test_contract_patterns_and_lists_stand_for_their_files(tmp_path, monkeypatch):
    folder = pictures(tmp_path / "photos", 6)
    (folder / "0" / "notes.txt").write_text("x")
    found = find_pictures(str(tmp_path / "photos" / "**" / "*3.png"))
    assert found.names == ["0/0003.png"]
    found = find_pictures(str(folder / "[01]" / "*"))
    assert found.names == ["0/0000.png", "0/0003.png", "1/0001.png", "1/0004.png"] and found.passed == {".txt": 1}
    assert find_pictures(str(tmp_path / "**" / "*.png"), leave_out=folder / "1").names == [
        "photos/0/0000.png", "photos/0/0003.png", "photos/2/0002.png", "photos/2/0005.png"]
    (folder / "list.txt").write_text("0/0000.png\r\n\n2\\0005.png\nnone.png\n", newline="")
    found = find_pictures(folder / "list.txt")
    assert found.names == ["0/0000.png", "2/0005.png"]
    assert [str(error) for _, error in found.closed] == [
        f"predict: none.png, which {folder / 'list.txt'} lists, does not exist"]
    monkeypatch.chdir(folder / "1")
    (folder / "list.txt").write_text("0001.png\n")
    assert find_pictures(folder / "list.txt").names == ["0001.png"]
    found = find_pictures([folder / "0" / "0000.png", folder / "gone.png"])
    assert found.names == ["0000.png"] and found.closed[0][0] == folder / "gone.png"
    for images, text in ((str(folder / "*.tif"), "no image is called as"), ([folder / "a", folder / "b"], "one of 2"),
                         ([], "no image to look at")):
        with pytest.raises(FileNotFoundError, match=text):
            find_pictures(images)
    (folder / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"list\.txt must be a list of images"):
        find_pictures(folder / "list.txt")


@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_law_pictures_that_fit_one_tile_have_the_results_that_they_have_without(run, squares, tmp_path):
    folder = pictures(tmp_path / "photos", 3)
    plain = predict(run, folder, out=tmp_path / "plain", score_threshold=0, device="cpu")
    assert predict(run, folder, out=tmp_path / "tiled", score_threshold=0, device="cpu", tile=9, overlap=2) == plain
    assert content(tmp_path / "plain") == content(tmp_path / "tiled")
    figures = [evaluate(run, *squares, device="cpu", **options) for options in ({}, {"tile": 16})]
    for each in figures:
        assert each.pop("speed")["images_per_second"] > 0
    assert figures[0] == figures[1]


def test_law_what_every_tile_is_full_of_is_one_object_of_the_picture(run, tmp_path):
    Image.new("RGB", (70, 50), (200, 0, 0)).save(tmp_path / "a.png")
    found, = predict(run, tmp_path / "a.png", score_threshold=0, device="cpu", tile=32, overlap=8)
    assert found["bbox"] == [0, 0, 70, 50] and rle.area(found["segmentation"]) == 70 * 50
    ended = CliRunner().invoke(main, ["predict", str(run), str(tmp_path / "a.png"), "--out", str(tmp_path / "out"),
                                      "--score-threshold", "0", "--tile", "32"])
    assert ended.exit_code == 0 and "a.png: 1 objects" in ended.output


def test_contract_tiles_are_for_objects_and_an_overlap_for_tiles(run, tmp_path, monkeypatch):
    Image.new("RGB", (70, 50)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="no size of tiles"):
        predict(run, tmp_path / "a.png", overlap=8)
    with pytest.raises(ValueError, match="overlap must be 0 to half of the tile, 16, got 17"):
        predict(run, tmp_path / "a.png", tile=32, overlap=17)
    monkeypatch.setattr("roikit.trainer.tasks.detection.Detection.finds_objects", False)
    for work in (predict, evaluate):
        with pytest.raises(ValueError, match="tile is for models that find objects"):
            work(run, *(() if work is evaluate else (tmp_path / "a.png",)), tile=32, device="cpu")


@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_contract_an_evaluation_in_tiles_names_what_it_cannot_read(run, squares, tmp_path):
    shutil.copytree(squares[1], tmp_path / "squares")
    (tmp_path / "squares" / "2.png").write_bytes(b"x")
    failed = []
    figures = evaluate(run, squares[0], tmp_path / "squares", device="cpu", tile=8, overlap=2,
                       on_error=lambda path, error: failed.append(path.name))
    assert failed == ["2.png"] and figures["unread"] == 1


@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_contract_views_are_options_of_prediction_and_evaluation(run, squares, tmp_path):
    folder = pictures(tmp_path / "photos", 2)
    plain = predict(run, folder, score_threshold=0, device="cpu")
    flips = ("horizontal", "vertical", "both")
    viewed = predict(run, folder, score_threshold=0, device="cpu", tta_flips=flips)
    assert [r["segmentation"] for r in viewed] == [r["segmentation"] for r in plain]
    assert predict(run, folder, score_threshold=1, device="cpu", tta_flips=flips) == []
    for options in ({}, {"tile": 8, "overlap": 4}):
        assert evaluate(run, *squares, device="cpu", tta_flips="both", **options)["segm"]["AP"] >= 0
    words = ["--tta-flips", "horizontal,both", "--device", "cpu"]
    ended = CliRunner().invoke(main, ["predict", str(run), str(folder), "--out", str(tmp_path / "found"), *words])
    assert ended.exit_code == 0, ended.output
    ended = CliRunner().invoke(main, ["eval", str(run), *words, "--tta-scales", "99"])
    assert ended.exit_code == 1 and "tta_scales must be numbers" in ended.output
