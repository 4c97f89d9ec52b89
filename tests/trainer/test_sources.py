"""``data.train=FOLDER_OR_FILE`` in whatever layout, and a val part that is a fraction of it."""

import json

import pytest
from click.testing import CliRunner

from roikit import evaluate, train
from roikit.cli import main
from roikit.data import inspect_dataset
from roikit.data.annotations import load_annotations
from roikit.data.conversion import convert_data
from roikit.data.split import split_ids
from roikit.trainer.config import config_text, load_config
from roikit.trainer.fields import ConfigError
from roikit.trainer.trained import train_set, val_paths, val_set

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)


def configured(*words):
    return load_config({"run": {"device": "cpu", "predictions": 0}, "schedule": {"steps": 2}}, words)


@pytest.mark.parametrize("layout", ["coco", "yolo", "voc", "labelme", "label-images"])
def test_each_layout_is_found_out(squares, tmp_path, layout):
    source = tmp_path / ("squares.json" if layout == "coco" else "squares")
    convert_data(squares[0], source, layout=layout)
    dataset = train_set(configured(f"data.train={source}"))
    assert len(dataset) == 7 and dataset.num_objects == 6 and dataset.has_masks
    assert sorted(dataset.category_names) == ["even", "odd"]
    assert not inspect_dataset(*[source, dataset.images] if layout != "yolo" else
                               [source / "labels", dataset.images]).fatal


def test_the_doctor_finds_the_images(squares, tmp_path):
    convert_data(squares[0], tmp_path / "squares", layout="yolo")
    said = CliRunner().invoke(main, ["doctor", str(tmp_path / "squares")])
    assert said.exit_code == 0 and "7 images, 6 objects and 0 crowds of 2 categories" in said.output, said.output


def test_parts_are_those_of_the_source(squares, tmp_path):
    for part in ("train", "valid"):
        convert_data(squares[0], tmp_path / "set" / part, layout="labelme")
    config = configured(f"data.train={tmp_path / 'set'}")
    assert train_set(config).images == tmp_path / "set/train"
    assert val_set(config).images == tmp_path / "set/valid"
    assert val_set(configured(f"data.train={tmp_path / 'set/train'}", f"data.val={tmp_path / 'set/valid'}")
                   ).images == tmp_path / "set/valid"
    assert val_paths(configured(f"data.train={tmp_path / 'set/train'}")) is None
    with pytest.raises(ValueError, match="config: .*set has no part val: it has train"):
        (tmp_path / "set/valid").rename(tmp_path / "elsewhere")
        (tmp_path / "set/train/train").mkdir()
        (tmp_path / "set/train/train/a.json").write_text("{}")
        val_set(configured(f"data.train={tmp_path}/elsewhere", f"data.val={tmp_path / 'set'}"))


def test_a_bare_value_stands_for_the_source_beside_other_fields(tmp_path):
    for words in (["data.train=my #1", "data.train.limit=3"], ["data.train.limit=3", "data.train=my #1"]):
        part = load_config({}, words).data.train
        assert (part.source, part.limit) == ("my #1", 3)
    (tmp_path / "run.yaml").write_text("data:\n  train: 2024\n  val: {fraction: 0.25}\n")
    config = load_config(str(tmp_path / "run.yaml"))
    assert config.data.train.source == "2024" and config.data.val.fraction == 0.25
    (tmp_path / "whole.yaml").write_text(config_text(config))
    assert load_config(str(tmp_path / "whole.yaml")) == config
    assert load_config({}, ["data.train={source: a, limit: 2}"]).data.train.limit == 2


@pytest.mark.parametrize("words, sentence", [
    (["data.train=a", "data.train.images=b"], "source stands for annotations and images"),
    (["data.train=a", "data.val.fraction=1"], "fraction must be above 0 and below 1, got 1"),
    (["data.train=a", "data.train.fraction=0.5"], "fraction is of data.val"),
    (["data.train=a", "data.val=b", "data.val.fraction=0.5"], "val.fraction takes images of data.train")])
