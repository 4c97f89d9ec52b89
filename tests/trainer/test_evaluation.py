"""Evaluation of a trained model on other files than its own: categories under other ids, images that cannot be read."""

import json
import shutil
import warnings

import pytest
import torch
from click.testing import CliRunner

from roikit import models
from roikit.cli import main
from roikit.errors import RoikitWarning
from roikit.trainer import evaluate, load_config, predict, train
from roikit.trainer.evaluation import detect
from roikit.trainer.trained import load_trained

from .stand_in import StandIn

pytestmark = pytest.mark.usefixtures("tiny")

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)


class Knowing(StandIn):
    """Finds the bright square of an image; its label follows from its side, as in the data set of squares."""

    def forward(self, images):
        found = []
        for image in images:
            ys, xs = torch.nonzero(image.mean(0) > 0.7, as_tuple=True)
            n = 1 if len(ys) else 0
            box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if n else [0, 0, 0, 0]
            box = torch.tensor([[float(v) for v in box]])[:n]
            side = int(box[0, 2] - box[0, 0]) if n else 0
            label = torch.tensor([1 if side % 2 else 2])
            found.append({"boxes": box, "labels": label[:n], "scores": torch.full((n,), 0.9)})
        return found


@pytest.fixture
def run(settings, tmp_path, monkeypatch):
    """A run whose model finds every square; its categories are odd (3) and even (8)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        train(load_config(settings, ["schedule.steps=1", "eval.every=null", "run.predictions=0"]), out=tmp_path / "run")
    monkeypatch.setattr(models, "build_detector", Knowing)
    return tmp_path / "run"


def ap(run, annotations, folder, **options):
    return evaluate(run, annotations, folder, iou_types=["bbox"], device="cpu", **options)["bbox"]["AP"]


def edited(squares, tmp_path, edit):
    content = json.loads(squares[0].read_text())
    edit(content)
    (tmp_path / "edited.json").write_text(json.dumps(content))
    return tmp_path / "edited.json", squares[1]


def rename(ids):
    def edit(content):
        for record in content["categories"]:
            record["id"] = ids[record["id"]]
        for annotation in content["annotations"]:
            annotation["category_id"] = ids[annotation["category_id"]]
    return edit


def test_law_ids_of_categories_may_be_others_where_names_are_the_same(run, squares, tmp_path):
    assert ap(run, *squares) == 1.0
    with pytest.warns(RoikitWarning, match=r"2 categories .* by name: odd \(3\) is odd \(8\), even \(8\) is even"):
        assert ap(run, *edited(squares, tmp_path, rename({3: 8, 8: 3})), out=tmp_path / "m") == 1.0
    used = {r["category_id"] for r in json.loads((tmp_path / "m" / "detections.json").read_text())}
    assert used == {3, 8}
    with pytest.warns(RoikitWarning, match="by name"):
        assert ap(run, *edited(squares, tmp_path, rename({3: 1, 8: 2}))) == 1.0


def test_contract_categories_that_the_model_or_the_file_lacks(run, squares, tmp_path):
    def more(content):
        content["categories"].insert(0, {"id": 1, "name": "none"})

    with pytest.warns(RoikitWarning, match="only in the annotations: none"):
        assert ap(run, *edited(squares, tmp_path, more)) == 1.0

    def fewer(content):
        content["categories"] = [{"id": 3, "name": "even"}]
        content["annotations"] = [{**a, "category_id": 3} for a in content["annotations"] if a["category_id"] == 8]

    with pytest.warns(RoikitWarning, match="only in the model: odd"):
        assert ap(run, *edited(squares, tmp_path, fewer)) == 1.0

    def others(content):
        rename({3: 1, 8: 2})(content)
        for record, name in zip(content["categories"], "ab", strict=True):
            record["name"] = name

    with pytest.raises(ValueError, match="no category in common: .*only in the model: odd, even; .*: a, b"):
        ap(run, *edited(squares, tmp_path, others))
    assert ap(run, *edited(squares, tmp_path, others), use_cats=False) == 1.0
    assert ap(run, *edited(squares, tmp_path, lambda c: c.pop("categories")), use_cats=False) == 1.0


def test_contract_ids_decide_where_the_file_has_no_names(run, squares, tmp_path):
    assert ap(run, *edited(squares, tmp_path, lambda c: [record.pop("name") for record in c["categories"]])) == 1.0


@pytest.fixture
def broken(squares, tmp_path):
    """The squares, of whose images one is cut, one is text and one is missing."""
    folder = tmp_path / "images"
    shutil.copytree(squares[1], folder)
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:60])
    (folder / "1.png").write_text("no picture")
    (folder / "2.png").unlink()
    return squares[0], folder


@pytest.mark.parametrize("workers", [0, 1])
def test_contract_images_that_cannot_be_read_are_named_and_count_as_missed(run, broken, workers):
    named = []
    with pytest.warns(RoikitWarning, match="3 of 7 images could not be read; their objects count as missed"):
        metrics = evaluate(run, *broken, iou_types=["bbox"], device="cpu", batch_size=2, workers=workers,
                           on_error=lambda path, error: named.append((path.name, type(error))))
    assert sorted(name for name, _ in named) == ["0.png", "1.png", "2.png"] and {kind for _, kind in named} == {OSError}
    assert metrics["unread"] == 3
    assert 0.4 < metrics["bbox"]["AR100"] < 0.6  # three of six objects


@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_contract_the_command_goes_on_and_ends_with_status_1(run, broken):
    ended = CliRunner().invoke(main, ["eval", str(run), *map(str, broken), "--iou-type", "bbox", "--device", "cpu"])
    assert ended.exit_code == 1 and isinstance(ended.exception, SystemExit)
    for name in ("0.png", "1.png", "2.png", "AP50", "3 of the files could not be used"):
        assert name in ended.output
    for path in broken[1].glob("*.png"):
        path.write_text("no picture")
    ended = CliRunner().invoke(main, ["eval", str(run), *map(str, broken), "--device", "cpu"])
    assert ended.exit_code == 1 and "none of the 7 images could be read" in ended.output


@pytest.mark.parametrize("where", ["data", "model"])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_contract_an_image_that_memory_does_not_suffice_for_is_named(squares, where, error):
    from roikit.data import CocoDataset

    class Small(Knowing):
        def forward(self, images):
            if where == "model" and (len(images) > 2 or any(image[0, 0, 0] == 0.5 for image in images)):
                raise error
            return super().forward(images)

    class Marked(CocoDataset):
        def __getitem__(self, index):
            image, target = super().__getitem__(index)
            if index == 1:
                if where == "data":
                    raise error
                image[0, 0, 0] = 0.5
            return image, target

    named = []
    results, _ = detect(Small(None), Marked(*squares), [{"id": 3}, {"id": 8}], batch_size=4,
                        on_error=lambda path, error: named.append((path.name, str(error))))
    assert [name for name, _ in named] == ["1.png"] and named[0][1].startswith("not enough memory")
    assert [r["image_id"] for r in results] == [10, 12, 13, 14, 15]


def test_contract_detection_warns_of_each_image_by_default(run, broken):
    from roikit.data import CocoDataset

    dataset = CocoDataset(*broken, keep_missing=True)
    with pytest.warns(RoikitWarning, match=r"[012]\.png") as said:
        results, speed = detect(Knowing(None), dataset, [{"id": 3}, {"id": None}])
    assert len(said) == 3 and {r["category_id"] for r in results} == {3}


def test_law_predictions_find_their_images_by_name(run, squares, tmp_path):
    """The images of the annotations have ids from 10, those of the predictions from 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        predict(run, squares[1], out=tmp_path / "p", device="cpu", overlays=False)
    assert evaluate(tmp_path / "p" / "predictions.json", squares[0])["bbox"]["AP"] == 1.0

    def elsewhere(content):
        for record in content["images"]:
            record["file_name"] = "images/train/" + record["file_name"]

    assert evaluate(tmp_path / "p" / "predictions.json", edited(squares, tmp_path, elsewhere)[0])["bbox"]["AP"] == 1.0


