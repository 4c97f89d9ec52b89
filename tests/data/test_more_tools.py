"""More of what tools and people write: read with one meaning, or refused with what to do; mended once and for all.

`objects`, `ap`, `cause` and `mended` are as in `test_messy`. What is learnt lies where the objects of the pictures do.
"""

import json

import numpy as np
import pytest
from PIL import Image

from roikit import masks as rle
from roikit.data import CocoDataset, inspect_dataset, mend_dataset
from roikit.data.mend import write_annotations
from roikit.trainer.evaluation import evaluate

from .messy_sets import SIZE, Messy, runs

HIGH = 120
CASES = []


def case(name, *, objects=12, ap=1.0, cause=None, mended=None, clean=True):
    """``clean`` tells whether the mended file has no warning left."""
    def keep(edit):
        CASES.append(pytest.param(edit, objects, ap, cause, mended, clean, id=name))
        return edit
    return keep


def each(*edits):
    def edit(messy):
        for annotation in messy.content["annotations"]:
            for change in edits:
                change(annotation)
    return edit


def points(annotation):
    return np.array(annotation["segmentation"][0]).reshape(-1, 2)


def boxes_of(annotation, *values):
    annotation["bbox"] = [float(v) for v in values]


def packed(box, shape=(SIZE, SIZE)):
    x, y, w, h = box
    mask = np.zeros(shape, np.uint8, order="F")
    mask[y:y + h, x:x + w] = 1
    return {"size": list(shape), "counts": rle.encode(mask)["counts"].decode()}


def higher(messy):
    """Pictures of 96 x 120 with the same objects, the results without masks, which would be of another size."""
    for record in messy.content["images"]:
        picture = Image.new("RGB", (SIZE, HIGH))
        picture.paste(Image.open(messy.images / record["file_name"]))
        picture.save(messy.images / record["file_name"])
        record["height"] = HIGH
    for found in messy.found:
        found.pop("segmentation")


def along_rows(box):
    x, y, w, h = box
    mask = np.zeros((HIGH, SIZE), np.uint8)
    mask[y:y + h, x:x + w] = 1
    flat = mask.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    return {"size": [HIGH, SIZE], "counts": np.diff([0, *ends.tolist(), flat.size]).tolist()}


# Files.

@case("Windows' Notepad: UTF-16")
def _(messy):
    messy.encoding = "utf-16"


@case("PowerShell: UTF-8 with a byte order mark, NaN for an area")
def _(messy):
    messy.encoding = "utf-8-sig"
    messy.content["annotations"][0]["area"] = float("nan")


# Ids and names.

@case("scripts: image_id is the file's name", cause="file names for image ids (12)")
def _(messy):
    for a in messy.content["annotations"]:
        a["image_id"] = f"{a['image_id']}.png"


@case("scripts: image_id is the file's stem, in another folder")
def _(messy):
    for record in messy.content["images"]:
        record["file_name"] = f"data/{record['file_name']}"
        record["id"] += 10
    for a in messy.content["annotations"]:
        a["image_id"] = str(a["image_id"]) + ".png"
    for found in messy.found:
        found["image_id"] += 10


@case("Datumaro: image ids are the files' stems", objects=None, ap=None, cause="`roikit doctor --mend` numbers",
      mended=12)
def _(messy):
    for record in messy.content["images"]:
        record["id"] = f"scan-{record['id']}"
    for record in (*messy.content["annotations"], *messy.found):
        record["image_id"] = f"scan-{record['image_id']}"


@case("scripts with uuid4().int: ids of more than 64 bits", objects=None, cause="numbers", mended=12)
def _(messy):
    for record in messy.content["images"]:
        record["id"] += 2**100
    for record in (*messy.content["annotations"], *messy.found):
        record["image_id"] += 2**100


case("category names in another case and with blanks", cause="category names for ids (12)")(
    each(lambda a: a.update(category_id={1: "Bolt ", 2: "NUT"}[a["category_id"]])))


