"""mend_dataset: what is mended, that nothing else changes, and the file that is written."""

import copy
import json
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from roikit import masks as rle
from roikit.cli import main
from roikit.data import CocoDataset, inspect_dataset, mend_dataset, nuclei_mini
from roikit.data.layouts import find_source
from roikit.data.mend import write_annotations
from roikit.errors import RoikitWarning

from .test_doctor import JUNK, PLACES


def decoded(target, size):
    """The masks of a target as an (N, H, W) array."""
    return np.stack([rle.decode(rle.merge(rle.frPyObjects(m, *size)) if isinstance(m, list) else m)
                     for m in target["masks"]])


@pytest.mark.parametrize("split", ["train", "val"])
def test_law_a_sound_file_stays_as_it_is(split):
    annotations, images = nuclei_mini(split)
    content = json.loads(annotations.read_text())
    mended = mend_dataset(annotations, images)
    assert mended.done == [] and mended.content == {"info": {}, **content}


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("packed", [False, True])
def test_law_annotations_of_the_turned_picture_are_turned_to_the_pixels(made, orientation, packed):
    """Each pixel of an object is 255 and all others are 0, in the picture that viewers show."""
    shown = np.zeros((20, 30), np.uint8)
    shown[3:9, 4:14] = 255
    shown[9:12, 4:8] = 255
    outline = [4, 3, 14, 3, 14, 9, 8, 9, 8, 12, 4, 12]
    back = {5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}[orientation]
    stored = Image.fromarray(shown).transpose(back)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(made.images / "1.png", exif=exif)
    with Image.open(made.images / "1.png") as image:
        assert (np.array(ImageOps.exif_transpose(image)) == shown).all()
    made.content["images"].append({"id": 1, "file_name": "1.png", "height": 20, "width": 30})
    segmentation = rle.encode(np.asfortranarray(shown > 0, np.uint8)) if packed else [outline]
    made.add(1, segmentation, bbox=[4, 3, 10, 9], area=72, keypoints=[5, 4, 2, 0, 0, 0], rbox=[9, 6, 10, 6, 0])
    content, done = mend_dataset(made.content, made.images)
    assert done == ["turned the annotations of 1 image back to the pixels as stored, which EXIF has viewers turn"]
    image, target = CocoDataset(content, made.images)[0]
    pixels = (image[0] * 255).numpy().astype(np.uint8)
    assert pixels.shape == (30, 20) and (decoded(target, (30, 20))[0] == pixels // 255).all()
    ys, xs = np.nonzero(pixels)
    assert target["boxes"][0].tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    annotation = content["annotations"][0]
    x, y, seen, *rest = annotation["keypoints"]
    assert pixels[int(y - 1):int(y + 1), int(x - 1):int(x + 1)].all() and seen == 2 and rest == [0, 0, 0]
    corners = np.array(annotation["rbox"]).reshape(4, 2)
    assert [*corners.min(0), *corners.max(0)] == pytest.approx([*sorted_sides(orientation)])


def sorted_sides(orientation):
    """x1 y1 x2 y2 of the rectangle x in 4..14, y in 3..9 of the 30 x 20 picture, in the stored one of 20 x 30."""
    x1, x2 = (20 - 9, 20 - 3) if orientation in (7, 8) else (3, 9)
    y1, y2 = (30 - 14, 30 - 4) if orientation in (6, 7) else (4, 14)
    return x1, y1, x2, y2


@pytest.mark.parametrize("packed", [False, True])
def test_law_pictures_that_were_made_smaller_get_their_annotations_back(made, packed):
    made.image(1, height=10, width=15)
    made.content["images"][0].update(height=20, width=30)
    mask = np.zeros((20, 30), np.uint8)
    mask[4:10, 16:28] = 1
    made.add(1, rle.encode(np.asfortranarray(mask)) if packed else [[16, 4, 28, 4, 28, 10, 16, 10]],
             bbox=[16, 4, 12, 6], area=72)
    report = inspect_dataset(made.content, made.images)
    assert [f.kind for f in report.errors] == ["size-mismatch"]
    content, done = mend_dataset(made.content, made.images)
    assert done[0] == "scaled the annotations of 1 image to the size of the file"
    target = CocoDataset(content, made.images)[0][1]
    assert target["boxes"].tolist() == [[8, 2, 14, 5]] and target["area"].tolist() == [18]
    assert decoded(target, (10, 15)).sum() == 18


def test_contract_a_size_of_two_meanings_is_left_for_the_doctor(made):
    """The annotations may have been made on the small picture, too: none lies beyond it."""
    made.image(1, height=10, width=15)
    made.content["images"][0].update(height=20, width=30)
    made.square(1, x=2, y=2)
    content, done = mend_dataset(made.content, made.images)
    assert done == [] and [f.kind for f in inspect_dataset(content, made.images).errors] == ["size-mismatch"]


@pytest.mark.parametrize(("fields", "box", "sentence"), [
    ({"bbox": [9, 9, 0, 5]}, [4, 5, 6, 6], "put the box around the mask of 1 object"),
    ({"bbox": None}, [4, 5, 6, 6], "put the box around the mask of 1 object"),
    ({"bbox": [300, 9, 4, 5]}, [4, 5, 6, 6], "put the box around the mask of 1 object"),
    ({"bbox": [4, 5, 36, 6], "segmentation": [[4, 5, 40, 5, 40, 11, 4, 11]]}, [4, 5, 26, 6],
     "cut the box at the border of the image in 1 object"),
    ({"area": None}, [4, 5, 6, 6], "counted the area of 1 object"),
])
def test_law_an_object_is_mended(sound, fields, box, sentence):
    sound.content["annotations"][0].update(fields)
    content, done = mend_dataset(sound.content, sound.images)
    assert sentence in done
    assert content["annotations"][0]["bbox"] == box and content["annotations"][0]["area"] > 0
    assert content["annotations"][1] == sound.content["annotations"][1]


def test_law_a_box_of_negative_sides_is_turned_round(made):
    made.image(1)
    made.add(1, [], bbox=[10, 11, -6, -6])
    content, done = mend_dataset(made.content, made.images)
    assert content["annotations"][0]["bbox"] == [4, 5, 6, 6]
    assert "turned a box of negative width or height round in 1 object" in done


@pytest.mark.parametrize(("edit", "sentence", "left"), [
    (lambda c: c["annotations"].append({**c["annotations"][0], "id": 9}),
     "took out repetitions of 1 object", 2),
    (lambda c: c["annotations"].append({**c["annotations"][0], "image_id": 8}),
     "took out 1 annotation of images that the file does not list", 2),
    (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3, 4]]),
     "took out 1 object with a polygon of two points", 1),
    (lambda c: c["annotations"][0].update(bbox=[40, 40, 3, 3], segmentation=[[41, 5, 47, 5, 47, 11, 41, 11]]),
     "took out 1 object with an empty mask", 1),
])
def test_law_what_nothing_can_be_learnt_from_is_taken_out_and_told(sound, edit, sentence, left):
    edit(sound.content)
    content, done = mend_dataset(sound.content, sound.images)
    assert sentence in done and len(content["annotations"]) == left


