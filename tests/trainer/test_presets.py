"""Every preset learns one step from a small image and then predicts on it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from roikit import data
from roikit.models import DetectorConfig
from roikit.trainer import load_config, preset_names
from roikit.trainer.distributed import Process
from roikit.trainer.preset_list import count_parameters, list_presets, preset_table
from roikit.trainer.start import fitted, new_state, seed
from roikit.trainer.step import optimise
from roikit.trainer.tasks import task_of

for library in ("yaml", "PIL"):
    pytest.importorskip(library)

SIDE = 64
POINTS = ["nose", "left_eye", "right_eye", *(f"{side}_{what}" for what in (
    "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right"))]
# Small images, few proposals; what a system is made of stays.
SMALL = {"model": {"image": {"min_size": [SIDE], "max_size": SIDE},
                   "rpn": {"keep_before_nms_train": 40, "keep_after_nms_train": 20, "keep_before_nms_test": 20,
                           "keep_after_nms_test": 10},
                   # Nothing has been learnt: some detections all the same.
                   "box": {"samples_per_image": 16, "detections_per_image": 5, "score_threshold": 0.0}},
         "eval": {"max_detections": [5]},
         "run": {"device": "cpu", "amp": "off", "seed": 3}}


@pytest.fixture(scope="module")
def persons(tmp_path_factory):
    """A COCO data set of two images with two objects each, which have masks and keypoints."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("persons")
    random = np.random.default_rng(0)
    objects = []
    for number in range(2):
        pixels = random.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
        for x, y, width, height in ((6, 4, 24, 40), (34, 20, 22, 36)):
            pixels[y:y + height, x:x + width] = 200
            points = np.stack([random.uniform(x, x + width, 17), random.uniform(y, y + height, 17), np.full(17, 2)], 1)
            objects.append({"id": len(objects) + 1, "image_id": number, "category_id": 1, "iscrowd": 0,
                            "bbox": [x, y, width, height], "area": width * height,
                            "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
                            "keypoints": points.reshape(-1).tolist(), "num_keypoints": 17})
        image.fromarray(pixels).save(folder / f"{number}.png")
    path = folder / "persons.json"
    path.write_text(json.dumps({
        "images": [{"id": i, "file_name": f"{i}.png", "height": SIDE, "width": SIDE} for i in range(2)],
        "annotations": objects,
        "categories": [{"id": 1, "name": "person", "keypoints": POINTS, "skeleton": [[1, 2]]}]}))
    return {"annotations": str(path), "images": str(folder)}


def expected_losses(model):
    """How the names of a detector's losses begin."""
    if model.dense is not None:
        return {"loss_classifier", "loss_box_reg", "loss_mask", "loss_semantic"}
    names = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg"}
    if model.cascade is not None:
        parts = ("classifier", "box_reg", *(["mask"] if model.cascade.mask_stages == "every" else []))
        names |= {f"loss_{part}_stage{t}" for part in parts for t in range(len(model.cascade.stages))}
    given = {"loss_mask": model.mask, "loss_keypoint": model.keypoint, "loss_mask_score": model.mask_score,
             "loss_semantic": model.panoptic or model.hybrid and model.hybrid.semantic}
    return names | {name for name, part in given.items() if part is not None}


def expected_keys(model):
    given = {"masks": model.mask, "mask_scores": model.mask_score, "keypoints": model.keypoint,
             "keypoints_scores": model.keypoint, "classes": model.panoptic, "panoptic": model.panoptic,
             "segments": model.panoptic}
    return {"boxes", "labels", "scores"} | {name for name, part in given.items() if part is not None}


DETECTORS = [name for name in preset_names() if isinstance(load_config(name).model, DetectorConfig)]


@pytest.mark.parametrize("name", DETECTORS)
def test_contract_every_preset_learns_and_predicts(name, persons):
    config = load_config(load_config(name, SMALL), {"data": {"train": persons, "val": persons, "batch_size": 2}})
    dataset, device = task_of(config.model).train_set(config), torch.device("cpu")
    config = fitted(config, dataset)
    seed(0)
    state, _ = new_state(config, device)
    before = {key: value.clone() for key, value in state.model.named_parameters()}
    for group in state.optimizer.param_groups:
        group["lr"] = 1e-4
    images, targets = data.collate([dataset[0], dataset[1]])
    losses, norm, _ = optimise(state.model, state, images, targets, config, device=device,
                               process=Process.start("cpu"), stop=False)
    wanted = expected_losses(config.model)
    assert all(any(found.startswith(own) for found in losses) for own in wanted), (sorted(losses), sorted(wanted))
    first = "loss_objectness" if config.model.dense is None else "loss_classifier"
    assert all(value > 0 for key, value in losses.items() if key.startswith(first)) and norm > 0
    moved = [key for key, value in state.model.named_parameters() if not torch.equal(value, before[key])]
    parts = {"rpn", "roi_heads"} if config.model.dense is None else {"head", "protonet", "semantic_head"}
    parts |= set() if config.model.panoptic is None else {"sem_seg_head"}
    assert {key.split(".")[0] for key in moved} == {"backbone", *parts}
    with torch.no_grad():
        found, = state.model.eval()([images[0]])
    assert set(found) == expected_keys(config.model) and 0 < len(found["scores"]) <= 5
    assert torch.isfinite(found["boxes"]).all() and (found["labels"] == 1).all()


def test_law_counting_parameters_draws_none():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    config = load_config("nuclei-mini").model
    # 4 weights of a class's box and its bias, a score, a mask: what one more class costs.
    more = count_parameters(replace(config, num_classes=3)) - count_parameters(config)
    assert more == 5 * (config.box.representation + 1) + config.mask.deconv_channels + 1
    assert torch.equal(torch.get_rng_state(), before)


def test_contract_no_preset_without_masks_asks_the_data_for_them():
    for name in preset_names():
        config = load_config(name)
        if getattr(config.model, "mask", None) is None:
            assert not config.augment.copy_paste and not config.augment.degrees


def test_contract_the_list_of_presets_has_each_once():
    found = list_presets()
    assert [preset.name for preset in found] == preset_names()
    assert all(preset.about.endswith(".") and len(preset.about) <= 100 for preset in found)
    lines = preset_table(found).splitlines()
    assert len(lines) == len(found) + 2 and max(map(len, lines)) <= 140
