"""People's folders in place of a COCO file: what YOLO, VOC, labelme, CVAT, Roboflow, LVIS and label images hold."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from roikit.data import CocoDataset
from roikit.data.annotations import load_annotations
from roikit.data.conversion import convert_data
from roikit.data.layouts import find_source, parts_of

from .pictured import ARROW, HEIGHT, RECTANGLE, WIDTH, bitmap, check, found, fractions, picture, text

EXPECTED = [("a.png", "bolt", RECTANGLE), ("a.png", "nut", ARROW), ("b.png", "nut", RECTANGLE)]


@pytest.mark.parametrize("names", ["data.yaml", "classes.txt"])
def test_yolo_outlines(tmp_path, names):
    for name in "abc":
        picture(tmp_path / f"images/{name}.png")
    text(tmp_path / "labels/a.txt", f"0 {fractions(RECTANGLE)}\n1 {fractions(ARROW)}\n")
    text(tmp_path / "labels/b.txt", f"1 {fractions(RECTANGLE)}\n")
    text(tmp_path / names, "names: [bolt, nut]\n" if names == "data.yaml" else "bolt\nnut\n\n")
    objects, source, content = found(tmp_path)
    check(objects, EXPECTED)
    assert source.annotations == tmp_path / "labels" and source.images == tmp_path / "images"
    assert len(content["images"]) == 3 and not any("obb" in a for a in content["annotations"])


@pytest.mark.parametrize("names", ["[no, 01, 1.10]", "{0: no, 1: 01, 2: 1.10}", "{'0': 'no', '1': 01, '2': \"1.10\"}"])
def test_yolo_names_are_as_they_are_written(tmp_path, names):
    picture(tmp_path / "images/a.png")
    text(tmp_path / "labels/a.txt", f"0 {fractions(ARROW)}\n")
    text(tmp_path / "data.yaml", f"names: {names}\n")
    assert [c["name"] for c in found(tmp_path)[2]["categories"]] == ["no", "01", "1.10"]


def test_yolo_boxes_beside_the_images_as_darknet_has_them(tmp_path):
    picture(tmp_path / "obj_train_data/a.png")
    text(tmp_path / "obj_train_data/a.txt", "1 0.5 0.5 0.25 0.2\n")
    text(tmp_path / "obj.names", "bolt\nnut\n")
    objects, source, content = found(tmp_path / "obj_train_data")
    assert objects[0][:3] == ("a.png", "nut", pytest.approx([15, 12, 10, 6])) and objects[0][3] is None
    assert [c["name"] for c in content["categories"]] == ["bolt", "nut"]


def test_yolo_lines_of_four_points_are_outlines_and_oriented_boxes(tmp_path):
    picture(tmp_path / "images/a.png")
    text(tmp_path / "labels/a.txt", f"0 {fractions(RECTANGLE)}\n")
    objects, _, content = found(tmp_path)
    check(objects, [("a.png", "0", RECTANGLE)])
    assert content["annotations"][0]["obb"] == pytest.approx(RECTANGLE, abs=1e-5)


@pytest.mark.parametrize("yaml", ["train: ../train/images\nval: ../valid/images\n",
                                  "path: /content/datasets/bolts\ntrain: train/images\nval: valid/images\n",
                                  "train: /home/me/bolts/train/images\nval: [/home/me/bolts/valid/images]\n"])
def test_yolo_parts_are_those_of_the_yaml_file(tmp_path, yaml):
    for part in ("train", "valid"):
        picture(tmp_path / part / "images/a.png")
        text(tmp_path / part / "labels/a.txt", f"0 {fractions(ARROW)}\n")
    text(tmp_path / "README.roboflow.txt", "made by a tool\n")
    path = text(tmp_path / "data.yaml", f"{yaml}names: {{0: bolt, 1: nut}}\n")
    for source in (tmp_path, path):
        assert parts_of(source) == {"train": [tmp_path / "train/labels"], "val": [tmp_path / "valid/labels"]}
    objects, source, _ = found(parts_of(path)["train"][0])
    check(objects, [("a.png", "bolt", ARROW)])
    with pytest.raises(ValueError, match="has the parts train, val; name one of .*train/labels"):
        find_source(tmp_path)


def test_contract_a_yaml_file_that_names_nothing_is_named(tmp_path):
    path = text(tmp_path / "data.yaml", "train: ../train/images\nval: gone\nnames: [bolt]\n")
    with pytest.raises(FileNotFoundError, match="names no folder or list .*: train: ../train/images, val: gone"):
        find_source(path)


def test_reading_and_writing_need_no_torch(tmp_path, run_python):
    picture(tmp_path / "images/a.png")
    text(tmp_path / "labels/a.txt", f"0 {fractions(ARROW)}\n")
    run_python("import sys; sys.modules['torch'] = None; from roikit.data import convert_data; "
               f"convert_data({str(tmp_path)!r}, {str(tmp_path / 'out')!r}, layout='voc')")


def test_yolo_lists_of_images(tmp_path):
    for name in "abc":
        picture(tmp_path / f"images/deep/{name}.png")
        text(tmp_path / f"labels/deep/{name}.txt", f"0 {fractions(ARROW)}\n")
    listed = text(tmp_path / "train.txt", "./images/deep/a.png\n/elsewhere/images/deep/c.png\n")
    text(tmp_path / "data.yaml", "train: train.txt\nnames: [bolt]\n")
    assert parts_of(tmp_path) == {"train": [listed]}
    objects, _, _ = found(listed)
    check(objects, [("images/deep/a.png", "bolt", ARROW), ("images/deep/c.png", "bolt", ARROW)])


def voc_file(name, *objects, database="Unknown"):
    inner = "".join(f"<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin>"
                    f"<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
                    for label, box, difficult in objects)
    return (f"<annotation><filename>{name}</filename><source><database>{database}</database></source>"
            f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>{inner}</annotation>")


def test_voc_boxes_beside_the_images(tmp_path):
    picture(tmp_path / "a.png")
    text(tmp_path / "a.xml", voc_file("a.png", ("nut", (4, 5, 14, 25), 0), ("bolt", (20, 4, 36, 20), 1)))
    objects, _, content = found(tmp_path)
    assert [(label, box) for _, label, box, _ in objects] == [("nut", [4, 5, 10, 20]), ("bolt", [20, 4, 16, 16])]
    assert [a["iscrowd"] for a in content["annotations"]] == [0, 1]
    text(tmp_path / "a.xml", voc_file("a.png", ("nut", (5, 6, 14, 25), 0), database="The VOC2007 Database"))
    assert found(tmp_path)[0][0][2] == [4, 5, 10, 20]


def test_voc_outlines_of_roboflow(tmp_path):
    picture(tmp_path / "a.png")
    ring = "".join(f"<x{k}>{x}</x{k}><y{k}>{y}</y{k}>" for k, (x, y) in enumerate(np.reshape(ARROW, (-1, 2)), 1))
    content = voc_file("a.png", ("nut", (20, 4, 36, 20), 0)).replace("</object>", f"<polygon>{ring}</polygon></object>")
    text(tmp_path / "a.xml", content)
    check(found(tmp_path)[0], [("a.png", "nut", ARROW)])


def test_voc_masks_belong_to_the_boxes(tmp_path):
    picture(tmp_path / "JPEGImages/a.png")
    picture(tmp_path / "JPEGImages/b.png")
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[bitmap(RECTANGLE) > 0] = 2
    values[bitmap(ARROW) > 0] = 1
    values[0] = 255  # the border between objects
    (tmp_path / "SegmentationObject").mkdir()
    Image.fromarray(values).save(tmp_path / "SegmentationObject/a.png")
    text(tmp_path / "Annotations/a.xml", voc_file("a.png", ("nut", (20, 4, 36, 20), 0), ("bolt", (4, 5, 14, 25), 0)))
    text(tmp_path / "Annotations/b.xml", voc_file("b.png", ("nut", (4, 5, 14, 25), 0)))
    objects, source, _ = found(tmp_path)
    check(objects[:2], [("a.png", "nut", ARROW), ("a.png", "bolt", RECTANGLE)])
    assert objects[2][0] == "b.png" and objects[2][3] is None and source.images == tmp_path / "JPEGImages"
    for part, names in (("train", "a"), ("val", "b")):
        text(tmp_path / f"ImageSets/Main/{part}.txt", f"{names}\n")
        text(tmp_path / f"ImageSets/Segmentation/{part}.txt", f"{names}\n")
    assert parts_of(tmp_path)["train"] == [tmp_path / "ImageSets/Segmentation/train.txt"]
    check(found(parts_of(tmp_path)["train"][0])[0], [("a.png", "nut", ARROW), ("a.png", "bolt", RECTANGLE)])


def test_voc_masks_of_colours_have_their_class_from_the_label_map(tmp_path):
    picture(tmp_path / "JPEGImages/a.png")
    objects, classes = (np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in range(2))
    for ring, colour, label in ((RECTANGLE, (128, 0, 0), (10, 20, 30)), (ARROW, (0, 128, 0), (40, 50, 60))):
        objects[bitmap(ring) > 0], classes[bitmap(ring) > 0] = colour, label
    for folder, pixels in (("SegmentationObject", objects), ("SegmentationClass", classes)):
        (tmp_path / folder).mkdir()
        Image.fromarray(pixels).save(tmp_path / folder / "a.png")
    text(tmp_path / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nbolt:10,20,30::\n"
                                    "nut:40,50,60::\n")
    objects, _, _ = found(tmp_path)
    check(sorted(objects, key=lambda o: o[1]), [("a.png", "bolt", RECTANGLE), ("a.png", "nut", ARROW)])


def labelme_file(path, name, shapes, **more):
    return text(path, json.dumps({"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": name,
                                  "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH, **more}))


def shape(label, points, kind="polygon", **more):
    return {"label": label, "points": np.reshape(points, (-1, 2)).tolist(), "shape_type": kind, "group_id": None,
            "flags": {}, **more}


def test_labelme(tmp_path):
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    labelme_file(tmp_path / "a.json", "a.png", [shape("bolt", RECTANGLE), shape("nut", ARROW)])
    labelme_file(tmp_path / "b.json", "C:\\pictures\\b.png", [shape("nut", [14, 25, 4, 5], "rectangle")])
    objects, source, _ = found(tmp_path)
    check(objects[:2], EXPECTED[:2])
    assert objects[2][:3] == ("b.png", "nut", [4, 5, 10, 20]) and source.images == tmp_path


def test_labelme_groups_masks_and_what_is_no_region(tmp_path):
    picture(tmp_path / "images/a.png")
    buffer = io.BytesIO()
    Image.fromarray(bitmap(ARROW)[4:20, 20:36].astype(bool)).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    labelme_file(tmp_path / "annotations/a.json", "..\\images\\a.png", [
        shape("bolt", [4, 5, 8, 5, 8, 25, 4, 25], group_id=1), shape("bolt", [8, 5, 14, 5, 14, 25, 8, 25], group_id=1),
        shape("nut", [20, 4, 35, 19], "mask", mask=data), shape("nut", [1, 1], "point"),
        shape("nut", [1, 1, 5, 5], "line")])
    with pytest.warns(UserWarning, match="passed over 1 line .*, 1 point"):
        objects, source, _ = found(tmp_path / "annotations")
    check(objects, [("a.png", "bolt", RECTANGLE), ("a.png", "nut", ARROW)])
    assert source.images == tmp_path / "images"


@pytest.mark.parametrize("labels, images, said", [("", "", "a.png"), ("", "", "C:\\\\pictures\\\\a.png"),
                                                  ("labels/", "images/", "a.png"), ("labels/", "images/", None)])
def test_labelme_images_of_several_folders_that_are_called_alike(tmp_path, labels, images, said):
    for place in ("", "x/", "x/y/"):
        picture(tmp_path / f"{images}{place}a.png")
        name = said or "../" * (1 + place.count("/")) + f"images/{place}a.png"
        labelme_file(tmp_path / f"{labels}{place}a.json", name, [shape(place or "top", ARROW)])
    for path in (tmp_path, tmp_path / labels):
        objects, source, _ = found(path)
        assert {(name, label) for name, label, *_ in objects} == {
            ("a.png", "top"), ("x/a.png", "x/"), ("x/y/a.png", "x/y/")}
        assert source.images == tmp_path / images


def test_labelme_shapes_of_other_tools(tmp_path):
    picture(tmp_path / "a.png")
    labelme_file(tmp_path / "a.json", "a.png", [
        shape("bolt", RECTANGLE, "rectangle"), shape("bolt", RECTANGLE, "rotation", direction=0.1),
        shape("nut", [20, 15, 20, 19], "circle"), shape("nut", ARROW, None, flags={"crowd": True})])
    objects, _, content = found(tmp_path)
    assert objects[0][2] == [4, 5, 10, 20] and objects[0][3] is None
    check(objects[1:2], [("a.png", "bolt", RECTANGLE)])
    assert content["annotations"][1]["obb"] == RECTANGLE
    np.testing.assert_allclose(objects[2][2], [16, 11, 8, 8], atol=1e-9)
    assert objects[2][3].sum() == pytest.approx(np.pi * 16, abs=3)
    assert [a["iscrowd"] for a in content["annotations"]] == [0, 0, 0, 1]


def test_cvat(tmp_path):
    picture(tmp_path / "images/sub/a.png")
    ring = ";".join(f"{x},{y}" for x, y in np.reshape(ARROW, (-1, 2)))
    runs = np.flatnonzero(np.diff(np.concatenate([[0], bitmap(ARROW)[4:20, 20:36].reshape(-1), [2]])))
    runs = ", ".join(str(n) for n in np.diff([0, *runs]))
    path = text(tmp_path / "annotations.xml", f"""<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels><label><name>nut</name></label><label><name>bolt</name></label>
