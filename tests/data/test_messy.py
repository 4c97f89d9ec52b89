"""Data sets as tools and people make them: training, the doctor and the evaluation agree on each."""

import pytest
from PIL import Image

from roikit.data import annotations, inspect_dataset

from .messy_sets import SIZE, Messy, new_cases, runs

CASES, case = new_cases()


def each(*edits):
    """An edit of every annotation."""
    def edit(content):
        for annotation in content["annotations"]:
            for change in edits:
                change(annotation)
    return edit


def ring(annotation):
    return annotation["segmentation"][0]


case("plain")(lambda c: None)
case("annotation ids from 0")(lambda c: [a.update(id=k) for k, a in enumerate(c["annotations"])])
case("annotation ids all equal", cause="annotation ids occur more than once")(each(lambda a: a.update(id=7)))
case("no annotation ids")(each(lambda a: a.pop("id")))
case("no area and no iscrowd")(each(lambda a: a.pop("area"), lambda a: a.pop("iscrowd")))
case("iscrowd false")(each(lambda a: a.update(iscrowd=False)))
case("CVAT's masks are crowds", objects=None, ap=None, cause="every object is marked as a crowd", mended=12)(
    each(lambda a: a.update(iscrowd=1, segmentation=runs(a["bbox"]))))
case("uncompressed runs")(each(lambda a: a.update(segmentation=runs(a["bbox"]))))
case("image ids as text")(lambda c: ([r.update(id=f"{r['id']:04d}") for r in c["images"]],
                                     [a.update(image_id=f"{a['image_id']:04d}") for a in c["annotations"]]))
case("ids as floats")(each(lambda a: a.update(category_id=float(a["category_id"]), image_id=float(a["image_id"]))))
case("category ids as text")(each(lambda a: a.update(category_id=str(a["category_id"]))))
case("lines for polygons", objects=None, ap=None, cause="polygons of two points have no area", mended=0)(
    each(lambda a: a.update(segmentation=[ring(a)[:4]])))
case("an empty ring beside a good one")(lambda c: [a["segmentation"].append([]) for a in c["annotations"][:4]])
case("two objects without a mask", objects=10, cause="2 objects have no mask while others have one")(
    lambda c: (c["annotations"][0].update(segmentation=[]), c["annotations"][1].update(segmentation=None)))
case("separators of Windows")(lambda c: [r.update(file_name="images\\" + r["file_name"]) for r in c["images"]])
case("paths of another machine")(
    lambda c: [r.update(file_name="/data/project/export/" + r["file_name"]) for r in c["images"]])
case("the ending in capitals")(
    lambda c: [r.update(file_name=r["file_name"].replace(".png", ".PNG")) for r in c["images"]])
case("a file is missing", objects=9, cause="1 of 4 image files is missing: nofile.png", mended=9)(
    lambda c: c["images"][3].update(file_name="nofile.png"))
case("no width and height")(lambda c: [(r.pop("width"), r.pop("height")) for r in c["images"]])
case("boxes are corners", ap=None, cause="the boxes are x1 y1 x2 y2, not x y width height", mended=12)(
    each(lambda a: a.update(bbox=ring(a)[:2] + ring(a)[4:6])))
case("coordinates are fractions", objects=None, ap=None, cause="coordinates are fractions of the image", mended=12)(
    each(lambda a: a.update(bbox=[v / SIZE for v in a["bbox"]], segmentation=[[v / SIZE for v in ring(a)]])))
case("a box without width", objects=11, cause="1 box has no area", mended=12)(
    lambda c: c["annotations"][0].update(bbox=[10, 10, 0, 5]))
case("a category id twice", objects=None, ap=None, cause="category id 2 occurs twice")(
    lambda c: c["categories"].append({"id": 2, "name": "washer"}))
case("a category name twice", cause="two categories are named bolt")(lambda c: c["categories"][1].update(name="bolt"))
case("Roboflow's category 0", cause="category 0 has no objects")(
    lambda c: c["categories"].insert(0, {"id": 0, "name": "parts", "supercategory": "none"}))
case("no categories", objects=None, ap=None, cause="the file lists no categories; ids 1, 2 are used", mended=12)(
    lambda c: c.pop("categories"))
case("coordinates as text")(each(lambda a: a.update(segmentation=[[str(v) for v in ring(a)]])))
case("a flat polygon")(each(lambda a: a.update(segmentation=ring(a))))
case("points in pairs")(each(lambda a: a.update(segmentation=[[ring(a)[i:i + 2] for i in range(0, 8, 2)]])))


@pytest.mark.parametrize(("edit", "objects", "ap", "cause", "mended"), CASES)
def test_law_what_a_file_means_is_the_same_for_all_that_read_it(tmp_path, edit, objects, ap, cause, mended):
    messy = Messy(tmp_path)
    edit(messy.content)
    assert messy.learnt() == objects
    assert messy.scored() == (None if ap is None else [pytest.approx(ap)] * 2)
    if cause is not None:
        assert cause in messy.told()
    if mended is not None:
        count, report = messy.mended()
        assert count == mended and report.fatal == (not mended), report.text()


def test_law_a_photograph_that_is_turned_by_exif_is_refused_and_mended(tmp_path):
    """The annotations are those of the picture that viewers show: 96 x 64, stored as 64 x 96."""
    messy = Messy(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    shown = {}
    for record in messy.content["images"]:
        path = messy.images / record["file_name"]
        picture = Image.open(path).resize((SIZE, 64), Image.Resampling.NEAREST)
        shown[record["id"]] = picture
        picture.transpose(Image.Transpose.ROTATE_90).save(path.with_suffix(".jpg"), exif=exif, quality=100)
        path.unlink()
        record.update(height=64, file_name=path.with_suffix(".jpg").name)
    for annotation in messy.content["annotations"]:
        x, y, w, h = annotation["bbox"]
        y, h = y * 64 // 96, max(h * 64 // 96, 2)
        annotation.update(bbox=[x, y, w, h], area=w * h, segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]])
    assert messy.learnt() is None and "the file is turned by EXIF" in messy.told()
    count, report = messy.mended()
    assert count == 12 and not report.errors
    assert {r["height"] for r in messy.content["images"]} == {64}  # what was given is not changed


@pytest.mark.parametrize("least", [None, 1], ids=["records", "columns"])
def test_contract_an_object_again_is_told_however_its_numbers_are_written(tmp_path, monkeypatch, least):
    monkeypatch.setitem(annotations.load_annotations.__kwdefaults__, "large", least)
    messy = Messy(tmp_path)
    first = messy.content["annotations"][0]
    messy.content["annotations"].append({**first, "id": 99, "bbox": [float(v) for v in first["bbox"]]})
    told = [f.kind for f in inspect_dataset(messy.write(), messy.images).findings]
    assert told.count("duplicate-object") == 1
