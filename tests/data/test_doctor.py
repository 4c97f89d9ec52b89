"""inspect_dataset: each fault that can be planted in a data set is found, and said in words."""

import copy
import dataclasses
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from roikit.data import CocoDataset, Finding, inspect_dataset, nuclei_mini
from roikit.errors import RoikitWarning


def planted(made, **options):
    """The only finding besides notes."""
    report = inspect_dataset(*made.write(), **options)
    found = [f for f in report.findings if f.severity != "note"]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("split", ["train", "val"])
def test_law_bundled_nuclei_are_sound(split):
    report = inspect_dataset(*nuclei_mini(split), check_pixels=True)
    assert report.findings == () and not report.fatal
    assert report.text().endswith("Nothing is wrong.")


def test_law_real_photographs_are_sound_but_for_notes(test_data):
    root = test_data / "coco-mini"
    for split in ("train", "val"):
        report = inspect_dataset(root / "annotations" / f"instances_{split}.json",
                                 root / "images" / split)
        assert not report.fatal and not report.warnings
        assert {f.kind for f in report.findings} == {"category-id-gaps", "unused-category", "few-objects"}


def test_law_counts(sound):
    sound.image(2)
    sound.square(1, iscrowd=1)
    report = inspect_dataset(*sound.write())
    assert (report.images, report.annotations, report.objects, report.crowds) == (2, 3, 2, 1)
    assert (report.categories, report.empty_images, report.most_objects) == (2, 1, 2)
    assert report.text().splitlines()[0] == (
        "2 images, 2 objects and 1 crowd of 2 categories; 1 image without objects, at most 2 objects in "
        "an image")


def test_law_the_text_names_each_kind_once_and_a_few_examples(sound):
    for number in range(2, 9):
        sound.image(number)
        (sound.images / f"{number}.png").write_text(f"no image {number}")
    text = inspect_dataset(*sound.write()).text(examples=2)
    assert "error: broken-image (7)\n    image 2: " in text
    assert "/2.png is not an image that Pillow knows\n    image 3: " in text
    assert "    and 5 more\n" in text and text.endswith("7 errors, 0 warnings")


def test_law_report_and_findings_are_frozen(sound):
    report = inspect_dataset(*sound.write())
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.images = 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        Finding("a", "note", "b", "c").kind = "d"


# Warnings: what CocoDataset leaves out, or what is not as it seems.
SQUARE = [4, 5, 10, 5, 10, 11, 4, 11]


@pytest.mark.parametrize(("fields", "kind", "sentence"), [
    ({"bbox": [4, 5, 0, 6]}, "degenerate-box",
     "its box [4.0, 5.0, 4.0, 11.0] (x1, y1, x2, y2) has no area, so it is left out"),
    ({"bbox": [4, 5, float("nan"), 6]}, "degenerate-box",
     "its box [4.0, 5.0, nan, 11.0] (x1, y1, x2, y2) has no area, so it is left out"),
    ({"bbox": [40, 5, 6, 6]}, "box-outside",
     "its box [40.0, 5.0, 46.0, 11.0] (x1, y1, x2, y2) is outside the 30x20 image, so it is left out"),
    ({"segmentation": [[22, 5, 36, 5, 36, 11, 22, 11]], "bbox": [22, 5, 8, 6]}, "mask-over-border",
     "its mask reaches 6 pixels over the border of the 30x20 image"),
    ({"segmentation": [[22, 5, 30, 5, 30, 11, 22, 11]], "bbox": [22, 5, 14, 6]}, "box-over-border",
     "its box [22.0, 5.0, 36.0, 11.0] (x1, y1, x2, y2) reaches over the border of the 30x20 image and is "
     "cut"),
    ({"segmentation": [[41, 5, 47, 5, 47, 11, 41, 11]]}, "mask-outside",
     "its mask is outside the 30x20 image, so it is left out"),
    ({"segmentation": {"size": [20, 30], "counts": [600]}}, "empty-mask",
     "its mask has no pixel, so it is left out"),
    ({"bbox": [14, 5, 6, 6]}, "box-mask-disagreement",
     "its box [14.0, 5.0, 20.0, 11.0] (x1, y1, x2, y2) is not around its mask, which spans "
     "[4.0, 5.0, 10.0, 11.0]"),
    ({"bbox": [4, 5, 10, 11]}, "box-mask-disagreement",  # corners taken for x, y, width, height, of one box alone
     "its box [4.0, 5.0, 14.0, 16.0] (x1, y1, x2, y2) is not around its mask, which spans "
     "[4.0, 5.0, 10.0, 11.0]"),
    ({"segmentation": []}, "missing-mask",
     "it has no mask while others do, so it is left out"),
])
def test_contract_warnings_about_an_object(sound, fields, kind, sentence):
    sound.content["annotations"][0].update(fields)
    assert planted(sound) == Finding(kind, "warning", "annotation 1 of image 1", sentence)


