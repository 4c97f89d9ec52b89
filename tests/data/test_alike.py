"""Images that are there twice, and objects that a model is not made for, are told by the doctor."""

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from roikit.cli import main
from roikit.data import inspect_dataset, nuclei_mini
from roikit.data.alike import nearly_alike, same_content
from roikit.data.fit_findings import ModelFit


def kinds(report):
    return {f.kind: f.sentence for f in report.findings if f.severity == "warning"}


@pytest.fixture
def parts(made, tmp_path_factory):
    """Two parts, as (annotations, images): photographs 1 to 4, and 5, 6."""
    other = tmp_path_factory.mktemp("val")
    rng = np.random.default_rng(0)
    for number in range(1, 7):
        rough = rng.integers(0, 256, (4, 6, 3), np.uint8)
        pixels = np.array(Image.fromarray(rough).resize((60, 40), Image.Resampling.BICUBIC))
        made.image(number, 40, 60, pixels=pixels)
        made.square(number)
    content = {**made.content, "images": made.content["images"][4:], "annotations": made.content["annotations"][4:]}
    for number in (5, 6):
        shutil.move(made.images / f"{number}.png", other / f"{number}.png")
    (other / "val.json").write_text(json.dumps(content))
    del made.content["images"][4:], made.content["annotations"][4:]
    return made.write(), (other / "val.json", other)


def test_law_parts_without_a_picture_in_common_are_sound(parts):
    train, val = parts
    assert not kinds(inspect_dataset(*val, beside=train, check_pixels=True))


def test_law_a_picture_in_both_parts_is_found_by_its_content(parts):
    train, val = parts
    shutil.copy(train[1] / "2.png", val[1] / "6.png")
    told = kinds(inspect_dataset(*val, beside=train))
    assert told == {"shared-same-content": "train and val share 1 image, such as 6.png and 2.png: figures on what was "
                                           "learnt are too good"}
    shutil.copy(train[1] / "3.png", val[1] / "5.png")
    assert "train and val share 2 images" in inspect_dataset(*val, beside=train).text()
    ended = CliRunner().invoke(main, ["doctor", *map(str, val), "--beside", *map(str, train)])
    assert ended.exit_code == 0 and "train and val share 2 images" in ended.output


def test_law_a_picture_saved_anew_is_found_by_what_it_shows(parts):
    train, val = parts
    with Image.open(train[1] / "2.png") as image:
        image.save(val[1] / "6.png", compress_level=0)
        image.save(train[1] / "4.jpg", quality=80)
        image.resize((30, 20)).resize((60, 40)).save(train[1] / "4.png")
    assert not kinds(inspect_dataset(*val, beside=train))
    told = kinds(inspect_dataset(*val, beside=train, check_pixels=True))
    assert told == {"shared-near-duplicates": "train and val have nearly the same picture in 1 image, such as 6.png "
                                              "and 2.png: figures on what was learnt are too good"}
    told = kinds(inspect_dataset(*train, check_pixels=True))
    assert told == {"near-duplicates": "2 images look nearly alike as another one, such as 2.png and 4.png"}


def test_law_a_file_twice_in_a_part_is_found(parts):
    train, _ = parts
    shutil.copy(train[1] / "1.png", train[1] / "3.png")
    assert kinds(inspect_dataset(*train)) == {
        "same-content": "2 images have the same content as another one, such as 1.png and 3.png"}


def test_law_files_that_differ_in_one_byte_in_the_middle_are_not_the_same(tmp_path):
    content = bytearray(300_000)
    for name in "abc":
        (tmp_path / name).write_bytes(content)
        content[150_000] += name == "a"
    (tmp_path / "d").write_bytes(content)
    assert same_content([tmp_path / name for name in "abcdx"]) == [[1, 2, 3]]


def test_law_pictures_of_one_grey_are_not_compared(tmp_path):
    for number in range(3):
        Image.new("L", (40, 40), 9).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_text("no picture")
    assert nearly_alike([tmp_path / f"{number}.png" for number in range(5)]) == []


def test_law_the_bundled_images_differ():
    assert not inspect_dataset(*nuclei_mini("val"), beside=nuclei_mini("train"), check_pixels=True).findings


@pytest.mark.parametrize(("fit", "kind", "sentence"), [
    (ModelFit(32.0, 100), "small-objects", "12 of 12 objects have less than half of the side of the smallest anchor, "
     "32 pixels, in the resized image; the median side is 6: choose smaller anchors, or a larger image"),
    (ModelFit(32.0, 100, 60, 200), None, None),  # three times as large
    (ModelFit(32.0, 100, 60, 75), "small-objects", "the median side is 15"),  # the longer side allows 2.5
    (ModelFit(8.0, 11), "many-objects", "1 image has more objects than the model returns, 11 (detections_per_image); "
     "image 1 has the most, 12"),
    (ModelFit(8.0, 12), None, None)])
def test_law_objects_that_the_model_cannot_find_are_told(made, fit, kind, sentence):
    made.image(1)
    for place in range(12):
        made.square(1, x=place)
    told = kinds(inspect_dataset(*made.write(), fit=fit))
    assert list(told) == ([] if kind is None else [kind])
    assert (sentence or "") in "".join(told.values())
