"""Runs of a model with keypoints and with scores of its masks: figures, files, pictures, checkpoints."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from roikit import masks as rle
from roikit import models
from roikit.cli import main
from roikit.data import CocoDataset
from roikit.data.keypoints import skeletons_of
from roikit.errors import RoikitWarning
from roikit.trainer import checkpoint, config, evaluate, finish, load_config, predict, train
from roikit.trainer.draw import draw_objects
from roikit.trainer.evaluation import coco_results
from roikit.trainer.fields import ConfigError
from roikit.trainer.kinds import results_of
from roikit.trainer.scores import coco_scores
from roikit.trainer.trained import train_set

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)

NAMES = ["left_top", "right_top", "right_end", "left_end"]
LIMBS = [[1, 2], [2, 3], [3, 4], [4, 1]]
SIGMAS = "eval.sigmas=[0.1, 0.1, 0.1, 0.1]"
DATA = Path(__file__).parents[1] / "data" / "coco_eval"


@dataclass(frozen=True)
class KeypointConfig:
    num_keypoints: int = 17


@dataclass(frozen=True)
class SemanticConfig:
    num_classes: int = 7


@dataclass(frozen=True)
class HybridConfig:
    semantic: SemanticConfig | None = None


@dataclass(frozen=True)
class PointConfig(models.DetectorConfig):
    keypoint: KeypointConfig | None = field(default_factory=KeypointConfig)
    hybrid: HybridConfig | None = None

    def __post_init__(self):
        """Whatever a real detector asks of its parts, Pointing has none."""


@dataclass(frozen=True)
class PointTrainConfig(config.TrainConfig):
    model: PointConfig = field(default_factory=PointConfig)


class Pointing(torch.nn.Module):
    """Finds the bright square of an image with its corners, and beside it, surer of the box, something that is not
    there."""

    mask_format = "soft"

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.one = torch.nn.Parameter(torch.ones(()))

    def forward(self, images, targets=None):
        if self.training:
            points = [len(target["keypoints"][0]) for target in targets if len(target["keypoints"])]
            assert set(points) <= {self.config.keypoint.num_keypoints}
            return {"loss_keypoint": self.one ** 2}
        return [self.found(image) for image in images]

    def found(self, image):
        height, width = image.shape[1:]
        ys, xs = torch.nonzero(image.mean(0) > 0.7, as_tuple=True)
        n = 2 if len(ys) else 0
        x1, y1, x2, y2 = (int(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)) if n else (0, 0, 1, 1)
        boxes = torch.tensor([[x1, y1, x2, y2], [width - 2, 0, width, 1]], dtype=torch.float32)
        corners = torch.tensor([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], dtype=torch.float32)
        points = torch.cat([torch.stack([corners, corners.flip(0) * 0]), torch.ones(2, 4, 1)], dim=2)
        bitmaps = np.zeros((height, width, 2), np.uint8, order="F")
        bitmaps[y1:y2, x1:x2, 0], bitmaps[:1, width - 2:, 1] = 1, 1
        label = 1 if (x2 - x1) % 2 else 2
        output = {"boxes": boxes[:n], "labels": torch.tensor([label] * 2)[:n], "scores": torch.tensor([0.6, 0.8])[:n],
                  "keypoints": points[:n], "keypoints_scores": torch.tensor([[4.0, 3, 2, -1]] * 2)[:n]}
        if self.config.mask is not None:
            output |= {"masks": rle.encode(bitmaps)[:n], "mask_scores": torch.tensor([0.5, 0.1])[:n]}
        return output


@pytest.fixture
def pointing(monkeypatch):
    """Let the trainer build Pointing from a configuration with keypoints, and spare it the curves."""
    monkeypatch.setattr(config, "TrainConfig", PointTrainConfig)
    monkeypatch.setattr(models, "build_detector", Pointing)
    monkeypatch.setattr(finish, "draw_curves", lambda records, path: path.write_bytes(b""))


@pytest.fixture
def corners(squares, tmp_path):
    """The squares with their corners as keypoints; a function that writes the file after an edit."""
    content = json.loads(squares[0].read_text())
    for category in content["categories"]:
        category.update(keypoints=NAMES, skeleton=LIMBS)
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["keypoints"] = [x, y, 2, x + w, y, 2, x + w, y + h, 1, x, y + h, 2]
        annotation["num_keypoints"] = 4

    def write(edit=lambda content: None, name="corners.json"):
        edit(content)
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path / name

    return write


@pytest.fixture
def configured(settings, corners, pointing):
    """A function that gives the configuration of a run of one step over the corners, and overrides."""
    for part in ("train", "val"):
        settings["data"][part]["annotations"] = str(corners())

    def make(*overrides):
        words = ["schedule.steps=1", "eval.every=null", "eval.best=keypoints/AP", SIGMAS, *overrides]
        return load_config(settings, words)

    return make


def test_law_a_run_is_judged_by_its_keypoints(configured, squares, tmp_path, capsys):
    metrics = train(configured(), out=tmp_path / "run")
    assert set(metrics) >= {"bbox", "segm", "keypoints"}
    # The wrong one comes first: precision is 1/2 at every recall.
    assert metrics["bbox"]["AP"] == metrics["keypoints"]["AP"] == pytest.approx(0.5)
    assert metrics["segm"]["AP"] == 1.0  # by the masks' own scores the right one comes first
    assert metrics["best"]["name"] == "keypoints/AP"
    assert "keypoints  AP 0.5" in capsys.readouterr().err
    again = evaluate(tmp_path / "run", device="cpu", out=tmp_path / "again")
    assert {kind: again[kind] for kind in ("bbox", "segm", "keypoints")} == {
        kind: metrics[kind] for kind in ("bbox", "segm", "keypoints")}
    assert metrics["keypoints"].keys() >= {"AP", "AR", "APm"}
    got = CliRunner().invoke(main, ["eval", str(tmp_path / "run"), "--device", "cpu"], catch_exceptions=False)
    assert got.exit_code == 0 and "keypoints  AP 0.5" in got.output


def test_law_files_of_detections_have_a_score_for_each_kind(configured, corners, tmp_path):
    train(configured(), out=tmp_path / "run")
    found = json.loads((tmp_path / "run" / "detections.json").read_text())
    of_masks = json.loads((tmp_path / "run" / "detections_segm.json").read_text())
    assert [(r["score"], r["mask_score"]) for r in found[:2]] == [(pytest.approx(0.6), 0.5),
                                                                 (pytest.approx(0.8), pytest.approx(0.1))]
    assert [r["score"] for r in of_masks] == [r["mask_score"] for r in found]
    assert not any("mask_score" in r for r in of_masks) and of_masks == results_of(found, "segm")
    assert len(found[0]["keypoints"]) == 12 and found[0]["keypoints"][2::3] == [4, 3, 2, -1]
    assert [{**r, "mask_score": 0} for r in results_of(found, "bbox")] == [{**r, "mask_score": 0} for r in found]
    truth = corners()
    assert evaluate(tmp_path / "run" / "detections.json", truth, iou_types=["segm", "bbox"])["segm"]["AP"] == 1.0
    assert coco_scores(truth, of_masks, "segm")["AP"] == 1.0
    assert coco_scores(truth, results_of(found, "bbox"), "segm")["AP"] == pytest.approx(0.5)


def test_law_without_masks_there_is_one_file_of_detections(configured, tmp_path):
    metrics = train(configured("model.mask=null"), out=tmp_path / "run")
    assert "segm" not in metrics and metrics["keypoints"]["AP"] == pytest.approx(0.5)
    assert not (tmp_path / "run" / "detections_segm.json").exists()


def test_law_categories_carry_their_skeletons(configured, squares, tmp_path):
    train(configured(), out=tmp_path / "run")
    wanted = [{"id": i, "name": name, "keypoints": NAMES, "skeleton": LIMBS} for i, name in ((3, "odd"), (8, "even"))]
    saved = checkpoint.load(tmp_path / "run" / "last.pt")
    assert saved["categories"] == wanted and saved["config"]["model"]["keypoint"]["num_keypoints"] == 4
    results = predict(tmp_path / "run" / "model.safetensors", squares[1] / "3.png", out=tmp_path / "p", device="cpu")
    assert json.loads((tmp_path / "p" / "images.json").read_text())["categories"] == wanted
    assert [len(r["keypoints"]) for r in results] == [12, 12] and "mask_score" in results[0]
    from PIL import Image
    with Image.open(tmp_path / "p" / "3.png") as drawn:
        picture = np.array(drawn)
    x, y = (48 * v for v in results[0]["keypoints"][6:8])
    assert picture[int(y), int(x)].tolist() == [255, 255, 255]
    train(configured("schedule.steps=2"), out=tmp_path / "run", resume=True)
    assert checkpoint.load(tmp_path / "run" / "last.pt")["categories"] == wanted


@pytest.mark.parametrize("fields", [{"keypoints": "all"}, {"skeleton": [[1, 7]]}])
def test_contract_a_checkpoint_with_other_skeletons(fields):
    categories = [{"id": 1, "name": "a", "keypoints": NAMES, "skeleton": LIMBS, **fields}]
    with pytest.raises(ValueError, match=r"checkpoint: x.pt: category 1: its (keypoints|skeleton) must be a list"):
        checkpoint.check_categories(categories, "x.pt")


def test_contract_keypoints_that_cannot_be_compared(configured, corners, tmp_path):
    with pytest.raises(ValueError, match="val part cannot be used: .*4 keypoints and need as many sigmas.*17 of COCO"):
        train(configured("eval.sigmas=null"), out=tmp_path / "a")

    def swap(content):
        content["categories"] = [{**c, "keypoints": NAMES[::-1]} for c in content["categories"]]

    words = [f"data.val.annotations={corners(swap, 'other.json')}"]
    with pytest.raises(ValueError, match="the annotations must be those of the model, left_top, .*; got left_"):
        train(configured(*words), out=tmp_path / "b")


def test_contract_a_model_without_keypoints(configured, corners, tmp_path):
    train(configured("model.keypoint=null", "eval.best=bbox/AP", "schedule.steps=0"), out=tmp_path / "run")
    saved = checkpoint.load(tmp_path / "run" / "last.pt")
    assert saved["categories"] == [{"id": 3, "name": "odd"}, {"id": 8, "name": "even"}]
    with pytest.raises(ValueError, match="needs a model with keypoints, and this one has none"):
        evaluate(tmp_path / "run", device="cpu", iou_types=["keypoints"])


def test_contract_training_data_without_keypoints(configured, squares, tmp_path):
    words = [f"data.train.annotations={squares[0]}"]
    with pytest.raises(ValueError, match="train: the training data have no keypoints"):
        train(configured(*words), out=tmp_path / "a")


def test_law_a_val_part_without_keypoints_is_judged_by_the_rest(configured, squares, tmp_path, capsys):
    metrics = train(configured(f"data.val.annotations={squares[0]}"), out=tmp_path / "run")
    assert "keypoints" not in metrics and metrics["best"]["name"] == "bbox/AP"
    assert "the val part has no keypoints: bbox and segm are evaluated, and bbox/AP picks" in capsys.readouterr().err


def test_law_the_doctor_of_a_run_looks_at_keypoints(configured, corners, tmp_path):
    corners(lambda content: content["annotations"][1]["keypoints"].__setitem__(0, None))
    with pytest.raises(ValueError, match="the train part cannot be used as it is"):
        train(configured("run.doctor=true"), out=tmp_path / "a")
    train(configured("run.doctor=true", "model.keypoint=null", "model.mask=null", "schedule.steps=0",
                     "eval.best=bbox/AP"), out=tmp_path / "b")


def test_law_pairs_of_keypoints_come_from_the_configuration(configured):
    still = "augment.flip=1", "augment.vertical_flip=0", "augment.rotate=false"
    plain = train_set(configured(*still))
    bare = train_set(configured(*still, "augment.keypoint_pairs=[[left_top, left_end]]"))
    assert plain.skeletons[3].pairs == ((0, 1), (2, 3)) and bare.skeletons[3].pairs == ((0, 3),)
    assert not torch.equal(plain[0][1]["keypoints"], bare[0][1]["keypoints"])


@pytest.fixture
def maps(tmp_path):
    """A folder of label maps of the squares, all 6."""
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "maps").mkdir()
    for i in range(7):
        image.new("L", (16, 16), 6).save(tmp_path / "maps" / f"{i}.png")
    return tmp_path / "maps"


def test_law_semantic_labels_are_read_where_the_model_asks(configured, maps):
    asked, given = "model.hybrid={semantic: {}}", f"data.train.semantic={maps}"
    assert "semantic" not in train_set(configured(given))[0][1]
    labels = train_set(configured(asked))[0][1]["semantic"]
    assert labels.shape == (16, 16) and set(labels.unique().tolist()) == {0, 1}
    assert (train_set(configured(asked, given))[0][1]["semantic"] == 6).all()
    with pytest.raises(ValueError, match="has the label 6, and labels are 0"):
        train_set(configured(asked, given, "model.hybrid.semantic.num_classes=6"))[0]


def test_law_a_run_fits_its_semantic_branch_to_the_data(configured, maps, tmp_path):
    asked, given = "model.hybrid={semantic: {}}", f"data.train.semantic={maps}"
    for words, classes in (([asked], 3), ([asked, given], 7)):
        train(configured(*words), out=tmp_path / str(classes))
        saved = checkpoint.load(tmp_path / str(classes) / "last.pt")["config"]["model"]
        assert saved["hybrid"] == {"semantic": {"num_classes": classes}}
    (maps / "3.png").unlink()
    with pytest.raises(ValueError, match="the train part cannot be used as it is"):
        train(configured(asked, given, "run.doctor=true"), out=tmp_path / "doctor")
    train(configured(given, "run.doctor=true", "schedule.steps=0"), out=tmp_path / "not asked")


def test_contract_configurations(settings):
    for words, text in ((["eval.sigmas=[0.1, 0]"], "sigmas must be numbers above 0"),
                        (["eval.max_keypoint_detections=0"], "max_keypoint_detections must be at least 1"),
                        (["data.val.semantic=maps"], "val.semantic is of no use")):
        with pytest.raises(ConfigError, match=text):
            load_config(settings, words)
    with pytest.raises(ConfigError, match="semantic needs annotations and images"):
        load_config({"data": {"train": {"semantic": "maps"}}})


def test_agreement_of_ready_results_with_the_published_figures():
    want = json.loads((DATA / "expected.json").read_text())["keypoints"]
    results = json.loads((DATA / want["results"]).read_text())
    got = evaluate(results, DATA / want["gt"])
    assert list(got) == ["bbox", "keypoints"]
    assert got["keypoints"]["AP"] == pytest.approx(want["stats"]["AP"], abs=1e-9)
    bare = [{k: v for k, v in r.items() if k != "bbox"} for r in results]
    assert list(evaluate(bare, DATA / want["gt"])) == ["keypoints"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_law_the_truth_of_photographs_is_found_whole(test_data, split):
    root = test_data / "coco-mini"
    truth = root / "annotations" / f"person_keypoints_{split}.json"
    dataset = CocoDataset(truth, root / "images" / split, keypoints=True)
    results = []
    for index, image_id in enumerate(dataset.image_ids):
        sample = dataset.sample(index)
        keep = (sample.keypoints[..., 2] > 0).any(1)
        points, boxes = torch.from_numpy(sample.keypoints[keep]), torch.from_numpy(sample.boxes[keep])
        output = {"boxes": boxes, "labels": torch.from_numpy(sample.labels[keep]), "scores": torch.ones(len(boxes)),
                  "keypoints": points, "keypoints_scores": points[..., 2]}
        results += coco_results(output, image_id, dataset.category_ids)
    metrics = evaluate(results, truth)
    assert metrics["keypoints"]["AP"] == metrics["keypoints"]["AR"] == pytest.approx(1.0)
    shifted = [{**r, "keypoints": [v + 30 * (k % 3 == 0) for k, v in enumerate(r["keypoints"])]} for r in results]
    assert coco_scores(truth, shifted, "keypoints")["AP"] < 0.8


def test_contract_ready_results_of_other_keypoints(configured, corners, tmp_path):
    train(configured("model.mask=null"), out=tmp_path / "run")
    with pytest.warns(RoikitWarning, match="the 4 keypoints of the results are not scored"):
        assert list(evaluate(tmp_path / "run" / "detections.json", corners())) == ["bbox"]
    assert list(evaluate(tmp_path / "run" / "detections.json", corners(), sigmas=[0.1] * 4)) == ["bbox", "keypoints"]


def test_contract_either_all_masks_have_a_score_or_none(corners):
    results = [{"image_id": 10, "category_id": 3, "bbox": [0, 0, 5, 5], "score": 1, "mask_score": 0.5},
               {"image_id": 10, "category_id": 3, "bbox": [0, 0, 5, 5], "score": 1}]
    with pytest.raises(ValueError, match="each result must have a mask_score, a finite number; 1 of 2 have none"):
        evaluate(results, corners())


def test_law_a_model_without_finds_gives_empty_lists():
    output = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0),
              "keypoints": torch.zeros(0, 17, 3), "keypoints_scores": torch.zeros(0, 17), "mask_scores": torch.zeros(0)}
    assert coco_results(output, 1, [5]) == []


SKELETON = skeletons_of([{"id": 1, "keypoints": list("abcd"), "skeleton": [[1, 2], [2, 3], [3, 4]]}])


def drawn(points, *, skeletons=SKELETON, size=100, **fields):
    item = {"category_id": 1, "bbox": [0, 0, size, size], "keypoints": points, **fields}
    picture = draw_objects(np.zeros((size, size, 3), np.uint8), [item], {1: "a"}, about=100, skeletons=skeletons)
    return picture, picture[-1, 50].tolist()  # the box's edge has the object's colour


def test_law_annotated_joints_are_drawn_by_their_visibility():
    picture, color = drawn([20, 50, 2, 60, 50, 2, 60, 80, 1, 30, 20, 0])
    assert picture[50, 20].tolist() == picture[50, 60].tolist() == [255, 255, 255]
    assert color != [0, 0, 0] and picture[50, 40].tolist() == color
    assert (picture[48:53, 40] != 0).any(1).sum() == 2 and (picture[65, 55:66] != 0).any(1).sum() == 1  # thick, thin
    assert picture[80, 62].tolist() == color and picture[80, 61].tolist() == [0, 0, 0]  # a ring
    assert not picture[18:23, 28:33].any() and not picture[48:53, 44:47].all()
    assert not picture[40:44, 38:42].any()  # no limb to what is not labelled


def test_law_found_joints_are_drawn_by_their_scores():
    picture, color = drawn([20, 50, 5.0, 60, 50, 0.1, 60, 80, -1, 30, 20, 0], score=0.9)
    assert picture[50, 20].tolist() == picture[50, 60].tolist() == [255, 255, 255]
    assert picture[50, 40].tolist() == color
    assert not picture[60:90, 40:80].any()


def test_law_keypoints_of_other_categories_are_not_drawn():
    assert not drawn([20, 50, 2, 60, 50, 2, 60, 80, 1, 30, 20, 2], skeletons={})[0][20:90, 10:90].any()
    assert not drawn([], skeletons=SKELETON)[0][20:90, 10:90].any()


def test_law_joints_are_enlarged_with_their_image():
    picture, _ = drawn([2.5, 5.5, 2, 7.5, 5.5, 2, 0, 0, 0, 0, 0, 0], size=10)
    assert picture.shape == (100, 100, 3)
    assert picture[55, 25].tolist() == picture[55, 75].tolist() == [255, 255, 255] and picture[55, 50].any()
