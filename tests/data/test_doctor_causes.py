"""inspect_dataset names the cause, once: where a file is, which record is faulty, and nothing that follows from it."""

import pytest

from roikit.data import CocoDataset, inspect_dataset
from roikit.errors import RoikitWarning


def findings(made, images=None):
    """(kind, subject) of each error and warning, and their sentences."""
    report = inspect_dataset(made.write()[0], images or made.images)
    found = report.errors + report.warnings
    return [(f.kind, f.subject) for f in found], [f.sentence for f in found]


@pytest.mark.parametrize(("name", "path", "words"), [
    ("img\\a0.png", "img/a0.png", "file names with \\"),
    ("elsewhere\\a1.png", "a1.png", "file names of another folder"),
    ("/home/me/set/a1.png", "a1.png", "file names of another folder"),
    ("/home/me/set/img/a0.png", "img/a0.png", "file names of another folder"),
    ("a0.png", "img/a0.png", "file names of another folder"),
    ("a1.PNG", "a1.png", "file names in another case"),
    ("A1.png", "a1.png", "file names in another case"),
    ("IMG/A0.Png", "img/a0.png", "file names in another case"),
    ("other/A1.PNG", "a1.png", "file names in another case"),
    ("img/a%30.png", "img/a0.png", "file names of URLs"),
    ("/data/local-files/?d=img/a0.png", "img/a0.png", "file names of URLs"),
    ("a1.jpg", "a1.png", "file names with another ending"),
    ("a1", "a1.png", "file names with another ending"),
])
def test_law_a_file_that_is_there_under_another_name_is_found(sound, name, path, words):
    (sound.images / "img").mkdir()
    (sound.images / "1.png").rename(sound.images / "a1.png")
    (sound.images / "img" / "a0.png").write_bytes((sound.images / "a1.png").read_bytes())
    sound.content["images"][0]["file_name"] = name
    assert findings(sound) == ([], [])
    dataset = CocoDataset(*sound.write())
    assert dataset.image_path(0) == sound.images / path and dataset[0][0].shape == (3, 20, 30)
    note, = (f for f in inspect_dataset(*sound.write()).findings if f.kind == "taken")
    assert note.sentence == f"taken for what it means: {words} (1)"


def test_contract_a_file_that_two_images_would_share_is_given_to_neither(sound):
    """Each would get the other's objects, and nobody would know."""
    sound.image(2, name="2.png")
    sound.content["images"][0]["file_name"], sound.content["images"][1]["file_name"] = "a/1.png", "b/1.png"
    sound.image(3)
    sound.square(3)
    kinds, (sentence,) = findings(sound)
    assert kinds == [("missing-image", "the images")]
    assert sentence.startswith("2 of 3 image files are missing: a/1.png, b/1.png; 2 could be a file that another image "
                               "has as well, such as '1.png' for 'a/1.png': give the folder above")
    with pytest.warns(RoikitWarning, match="2 of 3 image files are missing: a/1.png, b/1.png; they are left out"):
        assert CocoDataset(*sound.write()).image_ids == [3]


def test_law_the_file_of_the_name_itself_goes_before_another_reading(sound):
    sound.image(2)
    sound.content["images"][1]["file_name"] = "elsewhere/1.png"
    with pytest.warns(RoikitWarning, match="1 of 2 image files is missing: elsewhere/1.png; it is left out"):
        dataset = CocoDataset(*sound.write())
    assert dataset.image_ids == [1] and dataset.image_path(0) == sound.images / "1.png"


def test_contract_a_missing_folder_is_one_error(sound):
    sound.image(2)
    assert findings(sound, sound.images / "none") == (
        [("missing-folder", "the images")], [f"there is no folder {sound.images / 'none'}"])


@pytest.mark.parametrize(("fields", "kind", "sentence"), [
    ({"height": None}, "missing-field", "it has no height"),
    ({"height": None, "width": None, "file_name": "none.png"}, "missing-field",
     "it has no height and no width, and there is no file of it that can be read to tell them"),
    ({"file_name": None}, "missing-field", "it has no file_name"),
    ({"height": 20.5}, "malformed-size", "its height and width must be whole numbers from 1, got 20.5 and 30"),
    ({"width": 2**31}, "malformed-size",
     "its height and width must make fewer than 2^32 pixels, got 20 and 2147483648"),
    ({"file_name": 3}, "malformed-file-name", "its file_name must be text, got 3"),
    ({"file_name": "\ud800"}, "malformed-file-name", r"its file_name must be text, got '\ud800'"),
])
def test_contract_a_faulty_image_is_one_error_and_its_objects_none(sound, fields, kind, sentence):
    sound.content["images"][0].update(fields)
    assert findings(sound) == ([(kind, "image 1")], [sentence])
    with pytest.raises(ValueError) as caught:
        CocoDataset(*sound.write())
    assert str(caught.value) == f"CocoDataset: image 1: {sentence}"