@case("two people typed a name in two ways", cause="two categories are named Bolt: ids 1, 2", mended=12, clean=False)
def _(messy):
    messy.content["categories"] = [{"id": 1, "name": "Bolt"}, {"id": 2, "name": "bolt "}]


case("YOLO's classes for COCO's categories", objects=None, ap=None,
     cause="has category id 0, which categories does not list: it lists 1, 2; 7 more of 12")(
    each(lambda a: a.update(category_id=a["category_id"] - 1)))
case("the category under another key", objects=None, ap=None, cause="it has no category_id")(
    each(lambda a: a.update(category=a.pop("category_id"))))


@case("categories are names alone", objects=None, ap=None, cause="category at place 0: it must be a dict, got str")
def _(messy):
    messy.content["categories"] = ["bolt", "nut"]


@case("iscrowd as text")
def _(messy):
    for a in messy.content["annotations"]:
        a["iscrowd"] = "False"


# Names of files.

@case("VGG's and others' images: filename for file_name", cause="file names in other fields (4)")
def _(messy):
    for record in messy.content["images"]:
        record["filename"] = record.pop("file_name")


@case("copied out of a table: blanks around the names", cause="file names with blanks around (4)")
def _(messy):
    for record in messy.content["images"]:
        record["file_name"] = f"./{record['file_name']} "


@case("Roboflow's export beside the pictures that were uploaded", cause="file names of Roboflow (4)")
def _(messy):
    for record in messy.content["images"]:
        record["file_name"] = record["file_name"].replace(".png", "_png.rf.0123456789abcdef.jpg")


@case("pictures of two folders, called alike, and the folders left out", objects=None,
      cause="1.png could be a/1.png or b/1.png: write into file_name which it is")
def _(messy):
    for folder in ("a", "b"):
        (messy.images / folder).mkdir()
        for number in (1, 2):
            (messy.images / f"{number if folder == 'a' else number + 2}.png").rename(
                messy.images / folder / f"{number}.png")
    for record in messy.content["images"]:
        record["file_name"] = f"{(record['id'] - 1) % 2 + 1}.png"


# Boxes.

@case("x1 y1 x2 y2 without masks, one of no area", objects=None, ap=None, mended=11,
      cause="the boxes are x1 y1 x2 y2, not x y width height: 11 of 12 lie within")
def _(messy):
    for a in messy.content["annotations"]:
        x, y, w, h = a["bbox"]
        boxes_of(a, x, y, x + w, y + h)
        del a["segmentation"]
    boxes_of(messy.content["annotations"][4], 5, 5, 5, 5)


@case("YOLO's numbers in a COCO file: fractions, the first two the centre", objects=None, ap=None, mended=12,
      cause="(12) lie within [0, 1] and are centre x, centre y, width, height")
def _(messy):
    for a in messy.content["annotations"]:
        x, y, w, h = a["bbox"]
        boxes_of(a, (x + w / 2) / SIZE, (y + h / 2) / SIZE, w / SIZE, h / SIZE)
        del a["segmentation"]


case("Albumentations' numbers beside masks in pixels: fractions, corners", objects=None, ap=None, mended=12,
     cause="(12) lie within [0, 1] and are x1 y1 x2 y2")(
    each(lambda a: boxes_of(a, *np.divide(points(a)[[0, 2]].reshape(-1), SIZE))))


@case("fractions, of which one object was put right by hand", objects=None, ap=None, mended=12,
      cause="coordinates are fractions of the image: 11 of 12 boxes")
def _(messy):
    for a in messy.content["annotations"][1:]:
        boxes_of(a, *np.divide(a["bbox"], SIZE))
        a["segmentation"] = [(points(a) / SIZE).reshape(-1).tolist()]


@case("two tools in turn: a few boxes are x1 y1 x2 y2", ap=0.8, cause="3 boxes are not around their masks", mended=12)
def _(messy):
    for a in messy.content["annotations"][:3]:
        boxes_of(a, *points(a)[[0, 2]].reshape(-1))


case("NumPy's str(): a box as text without commas", cause="boxes as text (12)")(
    each(lambda a: a.update(bbox=str(np.array(a["bbox"])))))