def test_contract_unknown_image(sound):
    sound.square(4)
    assert planted(sound) == Finding("unknown-image-id", "warning", "annotation 3 of image 4",
                                     "images does not list its image, so it is left out")


def test_contract_neither_box_nor_mask(made):
    made.image(1)
    made.add(1, [], bbox=[4, 5, 6, 6])
    made.add(1, [])
    assert planted(made) == Finding("missing-box", "warning", "annotation 2 of image 1",
                                    "it has neither box nor mask, so it is left out")


def test_contract_two_images_of_one_file(sound):
    sound.image(2, name="1.png")
    assert planted(sound) == Finding("duplicate-file", "warning", "image 2",
                                     "its file 1.png is that of image 1 too")


def test_contract_exif_orientation(made):
    exif = Image.Exif()
    exif[0x0112] = 6
    made.image(1, name="a.jpg")
    made.square(1)
    Image.new("RGB", (30, 20)).save(made.images / "a.jpg", exif=exif)
    assert planted(made) == Finding(
        "exif-orientation", "warning", "image 1",
        "a.jpg asks viewers to turn it (EXIF orientation 6); roikit and COCO's tools take the pixels as "
        "stored, so its annotations must be made on those")


# Errors: what training or evaluation would stumble over.
@pytest.mark.parametrize(("fields", "kind", "sentence"), [
    ({"category_id": 8}, "unknown-category-id", "categories does not list its category id 8"),
    ({"segmentation": [[1, 2, 3, 4, 5]]}, "malformed-segmentation",
     "a polygon has an odd count of coordinates, 5"),
    ({"segmentation": SQUARE[:-1]}, "malformed-segmentation",
     "a polygon has an odd count of coordinates, 7"),
    ({"segmentation": [[1, 2, 3, 4, 5, float("inf")]]}, "malformed-segmentation",
     "a polygon has a coordinate that is not finite"),
    ({"segmentation": {"size": [10, 30], "counts": [300]}}, "malformed-segmentation",
     "the RLE is of an image of [10, 30] (height, width), the image is [20, 30]"),
    ({"segmentation": "mask.png"}, "malformed-segmentation",
     "a segmentation must be a list of polygons or an RLE, got 'mask.png'"),
    ({"area": "small"}, "malformed-area", "its area must be a finite number, got 'small'"),
    ({"bbox": [4, 5, 6]}, "malformed-box", "a box must be four numbers, got [4, 5, 6]"),
])
def test_contract_errors_of_an_object(sound, fields, kind, sentence):
    sound.content["annotations"][0].update(fields)
    finding = planted(sound)
    assert finding == Finding(kind, "error", "annotation 1 of image 1", sentence)
    assert inspect_dataset(*sound.write()).fatal
    with pytest.raises(ValueError, match="CocoDataset: annotation 1 of image 1"):
        CocoDataset(*sound.write())


@pytest.mark.parametrize("counts", ["not a run~", "P", [5, 6], [605, -5], "\u00e9"])
def test_contract_malformed_runs(sound, counts):
    sound.content["annotations"][0]["segmentation"] = {"size": [20, 30], "counts": counts}
    finding = planted(sound)
    assert (finding.kind, finding.severity) == ("malformed-segmentation", "error")


