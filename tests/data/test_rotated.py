"""Rotated boxes in data sets: from fields, from masks, through every transform."""

from importlib import resources

import numpy as np
import pytest
import torch
from PIL import Image

from roikit.data import CocoDataset
from roikit.data import transforms as tf
from roikit.data.annotations import load_annotations
from roikit.data.rotated import (
    boxes_of_corners,
    boxes_of_masks,
    corners_of_boxes,
    in_a_quarter,
    read_rotated_box,
    upright_boxes,
)
from roikit.ops import box_iou_rotated, flip_boxes_rotated
from roikit.trainer.truth import objects_of, read_truth

BOXES = np.array([[40.0, 30.0, 30.0, 12.0, -35.0], [20.0, 44.0, 8.0, 20.0, -80.0], [50.0, 20.0, 10.0, 6.0, -90.0]])


def iou(one, other):
    return box_iou_rotated(torch.as_tensor(np.asarray(one)), torch.as_tensor(np.asarray(other))).diagonal()


def dataset(folder, fields, **options):
    """One image of 60 x 80 with an annotation for each of the fields."""
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(folder / "a.png")
    content = {"images": [{"id": 1, "width": 80, "height": 60, "file_name": "a.png"}],
               "categories": [{"id": 7, "name": "thing"}],
               "annotations": [{"id": k, "image_id": 1, "category_id": 7, **f} for k, f in enumerate(fields, 1)]}
    return CocoDataset(content, folder, rotated=True, **options)


def test_law_corners_and_boxes_are_each_others_inverse():
    rng = np.random.default_rng(0)
    boxes = rng.uniform([0, 0, 1, 1, -180], [99, 99, 50, 50, 179], (50, 5))
    np.testing.assert_allclose(boxes_of_corners(corners_of_boxes(boxes)), boxes, atol=1e-9)
    # The first side is the box's upper one: it ends w along the direction of the angle.
    corner = corners_of_boxes([[0, 0, 4, 2, 90]])[0]
    np.testing.assert_allclose(corner, [[-1, 2], [-1, -2], [1, -2], [1, 2]], atol=1e-12)
    around = upright_boxes(boxes)
    assert (corners_of_boxes(boxes).min(1) == around[:, :2]).all()


def test_law_a_rectangle_has_one_description_in_a_quarter():
    turned = np.array([[5.0, 6.0, 8.0, 3.0, -20.0 + 90 * k] if k % 2 == 0 else [5.0, 6.0, 3.0, 8.0, -20.0 + 90 * k]
                       for k in range(-3, 4)])
    np.testing.assert_allclose(in_a_quarter(turned), np.tile([5.0, 6.0, 8.0, 3.0, -20.0], (7, 1)))
    assert in_a_quarter([[0, 0, 2, 3, 0]]).tolist() == [[0, 0, 3, 2, -90]]


@pytest.mark.parametrize("field", ["rbox", "rbbox", "obb"])
def test_five_numbers_or_four_corners_make_a_box(field):
    for box in BOXES:
        assert read_rotated_box({field: box.tolist()}).tolist() == box.tolist()
        four = read_rotated_box({field: corners_of_boxes(box)[0].reshape(-1).tolist()})
        assert iou([box], [four]).item() == pytest.approx(1, abs=1e-9)
    assert read_rotated_box({"bbox": [1, 2, 3, 4]}) is None and read_rotated_box({field: None}) is None
    # Of a polygon that is no rectangle, the smallest one around it.
    around = read_rotated_box({field: [0, 0, 4, 0, 4, 2, 1, 2]})
    assert around[2] * around[3] == pytest.approx(8)


@pytest.mark.parametrize("value, sentence", [
    ([1, 2, 3], "must be cx, cy, w, h and an angle, or four corners"), ("box", "must be cx, cy, w, h"),
    ([1, 2, 3, 4, float("nan")], "must be finite"), ([1, 2, 0, 4, 5], "must have positive sides")])
def test_contract_malformed_fields_are_named(tmp_path, value, sentence):
    with pytest.raises(ValueError, match=f"annotation 1 of image 1: its rbox {sentence}"):
        dataset(tmp_path, [{"rbox": value}])


def test_a_data_set_gives_rotated_boxes_of_fields(tmp_path):
    fields = [{"rbox": BOXES[0].tolist()}, {"obb": corners_of_boxes(BOXES[1])[0].reshape(-1).tolist()},
              {"rbox": BOXES[2].tolist(), "bbox": [45, 15, 6, 10]}]
    _, target = dataset(tmp_path, fields)[0]
    assert target["boxes"].shape == (3, 5) and target["boxes"].dtype == torch.float32
    assert iou(target["boxes"].double(), BOXES).min() > 1 - 1e-5
    assert (target["boxes"][:, 4] >= -90).all() and (target["boxes"][:, 4] < 0).all()
    assert target["area"].tolist() == pytest.approx([360, 160, 60])
    with pytest.warns(UserWarning, match="1 without a rotated box"):
        assert dataset(tmp_path, [*fields, {"bbox": [1, 1, 5, 5]}]).num_objects == 3


