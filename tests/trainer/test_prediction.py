"""Evaluation and prediction from a finished run's files."""

import json

import numpy as np
import pytest

from roikit import masks as rle
from roikit.trainer import checkpoint, evaluate, load_config, predict, train
from roikit.trainer.draw import display_image, draw_objects, side_by_side
from roikit.trainer.trained import load_trained

pytestmark = [pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning"),
              pytest.mark.usefixtures("tiny")]

Image = pytest.importorskip("PIL.Image")
for library in ("yaml", "pycocotools", "matplotlib", "safetensors"):
    pytest.importorskip(library)


@pytest.fixture
def run(settings, tmp_path, tiny):
    out = tmp_path / "run"
    train(load_config(settings, ["schedule.steps=3", "eval.every=null"]), out=out)
    return out


def test_agreement_of_a_checkpoint_with_the_runs_own_figures(run, tmp_path):
    own = json.loads((run / "metrics.json").read_text())
    for source in (run, run / "last.pt", run / "model.safetensors"):
        got = evaluate(source, out=tmp_path / "again", device="cpu", batch_size=2)
        assert got["bbox"] == own["bbox"] and got["segm"] == own["segm"]
    assert json.loads((tmp_path / "again" / "metrics.json").read_text())["segm"] == own["segm"]
    ours = json.loads((run / "detections.json").read_text())
    again = json.loads((tmp_path / "again" / "detections.json").read_text())
    assert [r["segmentation"] for r in ours] == [r["segmentation"] for r in again]


def test_agreement_of_ready_results_with_the_run(run, squares):
    own = json.loads((run / "metrics.json").read_text())
    got = evaluate(run / "detections.json", squares[0])
    assert got["segm"] == own["segm"]


def test_contract_predictions_of_a_folder(run, squares, tmp_path):
    seen = []
    results = predict(run, squares[1], out=tmp_path / "p", score_threshold=0.0, device="cpu",
                      on_image=lambda path, found: seen.append((path.name, len(found))))
    assert seen == [(f"{i}.png", 1) for i in range(7)]
    assert [r["image_id"] for r in results] == list(range(1, 8))
    assert json.loads((tmp_path / "p" / "predictions.json").read_text()) == results
    listed = json.loads((tmp_path / "p" / "images.json").read_text())
    assert listed["images"][2] == {"id": 3, "file_name": "2.png", "height": 16, "width": 16}
    assert [c["name"] for c in listed["categories"]] == ["odd", "even"]
    picture = np.array(Image.open(tmp_path / "p" / "2.png"))
    assert picture.shape == (768, 768, 3)


def test_contract_prediction_errors(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        predict(run, tmp_path / "none.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="has no images"):
        predict(run, tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="none of best.pt, last.pt and model.safetensors"):
        predict(tmp_path / "empty", run / "predictions" / "0.png")
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        evaluate(run, tmp_path / "a.json")
    with pytest.raises(ValueError, match="given together"):
        evaluate(run, images=tmp_path)
    with pytest.raises(ValueError, match="annotations must be given"):
        evaluate(run / "detections.json")
    with pytest.raises(ValueError, match="device"):
        load_trained(run, "cuda:99")
    assert checkpoint.load(run / "last.pt")["step"] == 3


def test_law_drawing_touches_the_objects_and_nothing_else():
    image = np.full((40, 50, 3), 100, dtype=np.uint8)
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[10:20, 5:25] = 1
    item = {"bbox": [5, 10, 20, 10], "category_id": 1, "segmentation":
            rle.encode(np.asfortranarray(mask))}
    once = draw_objects(image, [item], {}, about=1, boxes=False)
    changed = (once != image).any(axis=2)
    assert (image == 100).all()
    assert changed[mask == 1].all() and not changed[21:].any() and not changed[:, 26:].any()
    polygon = {**item, "segmentation": [[5, 10, 25, 10, 25, 20, 5, 20]]}
    assert (draw_objects(image, [polygon], {}, about=1, boxes=False) == once).all()
    twice = draw_objects(image, [item], {}, about=100, boxes=False)
    assert twice.shape == (80, 100, 3)


def test_contract_drawing_of_odd_input():
    image = np.zeros((8, 9, 3), dtype=np.uint8)
    assert draw_objects(image, [], {}, about=9).shape == (8, 9, 3)
    empty = {"bbox": [0, 0, 0, 0], "category_id": 1, "score": 0.5,
             "segmentation": rle.encode(np.zeros((8, 9), np.uint8, order="F"))}
    draw_objects(image, [empty, {"bbox": [-3, -3, 40, 40], "category_id": 2}], {2: "big"})
    assert side_by_side([image, image], ["a", "b"]).shape == (28, 24, 3)


@pytest.mark.parametrize("dtype, top", [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_law_dark_images_are_stretched_and_bright_ones_kept(dtype, top):
    ramp = np.linspace(0, 1, 300).reshape(10, 10, 3)
    assert display_image((ramp * top).astype(dtype)).max() == 255
    assert display_image((ramp * 0.1 * top).astype(dtype)).max() > 240
    assert display_image(np.zeros((0, 0, 3), dtype)).shape == (0, 0, 3)
