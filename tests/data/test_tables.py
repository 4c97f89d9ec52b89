"""Annotations that went through tables, scripts: read as they are meant, or refused, as in `test_tools`."""

import pytest

from roikit import masks as rle

from .messy_sets import SIZE, new_cases, runs
from .test_tools import objects_of, points
from .test_tools import test_law_what_tools_write_is_read_as_it_is_meant as check

CASES, case = new_cases()


@case("pandas: the counts of an RLE as text of a CSV file, lists as tuples")
def _(messy):
    for a in objects_of(messy)[:6]:
        packed = rle.frPyObjects(runs(a["bbox"]), SIZE, SIZE)
        a["segmentation"] = str({"size": (SIZE, SIZE), "counts": packed["counts"]})
    for a in objects_of(messy)[6:]:
        a["segmentation"] = ", ".join(f"({x}, {y})" for x, y in points(a).tolist())


@case("csv.DictReader: blank text for nothing, sizes too")
def _(messy):
    for record in messy.content["images"]:
        record.update(width="", height=" ")
    for a in objects_of(messy):
        a.update(area="", iscrowd="")


@case("pandas: NaN for sizes that were not known")
def _(messy):
    for record in messy.content["images"]:
        record.update(dict.fromkeys(("width", "height"), float("nan") if record["id"] < 3 else 96.0))


@case("NumPy: a division by zero for the area", cause="areas missing (12)")
def _(messy):
    for a in objects_of(messy):
        a["area"] = float("inf")


@case("scripts with enumerate(): annotations count the images from 0, the list from 1", objects=None, ap=None,
      cause="annotations have image ids 0 to 3, images 1 to 4")
def _(messy):
    for a in objects_of(messy):
        a["image_id"] -= 1


@case("scripts with DataFrame.index: annotations count the images from 1, the list from 0", objects=None, ap=None,
      cause="and you take 1 from its image_id")
def _(messy):
    for record in (*messy.content["images"], *messy.found):
        record["id" if "file_name" in record else "image_id"] -= 1


@case("pandas: flags for the ids of two categories", objects=None, ap=None, cause="its id must be a whole number",
      mended=12)
def _(messy):
    for record in messy.content["categories"]:
        record["id"] = record["id"] == 2
    for a in objects_of(messy):
        a["category_id"] = a["category_id"] == 2


@case("CVAT's corners as quadrilaterals, beside masks", objects=None, ap=None, cause="a box must be four numbers",
      mended=12)
def _(messy):
    for a in objects_of(messy):
        a["bbox"] = a["segmentation"][0]


@case("a list for an area", objects=None, ap=None, cause="its area must be a finite number, got [", mended=12)
def _(messy):
    for a in objects_of(messy)[:3]:
        a["area"] = [a["area"]]


@case("NumPy's shape behind the corner: x y height width", ap=None, mended=12, cause="the boxes are x y height width")
def _(messy):
    for a in objects_of(messy):
        x, y, w, h = a["bbox"]
        a["bbox"] = [x, y, h, w]


@case("a row and a column before the size: y x width height", ap=None, mended=12,
      cause="the boxes are y x width height")
def _(messy):
    for a in objects_of(messy):
        x, y, w, h = a["bbox"]
        a["bbox"] = [y, x, w, h]


@case("a table's columns sorted by their names: x1 x2 y1 y2", ap=None, mended=12, cause="the boxes are x1 x2 y1 y2")
def _(messy):
    for a in objects_of(messy):
        x, y, w, h = a["bbox"]
        a["bbox"] = [x, x + w, y, y + h]


@pytest.mark.parametrize(("edit", "objects", "ap", "cause", "mended"), CASES)
def test_law_tables_are_read_as_they_are_meant(tmp_path, edit, objects, ap, cause, mended):
    check(tmp_path, edit, objects, ap, cause, mended)
