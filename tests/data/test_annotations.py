"""load_annotations and what reads its records: each form that has one meaning, in data set and doctor alike."""

import copy
import json

import numpy as np
import pytest
import torch

from roikit import masks as rle
from roikit.data import CocoDataset, inspect_dataset
from roikit.data.annotations import (
    MalformedField,
    load_annotations,
    plain,
    read_object,
    whole_number,
)
from roikit.data.causes import causes_of
from roikit.errors import RoikitWarning

RING = [4, 5, 10, 5, 10, 11, 4, 11]


def seen(made, content=None):
    """What the data set makes of a file or of content in memory, which the doctor finds sound."""
    annotations = made.write()[0] if content is None else content
    report = inspect_dataset(annotations, made.images)
    assert not report.fatal and not report.warnings, report.text()
    dataset = CocoDataset(annotations, made.images)
    target = dataset[0][1]
    return {**{name: target[name].tolist() for name in ("boxes", "labels", "area", "crowd_boxes")},
            "masks": [[ring.tolist() for ring in mask] for mask in target["masks"]],
            "ids": (dataset.image_ids, dataset.category_ids)}


def test_law_a_byte_order_mark_is_no_obstacle(sound):
    wanted = seen(sound)
    text = sound.annotations.read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        sound.annotations.write_text(text, encoding=encoding)
        assert CocoDataset(sound.annotations, sound.images)[0][1]["boxes"].tolist() == wanted["boxes"]
        assert not inspect_dataset(sound.annotations, sound.images).warnings


FORMS = {
    "whole floats": lambda c: [r.update({f: float(r[f]) for f in ("id", "image_id", "category_id") if f in r})
                               for key in c for r in c[key]],
    "text": lambda c: [r.update({f: f"{r[f]:03d}" for f in ("id", "image_id", "category_id", "height") if f in r})
                       for key in c for r in c[key]],
    "NumPy integers": lambda c: [r.update({f: np.int32(v) for f, v in r.items() if type(v) is int})
                                 for key in c for r in c[key]],
    "NumPy floats": lambda c: [a.update(bbox=[np.float32(v) for v in a["bbox"]], area=np.float32(a["area"]))
                               for a in c["annotations"]],
    "arrays": lambda c: [a.update(bbox=np.array(a["bbox"]), segmentation=[np.array(r) for r in a["segmentation"]],
                                  area=np.array(a["area"])) for a in c["annotations"]],
    "one array of rings": lambda c: [a.update(segmentation=np.array(a["segmentation"], np.float32))
                                     for a in c["annotations"]],
    "tensors": lambda c: [a.update(bbox=torch.tensor(a["bbox"]), image_id=torch.tensor(a["image_id"]))
                          for a in c["annotations"]],
    "tuples": lambda c: [a.update(bbox=tuple(a["bbox"]), segmentation=tuple(map(tuple, a["segmentation"])))
                         for a in c["annotations"]],
    "nulls": lambda c: [a.update(bbox=None, area=None, iscrowd=None) for a in c["annotations"]],
    "left out": lambda c: [[a.pop(f) for f in ("bbox", "area", "iscrowd")] for a in c["annotations"]],
    "an empty ring": lambda c: [a["segmentation"].append([]) for a in c["annotations"]],
    **{f"iscrowd {flag!r}": lambda c, flag=flag: [a.update(iscrowd=flag) for a in c["annotations"]]
       for flag in ("0", "0.0", False, 0.0, np.bool_(False), np.uint8(0), np.array(0))},
}


@pytest.mark.parametrize("form", FORMS)
def test_law_every_form_of_a_value_is_the_value(sound, form):
    wanted = seen(sound)
    content = copy.deepcopy(sound.content)
    FORMS[form](content)
    before = repr(content)
    assert seen(sound, content) == wanted
    assert repr(content) == before  # the caller's records are not changed
    if form in ("whole floats", "text", "nulls", "left out", "iscrowd '0'", "iscrowd False"):
        sound.content = content
        assert seen(sound) == wanted


@pytest.mark.parametrize("form", [np.asarray, lambda m: m.astype(bool), lambda m: 255.0 * m[None], torch.from_numpy,
                                  lambda m: m.tolist()])
def test_law_a_mask_may_be_an_array_of_the_image(sound, form):
    """Read as polygons, as many as the image has rows, it would be nothing."""
    for annotation, x in zip(sound.content["annotations"], (4, 12), strict=True):
        mask = np.zeros((20, 30), np.uint8)
        mask[5:11, x:x + 6] = 1
        annotation["segmentation"] = form(mask)
    report = inspect_dataset(sound.content, sound.images)
    assert not report.fatal and not report.warnings, report.text()
    target = CocoDataset(sound.content, sound.images)[0][1]
    assert target["boxes"].tolist() == [[4, 5, 10, 11], [12, 5, 18, 11]]
    assert [rle.decode(m).sum() for m in target["masks"]] == [36, 36] and target["area"].tolist() == [36, 36]