@pytest.mark.parametrize(("place", "what", "kind"), [
    ("images", "image", "duplicate-image-id"), ("categories", "category", "duplicate-category-id")])
def test_contract_duplicate_ids(sound, place, what, kind):
    first = sound.content[place][0]
    sound.content[place].append(dict(first))  # alike, as two exports joined have them
    assert not inspect_dataset(*sound.write()).fatal and len(CocoDataset(*sound.write())) == 1
    sound.content[place][-1] = {**first, "name": "bird"}
    finding = planted(sound)
    assert (finding.kind, finding.severity, finding.subject) == (kind, "error", f"{what} {first['id']}")
    assert finding.sentence.startswith(f"{what} id {first['id']} occurs twice")
    with pytest.raises(ValueError, match=f"CocoDataset: {what} id {first['id']} occurs twice"):
        CocoDataset(*sound.write())


def test_contract_ids_that_are_no_numbers(sound):
    sound.content["categories"].append({"id": "five"})
    assert planted(sound) == Finding("malformed-id", "error", "category at place 2",
                                     "its id must be a whole number, got 'five'")


def test_contract_records_that_are_no_dicts(sound):
    sound.content["annotations"].append([1, 2])
    assert planted(sound) == Finding("malformed-record", "error", "annotation at place 2",
                                     "it must be a dict, got list")


def test_contract_missing_fields(sound):
    del sound.content["annotations"][1]["image_id"]
    assert planted(sound) == Finding("missing-field", "error", "annotation 2", "it has no image_id")


def test_contract_missing_image(sound):
    (sound.images / "1.png").unlink()
    assert planted(sound) == Finding(
        "missing-image", "error", "image 1",
        f"1 of 1 image files is missing: 1.png; is {sound.images} the folder of these images?")


def test_contract_a_file_that_is_no_image(sound):
    (sound.images / "1.png").write_text("no image")
    finding = planted(sound)
    assert (finding.kind, finding.subject) == ("broken-image", "image 1")
    assert finding.sentence.endswith("1.png is not an image that Pillow knows")


@pytest.mark.parametrize("check_pixels", [False, True])
def test_contract_a_cut_off_image_is_found(sound, check_pixels):
    path = sound.images / "1.png"
    path.write_bytes(path.read_bytes()[:600])
    finding = planted(sound, check_pixels=check_pixels)
    assert finding.kind == "broken-image" and "1.png cannot be decoded" in finding.sentence


def test_contract_size_mismatch(sound):
    Image.new("RGB", (20, 31)).save(sound.images / "1.png")
    assert planted(sound) == Finding(
        "size-mismatch", "error", "image 1",
        "1.png is 20x31 pixels, the annotation file says 30x20")


def test_contract_a_size_that_is_none(sound):
    sound.image(2)
    sound.content["images"][1]["height"] = 0  # of both the file would tell them
    assert planted(sound) == Finding(
        "malformed-size", "error", "image 2",
        "its height and width must be whole numbers from 1, got 0 and 30")


def test_contract_nothing_to_learn(made):
    made.image(1)
    assert planted(made) == Finding("no-objects", "error", "the file",
                                    "no image has an object to learn")


@pytest.mark.parametrize(("text", "sentence"), [
    ("{", "is not JSON"), ('{"images": []}', "must have a list 'annotations'"), ("[]", "must have a list")])
def test_contract_files_of_another_format(sound, text, sentence):
    paths = sound.write()
    sound.annotations.write_text(text)
    report = inspect_dataset(*paths)
    assert [f.kind for f in report.findings] == ["unreadable-file"] and report.fatal
    assert sentence in report.findings[0].sentence
    with pytest.raises(ValueError, match=sentence):
        CocoDataset(*paths)