@pytest.mark.parametrize("edit", [
    lambda c: c["annotations"][0].update(segmentation=[]),
    lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]),
    lambda c: c["annotations"][0].update(category_id=9),
    lambda c: c["categories"].append({"id": 3, "name": "bird"}),
    lambda c: c["annotations"][0].update(iscrowd=3),
])
def test_law_what_only_the_author_knows_stays(sound, edit):
    edit(sound.content)
    before = copy.deepcopy(sound.content)
    content, done = mend_dataset(sound.content, sound.images)
    assert done == [] and content == {"info": {}, **before} and sound.content == before
    assert inspect_dataset(content, sound.images).errors or inspect_dataset(content, sound.images).warnings


@given(place=st.sampled_from(PLACES), junk=JUNK)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_law_whatever_a_file_holds_is_mended_or_stays(sound, tmp_path, place, junk):
    content = copy.deepcopy(sound.content)
    at = content
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = junk
    before = repr(content)
    try:
        mended = mend_dataset(content, sound.images).content
    except ValueError:
        assert inspect_dataset(content, sound.images).fatal
        return
    assert repr(content) == before
    write_annotations(mended, tmp_path / "mended.json")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RoikitWarning)
        assert inspect_dataset(tmp_path / "mended.json", sound.images).text()
        assert mend_dataset(tmp_path / "mended.json", sound.images).done == []  # once is enough


def call(*words, code=0):
    ended = CliRunner().invoke(main, [*map(str, words)])
    assert ended.exit_code == code, ended.output
    return ended.output


def test_contract_the_doctor_writes_the_mended_file(sound, tmp_path):
    for annotation in sound.content["annotations"]:
        annotation["iscrowd"] = 1
    annotations, images = sound.write()
    assert "error: all-crowds" in call("doctor", annotations, images, code=1)
    out = tmp_path / "mended.json"
    said = call("doctor", annotations, images, "--mend", out)
    assert said.startswith(f"mended: set iscrowd to 0 in all 2 annotations\nwrote {out}\n1 image, 2 objects and 0 cro")
    assert CocoDataset(out, images).num_objects == 2
    assert f"nothing was to mend; wrote {out}2" in call("doctor", out, images, "--mend", f"{out}2")


def test_contract_the_annotations_are_not_written_over(sound, tmp_path):
    annotations, images = sound.write()
    before = annotations.read_text()
    assert "must name another file" in call("doctor", annotations, images, "--mend", annotations, code=2)
    said = call("doctor", annotations, images, "--mend", tmp_path / "none" / "mended.json", code=1)
    assert said.startswith("Error: ") and str(tmp_path / "none") in said and "Traceback" not in said
    assert annotations.read_text() == before


def test_law_mending_ends_where_what_is_taken_out_hid_what_the_others_are(sound, tmp_path):
    sound.image(2)
    for number in range(3, 15):
        sound.content["annotations"].append({"id": number, "image_id": 2, "category_id": 7, "bbox": [1, 1, 5, 5],
                                             "area": 25, "iscrowd": 1})
    sound.content["annotations"][0].update(bbox=[90, 90, 5, 5], segmentation=[[90, 90, 95, 90, 95, 95]])
    del sound.content["annotations"][1]
    annotations, images = sound.write()
    content, done = mend_dataset(annotations, images)
    assert any("took out" in sentence for sentence in done)
    assert mend_dataset(content, images) == (content, [])


def test_the_mended_file_finds_its_images_from_another_folder(sound, tmp_path):
    annotations, images = sound.write()
    (tmp_path / "mended").mkdir()
    call("doctor", annotations, images, "--mend", tmp_path / "mended" / "a.json")
    assert find_source(tmp_path / "mended" / "a.json").images.samefile(images)
    assert "nothing was to mend" in call("doctor", tmp_path / "mended" / "a.json", "--mend", tmp_path / "again.json")


def test_contract_a_file_that_cannot_be_written_whole_is_not_written(tmp_path):
    with pytest.raises(TypeError, match="cannot hold set"):
        write_annotations({"images": {1}}, tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []
