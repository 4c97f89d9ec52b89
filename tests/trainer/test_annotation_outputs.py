"""What a prediction writes as annotations in YOLO's and labelme's layouts, read back by roikit's own readers."""

import json
import shutil
import warnings

import numpy as np
import pytest
from click.testing import CliRunner

from roikit import masks as rle
from roikit.cli import main
from roikit.data.annotations import load_annotations
from roikit.data.layouts import find_source
from roikit.data.segmentation import rasterised, read_segmentation
from roikit.errors import RoikitWarning
from roikit.trainer import load_config, predict, train
from roikit.trainer.outputs.annotations import Annotations
from roikit.trainer.outputs.looked import Looked

Image = pytest.importorskip("PIL.Image")
for library in ("yaml", "pycocotools", "matplotlib", "safetensors"):
    pytest.importorskip(library)

CATEGORIES = [{"id": 3, "name": "nut"}, {"id": 8, "name": "bolt: M4"}]


@pytest.fixture
def run(settings, tmp_path, tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        train(load_config(settings, ["schedule.steps=1", "eval.every=null", "run.predictions=0"]), out=tmp_path / "run")
    return tmp_path / "run"


def photos(folder, names=("a.png", "in/b.jpg", "in/c.png")):
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9 + k, 8), (k, 9, 9)).save(folder / name)
    return folder


def encoded(mask):
    found = rle.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(n) for n in found["size"]], "counts": found["counts"].decode()}


