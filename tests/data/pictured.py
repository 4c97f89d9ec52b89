"""Small pictures with two outlines, for tests of folders of annotations, and what is read of such a folder."""

import numpy as np
from PIL import Image

import roikit.masks as rle
from roikit.data.annotations import load_annotations
from roikit.data.layouts import find_source

WIDTH, HEIGHT = 40, 30
RECTANGLE = [4, 5, 14, 5, 14, 25, 4, 25]  # x 4..14, y 5..25
ARROW = [20.0, 4.0, 36.0, 12.0, 22.0, 20.0]


def picture(path, size=(WIDTH, HEIGHT)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)).save(path)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def bitmap(ring):
    return rle.decode(rle.frPyObjects([ring], HEIGHT, WIDTH)[0])


def found(path, images=None):
    """(file name, category, mask) of each object of a path, and the source."""
    source = find_source(path)
    content = load_annotations(source.annotations, images=source.images if images is None else images)
    names = {c["id"]: c["name"] for c in content["categories"]}
    records = {r["id"]: r for r in content["images"]}
    objects = []
    for a in content["annotations"]:
        record, mask = records[a["image_id"]], a.get("segmentation")
        assert (source.images / record["file_name"]).is_file()
        if isinstance(mask, list):
            mask = rle.merge(rle.frPyObjects(mask, record["height"], record["width"]))
        objects.append((record["file_name"], names[a["category_id"]], a["bbox"],
                        None if mask is None else rle.decode(mask)))
    return objects, source, content


def check(objects, expected, *, masks=True):
    assert [(name, label) for name, label, _, _ in objects] == [(name, label) for name, label, _ in expected]
    for (_, _, box, mask), (_, _, ring) in zip(objects, expected, strict=True):
        points = np.reshape(ring, (-1, 2))
        np.testing.assert_allclose(box, [*points.min(0), *np.ptp(points, 0)], atol=1.01)
        if masks:
            assert mask is not None and (mask != bitmap(ring)).sum() == 0


def fractions(ring):
    return " ".join(f"{v / side:.8f}" for v, side in zip(ring, (WIDTH, HEIGHT) * (len(ring) // 2), strict=True))
