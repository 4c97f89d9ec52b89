"""What annotation tools, converters and libraries are known to write: each is read as it is meant, or refused.

Each case is named after the tool and what it does. `objects`, `cause` and `mended` are as in `test_messy`.
"""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from roikit import masks as rle
from roikit.data import inspect_dataset

from .messy_sets import SIZE, Messy, new_cases, runs

CASES, case = new_cases()


def objects_of(messy):
    return messy.content["annotations"]


def points(annotation):
    return np.array(annotation["segmentation"][0]).reshape(-1, 2)


def renamed(messy, name):
    """Give each image record another file name: ``name`` is called with the present one."""
    for record in messy.content["images"]:
        record["file_name"] = name(record["file_name"])


@case("CVAT 1.x: the images lie in a folder of their subset, which file_name leaves out")
def _(messy):
    (messy.images / "default").mkdir()
    for path in messy.images.glob("*.png"):
        path.rename(messy.images / "default" / path.name)


@case("CVAT: masks are crowds and polygons are not", objects=6, cause="6 of 12 annotations are marked as crowds")
def _(messy):
    for a in objects_of(messy)[::2]:
        a.update(iscrowd=1, segmentation=runs(a["bbox"]))


@case("datumaro: images that it did not load are 0 x 0")
def _(messy):
    for record in messy.content["images"]:
        record.update(width=0, height=0)


@case("labelme's own labelme2coco.py: _background_ is category 0, NumPy's numbers as floats",
      cause="category 0 has no objects")
def _(messy):
    messy.content["categories"].insert(0, {"supercategory": None, "id": 0, "name": "_background_"})
    for a in objects_of(messy):
        a.update(area=float(a["area"]), bbox=[float(v) for v in a["bbox"]])


@case("labelme2coco (PyPI) on Windows: file_name is the relative imagePath of labelme's JSON")
def _(messy):
    renamed(messy, lambda name: f"..\\images\\{name}")


@case("labelme2coco: a rectangle of labelme is a polygon of its two corners", objects=10,
      cause="2 objects have polygons of two points, which have no area", mended=10)
def _(messy):
    for a in objects_of(messy)[:2]:
        a["segmentation"] = [[*points(a)[0].tolist(), *points(a)[2].tolist()]]


@case("Roboflow: ids of images and annotations from 0, the name of the upload in extra")
def _(messy):
    for record in messy.content["images"]:
        record.update(id=record["id"] - 1, extra={"name": record["file_name"]}, license=1)
    for a in objects_of(messy):
        a.update(id=a["id"] - 1, image_id=a["image_id"] - 1)
    for found in messy.found:
        found["image_id"] -= 1


@case("VIA 2: image ids are text, polygons flat, sizes unknown")
def _(messy):
    for record in messy.content["images"]:
        record.update(id=str(record["id"]), width=0, height=0)
    for a in objects_of(messy):
        a.update(image_id=str(a["image_id"]), segmentation=a["segmentation"][0])


@case("VIA: shape_attributes with all_points_x and all_points_y")
def _(messy):
    for a in objects_of(messy):
        xs, ys = points(a).T.tolist()
        a["segmentation"] = {"name": "polygon", "all_points_x": xs, "all_points_y": ys}


@case("Label Studio: eight letters before the name of the file, on Windows, and no size where a task has none")
def _(messy):
    renamed(messy, lambda name: f"images\\0a1b2c3d-{name}")
    for record in messy.content["images"]:
        record.update(width=None, height=None)


@case("Label Studio: local files are URLs with ?d=")
def _(messy):
    renamed(messy, lambda name: f"/data/local-files/?d=project%20one/{name}")


@case("Label Studio: images of a bucket, category ids from 0, an ignore beside iscrowd")
def _(messy):
    renamed(messy, lambda name: f"s3://bucket/some/where/{name}")
    for record in (*messy.content["categories"], *objects_of(messy), *messy.found):
        record["id" if "name" in record else "category_id"] -= 1
    for a in objects_of(messy):
        a["ignore"] = 0


@case("SuperAnnotate: a bbox with x1, x2, y1 and y2")
def _(messy):
    for a in objects_of(messy):
        x, y, w, h = a["bbox"]
        a["bbox"] = {"x1": x, "x2": x + w, "y1": y, "y2": y + h}


@case("Labelbox: a bbox with top, left, height and width, and points as dicts")
def _(messy):
    for a in objects_of(messy):
        x, y, w, h = a["bbox"]
        a["bbox"] = {"top": y, "left": x, "height": h, "width": w}
        a["segmentation"] = [[{"x": x, "y": y} for x, y in points(a).tolist()]]