def test_corners_without_area_are_left_out(tmp_path):
    fields = [{"rbox": BOXES[0].tolist()}, {"obb": [0, 0, 1, 1, 2, 2, 3, 3]}, {"obb": [5, 5] * 4, "bbox": [1, 1, 5, 5]}]
    with pytest.warns(UserWarning, match="2 with a rotated box without area"):
        assert dataset(tmp_path, fields).num_objects == 1


def test_a_rotated_box_stands_in_for_an_upright_one(tmp_path):
    """Of a detector of upright boxes, which learns the box around it."""
    rotated = dataset(tmp_path, [{"rbox": BOXES[0].tolist()}])
    content = {"images": [{"id": 1, "width": 80, "height": 60, "file_name": "a.png"}], "categories": [{"id": 7}],
               "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "rbox": BOXES[0].tolist()}]}
    _, target = CocoDataset(content, tmp_path)[0]
    np.testing.assert_allclose(target["boxes"], upright_boxes(BOXES[:1]), atol=1e-5)
    assert target["area"].tolist() == rotated[0][1]["area"].tolist() == [360]
    objects, _ = objects_of(read_truth(content), "bbox")
    np.testing.assert_allclose(objects.boxes[0, :2], upright_boxes(BOXES[:1])[0, :2])
    assert objects.areas.tolist() == [360]


def test_a_data_set_gives_the_smallest_boxes_around_masks(tmp_path):
    rings = [corners_of_boxes(box)[0].reshape(-1).tolist() for box in BOXES]
    for masks in ([{"segmentation": [ring]} for ring in rings],):
        _, target = dataset(tmp_path, masks)[0]
        assert iou(target["boxes"].double(), BOXES).min() > 0.99
    with pytest.raises(ValueError, match="rotated=True needs an rbox, an obb or a mask of each object"):
        dataset(tmp_path, [{"bbox": [1, 1, 5, 5]}])
    thin = boxes_of_masks([[[3.0, 3.0, 9.0, 3.0, 9.0, 3.2, 3.0, 3.2]]])
    assert thin[0, 2:4].tolist() == [6.0, 1.0]


def moved(transform, points):
    """What a transform makes of keypoints at these (N, K, 2) points."""
    seen = np.concatenate([points, np.full((*points.shape[:2], 1), 2.0)], 2)
    sample = tf.Sample(np.zeros((60, 80, 3), np.uint8), upright_boxes(BOXES), np.ones(3, np.int64), np.ones(3), None,
                       np.zeros((0, 4)), keypoints=seen, corners=corners_of_boxes(BOXES))
    return transform(sample, np.random.default_rng(0))


@pytest.mark.parametrize("transform", [
    tf.HorizontalFlip(1.0), tf.VerticalFlip(1.0), tf.Rotate90((1,)), tf.Rotate90((3,)), tf.Resize((120,)),
    tf.RandomScaleCrop((90, 90), (0.8, 0.8)),
    tf.Compose((tf.Rotate90((2,)), tf.HorizontalFlip(1.0), tf.Resize((30,))))], ids=str)
def test_law_corners_move_as_points_do(transform):
    """Points along the box's sides stay on the sides, wherever a transform takes them."""
    corner = corners_of_boxes(BOXES)
    after = moved(transform, (corner + BOXES[:, None, :2]) / 2)  # half way from the centres to the corners
    centre = after.corners.mean(1)
    rectangles = boxes_of_corners(after.corners)
    halves = np.concatenate([centre, rectangles[:, 2:4] / 2, rectangles[:, 4:]], 1)
    points = after.keypoints[..., :2]
    for box, own in zip(corners_of_boxes(halves), points, strict=True):
        apart = np.abs(box[:, None] - own[None]).sum(2)
        np.testing.assert_allclose(apart.min(1), 0, atol=1e-6)
        np.testing.assert_allclose(apart.min(0), 0, atol=1e-6)


@pytest.mark.parametrize("transform, direction", [(tf.HorizontalFlip(1.0), "horizontal"),
                                                  (tf.VerticalFlip(1.0), "vertical")])
def test_agreement_of_flips_with_the_op(transform, direction):
    after = moved(transform, corners_of_boxes(BOXES))
    expected = flip_boxes_rotated(torch.from_numpy(BOXES), (60, 80), direction).numpy()
    np.testing.assert_allclose(boxes_of_corners(after.corners), expected, atol=1e-9)


def test_the_bundled_set_has_the_boxes_of_its_masks():
    content = load_annotations(resources.files("roikit.data") / "nuclei_mini/annotations/instances_val.json")
    own = [read_rotated_box(annotation) for annotation in content["annotations"]]
    made = boxes_of_masks([annotation["segmentation"] for annotation in content["annotations"]])
    assert len(own) == len(made) > 500
    assert iou(own, made).min() > 0.99
