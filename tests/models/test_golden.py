"""Detections of other libraries' models, from the same weights: golden files made beside those libraries.

`tests/golden` has the scripts and says what is in a file.
"""

import dataclasses
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from roikit.models import (
    build_detector,
    detectron2_model,
    load_checkpoint,
    mmdetection_model,
    rotated_config,
    save_checkpoint,
)
from roikit.models.weights.changes import changed
from roikit.models.weights.detectron2_zoo import detectron2_config
from roikit.models.weights.published_model import named_model

FOLDER = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(FOLDER))

from compare import PANOPTIC, assert_same, load, write_peer_file  # noqa: E402
from weights import picture  # noqa: E402

FILES = sorted(str(path.relative_to(FOLDER).with_suffix("").as_posix()) for path in FOLDER.glob("*/*.npz"))


def test_there_are_files_of_all_libraries():
    assert {name.split("/")[0] for name in FILES} == {"detectron2", "mmdetection", "yolact"}


# mmdetection's names of losses and ours, without the stage.
LOSSES = {"loss_cls": "loss_classifier", "loss_bbox": "loss_box_reg", "loss_mask": "loss_mask",
          "loss_mask_iou": "loss_mask_score", "loss_semantic_seg": "loss_semantic"}


def assert_same_losses(model, golden):
    """The losses after the proposals, of so few candidates that all of them are drawn."""
    arrays = {name: torch.from_numpy(array) for name, array in golden.arrays.items()}
    target = {"boxes": arrays["gt_boxes"], "labels": arrays["gt_labels"].long() + 1, "masks": golden.facts["gt_masks"]}
    if "semantic" in arrays:
        target["semantic"] = arrays["semantic"]
    with torch.no_grad():
        batch, truths = model._batch([torch.from_numpy(golden.image())], [target])
        features = model._features(batch.tensor)
        _, losses = model.roi_heads(features, [arrays["proposals"]], batch, truths)
    expected = {}
    for name, loss in golden.facts["losses"].items():
        stage, _, kind = name.rpartition(".")
        expected[LOSSES[kind] + (f"_stage{stage[1:]}" if stage else "")] = loss
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(expected, rel=0, abs=1e-5)


# YOLACT's names, and where its losses are larger than 1, 1e-5 of them.
DENSE_LOSSES = {"B": "loss_box_reg", "C": "loss_classifier", "M": "loss_mask", "S": "loss_semantic",
                "I": "loss_mask_score"}


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("yolact/")])
def test_yolacts_authors_detect_and_learn_the_same(file, tmp_path):
    golden = load(file)
    write_peer_file(golden, tmp_path / "model.pth")
    count = golden.changes["detections_per_image"]
    model = named_model(golden.name, tmp_path / "model.pth", detections_per_image=count)
    with torch.no_grad():
        found, = model.eval()([torch.from_numpy(golden.image())])
        assert_same(found, golden)
        model.mask_format = "rle"
        found, = model([torch.from_numpy(golden.image())])
        assert_same(found, golden)
    arrays = {name: torch.from_numpy(array) for name, array in golden.arrays.items() if name.startswith("gt_")}
    target = {"boxes": arrays["gt_boxes"], "labels": arrays["gt_labels"].long() + 1, "masks": golden.facts["gt_masks"]}
    model.train().dense = dataclasses.replace(model.dense, masks_per_image=10**6)  # none is drawn
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    image = torch.from_numpy(picture(550, 550, golden.seed).astype(np.float32) / np.float32(255))
    with torch.no_grad():
        losses = model([image], [target])
    assert {name: float(loss) for name, loss in losses.items()} == pytest.approx(
        {DENSE_LOSSES[name]: loss for name, loss in golden.facts["losses"].items()}, rel=1e-5, abs=1e-5)
    # What is written again is, name by name and bit by bit, what they gave, but for biases before norms.
    save_checkpoint(model, tmp_path / "again.pth", "yolact")
    again, theirs = torch.load(tmp_path / "again.pth", weights_only=True), golden.state_dict()
    assert set(again) == set(theirs)
    folded = {name for name in theirs if name.endswith(".conv2.bias")}
    folded |= {name.replace("conv2.bias", "bn2.running_mean") for name in folded}
    assert all(np.array_equal(again[name], theirs[name]) for name in set(again) - folded)


ROTATED = "rotated_faster_rcnn_R_50_FPN"


def rotated_model(name, path, **changes):
    """detectron2's rotated detector, which its zoo has no name for; tests/golden/make_rotated.py configures it."""
    config = rotated_config(detectron2_config("COCO-Detection/faster_rcnn_R_50_FPN_3x"))
    model = build_detector(changed(config, name, changes))
    load_checkpoint(model, path)
    return model


def door_of(golden):
    if golden.library == "mmdetection":
        return mmdetection_model
    return rotated_model if golden.name == ROTATED else detectron2_model


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith("yolact/")])
def test_the_other_library_detects_the_same(file, tmp_path):
    golden = load(file)
    door, path = door_of(golden), tmp_path / ("model.pkl" if golden.library == "detectron2" else "model.pth")
    write_peer_file(golden, path)
    model = door(golden.name, path, **golden.changes).eval()
    if "segments" in golden.arrays:
        model.panoptic = dataclasses.replace(model.panoptic, **PANOPTIC)
    with torch.no_grad():
        assert_same(model([torch.from_numpy(golden.image())])[0], golden)
    if "losses" in golden.facts:
        assert_same_losses(model.train(), golden)
    if golden.library == "detectron2":
        # What is written again is, name by name and bit by bit, what detectron2 gave.
        save_checkpoint(model, tmp_path / "again.pkl", "detectron2")
        again = pickle.loads((tmp_path / "again.pkl").read_bytes())["model"]
        theirs = golden.state_dict()
        assert set(again) == {name for name in theirs if not name.endswith("num_batches_tracked") or name in again}
        assert all((again[name] == theirs[name]).all() and again[name].shape == theirs[name].shape for name in again)


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("detectron2/")])
def test_detectron2_itself_loads_what_is_saved_and_detects_the_same(file, tmp_path):
    import roikit.compat.torchvision
    roikit.compat.torchvision.install()
    pytest.importorskip("detectron2.model_zoo", reason="detectron2 is not installed")
    import make_rotated
    from detectron2.checkpoint import DetectionCheckpointer
    from make_detectron2 import detections, detector
    golden = load(file)
    write_peer_file(golden, tmp_path / "model.pkl")
    save_checkpoint(door_of(golden)(golden.name, tmp_path / "model.pkl", **golden.changes), tmp_path / "again.pth",
                    "detectron2")
    theirs = make_rotated.detector() if golden.name == ROTATED else detector(golden.name)
    theirs.load_state_dict(torch.load(tmp_path / "again.pth", weights_only=True)["model"], strict=True)
    DetectionCheckpointer(theirs).load(str(tmp_path / "again.pth"))
    with torch.no_grad():
        found = detections(theirs, golden.image() * 255)
    assert_same(found | {"labels": found["labels"] + 1}, golden)
