"""What a prediction writes beside its journal: the table of objects, label images, overlays of large pictures."""

import csv
import io
import math

import numpy as np
import pytest

from roikit import masks as rle
from roikit.data.pictures import Picture
from roikit.trainer.outputs import check_outputs, overlays
from roikit.trainer.outputs.label_images import label_image, write_label_image
from roikit.trainer.outputs.looked import Looked
from roikit.trainer.outputs.table import COLUMNS, measures, perimeter, write_table


def disc(radius, size=101):
    y, x = np.mgrid[:size, :size] - size // 2
    return y * y + x * x <= radius * radius


def encoded(mask):
    found = rle.encode(np.asfortranarray(mask, np.uint8))
    return {**found, "counts": found["counts"].decode()}


def item(mask, score=0.5, **more):
    segmentation = encoded(mask)
    return {"category_id": 1, "score": score, "bbox": rle.toBbox(segmentation).tolist(), "segmentation": segmentation,
            **more}


@pytest.mark.parametrize("radius", [10, 20, 40])
def test_law_measures_of_a_disc(radius):
    area, around, diameter = measures(item(disc(radius)))
    assert area == disc(radius).sum()
    assert around == pytest.approx(2 * math.pi * radius, rel=0.05)
    assert diameter == pytest.approx(2 * radius, rel=0.03)


@pytest.mark.parametrize("rows, expected", [
    (["#"], 0), (["####"], 2), (["###", "###", "###"], 8), ([], 0),
    (["#####", "#...#", "#...#", "#...#", "#####"], 16), (["#...", ".#..", "..#.", "...#"], 2 * math.sqrt(2)),
])
def test_law_perimeters_by_hand(rows, expected):
    pixels = np.array([[c == "#" for c in row] for row in rows]).reshape(len(rows), len(rows[0]) if rows else 0)
    assert perimeter(pixels) == pytest.approx(expected)


def test_law_the_table_has_a_row_an_object_in_the_unit_of_the_pixel_size():
    images = [({"id": 1, "file_name": 'a "b", c.png'}, [item(disc(10)), {**item(disc(20)), "segmentation": None}]),
              ({"id": 4, "file_name": "b.png"}, [])]
    rows = {}
    for size in (None, 0.5):
        file = io.BytesIO()
        write_table(file, iter(images), categories=[{"id": 1, "name": "Zellkern, groß"}], pixel_size=size)
        rows[size] = list(csv.DictReader(io.StringIO(file.getvalue().decode())))
    assert tuple(rows[None][0]) == COLUMNS and len(rows[None]) == 2
    for pixels, scaled in zip(rows[None], rows[0.5], strict=True):
        assert pixels["file_name"] == 'a "b", c.png' and pixels["class"] == "Zellkern, groß"
        assert (pixels["x"], pixels["width"], pixels["pixel_size"]) == (scaled["x"], scaled["width"], "1")
        for name, power in (("area", 2), ("perimeter", 1), ("equivalent_diameter", 1)):
            assert float(scaled[name]) == pytest.approx(float(pixels[name]) * 0.5 ** power, rel=1e-6)
    assert float(rows[None][1]["area"]) == 41 * 41  # of the box, where there is no mask


def test_law_a_label_image_numbers_the_objects_and_the_surer_one_is_seen(tmp_path):
    image = pytest.importorskip("PIL.Image")
    one, other = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    one[2:10, 2:10], other[5:15, 5:15] = True, True
    found = [item(one, 0.4), item(other, 0.9), {"category_id": 1, "score": 0.3, "bbox": [20.0, 0.0, 5.0, 4.0]}]
    labels = label_image(found, 20, 30)
    assert (labels == 2)[other].all() and (labels == 1)[one & ~other].all()
    assert (labels == 3).sum() == 20 and labels.sum() == 2 * 100 + 64 - 25 + 60
    picture = Picture(np.zeros((20, 30, 3), np.uint8))
    write_label_image(tmp_path / "in", Looked(tmp_path / "a.jpg", {}, "a.png", picture, {}, found))
    assert (np.array(image.open(tmp_path / "in" / "a.png")) == labels).all()


@pytest.mark.parametrize("factor", [2, 3, 7])
def test_law_a_shrunk_picture_and_its_objects_fit(factor):
    random = np.random.default_rng(factor)
    pixels = random.integers(0, 255, (50, 61, 3), np.uint8)
    mask = np.zeros((50, 61), bool)
    mask[13:41, 9:50] = random.random((28, 41)) < 0.5
    image, (small,) = overlays.shrunk(Picture(pixels), [item(mask, keypoints=[7.0, 14.0, 0.5])], factor)
    assert (image == pixels[::factor, ::factor]).all()
    assert (rle.decode(small["segmentation"]) == mask[::factor, ::factor]).all()
    assert small["bbox"] == pytest.approx([9 / factor, 13 / factor, 41 / factor, 28 / factor])
    assert small["keypoints"] == [7 / factor, 14 / factor, 0.5]


def test_contract_outputs_are_called_by_their_names():
    assert check_outputs("csv") == ("csv",) and check_outputs(["csv", "coco"]) == ("csv", "coco")
    with pytest.raises(ValueError, match="write must be of overlays, coco, csv, instances, yolo, labelme, got csw"):
        check_outputs(["csw", "coco"])