def test_law_predictions_carry_the_names_of_their_categories(run, squares, tmp_path):
    """In memory, or in a file that lies alone; the categories of the annotations are exchanged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        results = predict(run, squares[1], device="cpu")
    assert {(r["category_id"], r["category_name"]) for r in results} == {(3, "odd"), (8, "even")}
    (tmp_path / "alone.json").write_text(json.dumps(results))
    annotations, _ = edited(squares, tmp_path, rename({3: 8, 8: 3}))
    for source in (results, tmp_path / "alone.json"):
        with pytest.warns(RoikitWarning, match=r"paired by name: odd \(3\) is odd \(8\), even \(8\) is even \(3\)"):
            assert evaluate(source, annotations)["bbox"]["AP"] == 1.0
        assert evaluate(source, squares[0])["bbox"]["AP"] == 1.0
    odd = [r for r in results if r["category_name"] == "odd"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that no even square was found says nothing of the categories
        evaluate(odd, squares[0])
    with pytest.raises(ValueError, match=r"result 1: its category_name is 'x', that of another .* 3 is 'odd'"):
        evaluate([odd[0], {**odd[0], "category_name": "x"}], squares[0])


def test_contract_an_evaluation_gets_as_many_detections_as_it_counts(run):
    configured = load_config(run / "config.yaml").model.box.detections_per_image
    for options, number in (({}, configured), ({"at_least": 5}, configured), ({"at_least": 999}, 999),
                            ({"detections": 3}, 3), ({"detections": 999}, 999)):
        assert load_trained(run, "cpu", **options).config.model.box.detections_per_image == number
