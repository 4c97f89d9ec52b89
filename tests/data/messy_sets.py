"""A small sound data set to put the faults of tools and people into, and what each reader makes of it."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image

from roikit.data import CocoDataset, inspect_dataset, mend_dataset
from roikit.errors import RoikitWarning
from roikit.trainer.evaluation import evaluate

SIZE = 96


def new_cases():
    """A list of cases, and the decorator of an edit that keeps it there as one."""
    cases = []

    def case(name, *, objects=12, ap=1.0, cause=None, mended=None):
        """Keep a case: ``objects`` are those that training sees and ``ap`` that of the truth, None where it is refused.
        """
        def keep(edit):
            cases.append(pytest.param(edit, objects, ap, cause, mended, id=name))
            return edit
        return keep

    return cases, case


class Messy:
    """Four images of 96 x 96 with three rectangles each, of two classes: 12 objects.

    Attributes:
        images: folder of the files 1.png to 4.png.
        content: what the annotation file is to hold.
        found: the objects as COCO results; their AP is 1.
    """

    def __init__(self, folder):
        rng = np.random.default_rng(7)
        self.folder, self.images = folder, folder / "images"
        self.images.mkdir()
        self.content = {"images": [], "annotations": [],
                        "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}]}
        for number in range(1, 5):
            pixels = rng.integers(0, 60, (SIZE, SIZE, 3)).astype(np.uint8)
            for place in range(3):
                x, y = 4 + 31 * place, int(rng.integers(4, 60))
                w, h = int(rng.integers(12, 26)), int(rng.integers(12, 30))
                pixels[y:y + h, x:x + w] = rng.integers(140, 255, 3)
                self.content["annotations"].append({
                    "id": len(self.content["annotations"]) + 1, "image_id": number, "category_id": 1 + place % 2,
                    "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0,
                    "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]})
            Image.fromarray(pixels).save(self.images / f"{number}.png")
            self.content["images"].append({"id": number, "file_name": f"{number}.png", "width": SIZE, "height": SIZE})
        self.found = [{"image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"], "score": 0.9,
                       "segmentation": runs(a["bbox"])} for a in self.content["annotations"]]

    def write(self):
        path = self.folder / "annotations.json"
        path.write_text(json.dumps(self.content))
        return path

    def learnt(self, content=None):
        """The number of objects that training gets to see, each of which is read; None where the file is refused."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RoikitWarning)
            try:
                dataset = CocoDataset(self.write() if content is None else content, self.images)
            except ValueError:
                return None
            count = sum(len(target["labels"]) for _, target in dataset)
        assert count == dataset.num_objects
        return count or None

    def scored(self):
        """AP of boxes and masks of the results; None where the file is refused."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RoikitWarning)
            try:
                figures = evaluate(self.found, self.write(), self.images)
            except ValueError:
                return None
        return [figures[kind]["AP"] for kind in ("bbox", "segm")]

    def told(self):
        return inspect_dataset(self.write(), self.images).text()

    def mended(self):
        """The number of objects to learn of the mended file, and the doctor's report on it."""
        content = mend_dataset(self.write(), self.images).content
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RoikitWarning)
            dataset = CocoDataset(content, self.images)
            return sum(len(target["labels"]) for _, target in dataset), inspect_dataset(content, self.images)


def runs(box):
    """The rectangle of a COCO box as an RLE whose counts are a list."""
    x, y, w, h = box
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[y:y + h, x:x + w] = 1
    flat = mask.ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *ends.tolist(), flat.size]).tolist()
    return {"size": [SIZE, SIZE], "counts": [0, *counts] if flat[0] else counts}