</labels></task></meta><image id="7" name="sub/a.png" width="{WIDTH}" height="{HEIGHT}">
<polygon label="nut" points="{ring}" z_order="0"/><box label="bolt" xtl="4" ytl="5" xbr="14" ybr="25"/>
<mask label="nut" rle="{runs}" left="20" top="4" width="16" height="16"/><points label="nut" points="1,1"/>
<box label="bolt" xtl="10" ytl="10" xbr="20" ybr="14" rotation="90"/></image></annotations>""")
    with pytest.warns(UserWarning, match="passed over 1 point"):
        objects, source, content = found(tmp_path)
    assert source.annotations == path and source.images == tmp_path / "images"
    check([objects[0], objects[2]], [("sub/a.png", "nut", ARROW)] * 2)
    assert objects[1][1:3] == ("bolt", [4, 5, 10, 20]) and [c["name"] for c in content["categories"]] == ["nut", "bolt"]
    np.testing.assert_allclose(objects[3][2], [13, 7, 4, 10], atol=1e-9)
    assert "obb" in content["annotations"][3]


@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_law_shapes_of_a_group_are_one_object(tmp_path):
    """Masks and boxes too; two boxes are the box around both, so that others need no mask."""
    picture(tmp_path / "images/a.png")
    mask = '<mask label="nut" rle="0,4" top="1" width="2" height="2" group_id="1" left="{}"/>'.format
    box = '<box label="nut" ytl="10" ybr="15" group_id="1" xtl="{}" xbr="{}"/>'.format
    for name, inside, expected in (("masks", mask(1) + mask(10), ([1, 1, 11, 2], 8)),
                                   ("a box and a mask", box(1, 5) + mask(10), ([1, 1, 11, 14], 24)),
                                   ("boxes", box(1, 5) + box(11, 15), ([1, 10, 14, 5], 70))):
        text(tmp_path / "annotations.xml", f"""<annotations><image name="a.png" width="{WIDTH}" height="{HEIGHT}">
{inside}<box label="bolt" xtl="4" ytl="5" xbr="14" ybr="25"/></image></annotations>""")
        _, _, content = found(tmp_path)
        assert [(a["bbox"], a["area"]) for a in content["annotations"]] == [expected, ([4, 5, 10, 20], 200)], name
        assert CocoDataset(tmp_path, tmp_path / "images").num_objects == (2 if name == "boxes" else 1)
    labelme_file(tmp_path / "boxes/a.json", "../images/a.png", [
        shape("nut", [1, 10, 5, 15], "rectangle", group_id=1), shape("nut", [11, 10, 15, 15], "rectangle", group_id=1),
        shape("nut", [4, 5, 14, 25], "rectangle")])
    _, _, content = found(tmp_path / "boxes")
    assert [(a["bbox"], "segmentation" in a) for a in content["annotations"]] == [
        ([1, 10, 14, 5], False), ([4, 5, 10, 20], False)]


def coco(name="a.png"):
    return {"images": [{"id": 1, "file_name": name, "height": HEIGHT, "width": WIDTH}],
            "categories": [{"id": 3, "name": "bolt"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [4, 5, 10, 20], "area": 200,
                             "iscrowd": 0, "segmentation": [RECTANGLE]}]}


@pytest.mark.parametrize("annotations, image", [
    ("_annotations.coco.json", "a.png"), ("result.json", "images/a.png"),
    ("annotations/instances_default.json", "images/a.png"), ("annotations/instances_train2017.json", "train2017/a.png"),
    ("annotations/instances_train.json", "images/train/a.png")])
def test_folders_of_a_coco_file(tmp_path, annotations, image):
    picture(tmp_path / image)
    text(tmp_path / annotations, json.dumps(coco()))
    for path in (tmp_path, tmp_path / annotations):
        objects, source, _ = found(path)
        check(objects, [("a.png", "bolt", RECTANGLE)])
        assert source.annotations == tmp_path / annotations and source.images == (tmp_path / image).parent


def test_contract_of_several_coco_files_one_is_named(tmp_path):
    for name in ("a.json", "b.json"):
        text(tmp_path / name, json.dumps(coco()))
    with pytest.raises(ValueError, match="of several COCO files one must be named: a.json, b.json"):
        find_source(tmp_path)


def test_yolo_of_label_studio_has_notes_beside(tmp_path):
    picture(tmp_path / "images/a.png")
    text(tmp_path / "labels/a.txt", f"0 {fractions(ARROW)}\n")
    text(tmp_path / "classes.txt", "bolt\nnut\n")
    text(tmp_path / "notes.json", '{"categories": [{"id": 0, "name": "bolt"}], "info": {"year": 2025}}')
    check(found(tmp_path)[0], [("a.png", "bolt", ARROW)])


def test_roboflow_parts(tmp_path):
    for part in ("train", "valid"):
        picture(tmp_path / part / "a.png")
        text(tmp_path / part / "_annotations.coco.json", json.dumps(coco()))
    assert parts_of(tmp_path) == {"train": [tmp_path / "train"], "val": [tmp_path / "valid"]}
    check(found(tmp_path / "train")[0], [("a.png", "bolt", RECTANGLE)])


def test_lvis_names_are_those_of_its_addresses(tmp_path):
    picture(tmp_path / "train2017/a.png")
    content = coco()
    del content["images"][0]["file_name"]
    content["images"][0] |= {"coco_url": "http://images.cocodataset.org/train2017/a.png", "neg_category_ids": []}
    text(tmp_path / "lvis_v1_train.json", json.dumps(content))
    objects, source, _ = found(tmp_path / "lvis_v1_train.json")
    check(objects, [("train2017/a.png", "bolt", RECTANGLE)])
    assert source.images == tmp_path


@pytest.mark.parametrize("name, content, sentence", [
    ("a.xml", "<annotation><object></annotation>", "a.xml is not XML"),
    ("a.xml", voc_file("a.png", ("nut", (4, "x", 14, 25), 0)), "a.xml, object 1: ymin must be a finite .* got 'x'"),
    ("a.json", '{"shapes": [{"label": "x"}]}', "a.json, shape 1: its points must be a list of pairs, got None"),
    ("a.json", '{"shapes": [', "a.json is not JSON"),
    ("annotations.xml", '<annotations><track id="1"/></annotations>', "format for video"),
    ("annotations.xml", '<annotations><image name="a.png"/></annotations>', "image a.png: height must be a finite"),
    ("a.txt", "0 0.1 0.2 0.3 0.4 0.9\n", "a.txt, line 1: .* got 6 words: .*a confidence"),
    ("a.doc", "", "is in no layout that is read: it must be COCO's JSON file")])
def test_contract_what_is_malformed_is_named(tmp_path, name, content, sentence):
    picture(tmp_path / "a.png")
    text(tmp_path / name, content)
    with pytest.raises(ValueError, match=sentence):
        load_annotations(tmp_path)


def test_images_that_are_missing_are_listed_where_their_size_is_known(tmp_path):
    labelme_file(tmp_path / "labelme/a.json", "pictures\\a.png", [shape("bolt", RECTANGLE)])
    text(tmp_path / "voc/a.xml", voc_file("a.png", ("bolt", (4, 5, 14, 25), 0)))
    text(tmp_path / "cvat/annotations.xml", f"""<annotations><image name="a.png" width="{WIDTH}" height="{HEIGHT}">