def drawn(seed, count, shape):
    """COCO results with masks as networks give them: ragged, with holes and specks."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        y, x = (int(random.integers(0, side - 8)) for side in shape)
        mask = np.zeros(shape, bool)
        mask[y:y + 8, x:x + 8] = random.random((8, 8)) < 0.6
        code = encoded(mask)
        yield {"image_id": 1, "category_id": int(random.choice((3, 8))), "score": 0.5, "segmentation": code,
               "bbox": rle.toBbox(code).tolist()}


def half(path, text, **how):
    path.write_bytes(text.encode()[:9])
    raise OSError(28, "No space left on device", str(path))


def test_contract_going_on_makes_the_files_that_are_missing(run, tmp_path, monkeypatch):
    folder, out, seen = photos(tmp_path / "photos"), tmp_path / "found", []

    def go_on(write):
        seen.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RoikitWarning)
            results = predict(run, folder, out=out, write=write, resume=True, score_threshold=0, device="cpu",
                              on_image=lambda path, found: seen.append(path.name))
        return results

    first = go_on(("coco",))
    assert len(seen) == 3 and go_on(("csv",)) == first and seen == []  # made of the journal
    for write in ("overlays", "instances", "yolo", "labelme"):
        assert go_on((write,)) == first and len(seen) == 3
        assert go_on((write,)) == first and seen == []
    (out / "in" / "b.png").unlink()
    (out / "yolo" / "labels" / "a.txt").unlink()
    (out / "labelme" / "in" / "c.json").unlink()
    with monkeypatch.context() as full:
        full.setattr("pathlib.Path.write_text", half)
        go_on(("labelme",))
    assert not (out / "labelme" / "in" / "c.json").exists()
    assert go_on(("overlays", "instances", "yolo", "labelme")) == first
    assert seen == ["a.png", "b.jpg", "c.png"]
    assert go_on(("overlays", "instances", "yolo", "labelme")) == first and seen == []


def objects(content):
    """(file name, category, mask) of each object, sorted."""
    names = {c["id"]: c["name"] for c in content["categories"]}
    records, found = {r["id"]: r for r in content["images"]}, []
    for item in content["annotations"]:
        record = records[item["image_id"]]
        height, width = record["height"], record["width"]
        mask = rasterised(read_segmentation(item["segmentation"], height, width), height, width)
        whole = np.zeros((height, width), np.uint8, order="F")
        whole[mask.y:mask.y + mask.bitmap.shape[0], mask.x:mask.x + mask.bitmap.shape[1]] = mask.bitmap
        found.append((record["file_name"], names[item["category_id"]], rle.encode(whole)["counts"]))
    return sorted(found)


def read_back(layout, folder, images):
    return load_annotations(folder / "labels" if layout == "yolo" else folder, images=images)


@pytest.mark.parametrize("layout", ["yolo", "labelme"])
def test_law_every_object_and_each_of_its_pixels_come_back(layout, tmp_path):
    images, expected = tmp_path / "photos", []
    written = Annotations(layout, tmp_path / "found", CATEGORIES)
    written.begin(["a.png", "in/b.jpg"])
    for k, name in enumerate(("a.png", "in/b.jpg"), start=1):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(images / name)
        record, found = {"id": k, "file_name": name, "height": 30, "width": 40}, list(drawn(k, 25, (30, 40)))
        written.write(Looked(images / name, record, f"{name[:-4]}.png", None, {}, found))
        expected += [(name, {3: "nut", 8: "bolt: M4"}[r["category_id"]], r["segmentation"]["counts"].encode())
                     for r in found]
    written.end()
    assert objects(read_back(layout, tmp_path / "found", images)) == sorted(expected)


@pytest.mark.parametrize("layout", ["yolo", "labelme"])
def test_law_boxes_and_rotated_boxes_come_back(layout, tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    record, box = {"id": 1, "file_name": "a.png", "height": 30, "width": 40}, [3.25, 4.5, 10.0, 7.75]
    for kind, found in (("bbox", {"bbox": box}), ("rbox", {"bbox": [8.0, 3.0, 18.0, 12.0],
                                                           "rbox": [17.0, 9.0, 16.0, 6.0, 30.0]})):
        written = Annotations(layout, tmp_path / kind, CATEGORIES)
        written.begin(["a.png"])
        written.write(Looked(tmp_path / "a.png", record, "a.png", None, {},
                             [{"image_id": 1, "category_id": 8, "score": 0.25, **found}]))
        written.end()
        item, = read_back(layout, tmp_path / kind, tmp_path)["annotations"]
        if kind == "bbox":
            assert item["bbox"] == pytest.approx(box, abs=1e-9)
        else:  # the four corners, turned by 30 degrees
            ring = np.array(item["segmentation"][0]).reshape(4, 2)
            assert ring.mean(0) == pytest.approx([17, 9]) and item["area"] == pytest.approx(96, abs=8)
            assert sorted(np.hypot(*(ring - np.roll(ring, 1, 0)).T)) == pytest.approx([6, 6, 16, 16], abs=1e-6)
    if layout == "labelme":
        assert json.loads((tmp_path / "bbox" / "a.json").read_text())["shapes"][0]["score"] == 0.25


def test_contract_the_command_writes_annotations_that_a_data_set_reads(run, tmp_path):
    folder, out = photos(tmp_path / "photos"), tmp_path / "found"
    words = ["predict", str(run), str(folder), "--out", str(out), "--score-threshold", "0", "--device", "cpu"]
    for _ in range(2):  # the second time there is nothing to do, and nothing is lost
        ended = CliRunner().invoke(main, [*words, "--write", "coco,yolo,labelme", "--resume"])
        assert ended.exit_code == 0, ended.output
    found = json.loads((out / "predictions.json").read_text())
    expected = sorted((r["file_name"], r["category_name"], r["segmentation"]["counts"].encode()) for r in found)
    assert len(expected) == 3
    for layout in ("yolo", "labelme"):
        assert objects(read_back(layout, out / layout, folder)) == expected
    source = find_source(out / "labelme")  # its files tell where the images are
    assert source.layout == "labelme" and source.images == folder
    ended = CliRunner().invoke(main, ["convert-data", str(out / "yolo" / "labels"), str(tmp_path / "back.json"),
                                      "--images", str(folder)])
    assert ended.exit_code == 0 and "3 objects of 2 categories" in ended.output, ended.output
    shutil.copytree(folder, out / "yolo" / "images")
    assert find_source(out / "yolo").annotations == out / "yolo" / "labels"


def test_contract_images_whose_files_would_be_one_are_refused_before_the_work(run, tmp_path):
    folder, seen = photos(tmp_path / "photos", ("a.png", "a.jpg")), []
    with pytest.raises(ValueError, match=r"predict: the images a\.jpg and a\.png would have one file of annotations"):
        predict(run, folder, out=tmp_path / "found", write="yolo", device="cpu",
                on_image=lambda path, found: seen.append(path))
    assert not seen
    predict(run, folder, out=tmp_path / "found", write="labelme", score_threshold=0, device="cpu")
    assert len(objects(read_back("labelme", tmp_path / "found" / "labelme", folder))) == 2


def test_contract_categories_that_a_layout_cannot_tell_apart_are_refused(tmp_path):
    twice = [{"id": 1, "name": "x"}, {"id": 2, "name": "x"}]
    with pytest.raises(ValueError, match="predict: two categories are named x"):
        Annotations("labelme", tmp_path, twice)
    Annotations("yolo", tmp_path, twice)


def test_contract_objects_without_a_pixel_are_counted(tmp_path):
    written, nothing = Annotations("yolo", tmp_path, CATEGORIES), encoded(np.zeros((8, 9), bool))
    record = {"id": 1, "file_name": "a.png", "height": 8, "width": 9}
    written.write(Looked(tmp_path / "a.png", record, "a.png", None, {},
                         [{"category_id": 3, "segmentation": nothing, "bbox": [0, 0, 0, 0]}] * 2))
    with pytest.warns(RoikitWarning, match="no way to say it: 2 objects without a pixel"):
        written.end()