def test_law_polygons_may_be_an_array(sound):
    for ring in ([RING], [[0, 0, 1, 0, 1, 1, 0, 1]]):
        content = {**sound.content, "annotations": [
            {**sound.content["annotations"][0], "segmentation": np.array(ring), "bbox": None}]}
        assert CocoDataset(content, sound.images)[0][1]["masks"][0][0].tolist() == ring[0]


def test_contract_an_array_of_another_size_than_the_image_is_named(sound):
    sound.content["annotations"][0]["segmentation"] = np.eye(9, 7, dtype=np.uint8)
    assert "the RLE is of an image of [9, 7] (height, width), the image is [20, 30]" in inspect_dataset(
        sound.content, sound.images).text()


def test_law_run_lengths_come_as_text_bytes_or_array(sound):
    runs = [105, 6, 489]
    results = []
    for counts in (runs, np.array(runs, np.uint32), tuple(runs)):
        for size in ([20, 30], np.array([20, 30])):
            sound.content["annotations"][0]["segmentation"] = {"size": size, "counts": counts}
            sound.content["annotations"][0]["bbox"] = [5, 5, 1, 6]
            results.append(CocoDataset(sound.content, sound.images)[0][1]["masks"][0])
    packed = results[0]["counts"]
    for counts in (packed, packed.decode(), np.bytes_(packed)):
        sound.content["annotations"][0]["segmentation"] = {"size": (20, 30), "counts": counts}
        results.append(CocoDataset(sound.content, sound.images)[0][1]["masks"][0])
    assert all(one == results[0] for one in results)


@pytest.mark.parametrize("flag", [1, "1", 1.0, True, np.bool_(True), np.int64(1)])
def test_law_every_form_of_a_crowd_is_one(sound, flag):
    sound.square(1, x=20)
    sound.content["annotations"][1]["iscrowd"] = flag
    dataset = CocoDataset(sound.content, sound.images)
    assert dataset[0][1]["crowd_boxes"].tolist() == [[12, 5, 18, 11]] and dataset.num_objects == 2
    assert inspect_dataset(sound.content, sound.images).crowds == 1


@pytest.mark.parametrize(("value", "shown"), [
    ("yes", "'yes'"), (2, "2"), (-1, "-1"), (0.5, "0.5"), ("2", "'2'"), ([], r"\[\]")])
def test_contract_a_crowd_flag_of_no_meaning_is_refused(sound, value, shown):
    sound.content["annotations"][0]["iscrowd"] = value
    sentence = f"annotation 1 of image 1: its iscrowd must be 0 or 1, got {shown}"
    with pytest.raises(ValueError, match=sentence):
        CocoDataset(sound.content, sound.images)
    finding, = inspect_dataset(sound.content, sound.images).errors
    assert (finding.kind, finding.subject) == ("malformed-iscrowd", "annotation 1 of image 1")


def test_law_plain_values_come_back_as_they_are():
    value = {"a": [1, [2.5, "x"], {"b": None}], 3: b"c"}
    assert plain(value) is value
    found = plain({"a": [np.int64(1), (2, np.str_("x"))], "b": np.eye(2)})
    assert json.dumps(found) == '{"a": [1, [2, "x"]], "b": [[1.0, 0.0], [0.0, 1.0]]}'


@pytest.mark.parametrize(("value", "number"), [
    (7, 7), (7.0, 7), ("7", 7), ("007", 7), (" -7 ", -7), ("7.0", 7), ("7.", 7)])
def test_law_whole_numbers_in_every_form(value, number):
    found = whole_number(value)
    assert found == number and type(found) is int


@pytest.mark.parametrize("value", [7.5, "7.5", "seven", "", "7e0", "1_000", "٣", "9" * 30, None, True, [7],
                                   float("inf")])
def test_law_what_shows_no_whole_number_stays_as_it_is(value):
    assert whole_number(value) is value


def test_law_objects_with_what_is_missing():
    ring = {"image_id": 1, "category_id": 1, "segmentation": [RING]}
    found = read_object(ring, 20, 30, masks=True)
    assert (found.box.tolist(), found.area, found.crowd) == ([4, 5, 10, 11], 36, False)
    assert found.mask[0].tolist() == RING
    found = read_object(ring, 20, 30, masks=False)
    assert (found.box.tolist(), found.area, found.mask) == ([4, 5, 10, 11], 36, None)
    # COCO's area is the mask's, also where boxes alone are asked for.
    found = read_object({**ring, "bbox": [2, 2, 20, 30]}, 20, 30, masks=False)
    assert (found.box.tolist(), found.area) == ([2, 2, 22, 20], 36)
    found = read_object({"bbox": [2, 2, 20, 3], "iscrowd": 1, "segmentation": []}, 20, 30, masks=False)
    assert (found.area, found.crowd) == (60, True)


@pytest.mark.parametrize(("fields", "masks", "reason"), [
    ({"segmentation": [[]]}, True, "without a mask"), ({"segmentation": None}, True, "without a mask"),
    ({"segmentation": [[41, 5, 47, 5, 47, 11, 41, 11]]}, True, "with an empty mask"),
    ({"segmentation": [[1, 2, 3, 4], []]}, True, "with a polygon of two points"),
    ({"bbox": None, "segmentation": []}, False, "without a box"),
    ({"bbox": [4, 5, 0, 6]}, True, "with a box without area"),
    ({"bbox": [40, 5, 6, 6]}, True, "with a box outside the image")])