@case("Labelbox: ids are text of letters and digits", objects=None, ap=None, cause="its id must be a whole number",
      mended=12)
def _(messy):
    for record in messy.content["images"]:
        record["id"] = f"ckz{record['id']}v0000abc"
    for record in (*objects_of(messy), *messy.found):
        record["image_id"] = f"ckz{record['image_id']}v0000abc"


@case("V7 Darwin: ids are hashes of more than 32 bits")
def _(messy):
    for record in messy.content["images"]:
        record["id"] += 2**40
    for record in (*objects_of(messy), *messy.found):
        record["image_id"] += 2**40


@case("Azure Machine Learning: coordinates are fractions, images of a store without a size", objects=None, ap=None,
      cause="coordinates are fractions of the image", mended=12)
def _(messy):
    renamed(messy, lambda name: f"UI/11-05-2021/{name}")
    for record in messy.content["images"]:
        record.update(width=0, height=0, coco_url=f"AmlDatastore://workspaceblobstore/{record['file_name']}")
    for a in objects_of(messy):
        a.update(bbox=[v / SIZE for v in a["bbox"]], segmentation=[(points(a) / SIZE).reshape(-1).tolist()])


@case("coco-annotator: a deleted outline stays as an object without mask, box and area", objects=11, mended=11,
      cause="1 object has no mask while others have one")
def _(messy):
    messy.content["annotations"][0].update(segmentation=[], bbox=[0, 0, 0, 0], area=0, isbbox=False, color="#fff")
    del messy.found[0]


@case("makesense.ai: outlines reach over the border", cause="reaches over the border", mended=12)
def _(messy):
    first = objects_of(messy)[0]
    x, y, w, h = first["bbox"]
    first.update(bbox=[-5, y, w + x + 5, h], segmentation=[[-5, y, x + w, y, x + w, y + h, -5, y + h]])
    found = messy.found[0]
    found["bbox"], found["segmentation"] = first["bbox"], runs([0, y, x + w, h])


@case("FiftyOne with abs_paths=True: whole paths, RLEs with characters")
def _(messy):
    renamed(messy, lambda name: f"/home/me/fiftyone/export/data/{name}")
    for a in objects_of(messy):
        packed = rle.frPyObjects(runs(a["bbox"]), SIZE, SIZE)
        a["segmentation"] = {"size": [SIZE, SIZE], "counts": packed["counts"].decode()}


@case("pycocotools and json.dumps(default=str): the counts are b'...'")
def _(messy):
    for a in objects_of(messy):
        packed = rle.frPyObjects(runs(a["bbox"]), SIZE, SIZE)
        a["segmentation"] = {"size": [SIZE, SIZE], "counts": str(packed["counts"])}


@case("OpenCV: contours.tolist(), and slivers of one or two points beside the outline")
def _(messy):
    for a in objects_of(messy):
        a["segmentation"] = [points(a)[:, None].tolist(), [[[3, 3]]], [[[3, 3]], [[4, 3]]]]


@case("OpenCV: the only contour without a list around it")
def _(messy):
    for a in objects_of(messy):
        a["segmentation"] = points(a)[:, None].tolist()


@case("Shapely: mapping() of the polygon, its last point the first")
def _(messy):
    for a in objects_of(messy):
        corners = points(a).tolist()
        a["segmentation"] = {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}


@case("pandas: floats for ids, NaN for nothing")
def _(messy):
    for a in objects_of(messy):
        a.update(id=float(a["id"]), image_id=float(a["image_id"]), area=float("nan"), iscrowd=float("nan"))


@case("pandas: lists as text of a CSV file")
def _(messy):
    for a in objects_of(messy):
        a.update(bbox=str(a["bbox"]), segmentation=str(a["segmentation"]), area=str(a["area"]), iscrowd="0")


@case("scripts that join two exports: categories and images twice alike, annotation ids again",
      cause="annotation ids occur more than once")
def _(messy):
    messy.content["categories"] *= 2
    messy.content["images"] *= 2
    for a in objects_of(messy)[6:]:
        a["id"] -= 6


@case("scripts that join an export with itself: each object twice", objects=24, ap=None, mended=12,
      cause="12 objects are in the file twice")
def _(messy):
    messy.content["annotations"] += [{**a, "id": a["id"] + 100} for a in objects_of(messy)]


