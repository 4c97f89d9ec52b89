"""Things and stuff: COCO panoptic files read and written, and objects with the background around them."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from roikit.data import PanopticDataset, PanopticFile, inspect_semantic, write_panoptic
from roikit.masks import decode, encode

CATEGORIES = [{"id": 4, "name": "sky", "isthing": 0}, {"id": 7, "name": "cat", "isthing": 1},
              {"id": 9, "name": "grass", "isthing": 0}, {"id": 11, "name": "dog", "isthing": 1}]
IDS = np.array([[0, 5, 5, 70000, 70000], [0, 5, 300, 300, 300], [8, 8, 300, 300, 8]])
SEGMENTS = [{"id": 5, "category_id": 11}, {"id": 70000, "category_id": 9}, {"id": 300, "category_id": 7},
            {"id": 8, "category_id": 7, "iscrowd": 1}]


@pytest.fixture
def written(tmp_path):
    """A panoptic file of one image, and its folder of images."""
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((3, 5, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    write_panoptic(tmp_path / "set.json", [({"id": 3, "file_name": "a.png"}, IDS, SEGMENTS)], CATEGORIES)
    return tmp_path


def changed(folder, change):
    """The JSON file after a change of its first record of segments."""
    content = json.loads((folder / "set.json").read_text())
    change(content["annotations"][0]["segments_info"])
    (folder / "set.json").write_text(json.dumps(content))


def test_what_is_written_is_read_back(written):
    file = PanopticFile(written / "set.json")
    assert (file.ids(3, 3, 5) == IDS).all()
    assert {(s["id"], file.category_ids[s["label"] - 1], s["iscrowd"]) for s in file.segments(3)} == {
        (s["id"], s["category_id"], s.get("iscrowd", 0)) for s in SEGMENTS}
    content = json.loads((written / "set.json").read_text())
    assert content["images"] == [{"id": 3, "file_name": "a.png", "height": 3, "width": 5}]
    cat = content["annotations"][0]["segments_info"][2]
    assert (cat["area"], cat["bbox"]) == (5, [2, 1, 3, 2])
    pixel = np.array(Image.open(written / "set" / "a.png"))[0, 3]
    assert pixel.tolist() == [70000 % 256, 70000 // 256 % 256, 70000 // 65536]


def test_a_panoptic_file_is_things_and_stuff(written):
    dataset = PanopticDataset(written / "set.json", written / "images")
    assert [(c["name"], c["isthing"]) for c in dataset.categories] == [("cat", 1), ("dog", 1), ("sky", 0), ("grass", 0)]
    assert dataset.has_masks and dataset.num_classes == 3 and dataset.num_objects == 2
    _, target = dataset[0]
    assert target["semantic"].tolist() == [[255, 0, 0, 2, 2], [255, 0, 0, 0, 0], [255, 255, 0, 0, 255]]
    assert target["labels"].tolist() == [2, 1]
    assert target["boxes"].tolist() == [[1, 0, 3, 2], [2, 1, 5, 3]] and target["area"].tolist() == [3, 5]
    assert (decode(target["masks"][1]) == (IDS == 300)).all()
    assert target["crowd_boxes"].tolist() == [[0, 2, 5, 3]]
    ids, segments = dataset.truth(0)
    assert (ids == IDS).all()
    assert {(s["id"], s["category"], s["iscrowd"], s["area"]) for s in segments} == {
        (5, 2, 0, 3), (8, 1, 1, 3), (300, 1, 0, 5), (70000, 4, 0, 2)}


def test_objects_make_things_and_a_background(tmp_path):
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "a.png")

    def mask(rows, columns):
        bitmap = np.zeros((4, 6), np.uint8, order="F")
        bitmap[rows, columns] = 1
        found = encode(bitmap)
        return {"size": found["size"], "counts": found["counts"].decode()}

    content = {"images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 6}],
               "categories": [{"id": 2, "name": "cell"}],
               "annotations": [
                   {"id": 1, "image_id": 1, "category_id": 2, "segmentation": mask(slice(0, 2), slice(0, 2))},
                   {"id": 2, "image_id": 1, "category_id": 2, "segmentation": mask(slice(0, 3), slice(0, 3))},
                   {"id": 3, "image_id": 1, "category_id": 2, "iscrowd": 1,
                    "segmentation": mask(slice(0, 4), slice(4, 6))}]}
    dataset = PanopticDataset(content, tmp_path)
    assert [(c["id"], c["name"], c["isthing"]) for c in dataset.categories] == [(2, "cell", 1), (3, "background", 0)]
    _, target = dataset[0]
    assert target["semantic"].tolist() == [[0, 0, 0, 1, 255, 255]] * 3 + [[1, 1, 1, 1, 255, 255]]
    ids, segments = dataset.truth(0)
    area = {s["category"] * (1 - 2 * s["iscrowd"]): s["area"] for s in segments}
    assert ids[0].tolist() == [1, 1, 2, 4, 3, 3] and len(segments) == 4
    assert sum(s["area"] for s in segments) == 24 and area[2] == 7 and area[-1] == 8


@pytest.mark.parametrize(("change", "kind", "sentence"), [
    (lambda s: s.pop(0), "semantic-label", "has the segment 5, which .* does not list"),
    (lambda s: s.append({"id": 99, "category_id": 7}), "missing-segment", "lists the segment 99, of which .* no pixel"),
    (lambda s: s[2].update(area=9), "segment-area", "the segment 300 has 9 pixels, and .* has 5; another one may lie"),
    (lambda s: s.append(dict(s[0])), "unreadable-semantic", "has the id 5, and so has another one"),
])
def test_the_doctor_names_segments_that_do_not_fit(written, change, kind, sentence):
    changed(written, change)
    report = inspect_semantic(written / "images", semantic=written / "set.json")
    assert [f.kind for f in report.findings if f.severity != "note"] == [kind]
    assert re.search(sentence, report.text())


def test_a_sound_file_has_no_findings(written):
    assert not inspect_semantic(written / "images", semantic=written / "set.json").errors


def test_a_segment_that_is_not_listed_is_refused_by_its_file(written):
    changed(written, lambda segments: segments.pop(1))
    dataset = PanopticDataset(written / "set.json", written / "images")
    with pytest.raises(ValueError, match=r"a\.png has the segment 70000, which .*set\.json does not list"):
        dataset[0]


@pytest.mark.parametrize(("segments", "sentence"), [
    (SEGMENTS[1:], "image 3 has the segment 5, which is not listed"),
    ([*SEGMENTS, SEGMENTS[0]], "image 3 has the segment 5 twice"),
    ([*SEGMENTS, {"id": 6, "category_id": 7}], "image 3 has the segment 6, of which there is no pixel"),
    ([*SEGMENTS, {"id": 2**24, "category_id": 7}], "ids are 1..16777215"),
    ([{"id": 5, "category_id": 1}, *SEGMENTS[1:]], "segment 5 of category 1, which is not listed"),
])
def test_what_cannot_be_read_back_is_not_written(tmp_path, segments, sentence):
    with pytest.raises(ValueError, match=sentence):
        write_panoptic(tmp_path / "b.json", [({"id": 3, "file_name": "a.png"}, IDS, segments)], CATEGORIES)
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize("kept", [0, 1])
def test_a_file_needs_things_and_stuff(tmp_path, kept):
    categories = [c for c in CATEGORIES if c["isthing"] == kept]
    segments = [{"id": 1, "category_id": categories[0]["id"]}]
    write_panoptic(tmp_path / "set.json", [({"id": 3, "file_name": "a.png"}, np.ones((2, 2)), segments)], categories)
    with pytest.raises(ValueError, match=f"no category of {'stuff' if kept else 'things'}"):
        PanopticDataset(tmp_path / "set.json", tmp_path)