def test_law_reasons_to_leave_an_object_out(fields, masks, reason):
    assert read_object({"bbox": [4, 5, 6, 6], "segmentation": [RING], **fields}, 20, 30, masks=masks) == reason


@pytest.mark.parametrize(("fields", "field"), [
    ({"bbox": "1234"}, "box"), ({"bbox": [1, 2, 3]}, "box"), ({"bbox": {1: 1, 2: 2, 3: 3, 4: 4}}, "box"),
    ({"area": float("nan")}, "area"), ({"area": True}, "area"), ({"area": 10**400}, "area"),
    ({"iscrowd": "no"}, "iscrowd"), ({"segmentation": [[1, 2, 3]]}, "segmentation"),
    ({"segmentation": {"size": [20, 30], "counts": [10**30]}}, "segmentation"),
    ({"segmentation": [[10**400] * 6]}, "segmentation")])
def test_contract_a_malformed_field_is_named(fields, field):
    with pytest.raises(MalformedField) as caught:
        read_object({"bbox": [4, 5, 6, 6], "segmentation": [RING], "area": 36, **fields}, 20, 30, masks=True)
    assert caught.value.field == field


def in_fractions(content, masks=True):
    for a in content["annotations"]:
        x, y, w, h = a["bbox"]
        a["bbox"] = [x / 30, y / 20, w / 30, h / 20]
        a["segmentation"] = [[v / 30 for v in a["segmentation"][0]]] if masks else []


@pytest.mark.parametrize("left", [("bbox", "segmentation"), ("bbox",), ("segmentation",)])
def test_contract_coordinates_that_are_fractions_are_refused(sound, left):
    in_fractions(sound.content)
    for a in sound.content["annotations"]:
        for field in {"bbox", "segmentation"} - set(left):
            del a[field]
    report = inspect_dataset(*sound.write())
    assert [f.kind for f in report.errors + report.warnings] == ["fractions"]
    what = "boxes" if "bbox" in left else "polygons"
    assert f"fractions of the image: all {what} (2) lie within [0, 1]" in report.errors[0].sentence
    with pytest.raises(ValueError, match=rf"CocoDataset: coordinates are fractions of the image: all {what} \(2\)"):
        CocoDataset(*sound.write())


def test_law_what_only_looks_like_fractions_is_taken(made):
    made.image(1)
    made.square(1, x=0, y=0, side=1)  # the pixel in the corner
    assert not causes_of(load_annotations(made.content))
    in_fractions(made.content)
    assert [cause.kind for cause in causes_of(load_annotations(made.content))] == ["fractions"]
    made.square(1, x=0, y=0, side=2)
    assert not causes_of(load_annotations(made.content))
    small = {"images": [{"id": 1, "height": 1, "width": 1}], "annotations": [{"bbox": [0, 0, 0.5, 1]}],
             "categories": []}
    assert not causes_of(load_annotations(small))
    small["images"].append({"id": 2})
    assert [cause.kind for cause in causes_of(load_annotations(small))] == ["fractions"]


@pytest.mark.parametrize(("crowds", "objects", "kind"), [(4, 0, "all-crowds"), (2, 2, "many-crowds"), (1, 2, None)])
def test_contract_many_crowds_are_said(made, crowds, objects, kind):
    made.image(1)
    for place in range(crowds + objects):
        made.square(1, x=4 + place, iscrowd=int(place < crowds))
    report = inspect_dataset(*made.write())
    sentence = f"{crowds} of {crowds + objects} annotations are marked as crowds (iscrowd 1), which are neither learnt"
    if kind is None:
        assert not report.errors + report.warnings
        return
    finding, = report.errors + report.warnings
    assert (finding.kind, finding.severity) == (kind, "warning" if objects else "error")
    assert sentence in finding.sentence and "CVAT" in finding.sentence
    if kind == "all-crowds":
        with pytest.raises(ValueError, match="CocoDataset: every object is marked as a crowd: 4 of 4"):
            CocoDataset(*made.write())
        return
    with pytest.warns(RoikitWarning) as caught:
        dataset = CocoDataset(*made.write())
    assert str(caught[0].message).startswith("CocoDataset: " + sentence) and dataset.num_objects == objects


def test_contract_files_that_are_no_json_name_themselves(tmp_path):
    path = tmp_path / "a.json"
    for content, sentence in ((b"", "is not JSON"), (b"\xff{}", "is not JSON"), (b"[" * 100_000, "nested too deeply"),
                              (b"[" + b"1" * 5_000 + b"]", "is not JSON")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"a.json {sentence}|a.json is {sentence}"):
            load_annotations(path)
    content = {"images": [], "annotations": [], "categories": []}
    content["images"].append(content)
    with pytest.raises(ValueError, match="the annotations are nested too deeply"):
        load_annotations(content)


def test_law_reading_needs_no_torch(run_python):
    run_python("import sys; sys.modules['torch'] = sys.modules['PIL'] = None; import roikit.data.annotations")