JUNK = st.one_of(st.none(), st.booleans(), st.integers(-3, 40), st.floats(), st.text("aZ0~\0\ud800", max_size=3),
                 st.sampled_from([2**63, -10**400, {}, b"ab", np.int64(3), np.float32(0.5), np.arange(4), np.eye(6),
                                  np.array(["a", None])]),
                 st.lists(st.one_of(st.floats(), st.integers(-3, 700)), max_size=7),
                 st.lists(st.lists(st.floats(-9, 50), max_size=8), max_size=2),
                 st.fixed_dictionaries({"size": st.just([20, 30]), "counts": st.one_of(
                     st.text(max_size=4), st.none(), st.lists(st.integers(-1, 600), max_size=3))}))
JUNK = JUNK | st.lists(JUNK, max_size=6) | st.dictionaries(st.sampled_from(["id", "bbox", "size", "counts"]), JUNK)
LISTS = ("images", "categories", "annotations")
# A list of the file, its first record, or a field of that.
PLACES = [(name,) for name in LISTS] + [(name, 0) for name in LISTS] + [
    ("images", 0, f) for f in ("id", "file_name", "height", "width")] + [
    ("categories", 0, f) for f in ("id", "name")] + [("annotations", 0, f) for f in (
        "id", "image_id", "category_id", "bbox", "segmentation", "area", "iscrowd")]


@given(place=st.sampled_from(PLACES), junk=JUNK)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_law_whatever_a_file_holds_is_a_finding_and_no_exception(sound, place, junk):
    content = copy.deepcopy(sound.content)
    at = content
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = junk
    before = repr(content)
    report = inspect_dataset(content, sound.images)
    assert report.text().encode()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RoikitWarning)
            CocoDataset(content, sound.images)
    except ValueError as error:  # which the doctor has seen as well
        assert str(error).startswith("CocoDataset: ") and report.fatal
    assert repr(content) == before


@pytest.mark.parametrize("edit", [
    lambda c: [i.pop("id") for i in c["images"]], lambda c: [i.update(id="x") for i in c["images"]],
    lambda c: [a.update(image_id=None) for a in c["annotations"]],
    lambda c: c["images"].append({**c["images"][0], "file_name": "2.png"}),
    lambda c: [i.update(height=0) for i in c["images"]]])
def test_contract_no_image_is_called_empty_for_a_fault_of_its_record(sound, edit):
    sound.image(2)
    assert "1 image without objects" in inspect_dataset(*sound.write()).text()
    edit(sound.content)
    report = inspect_dataset(*sound.write())
    assert report.empty_images is None and "without objects" not in report.text()


def test_contract_notes_about_categories(made):
    made.content["categories"] = [{"id": 0, "name": "cat"}, {"id": 5, "name": "dog"}]
    made.image(1)
    made.square(1, category_id=0)
    report = inspect_dataset(*made.write())
    assert not report.fatal and not report.warnings
    assert [str(f) for f in report.findings] == [
        "category 0: its id is 0, which is the background's label in models; roikit gives it label 1",
        "the file: its 2 category ids lie in 0..5 with gaps; labels are 1..2 and results get the original "
        "ids",
        "category 5: category 5 has no objects",
        "the file: 1 category with fewer than 10 objects, too few to learn from: category 0 (1)"]
    assert CocoDataset(*made.write())[0][1]["labels"].tolist() == [1]


def test_contract_a_file_of_boxes_alone_is_noted(made):
    made.content["categories"] = [{"id": 3, "name": "cat"}]
    made.image(1)
    made.add(1, [], bbox=[4, 5, 6, 6], area=36)
    assert [f.kind for f in inspect_dataset(*made.write()).findings] == ["few-objects", "no-masks"]


def test_contract_a_missing_area_is_noted_and_a_missing_crowd_flag_is_nothing(sound):
    del sound.content["annotations"][0]["area"], sound.content["annotations"][1]["iscrowd"]
    assert str(inspect_dataset(*sound.write()).findings[0]) == (
        "the file: taken for what it means: areas missing (1), iscrowd missing (1)")