case("a box with its score", objects=None, ap=None, cause="a box must be four numbers")(
    each(lambda a: a["bbox"].append(1.0)))
case("areas of another unit", ap=-1.0, cause="the area of 12 of 12 objects is larger than their boxes", mended=12)(
    each(lambda a: a.update(area=1e12)))


@case("language models: thousandths of the image", objects=None, ap=None,
      cause="12 of 12 objects lie outside their images, which are 96x96, say")
def _(messy):
    for a in messy.content["annotations"]:
        a["bbox"] = np.round(np.divide(a["bbox"], SIZE) * 1000).tolist()
        a["segmentation"] = [np.round(points(a) / SIZE * 1000).reshape(-1).tolist()]


# Masks.

@case("Pillow's size in an RLE: width, height", objects=None, ap=None, mended=12,
      cause="the RLEs have width, height for size")
def _(messy):
    higher(messy)
    for a in messy.content["annotations"]:
        a["segmentation"] = {**packed(a["bbox"], (HIGH, SIZE)), "size": [SIZE, HIGH]}


@case("Pillow's size in an RLE, and no box to show it", objects=None, ap=None,
      cause="the RLE is of an image of [96, 120] (height, width), the image is [120, 96]")
def _(messy):
    higher(messy)
    for a in messy.content["annotations"]:
        a["segmentation"] = {**packed(a.pop("bbox"), (HIGH, SIZE)), "size": [SIZE, HIGH]}


@case("NumPy's order: counts along the rows", objects=None, ap=None, mended=12,
      cause="the counts of the RLEs go along the rows of the image")
def _(messy):
    higher(messy)
    for a in messy.content["annotations"]:
        a["segmentation"] = along_rows(a["bbox"])


case("skimage.measure.find_contours: row, column", objects=None, ap=None,
     cause="boxes and masks of 12 objects have x and y exchanged: either")(
    each(lambda a: a.update(segmentation=[points(a)[:, ::-1].reshape(-1).tolist()])))
case("NumPy's ravel() of the wrong axis: all x before all y", objects=None, ap=None, mended=12,
     cause="the polygons have all x before all y")(
    each(lambda a: a.update(segmentation=[points(a).T.reshape(-1).tolist()])))
case("Label Studio's own run lengths, bytes in a list", objects=None, ap=None,
     cause="the masks of 12 of 12 objects lie outside their boxes")(
    each(lambda a: a.update(segmentation=[0, 0, 36, 0, 1, 2, 3, 7, 9, 11, 250, 3])))
