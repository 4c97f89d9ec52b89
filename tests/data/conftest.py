"""Small COCO data sets made on the spot: an image folder and its annotation file."""

import json

import numpy as np
import pytest
from PIL import Image

from roikit.data.remote import asking, mirror


class MadeDataset:
    """A COCO data set in a folder; `content` is the annotation file's content, `write` stores it."""

    def __init__(self, folder):
        self.images = folder
        self.annotations = folder / "instances.json"
        self.content = {"images": [], "annotations": [],
                        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]}

    def image(self, image_id, height=20, width=30, name=None, pixels=None):
        name = name or f"{image_id}.png"
        if pixels is None:
            pixels = np.random.default_rng(image_id).integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(self.images / name)
        self.content["images"].append({"id": image_id, "file_name": name, "height": height,
                                       "width": width})

    def add(self, image_id, segmentation, category_id=3, **fields):
        number = len(self.content["annotations"]) + 1
        record = {"id": number, "image_id": image_id, "category_id": category_id,
                  "segmentation": segmentation, "iscrowd": 0, **fields}
        self.content["annotations"].append(record)
        return record

    def square(self, image_id, x=4, y=5, side=6, **fields):
        ring = [x, y, x + side, y, x + side, y + side, x, y + side]
        record = self.add(image_id, [ring], bbox=[x, y, side, side], area=side * side)
        record.update(fields)
        return record

    def write(self):
        self.annotations.write_text(json.dumps(self.content))
        return self.annotations, self.images


@pytest.fixture
def made(tmp_path):
    return MadeDataset(tmp_path)


@pytest.fixture
def sound(made):
    """An image with an object of each category."""
    made.image(1)
    made.square(1)
    made.square(1, x=12, category_id=7)
    return made


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A file system in memory that is empty, an empty home, and no wait between attempts or listings."""
    monkeypatch.setenv("ROIKIT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(asking, "WAITS", (0.0,) * 5)
    monkeypatch.setattr(asking, "_silent", set())
    monkeypatch.setattr(mirror, "_FRESH", -1.0)
    fs = pytest.importorskip("fsspec").filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    return fs