<box label="bolt" xtl="4" ytl="5" xbr="14" ybr="25"/></image></annotations>""")
    for name, sentence in (("labelme", "are not beside its JSON files"), ("voc", "are not beside it"),
                           ("cvat", "are not beside it")):
        with pytest.raises(FileNotFoundError, match=sentence):
            find_source(tmp_path / name)
        done = convert_data(tmp_path / name, tmp_path / f"{name}.json")
        content = json.loads((tmp_path / f"{name}.json").read_text())
        assert done.objects == 1 and content["annotations"][0]["bbox"] == [4, 5, 10, 20]
        assert content["images"] == [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}]


def test_contract_a_missing_image_is_named(tmp_path):
    labelme_file(tmp_path / "a.json", "a.png", [shape("bolt", RECTANGLE)], imageHeight=None)
    with pytest.raises(FileNotFoundError, match="a.json: its image a.png is neither beside it nor in"):
        load_annotations(tmp_path, images=tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        find_source(tmp_path / "nothing")


@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_the_image_beside_an_xml_file_comes_before_one_of_another_folder(tmp_path):
    for name in ("a.png", "x/a.png"):
        picture(tmp_path / name)
    text(tmp_path / "x/a.xml", voc_file("a.png", ("nut", (4, 5, 14, 25), 0)))
    assert found(tmp_path)[0][0][0] == "x/a.png"


def test_the_image_that_an_xml_file_names_is_meant(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.jpg", (20, 20))
    text(tmp_path / "a.xml", voc_file("a.jpg", ("nut", (4, 5, 14, 25), 0)))
    with pytest.warns(UserWarning, match="passed over 1 image without a file of annotations"):
        assert found(tmp_path)[0][0][0] == "a.jpg"
