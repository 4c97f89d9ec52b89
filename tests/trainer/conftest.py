"""A detector small enough to train for a few steps within a test, and data for it."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from roikit import masks as rle
from roikit import models
from roikit.trainer import finish

SIZE = 16


class TinyDetector(nn.Module):
    """The contract of a detector without being one; its losses draw from torch's generator.

    In evaluation it finds one object an image, the whole of it; the score depends on the weights.
    """

    mask_format = "soft"

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, config.num_classes)

    def logits(self, images):
        features = [self.norm(self.conv(image[None])).relu().mean((2, 3)) for image in images]
        return self.head(torch.cat(features))

    def forward(self, images, targets=None):
        logits = self.logits(images)
        if self.training:
            noise = torch.rand_like(logits)
            classes = torch.tensor([int(t["labels"].max()) if len(t["labels"]) else 0
                                    for t in targets])
            return {"loss_classifier": nn.functional.cross_entropy(logits, classes),
                    "loss_noise": ((logits - noise) ** 2).mean()}
        found = []
        for image, score in zip(images, logits.softmax(1), strict=True):
            height, width = image.shape[1:]
            whole = np.ones((height, width, 1), dtype=np.uint8, order="F")
            found.append({"boxes": torch.tensor([[0.0, 0.0, width, height]]),
                          "labels": torch.tensor([1]), "scores": score[1:2],
                          "masks": rle.encode(whole)})
        return found


@pytest.fixture
def tiny(monkeypatch):
    """Let the trainer build TinyDetector, and spare it the curves (test_records has them)."""
    monkeypatch.setattr(models, "build_detector", TinyDetector)
    monkeypatch.setattr(finish, "draw_curves", lambda records, path: path.write_bytes(b""))


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """A COCO data set of 7 images with one square each, the last without any; (json, folder)."""
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path_factory.mktemp("squares")
    random = np.random.default_rng(0)
    records, objects = [], []
    for i in range(7):
        pixels = random.integers(0, 90, (SIZE, SIZE, 3), dtype=np.uint8)
        records.append({"id": 10 + i, "file_name": f"{i}.png", "height": SIZE, "width": SIZE})
        if i < 6:
            side, x, y = 5 + i, i, 8 - i
            pixels[y:y + side, x:x + side] = 220
            corners = [x, y, x + side, y, x + side, y + side, x, y + side]
            objects.append({"id": i + 1, "image_id": 10 + i, "category_id": (3, 8)[i % 2],
                            "bbox": [x, y, side, side], "area": side * side, "iscrowd": 0,
                            "segmentation": [corners]})
        image.fromarray(pixels).save(folder / f"{i}.png")
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": records, "annotations": objects, "categories": [
        {"id": 3, "name": "odd"}, {"id": 8, "name": "even"}]}))
    return path, folder


@pytest.fixture
def settings(squares):
    """A configuration of a few steps over the squares."""
    path, folder = map(str, squares)
    return {
        "data": {"train": {"annotations": path, "images": folder},
                 "val": {"annotations": path, "images": folder}, "batch_size": 2},
        "augment": {"rotate": True, "vertical_flip": 0.5},
        "optimizer": {"lr": 0.05, "ema": 0.9, "clip_norm": 1.0},
        "schedule": {"steps": 11, "warmup_steps": 3},
        "eval": {"every": 4},
        "run": {"predictions": 2, "device": "cpu", "doctor": False, "seed": 5},
    }


@pytest.fixture
def same():
    """A function that asserts that two nested pieces of data are equal to the bit."""
    return assert_same


def assert_same(a, b, where=""):
    """Assert that two nested pieces of data are equal to the bit."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype and torch.equal(a, b), where
    elif isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where
