"""Folders of label images in place of a COCO file: one grey value an object, or one file an object."""

import numpy as np
import pytest
from PIL import Image

from roikit.data.annotations import load_annotations

from .pictured import ARROW, HEIGHT, RECTANGLE, WIDTH, bitmap, check, found, picture


def label_image(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.mark.parametrize("image, label", [
    ("images/a.png", "masks/a.png"), ("images/a.png", "labels/a.tif"), ("images/deep/a.png", "masks/deep/a_mask.png"),
    ("a.png", "a_masks.png"), ("a.png", "a_cp_masks.png")])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_one_grey_value_an_object(tmp_path, image, label, dtype):
    picture(tmp_path / image)
    label = label.replace(".png", ".tif") if dtype is np.int32 else label
    values = np.zeros((HEIGHT, WIDTH), dtype)
    values[bitmap(RECTANGLE) > 0], values[bitmap(ARROW) > 0] = 3, 200
    label_image(tmp_path / label, values)
    objects, _, content = found(tmp_path)
    name = image.partition("images/")[2] or image
    check(objects, [(name, "object", RECTANGLE), (name, "object", ARROW)])
    assert content["categories"] == [{"id": 1, "name": "object"}]


@pytest.mark.parametrize("image, masks", [
    ("images/a.png", ["masks/a/1.png", "masks/a/2.png"]), ("images/a.png", ["masks/a_1.png", "masks/a_2.png"]),
    ("a/images/a.png", ["a/masks/0f.png", "a/masks/1b.png"])])
def test_one_file_an_object(tmp_path, image, masks):
    picture(tmp_path / image)
    for path, ring in zip(masks, (RECTANGLE, ARROW), strict=True):
        label_image(tmp_path / path, bitmap(ring) * np.uint8(255))
    objects, source, _ = found(tmp_path)
    name = (tmp_path / image).relative_to(source.images).as_posix()
    check(objects, [(name, "object", RECTANGLE), (name, "object", ARROW)])


def test_contract_a_binary_mask_of_several_regions_has_two_meanings(tmp_path):
    picture(tmp_path / "images/a.png")
    label_image(tmp_path / "masks/a.png", (bitmap(RECTANGLE) | bitmap(ARROW)) * np.uint8(255))
    with pytest.raises(ValueError, match="masks/a.png has one value beside 0 in several places"):
        load_annotations(tmp_path)
    label_image(tmp_path / "masks/a.png", np.ones((3, 3), np.uint8))
    with pytest.raises(ValueError, match="masks/a.png must be 40x30 as its image is, got 3x3"):
        load_annotations(tmp_path)
