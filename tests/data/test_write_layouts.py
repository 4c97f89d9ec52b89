"""COCO to other layouts and back: every object is kept, and its mask pixel by pixel but where the layout cannot."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

import roikit.masks as rle
from roikit.cli import main
from roikit.data.annotations import load_annotations
from roikit.data.conversion import convert_data
from roikit.data.layouts import find_source
from roikit.data.outlines import joined_ring, rings_of
from roikit.data.segmentation import rasterised, read_segmentation
from roikit.data.writers import WRITERS

EXACT = ("yolo", "labelme", "mask-images")  # the others have one object a pixel


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_law_an_outline_rasterises_to_its_bitmap(bitmap):
    rings = rings_of(bitmap)
    if not bitmap.any():
        assert not rings
        return
    flat = joined_ring(rings).reshape(-1).astype(float).tolist()
    np.testing.assert_array_equal(rle.decode(rle.frPyObjects([flat], *bitmap.shape)[0]), bitmap)
    area = sum(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2 for x, y in (ring.T for ring in rings))
    assert area == bitmap.sum()  # holes run the other way round


def picture(path, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)).save(path)


def mask(bitmap):
    found = rle.encode(np.asfortranarray(bitmap, np.uint8))
    return {"size": [int(n) for n in found["size"]], "counts": found["counts"].decode()}


@pytest.fixture
def coco(tmp_path):
    """A plain polygon, two polygons, a ring with holes, one of fractions, overlaps, a crowd, an empty image."""
    names = ("a.png", "deep/b.png", "c.jpg")
    for name in names:
        picture(tmp_path / "set/images" / name, (60, 50))
    holed = np.zeros((50, 60), bool)
    holed[10:40, 5:30] = True
    holed[15:20, 10:15] = holed[25:30, 20:28] = False
    holed[40, 30] = True  # touches at a corner alone
    other = np.zeros((50, 60), bool)
    other[12:30, 25:50] = True
    masks = [(1, 2, [[1, 1, 9, 1, 9, 8, 1, 8]]), (1, 5, [[40, 2, 58, 2, 50, 9], [40, 30, 55, 31, 50, 45]]),
             (1, 2, mask(holed)), (1, 5, mask(other)), (2, 2, [[10.3, 5.7, 40.25, 9.1, 33.8, 44.4, 12.9, 30.2]])]
    annotations = [{"image_id": i, "category_id": c, "segmentation": s, "iscrowd": 0} for i, c, s in masks]
    annotations += [{"image_id": 2, "category_id": 5, "segmentation": mask(other), "iscrowd": 1}]
    content = {"images": [{"id": i, "file_name": name, "height": 50, "width": 60} for i, name in enumerate(names, 1)],
               "categories": [{"id": 5, "name": "nut"}, {"id": 2, "name": "bolt: M4"}],
               "annotations": [{"id": k, **a} for k, a in enumerate(annotations, 1)]}
    path = tmp_path / "set/annotations.json"
    path.write_text(json.dumps(content))
    return path


def objects(path):
    """(file name, category, crowd, bitmap) of each object, in an order that does not depend on the layout."""
    source = find_source(path)
    content = load_annotations(source.annotations, images=source.images)
    names = {c["id"]: c["name"] for c in content["categories"]}
    records = {r["id"]: r for r in content["images"]}
    found = []
    for a in content["annotations"]:
        record = records[a["image_id"]]
        height, width = record["height"], record["width"]
        whole = np.zeros((height, width), bool)
        if a.get("segmentation"):
            boxed = rasterised(read_segmentation(a["segmentation"], height, width), height, width)
            whole[boxed.y:boxed.y + len(boxed.bitmap), boxed.x:boxed.x + boxed.bitmap.shape[1]] = boxed.bitmap
        found.append((record["file_name"], names[a["category_id"]], a["iscrowd"], whole, a))
    return sorted(found, key=lambda o: (*o[:3], *np.argwhere(o[3]).mean(0).tolist())), content


def overlap(one, two):
    return (one & two).sum() / (one | two).sum()


@pytest.mark.parametrize("layout", WRITERS)
def test_every_object_comes_back(coco, tmp_path, layout):
    before, content = objects(coco)
    done = convert_data(coco, tmp_path / "out", layout=layout)
    after, again = objects(tmp_path / "out")
    crowds = layout in ("labelme", "voc")
    assert done.lost == ({} if crowds else {"crowd": 1})
    before = [o for o in before if crowds or not o[2]]
    assert [o[:3] for o in after] == [o[:3] for o in before]
    assert sorted(r["file_name"] for r in again["images"]) == ["a.png", "c.jpg", "deep/b.png"]
    for one, two in zip(before, after, strict=True):
        if layout not in EXACT:  # only what no smaller object is on top of
            on_top = [o[3] for o in before if o[0] == one[0] and o[3].sum() < one[3].sum()]
            one[3][np.any(on_top, axis=0) if on_top else False] = False
        np.testing.assert_array_equal(two[3], one[3], err_msg=str(one[:3]))


def test_objects_without_masks_are_boxes(coco, tmp_path):
    content = json.loads(coco.read_text())
    for a in content["annotations"]:
        a["bbox"] = [3.25, 4.5, 20.125, 30.75]
        del a["segmentation"]
    coco.write_text(json.dumps(content))
    for layout in ("yolo", "labelme", "voc"):
        convert_data(coco, tmp_path / layout, layout=layout, copy=layout != "yolo")
        images = coco.parent / "images" if layout == "yolo" else None
        again = load_annotations(tmp_path / layout / ("labels" if layout == "yolo" else "."), images=images)
        assert len(again["annotations"]) == 6 - (layout == "yolo")
        for a in again["annotations"]:
            np.testing.assert_allclose(a["bbox"], [3.25, 4.5, 20.125, 30.75], atol=1e-6)
            assert "segmentation" not in a


def test_oriented_boxes_are_those_of_yolo(coco, tmp_path):
    content = json.loads(coco.read_text())
    corners = [10, 5, 30, 15, 25, 25, 5, 15]
    content["annotations"] = [{"id": 1, "image_id": 1, "category_id": 2, "obb": corners, "iscrowd": 0}]
    coco.write_text(json.dumps(content))
    convert_data(coco, tmp_path / "out", layout="yolo")
    item, = objects(tmp_path / "out")[0]
    found = np.reshape(item[4]["obb"], (4, 2))
    assert {tuple(np.round(point, 4)) for point in found} == {(10, 5), (30, 15), (25, 25), (5, 15)}


def test_many_objects_need_sixteen_bits(coco, tmp_path):
    content = json.loads(coco.read_text())
    cells = [(x, y) for x in range(0, 60, 3) for y in range(0, 50, 3)]
    content["annotations"] = [{"id": k, "image_id": 1, "category_id": 2, "iscrowd": 0,
                               "segmentation": [[x, y, x + 2, y, x + 2, y + 2, x, y + 2]]}
                              for k, (x, y) in enumerate(cells, 1)]
    coco.write_text(json.dumps(content))
    for layout in ("voc", "label-images"):
        convert_data(coco, tmp_path / layout, layout=layout)
        after, _ = objects(tmp_path / layout)
        assert len(after) == len(cells) > 255 and all(o[3].sum() >= 2 for o in after)


def test_the_command_writes_a_coco_file_that_finds_its_images(coco, tmp_path):
    convert_data(coco, tmp_path / "yolo", layout="yolo")
    said = CliRunner().invoke(main, ["convert-data", str(tmp_path / "yolo"), str(tmp_path / "new/out.json")])
    assert said.exit_code == 0 and "3 images, 5 objects of 2 categories" in said.output, said.output
    assert find_source(tmp_path / "new/out.json").images == tmp_path / "yolo/images"
    content = json.loads((tmp_path / "new/out.json").read_text())
    assert [c["name"] for c in content["categories"]] == ["bolt: M4", "nut"]
    assert all(a["area"] > 0 and len(a["bbox"]) == 4 for a in content["annotations"])
    assert len(objects(tmp_path / "new/out.json")[0]) == 5


@pytest.mark.parametrize("layout", WRITERS)
def test_objects_of_images_that_are_not_listed_are_counted(coco, tmp_path, layout):
    content = json.loads(coco.read_text())
    content["annotations"] += [{**content["annotations"][0], "id": 99, "image_id": 99}]
    coco.write_text(json.dumps(content))
    done = convert_data(coco, tmp_path / "out", layout=layout)
    assert done.lost["annotation without an image in the list"] == 1
    assert "1 annotation without an image in the list" in done.text()


def test_parts_are_joined_or_taken_alone(coco, tmp_path):
    for part in ("train", "valid"):
        convert_data(coco, tmp_path / "all" / part, layout="labelme")
    done = convert_data(tmp_path / "all", tmp_path / "all.json")
    content = json.loads((tmp_path / "all.json").read_text())
    assert done.images == 6 and done.objects == 12 and len(content["categories"]) == 2
    assert "train/deep/b.png" in [r["file_name"] for r in content["images"]]
    assert len({a["id"] for a in content["annotations"]}) == 12 and len({r["id"] for r in content["images"]}) == 6
    assert convert_data(tmp_path / "all", tmp_path / "v.json", part="val").objects == 6
    with pytest.raises(ValueError, match="has no part test: it has train, val"):
        convert_data(tmp_path / "all", tmp_path / "t.json", part="test")


def test_contract_what_cannot_be_written_is_named(coco, tmp_path):
    content = json.loads(coco.read_text())
    with pytest.raises(ValueError, match="must be an empty folder"):
        convert_data(coco, coco.parent, layout="yolo")
    content["categories"][1]["name"] = "nut"
    coco.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="two categories are named nut"):
        convert_data(coco, tmp_path / "out", layout="labelme")
    convert_data(coco, tmp_path / "yolo", layout="yolo")
    for names, sentence in ((("nut", " nut "), "two categories are named nut"),
                            (("nut", " "), "a category has no name")):
        for category, name in zip(content["categories"], names, strict=True):
            category["name"] = name
        coco.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=sentence):
            convert_data(coco, tmp_path / "voc", layout="voc")
    content["images"][0]["file_name"] = "classes.png"
    coco.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="annotations of classes.png would be classes.txt"):
        convert_data(coco, tmp_path / "classes", layout="yolo")
    content["images"][0]["file_name"] = "c.png"
    coco.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="c.png and c.jpg would have one file"):
        convert_data(coco, tmp_path / "out", layout="yolo", images=coco.parent / "images")
    said = CliRunner().invoke(main, ["convert-data", str(tmp_path / "yolo/images"), str(tmp_path / "out.json")])
    assert said.exit_code == 1 and "is in no layout that is read" in said.output and len(said.output.splitlines()) == 1


@pytest.mark.parametrize("layout", WRITERS)
def test_photographs_come_back(test_data, tmp_path, layout):
    source = test_data / "coco-mini/annotations/instances_val.json"
    before, _ = objects(source)
    done = convert_data(source, tmp_path / "out", layout=layout)
    after, _ = objects(tmp_path / "out")
    before = [o for o in before if layout in ("labelme", "voc") or not o[2]]
    assert len(after) == len(before) - sum(done.lost[what] for what in done.lost if what.startswith("object"))
    if layout in EXACT:
        assert min(overlap(one[3], two[3]) for one, two in zip(before, after, strict=True)) == 1