@case("scripts from YOLO: the boxes are centres", ap=None, mended=12,
      cause="the boxes are centre x, centre y, width, height, not x y width height")
def _(messy):
    for a in objects_of(messy):
        x, y, w, h = a["bbox"]
        a["bbox"] = [x + w / 2, y + h / 2, w, h]


@case("scripts from torchvision: corners, and no masks to tell", objects=None, ap=None, mended=12,
      cause="the boxes are x1 y1 x2 y2, not x y width height: all 12 lie within their images")
def _(messy):
    for a in objects_of(messy):
        x, y, w, h = a.pop("bbox")
        a["bbox"] = [x, y, x + w, y + h]
        del a["segmentation"]


@case("scripts from TensorFlow: y1 x1 y2 x2", ap=None, mended=12, cause="the boxes are y1 x1 y2 x2")
def _(messy):
    for a in objects_of(messy):
        x, y, w, h = a["bbox"]
        a["bbox"] = [y, x, y + h, x + w]


@case("scripts with a box for the outline")
def _(messy):
    for a in objects_of(messy):
        a["segmentation"] = [a["bbox"]]


@case("scripts with Pillow: img.size taken for height, width", objects=None, ap=None, mended=12,
      cause="width and height are swapped in 4 of 4 records")
def _(messy):
    for record in messy.content["images"]:
        path = messy.images / record["file_name"]
        picture = Image.new("RGB", (SIZE, 120))
        picture.paste(Image.open(path))
        picture.save(path)
        record.update(width=120, height=SIZE)
    for found in messy.found:
        counts = found["segmentation"]["counts"]
        found["segmentation"] = {"size": [120, SIZE], "counts": widened(counts)}


def widened(counts):
    mask = rle.decode(rle.frPyObjects({"size": [SIZE, SIZE], "counts": counts}, SIZE, SIZE))
    taller = np.zeros((120, SIZE), np.uint8, order="F")
    taller[:SIZE] = mask
    return rle.encode(taller)["counts"].decode()


@case("macOS: names of the files in NFD, of the JSON in NFC")
def _(messy):
    for record in messy.content["images"]:
        name = f"caf\u00e9 {record['file_name']}"
        (messy.images / record["file_name"]).rename(messy.images / unicodedata.normalize("NFD", name))
        record["file_name"] = unicodedata.normalize("NFC", name)


@case("a folder whose pictures were converted from .jpg to .png later")
def _(messy):
    renamed(messy, lambda name: name.replace(".png", ".jpg"))


@case("category names for category ids", cause="category names for ids (12)")
def _(messy):
    for a in objects_of(messy):
        a["category_id"] = {1: "bolt", 2: "nut"}[a["category_id"]]


@pytest.mark.parametrize(("edit", "objects", "ap", "cause", "mended"), CASES)
def test_law_what_tools_write_is_read_as_it_is_meant(tmp_path, edit, objects, ap, cause, mended):
    messy = Messy(tmp_path)
    edit(messy)
    before = json.dumps(messy.content)
    assert messy.learnt() == objects
    scored = messy.scored()
    assert scored is None if ap is None and objects != 24 else scored == [pytest.approx(ap or 0.5, abs=0.1)] * 2
    told = inspect_dataset(messy.write(), messy.images)
    assert (cause or "") in told.text()
    assert told.fatal == (objects is None)
    if mended is not None:
        count, report = messy.mended()
        assert count == mended and not report.errors, report.text()
    assert json.dumps(messy.content) == before


@pytest.mark.parametrize("form", [
    lambda r: r.update(segmentation=rectangle(r)[0]),
    lambda r: r.update(segmentation=[[rectangle(r)[0][k:k + 2] for k in range(0, 8, 2)]]),
    lambda r: r.update(segmentation=[[str(v) for v in rectangle(r)[0]]], bbox=[str(v) for v in r["bbox"]]),
    lambda r: r.update(segmentation=[r["segmentation"]]),
    lambda r: r.update(segmentation={"type": "Polygon", "coordinates": [
        [rectangle(r)[0][k:k + 2] for k in range(0, 8, 2)]]}),
    lambda r: r.update(bbox=dict(zip(("left", "top", "width", "height"), r["bbox"], strict=True)),
                       segmentation=[*rectangle(r), []])])
def test_law_results_are_read_as_annotations_are(tmp_path, form):
    messy = Messy(tmp_path)
    for found in messy.found:
        form(found)
    assert messy.scored() == [pytest.approx(1.0)] * 2


def rectangle(found):
    x, y, w, h = found["bbox"]
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]
