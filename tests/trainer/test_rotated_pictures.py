"""The pictures of a detector of rotated boxes: what is annotated is drawn as its data set has it."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from roikit.data import CocoDataset
from roikit.data.rotated import corners_of_boxes, upright_boxes
from roikit.trainer import finish
from roikit.trainer.draw import object_color

BOX = [40.0, 30.0, 40.0, 12.0, -35.0]
RING = corners_of_boxes(BOX)[0].reshape(-1).tolist()
SIDE = 10  # an image of 80 x 60 is enlarged so many times
FIELDS = {"rbox": {"rbox": BOX}, "obb": {"obb": RING}, "mask": {"segmentation": [RING]},
          "rbox and mask": {"rbox": BOX, "segmentation": [RING]}}


def annotated(folder, fields, rotated):
    """The annotated half of the picture of one object."""
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(folder / "a.png")
    content = {"images": [{"id": 1, "width": 80, "height": 60, "file_name": "a.png"}],
               "categories": [{"id": 7, "name": "thing"}],
               "annotations": [{"id": 1, "image_id": 1, "category_id": 7, **fields}]}
    val = SimpleNamespace(dataset=CocoDataset(content, folder, rotated=rotated), names={7: "thing"}, skeletons={})
    sheet = finish.detection_sheet(val, 0, [], SimpleNamespace(run=SimpleNamespace(score_threshold=0.5)))
    return sheet[20:, -80 * SIDE:]


def drawn_at(picture, points):
    """The share of points near which the colour of the first object is."""
    mine = (picture == object_color(0)).all(2)
    rows, columns = (np.round(points[:, axis] * SIDE).astype(int) for axis in (1, 0))
    return np.mean([mine[max(y - 6, 0):y + 7, max(x - 6, 0):x + 7].any()
                    for y, x in zip(rows, columns, strict=True)])


def outline(corners):
    steps = np.linspace(0, 1, 20)[:, None]
    return np.concatenate([a * (1 - steps) + b * steps for a, b in
                           zip(corners, np.roll(corners, -1, 0), strict=True)])


@pytest.mark.parametrize("fields", FIELDS)
def test_the_annotated_side_shows_rotated_boxes(tmp_path, fields):
    picture = annotated(tmp_path, FIELDS[fields], rotated=True)
    assert drawn_at(picture, outline(corners_of_boxes(BOX)[0])) == 1
    x1, y1, x2, y2 = upright_boxes(BOX)[0]
    hull = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    assert drawn_at(picture, hull) == 0  # no corner of the upright one


def test_the_annotated_side_of_an_upright_detector_is_as_it_was(tmp_path):
    x1, y1, x2, y2 = upright_boxes(BOX)[0]
    hull = np.array([[x1, y1], [x2 - 0.1, y1], [x2 - 0.1, y2 - 0.1], [x1, y2 - 0.1]])
    assert drawn_at(annotated(tmp_path, FIELDS["obb"], rotated=False), outline(hull)) == 1
    assert drawn_at(annotated(tmp_path, FIELDS["mask"], rotated=False), hull) == 0