def test_contract_what_contradicts_itself(words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        load_config({}, words)


def many(counts):
    """A content whose images have the classes of some sets, so many of each."""
    images, annotations = [], []
    for classes, count in counts.items():
        for _ in range(count):
            images.append({"id": len(images) + 1, "file_name": f"{len(images)}.png"})
            annotations += [{"image_id": len(images), "category_id": c} for c in classes]
    return {"images": images, "annotations": annotations}


def test_law_a_split_has_its_share_of_each_class():
    content = many({(1,): 60, (2,): 20, (1, 2): 10, (3,): 5, (): 5})
    learnt, judged = split_ids(content, 0.2)
    assert len(judged) == 20 and not set(learnt) & set(judged) and len(learnt) + len(judged) == 100
    found = [a["category_id"] for a in content["annotations"] if a["image_id"] in judged]
    shares = {c: found.count(c) for c in (1, 2, 3)}
    assert abs(shares[1] - 14) <= 1 and abs(shares[2] - 6) <= 1 and shares[3] == 1


def test_law_a_split_is_the_same_every_time_and_asks_neither_for_ids_nor_order():
    content = many({(1,): 30, (2,): 10})
    names = {r["id"]: r["file_name"] for r in content["images"]}
    before = {names[number] for number in split_ids(content, 0.25)[1]}
    moved = {"images": [{**r, "id": 100 - r["id"]} for r in reversed(content["images"])],
             "annotations": [{**a, "image_id": 100 - a["image_id"]} for a in content["annotations"]]}
    assert {names[100 - number] for number in split_ids(moved, 0.25)[1]} == before
    assert split_ids(many({(1,): 2}), 0.01) in (([1], [2]), ([2], [1]))
    with pytest.raises(ValueError, match="splits two images or more, got 1"):
        split_ids(many({(1,): 1}), 0.5)


@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_a_run_learns_what_it_is_not_judged_by(tiny, squares, tmp_path):
    source = tmp_path / "squares"
    convert_data(squares[0], source, layout="labelme")
    config = configured(f"data.train={source}", "data.val.fraction=0.3", "augment.flip=0")
    learnt, judged = split_ids(load_annotations(source), 0.3)
    assert train_set(config).image_ids == learnt and val_set(config).image_ids == judged and len(judged) == 2
    train(config, out=tmp_path / "run")
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    found = json.loads((tmp_path / "run/detections.json").read_text())
    assert {f["image_id"] for f in found} == set(judged)
    whole = evaluate(tmp_path / "run", source, device="cpu", out=tmp_path / "whole")  # with its images found
    assert "bbox" in whole and len({f["image_id"] for f in json.loads(
        (tmp_path / "whole/detections.json").read_text())}) == 7
    again = evaluate(tmp_path / "run", device="cpu")
    assert again["bbox"]["AP"] == pytest.approx(metrics["bbox"]["AP"])


def told(content, tmp_path, images):
    """Annotations that say less than COCO's do, and their images."""
    for item in content["annotations"]:
        item["category_id"] = str(item["category_id"])
        del item["iscrowd"]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content))
    return {"annotations": str(path), "images": str(images)}


@pytest.mark.usefixtures("tiny")
@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_what_was_taken_for_what_it_means_is_said_once(squares, settings, tmp_path, capfd):
    line = "taken for what it means: ids as text or floats (6), iscrowd missing (6)"
    part = told(json.loads(squares[0].read_text()), tmp_path, squares[1])
    settings["data"] |= {"train": part, "val": part, "workers": 1}
    settings["eval"] = {"every": 1}
    for words, expected in (
            (["run.doctor=false"], [f"train: {line}", f"val: {line}"]), (["run.doctor=true"], []),
            (["run.doctor=false", "data.val.annotations=null", "data.val.images=null", "data.val.fraction=0.5"],
             [f"train: {line}"])):
        config = load_config(settings, [*words, "schedule.steps=2", "run.predictions=0"])
        train(config, out=tmp_path / str(len(words)) / words[0])
        said = capfd.readouterr()
        assert [text for text in said.err.splitlines() if "taken for" in text] == expected
        assert said.out.count("taken for what it means") == (2 if words == ["run.doctor=true"] else 0)
    run = tmp_path / "1" / "run.doctor=true"
    evaluate(run, part["annotations"], part["images"], device="cpu", workers=1)
    assert capfd.readouterr().err.splitlines().count(f"evaluate: {line}") == 1
    evaluate([{"image_id": 10, "category_id": 3, "bbox": [0, 0, 5, 5], "score": 0.5}], part["annotations"],
             iou_types=["bbox"])
    assert capfd.readouterr().err.splitlines().count(f"evaluate: {line}") == 1


def test_pictures_within_the_json_files_are_named(squares, tmp_path):
    convert_data(squares[0], tmp_path / "set", layout="labelme", copy=False)
    for data, words in ((None, "name their folder$"), ("iVBORw0KGgo=", r"hold them \(imageData\), and labelme_export")):
        for path in (tmp_path / "set").glob("*.json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), "imageData": data}))
        with pytest.raises(FileNotFoundError, match=words):
            train_set(configured(f"data.train={tmp_path / 'set'}"))
