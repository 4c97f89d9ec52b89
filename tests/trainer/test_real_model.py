"""A real Mask R-CNN, small, through the whole trainer."""

import json

import pytest
import torch

from roikit.models.parts.bf16 import has_bf16
from roikit.models.parts.ways import has_winograd
from roikit.trainer import checkpoint, evaluate, load_config, predict, train

pytestmark = pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")

for library in ("yaml", "pycocotools", "matplotlib", "PIL", "safetensors"):
    pytest.importorskip(library)

SMALL = {
    "base": "nuclei-mini",
    "model": {
        "image": {"min_size": [64], "max_size": 64},
        "backbone": {"name": "efficientnet_lite0", "fpn_channels": 32},
        "rpn": {"keep_before_nms_train": 50, "keep_after_nms_train": 30,
                "keep_before_nms_test": 50, "keep_after_nms_test": 30},
        "box": {"representation": 32, "samples_per_image": 16, "detections_per_image": 20},
        "mask": {"layers": [32], "deconv_channels": 32},
    },
    "optimizer": {"ema": 0.5, "kind": "sgd", "lr": 0.01},
    "schedule": {"steps": 4, "warmup_steps": 1},
    "eval": {"max_detections": [1, 10, 20], "batch_size": 2},
    "run": {"device": "cpu", "predictions": 1},
}


class Stop(Exception):
    pass


def stop(record):
    if record["step"] == 3:
        raise Stop


@pytest.fixture
def config(squares):
    path, folder = map(str, squares)
    part = {"annotations": path, "images": folder}
    return load_config({**SMALL, "data": {"train": part, "val": part, "batch_size": 2}},
                       {"run": {"checkpoint_every": 2}})


def test_law_an_interrupted_run_ends_in_the_same_bits(config, tmp_path):
    whole = train(config, out=tmp_path / "whole")
    with pytest.raises(Stop):
        train(config, out=tmp_path / "parts", on_step=stop)
    parts = train(config, out=tmp_path / "parts", resume=True)
    states = [checkpoint.load(tmp_path / name / "last.pt") for name in ("whole", "parts")]
    for part in ("model", "average"):
        one, two = (s[part] if part == "model" else s[part]["trained"] for s in states)
        assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert whole["segm"] == parts["segm"]
    assert {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness",
            "loss_rpn_box_reg"} <= set(json.loads(
                (tmp_path / "whole" / "log.jsonl").read_text().splitlines()[0]))


def test_law_a_resumed_run_computes_convolutions_as_before(config, tmp_path, monkeypatch):
    if not has_winograd():
        pytest.skip("this torch has no NNPACK, or NNPACK not this processor")
    config = load_config(config, {"run": {"amp": "off"}})
    faster = "roikit.models.parts.winograd._faster"
    monkeypatch.setattr(faster, lambda x, *rest: "winograd" if x.shape[2] > 8 else "direct")
    with pytest.raises(Stop):
        train(config, out=tmp_path, on_step=stop)
    ways, = checkpoint.load(tmp_path / "last.pt")["ways"]
    assert {way for chosen in ways.values() for _, way in chosen} == {"winograd", "direct"}
    monkeypatch.setattr(faster, lambda *rest: "direct")
    train(config, out=tmp_path, resume=True)
    later, = checkpoint.load(tmp_path / "last.pt")["ways"]
    assert all(later[name][:len(chosen)] == chosen for name, chosen in ways.items())
    train(config, ["run.winograd=off"], out=tmp_path / "off")
    assert checkpoint.load(tmp_path / "off" / "last.pt")["ways"] == [{}]


def test_agreement_of_evaluation_and_prediction_after_the_run(config, squares, tmp_path):
    # Nothing has been learnt after four steps: without a threshold every image has detections.
    config = load_config(config, {"model": {"box": {"score_threshold": 0.0}}})
    own = train(config, out=tmp_path / "run")
    # As it is: the ways of a prepared model are measured, and its last digits decide what nothing has been learnt of.
    again = evaluate(tmp_path / "run" / "model.safetensors", device="cpu", batch_size=2, prepare=False)
    assert again["segm"] == own["segm"] and again["bbox"] == own["bbox"]
    assert own["speed"]["post"] > 0 and own["speed"]["forward"] > 0
    results = json.loads((tmp_path / "run" / "detections.json").read_text())
    assert {r["category_id"] for r in results} <= {3, 8} and len(results) == 7 * 20
    assert all(r["segmentation"]["size"] == [16, 16] for r in results)
    found = predict(tmp_path / "run", squares[1] / "3.png", out=tmp_path / "p", device="cpu",
                    score_threshold=0.0)
    assert len(found) == 20 and (tmp_path / "p" / "3.png").is_file()


def test_contract_masks_of_the_images_size_stay_runs(config, squares, tmp_path, monkeypatch):
    """Training's evaluation and pictures, eval, predict, with tiles and with views: no model pastes pixels there."""
    def paste(*arguments, **named):
        pytest.fail("a model pasted masks as pixels")

    monkeypatch.setattr("roikit.models.parts.geometry.paste_masks", paste)
    config = load_config(config, {"model": {"box": {"score_threshold": 0.0}}, "schedule": {"steps": 1}})
    assert config.model.mask.mask_format == "soft"
    train(config, out=tmp_path / "run")
    assert "segm" in evaluate(tmp_path / "run", device="cpu", tta_flips=("horizontal",))
    for number, words in enumerate(({}, {"tile": 8, "overlap": 2}, {"tta_flips": ("both",)})):
        found = predict(tmp_path / "run", squares[1] / "3.png", out=tmp_path / str(number), device="cpu",
                        score_threshold=0.0, write=("overlays", "coco", "instances"), **words)
        assert found and all(result["segmentation"]["counts"] for result in found)


def test_contract_half_precision_stays_finite(config, tmp_path):
    if not has_bf16("cpu"):
        pytest.skip("oneDNN has no bfloat16 here")
    train(config, ["run.amp=bf16", "run.channels_last=true", "schedule.steps=2"],
          out=tmp_path / "run")
    state = checkpoint.load(tmp_path / "run" / "last.pt")
    assert all(torch.isfinite(v).all() for v in state["model"].values())
