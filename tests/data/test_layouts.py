"""DOTA's text files and YOLO's for oriented boxes in place of a COCO file."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from roikit import evaluate
from roikit.cli import main
from roikit.data import CocoDataset, inspect_dataset
from roikit.data.annotations import load_annotations
from roikit.data.rotated import corners_of_boxes
from roikit.data.semantic_dataset import is_semantic_source
from roikit.ops import box_iou_rotated
from roikit.trainer.truth import objects_of, read_truth

SHIP, DOCK, SMALL = [40.0, 30.0, 30.0, 12.0, -35.0], [20.0, 44.0, 8.0, 20.0, -80.0], [50.0, 20.0, 10.0, 6.0, -90.0]
HEADER = "imagesource:GoogleEarth\ngsd:0.146343590398\n"


def corners(box):
    return corners_of_boxes(box)[0].reshape(-1).tolist()


def words(values):
    return " ".join(f"{value:.6f}" for value in values)


def picture(root, name, size=(80, 60)):
    path = root / "images" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)).save(path)


def text(root, name, content, folder="labels"):
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root / folder


@pytest.fixture
def dota(tmp_path):
    """Three images, one without a file and one whose file has no object."""
    for name in ("b.png", "a.jpg", "c.png"):
        picture(tmp_path, name)
    text(tmp_path, "c.txt", HEADER, "labelTxt")
    return text(tmp_path, "b.txt", f"{HEADER}{words(corners(SHIP))} ship 0\r\n\n{words(corners(DOCK))} harbour 1\n"
                                   f"{words(corners(SMALL))} harbour\n", "labelTxt")


@pytest.fixture
def yolo(tmp_path):
    picture(tmp_path, "train/b.png")
    picture(tmp_path, "train/deep/a.png", (100, 40))
    (tmp_path / "data.yaml").write_text("names: [ship, harbour, plane]\n")
    text(tmp_path, "b.txt", f"0 {words(np.divide(corners(SHIP), [80, 60] * 4))}\n"
                            f"1.0 {words(np.divide(corners(SMALL), [80, 60] * 4))}\n", "labels/train")
    return text(tmp_path, "deep/a.txt", "\ufeff2 0 0 0.5 0 0.5 0.5 0 0.5\n", "labels/train")


def test_dota_is_read_as_a_coco_file_is(dota):
    content = load_annotations(dota)
    assert content["images"] == [{"id": 1, "file_name": "a.jpg", "height": 60, "width": 80},
                                 {"id": 2, "file_name": "b.png", "height": 60, "width": 80},
                                 {"id": 3, "file_name": "c.png", "height": 60, "width": 80}]
    assert content["categories"] == [{"id": 1, "name": "harbour"}, {"id": 2, "name": "ship"}]
    assert [(a["id"], a["image_id"], a["category_id"], a["iscrowd"]) for a in content["annotations"]] == [
        (1, 2, 2, 0), (2, 2, 1, 1), (3, 2, 1, 0)]
    first = content["annotations"][0]
    np.testing.assert_allclose(first["obb"], corners(SHIP), atol=1e-6)
    around = np.reshape(corners(SHIP), (4, 2))
    np.testing.assert_allclose(first["bbox"], [*around.min(0), *np.ptp(around, 0)], atol=1e-5)
    assert first["area"] == pytest.approx(360, abs=1e-3)
    assert load_annotations(dota, images=dota.parent / "images") == content


def test_yolo_is_read_in_pixels_with_its_names(yolo):
    content = load_annotations(yolo)
    assert [(i["id"], i["file_name"], i["height"]) for i in content["images"]] == [(1, "b.png", 60),
                                                                                  (2, "deep/a.png", 40)]
    assert content["categories"] == [{"id": 1, "name": "ship"}, {"id": 2, "name": "harbour"},
                                     {"id": 3, "name": "plane"}]
    assert [(a["image_id"], a["category_id"], a["iscrowd"]) for a in content["annotations"]] == [
        (1, 1, 0), (1, 2, 0), (2, 3, 0)]
    np.testing.assert_allclose(content["annotations"][0]["obb"], corners(SHIP), atol=1e-4)
    assert content["annotations"][2]["obb"] == [0, 0, 50, 0, 50, 20, 0, 20]
    (yolo.parent.parent / "data.yaml").write_text("names: {0: ship, 1: 7, 2: plane, 9: car}\n")
    assert load_annotations(yolo)["categories"] == [{"id": 1, "name": "ship"}, {"id": 2, "name": "7"},
                                                    {"id": 3, "name": "plane"}, {"id": 10, "name": "car"}]
    (yolo.parent.parent / "data.yaml").unlink()
    assert load_annotations(yolo)["categories"] == [{"id": k + 1, "name": str(k)} for k in range(3)]


@pytest.mark.parametrize("layout", ["dota", "yolo"])
def test_a_data_set_of_text_files_gives_their_rotated_boxes(layout, request):
    folder = request.getfixturevalue(layout)
    images = folder.parent / "images" if layout == "dota" else folder.parents[1] / "images" / "train"
    dataset = CocoDataset(folder, images, rotated=True)
    _, target = dataset[1 if layout == "dota" else 0]
    expected = torch.tensor([SHIP, SMALL], dtype=torch.float64)
    assert box_iou_rotated(target["boxes"].double(), expected).diagonal().min() > 1 - 1e-4
    assert [dataset.category_names[i - 1] for i in target["labels"]] == ["ship", "harbour"]
    assert len(target["crowd_boxes"]) == (layout == "dota") and dataset.num_objects == (2 if layout == "dota" else 3)
    upright = CocoDataset(folder, images)[1 if layout == "dota" else 0][1]["boxes"]
    np.testing.assert_allclose(upright[0], [*np.reshape(corners(SHIP), (4, 2)).min(0),
                                            *np.reshape(corners(SHIP), (4, 2)).max(0)], atol=1e-4)
    assert not inspect_dataset(folder, images).fatal


@pytest.mark.filterwarnings("ignore:evaluate")
def test_results_are_scored_against_text_files(dota, tmp_path):
    found = [{"file_name": "b.png", "category_name": name, "category_id": number, "rbox": box, "score": score}
             for name, number, box, score in (("ship", 5, SHIP, 0.9), ("harbour", 6, SMALL, 0.8),
                                              ("harbour", 6, DOCK, 0.95))]  # the difficult one does not count
    figures = evaluate(found, dota)
    assert figures["rbox"]["AP"] == pytest.approx(1, abs=1e-9) and "bbox" not in figures
    objects, reasons = objects_of(read_truth(dota), "rbox")
    assert objects.crowds.tolist() == [False, True, False] and not reasons
    moved = tmp_path / "elsewhere"
    dota.rename(moved)
    assert evaluate(found, moved, tmp_path / "images")["rbox"]["AP"] == pytest.approx(1, abs=1e-9)
    with pytest.raises(FileNotFoundError, match="the folder of the images of .*elsewhere must be given"):
        evaluate(found, moved)


@pytest.mark.filterwarnings("ignore:evaluate")
def test_degenerate_corners_are_a_finding_and_left_out(dota):
    (dota / "c.txt").write_text("5 5 20 20 35 35 10 10 ship 0\n" f"{words(corners(SHIP))} ship 0\n")
    report = inspect_dataset(dota, dota.parent / "images")
    assert ("degenerate-rbox", "warning") in [(f.kind, f.severity) for f in report.findings]
    with pytest.warns(UserWarning, match="1 with a rotated box without area"):
        assert CocoDataset(dota, dota.parent / "images", rotated=True).num_objects == 3
    objects, reasons = objects_of(read_truth(dota), "rbox")
    assert len(objects) == 4 and reasons == {"with a rotated box without area": 1}


@pytest.mark.parametrize("line, sentence", [
    ("1 2 3 4 5 6 7 8", r"b\.txt, line 2: it must be x1 y1 .* category difficult, .* got 8 words: '1 2 3"),
    ("1 2 3 4 5 6 7 8 a b 0", "line 2: .* got 11 words"), ("1 2 x 4 5 6 7 8 ship 0", "must be finite numbers, got 'x'"),
    ("1 2 nan 4 5 6 7 8 ship 0", "must be finite numbers, got 'nan'"),
    ("1 2 3 4 5 6 7 8 ship -1", "difficult must be 0 or a whole number above it, got '-1'"),
    (b"1 2 3 4 5 6 7 8 \xff 0", "b.txt must be text in UTF-8")])
def test_contract_a_malformed_line_of_dota_is_named(dota, line, sentence):
    (dota / "a.txt").write_text(f"{words(corners(SHIP))} ship 0\n")
    line = line if isinstance(line, bytes) else line.encode()
    (dota / "b.txt").write_bytes(b"gsd:null\n" + line + b"\n")
    for read in (load_annotations, read_truth):
        with pytest.raises(ValueError, match=sentence):
            read(dota)
    with pytest.raises(ValueError, match=f"CocoDataset: .*{sentence}"):
        CocoDataset(dota, dota.parent / "images")
    finding, = inspect_dataset(dota, dota.parent / "images").findings
    assert finding.kind == "unreadable-file"


@pytest.mark.parametrize("line, sentence", [
    ("0 0.5 0.5 0.2", r"deep/a\.txt, line 1: it must be a class and fractions .* got 4 words"),
    ("0 0 0 0.5 0 0.5 512 0 0.5", "must be fractions of the image, not pixels, got 512"),
    ("0.5 0 0 0.5 0 0.5 0.5 0 0.5", "its class must be a whole number from 0, got '0.5'"),
    ("ship 0 0 0.5 0 0.5 0.5 0 0.5", "its class must be a whole number from 0, got 'ship'"),
    ("0 0 inf 0.5 0 0.5 0.5 0 0.5", "must be finite numbers, got 'inf'"),
    ("0 .5 .5 .2 .2 .4 .4 2 .5 .5 1", "seems to be a box and 2 keypoints with their visibility"),
    ("3 0 0 0.5 0 0.5 0.5 0 0.5", r"its class must be one that .*data\.yaml names, got 3")])
def test_contract_a_malformed_line_of_yolo_is_named(yolo, line, sentence):
    (yolo / "deep" / "a.txt").write_text(line)
    with pytest.raises(ValueError, match=sentence):
        load_annotations(yolo)


@pytest.mark.parametrize("names, sentence", [("names: 5", "must have names, a list or a mapping .* got 5"),
                                             ("names: {a: b}", "must have names"), ("[", "is not YAML")])
def test_contract_malformed_names_are_named(yolo, names, sentence):
    (yolo.parent.parent / "data.yaml").write_text(names)
    with pytest.raises(ValueError, match=f"data.yaml {sentence}"):
        load_annotations(yolo)


def test_contract_what_is_no_folder_of_annotations_is_named(dota, tmp_path):
    (tmp_path / "labels" / "none").mkdir(parents=True)
    with pytest.raises(ValueError, match="is in no layout that is read: it must be COCO's JSON file"):
        load_annotations(tmp_path / "labels")
    (dota / "stray.txt").write_text("")
    with pytest.raises(ValueError, match="1 text file of annotations without an image of the same name in .*stray.txt"):
        load_annotations(dota)
    (dota / "stray.txt").unlink()
    picture(tmp_path, "b.jpg")
    with pytest.raises(ValueError, match="has the images b.jpg and b.png"):
        load_annotations(dota)
    (tmp_path / "images" / "b.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"1 image that cannot be read .* the first: .*b\.jpg is empty"):
        assert len(load_annotations(dota)["images"]) == 3
    (tmp_path / "images" / "b.jpg").unlink()
    (dota / "b.txt").write_text("read me first\n")
    (dota / "c.txt").unlink()
    with pytest.raises(ValueError, match="line 1: it must be DOTA's .* or YOLO's .* got 'read me first'"):
        load_annotations(dota)


def test_files_without_a_line_are_images_without_objects(yolo):
    for path in yolo.rglob("*.txt"):
        path.write_text("")
    (yolo / "classes.txt").write_text("ship\nharbour\n")  # as some tools leave it
    content = load_annotations(yolo)
    assert len(content["images"]) == 2 and not content["annotations"] and len(content["categories"]) == 3
    assert len(CocoDataset(yolo, yolo.parents[1] / "images" / "train", rotated=True)[0][1]["boxes"]) == 0


def test_a_folder_of_label_maps_is_told_from_one_of_text_files(dota, tmp_path):
    assert not is_semantic_source(dota)
    picture(dota, "beside.png")
    assert not is_semantic_source(dota)
    maps = tmp_path / "maps"
    maps.mkdir()
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(maps / "a.png")
    assert is_semantic_source(maps)
    (maps / "readme.txt").write_text("0 is background\n")
    assert is_semantic_source(maps)


def test_the_doctor_of_the_command_line_takes_a_folder(dota):
    got = CliRunner().invoke(main, ["doctor", str(dota), str(dota.parent / "images")])
    assert got.exit_code == 0 and "3 images, 2 objects and 1 crowd of 2 categories" in got.output, got.output


def test_reading_text_files_needs_no_torch(dota):
    code = (f"import sys; from roikit.data.annotations import load_annotations as read; read({str(dota)!r}); "
            "assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=dota)