case("masks of a smaller picture, as SAM makes them", objects=None, ap=None,
     cause="the masks of 12 of 12 objects lie outside their boxes")(
    each(lambda a: a.update(segmentation=packed([v // 2 for v in a["bbox"]], (SIZE // 2, SIZE // 2)))))
case("counts as text with blanks, size as text", cause="RLEs with numbers as text or floats (12)")(
    each(lambda a: a.update(segmentation={"size": [str(SIZE)] * 2,
                                          "counts": " ".join(map(str, runs(a["bbox"])["counts"]))})))
case("pandas and MATLAB: counts and size as floats", cause="RLEs with numbers as text or floats (12)")(
    each(lambda a: a.update(segmentation={"size": [float(SIZE)] * 2,
                                          "counts": [float(v) for v in runs(a["bbox"])["counts"]]})))


@case("an object in two parts, an RLE each", cause="RLEs in a list (12)")
def _(messy):
    for a in messy.content["annotations"]:
        x, y, w, h = a["bbox"]
        a["segmentation"] = [packed([x, y, w // 2, h]), packed([x + w // 2, y, w - w // 2, h])]


case("lists of x and of y", cause="points as VIA has them (12)")(
    each(lambda a: a.update(segmentation=[{"x": points(a)[:, 0].tolist(), "y": points(a)[:, 1].tolist()}])))
case("Supervisely: exterior and interior", cause="points as Supervisely has them (12)")(
    each(lambda a: a.update(segmentation={"exterior": points(a).tolist(), "interior": []})))
case("GeoJSON's polygon with a hole", objects=None, cause="GeoJSON's polygon has holes")(
    each(lambda a: a.update(segmentation={"type": "Polygon", "coordinates": [points(a).tolist(), [[1, 1]] * 4]})))
case("the name of a picture for a mask", objects=None,
     cause="12 masks that cannot be read: write polygons or RLEs")(
    each(lambda a: a.update(segmentation=f"masks/{a['id']}.png")))
case("masks under another key", cause="the field 'polygon' is not read, COCO calls it 'segmentation'", ap=0)(
    each(lambda a: a.update(polygon=a.pop("segmentation"))))


# Sizes.

def resized(messy, side):
    for path in messy.images.glob("*.png"):
        Image.open(path).resize((side, side), Image.Resampling.NEAREST).save(path)


@case("pictures of which the record has half the size", objects=None, ap=None, mended=12,
      cause="4 images have another size than the file says")
def _(messy):
    for record in messy.content["images"]:
        record.update(width=SIZE // 2, height=SIZE // 2)


@case("phones: pictures that ask to be turned, annotated as they are stored", cause="4 images ask viewers to turn them")
def _(messy):
    exif = Image.Exif()
    exif[0x0112] = 6
    for record in messy.content["images"]:
        path = messy.images / record["file_name"]
        Image.open(path).save(path.with_suffix(".jpg"), exif=exif, quality=95)
        path.unlink()


def written(messy):
    path = messy.folder / "annotations.json"
    path.write_bytes(json.dumps(messy.content).encode(getattr(messy, "encoding", "utf-8")))
    return path


def learnt(content, messy, boxes):
    """The number of objects; None where they are refused. Each lies where one of the boxes does, to the pixel."""
    try:
        dataset = CocoDataset(content, messy.images)
        targets = [target for _, target in dataset]
    except (ValueError, OSError):
        return None
    for target in targets:
        for place, box in enumerate(target["boxes"].tolist()):
            around = [box]
            if "masks" in target:
                mask = target["masks"][place]
                whole = rle.merge(rle.frPyObjects(mask, HIGH, SIZE)) if isinstance(mask, list) else mask
                x, y, w, h = rle.toBbox(whole).tolist()
                around.append([x, y, x + w, y + h])
            assert all(np.abs(boxes - one).max(1).min() <= 1 for one in around), (box, around)
    return sum(len(target["labels"]) for target in targets)


@pytest.mark.parametrize(("edit", "objects", "ap", "cause", "mended", "clean"), CASES)
@pytest.mark.filterwarnings("ignore::roikit.errors.RoikitWarning")
def test_law_each_is_read_as_it_is_meant_or_refused(tmp_path, edit, objects, ap, cause, mended, clean):
    messy = Messy(tmp_path)
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in messy.content["annotations"])])
    edit(messy)
    path = written(messy)
    three = cause is not None and cause.startswith("3 boxes")  # which are taken as they are, with a warning
    assert learnt(path, messy, boxes) == objects if not three else True
    try:
        scores = [figures["AP"] for figures in evaluate(messy.found, path, messy.images,
                                                        iou_types=["bbox"]).values()]
    except ValueError:
        scores = None
    assert scores is None if ap is None else scores == [pytest.approx(1.0 if ap == 0 else ap, abs=0.3)]
    told = inspect_dataset(path, messy.images)
    assert (cause or "") in told.text() and told.fatal == (objects is None)
    content, done = mend_dataset(path, messy.images)
    write_annotations(content, tmp_path / "mended.json")
    again = mend_dataset(tmp_path / "mended.json", messy.images)
    assert again.done == [] and json.dumps(again.content) == (tmp_path / "mended.json").read_text()
    if mended is not None:
        report = inspect_dataset(tmp_path / "mended.json", messy.images)
        assert learnt(tmp_path / "mended.json", messy, boxes) == mended and done + [""] != [""] * clean
        assert not report.errors and bool(report.warnings) != clean, report.text()