@pytest.mark.parametrize(("number", "shown"), [("p1", "'p1'"), (1.5, "1.5"), (2**70, "1180591620717411303424")])
def test_contract_an_id_of_no_meaning_is_one_error_where_it_is_listed(sound, number, shown):
    sound.content["images"][0]["id"] = number
    for annotation in sound.content["annotations"]:
        annotation["image_id"] = number
    sentence = f"its id must be a whole number, got {shown}"
    assert findings(sound) == ([("malformed-id", "image at place 0")], [sentence])
    with pytest.raises(ValueError, match=sentence):
        CocoDataset(*sound.write())
    sound.content["annotations"][0]["image_id"] = [3]  # an error of its own
    kinds, sentences = findings(sound)
    assert kinds == [("malformed-id", "image at place 0"), ("malformed-id", "annotation 1")]
    assert sentences[1] == "its image_id must be a whole number, got [3]"


def test_contract_a_category_id_that_is_not_listed(sound):
    sound.content["annotations"][0]["category_id"] = 3.0  # is 3
    assert findings(sound) == ([], []) and len(CocoDataset(*sound.write())[0][1]["labels"]) == 2
    sound.content["annotations"][0]["category_id"] = 8.0
    assert findings(sound)[1] == ["categories does not list its category id 8"]


def test_contract_two_categories_of_one_name(sound):
    sound.content["categories"][1]["name"] = "dog"
    assert findings(sound) == ([("duplicate-category-name", "the file")],
                               ["two categories are named dog: ids 7, 3; they are told apart in training; where they "
                                "are one, give their annotations one id"])


def test_contract_annotation_ids_are_not_needed(sound):
    sound.square(1, x=20)
    for annotation in sound.content["annotations"]:
        annotation["id"] = 7
    assert findings(sound) == ([("duplicate-annotation-id", "annotation 7")],
                               ["its id occurs 3 times; roikit does not need it, other tools do"])
    del sound.content["annotations"][0]["id"]
    sound.content["annotations"][1]["id"] = "a7"
    report = inspect_dataset(*sound.write())
    assert not report.warnings and [f.sentence for f in report.findings if f.kind == "taken"] == [
        "taken for what it means: annotation ids missing (1), annotation ids that are no numbers (1)"]
    assert len(CocoDataset(*sound.write())[0][1]["labels"]) == 3


def test_contract_no_object_left_is_an_error(made):
    made.image(1)
    made.square(1, bbox=[40, 5, 6, 6])
    made.square(1, bbox=[4, 5, 0, 6])
    made.square(1, iscrowd=1)
    assert findings(made) == (
        [("no-objects", "the file"), ("box-outside", "annotation 1 of image 1"),
         ("degenerate-box", "annotation 2 of image 1")],
        ["no image has an object to learn: all are left out",
         "its box [40.0, 5.0, 46.0, 11.0] (x1, y1, x2, y2) is outside the 30x20 image, so it is left out",
         "its box [4.0, 5.0, 4.0, 11.0] (x1, y1, x2, y2) has no area, so it is left out"])
    with pytest.warns(RoikitWarning, match="left out 2 of 3 annotations: 1 with a box outside the image, 1 with a box "
                                           "without area"):
        assert CocoDataset(*made.write()).num_objects == 0


def test_contract_a_malformed_object_is_one_error_and_the_lack_of_others_none(made):
    made.image(1)
    made.square(1, bbox=[1, 2])
    assert findings(made) == ([("malformed-box", "annotation 1 of image 1")],
                              ["a box must be four numbers, got [1, 2]"])


@pytest.mark.parametrize("record", [[1], None, "a", {}, {"image_id": 1}, {"image_id": True, "category_id": 3},
                                    {"image_id": [1], "category_id": 3}])
def test_contract_annotations_that_belong_nowhere_are_refused_by_both(sound, record):
    sound.content["annotations"].append(record)
    (_, subject), = findings(sound)[0]
    assert subject == "annotation at place 2"
    with pytest.raises(ValueError, match="CocoDataset: annotation at place 2: it"):
        CocoDataset(*sound.write())


def test_contract_no_object_of_an_image_that_is_there_is_an_error(sound):
    sound.image(2)
    sound.content["images"][0]["file_name"] = "gone.png"
    kinds, sentences = findings(sound)
    assert kinds == [("no-objects", "the file"), ("missing-image", "image 1")]
    assert sentences[0] == "no image has an object to learn: all are left out"
