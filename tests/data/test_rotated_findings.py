"""What the doctor says of rotated boxes."""

import math
import re

import numpy as np
import pytest
from PIL import Image

from roikit.data import CocoDataset, inspect_dataset
from roikit.data.rotated import corners_of_boxes, upright_boxes

SOUND = [40.0, 30.0, 30.0, 12.0, -35.0]


@pytest.fixture
def look(tmp_path):
    """What is found, but for notes, in an image of 80 x 60 with an annotation for each of the fields."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)).save(tmp_path / "a.png")

    def found(*fields):
        content = {"images": [{"id": 1, "width": 80, "height": 60, "file_name": "a.png"}],
                   "categories": [{"id": 7, "name": "thing"}],
                   "annotations": [{"id": k, "image_id": 1, "category_id": 7, **f} for k, f in enumerate(fields, 1)]}
        return [f for f in inspect_dataset(content, tmp_path).findings if f.severity != "note"]

    return found


def ring(box):
    return corners_of_boxes(box)[0].reshape(-1).tolist()


def around(box):
    x1, y1, x2, y2 = upright_boxes(box)[0].tolist()
    return [x1, y1, x2 - x1, y2 - y1]


def test_sound_rotated_boxes_are_not_reported(look):
    assert look({"rbox": SOUND}, {"obb": ring(SOUND)}, {"rbox": SOUND, "bbox": around(SOUND)}) == []
    assert look({"rbox": SOUND, "segmentation": [ring(SOUND)]}) == []
    # Over the border, with the centre within.
    assert look({"rbox": [2.0, 30.0, 30.0, 12.0, -35.0]}, {"rbox": SOUND}) == []
    # A disc's box within that of the square on its corner that holds the disc.
    assert look({"rbox": [40, 30, 20, 20, 45], "bbox": [30, 20, 20, 20]}) == []


@pytest.mark.parametrize("field, kind, severity, sentence", [
    ({"rbox": [1, 2, 3]}, "malformed-rbox", "error", "its rbox must be cx, cy, w, h and an angle, or four corners"),
    ({"obb": [1, 2, 3, 4, math.nan]}, "malformed-rbox", "error", "its obb must be finite"),
    ({"rbox": [9, 9, -3, 4, 5], "bbox": [8, 8, 3, 3]}, "malformed-rbox", "error", "its rbox must have positive sides"),
    ({"obb": [5, 5, 20, 20, 35, 35, 10, 10]}, "degenerate-rbox", "warning", "the corners of its obb .* have no area"),
    ({"rbox": [140, 30, 30, 12, -35]}, "rbox-outside", "warning", "is outside the 80x60 image"),
    ({"rbox": [-4, 30, 30, 12, -35]}, "rbox-over-border", "warning", "the centre of its rbox .* lies 4 pixels over"),
    ({"rbox": SOUND, "bbox": [0, 0, 20, 20]}, "box-rbox-disagreement", "warning", "are not of the same object"),
    # Width and height for the box that a detector of another convention means.
    ({"rbox": [40, 30, 12, 50, -10], "bbox": around([40, 30, 50, 12, -10])}, "box-rbox-disagreement", "warning", "of"),
    ({"bbox": [8, 8, 30, 30]}, "missing-rbox", "warning", "it has no rotated box while others do"),
    ({"obb": [10, 10, 30, 30, 30, 10, 10, 30]}, "crossing-rbox", "warning", "not in order around it"),
])
def test_contract_each_fault_of_a_rotated_box_is_named_once(look, field, kind, severity, sentence):
    (finding,) = look({"rbox": SOUND}, field)
    assert (finding.kind, finding.severity, finding.subject) == (kind, severity, "annotation 2 of image 1")
    assert re.search(sentence, finding.sentence), finding.sentence


def test_angles_that_look_like_radians_are_counted(look):
    turned = [{"rbox": [40, 30, 30, 12, angle]} for angle in (-1.2, 0.3, 1.57)]
    (finding,) = look(*turned, {"rbox": [20, 20, 9, 9, 1.0]}, {"rbox": [20, 20, 9, 3, 0]})
    assert (finding.kind, finding.subject) == ("radians", "the file")
    assert finding.sentence.startswith("all angles (5) lie within pi / 2 of 0, those of 3 long boxes among them")
    assert look(*turned, {"rbox": SOUND}) == []  # one of them is in degrees
    assert look({"rbox": [40, 30, 30, 12, 0]}, {"rbox": [20, 20, 9, 9, 1.0]}) == []  # nothing that is long is turned


def test_what_the_doctor_says_is_left_out_is_left_out(look, tmp_path):
    """Of a file of a sound box, one of corners on a line and one without a rotated box."""
    fields = [{"rbox": SOUND}, {"obb": [5, 5, 20, 20, 35, 35, 10, 10]}, {"bbox": [8, 8, 30, 30]}]
    assert [f.kind for f in look(*fields)] == ["degenerate-rbox", "missing-rbox"]
    content = {"images": [{"id": 1, "width": 80, "height": 60, "file_name": "a.png"}], "categories": [{"id": 7}],
               "annotations": [{"id": k, "image_id": 1, "category_id": 7, **f} for k, f in enumerate(fields, 1)]}
    with pytest.warns(UserWarning, match="1 with a rotated box without area, 1 without a rotated box"):
        assert CocoDataset(content, tmp_path, rotated=True).num_objects == 1
