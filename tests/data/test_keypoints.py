"""Keypoints: what a file may say of them, how they move with their image, what the doctor finds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roikit.data import CocoDataset, inspect_dataset
from roikit.data import transforms as T
from roikit.data.keypoints import Skeleton, read_keypoints, side_pairs, skeleton_of, skeletons_of

NAMES = ["nose", "left_eye", "right_eye", "tail"]
FACE = {"id": 3, "name": "cat", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}
ORDER = np.array([0, 2, 1, 3])
POINTS = [10, 5, 2, 6.5, 8, 1, 0, 0, 0, 12, 9, 2]
MIRRORS = {"horizontal": T.HorizontalFlip(1), "vertical": T.VerticalFlip(1)}
MOTIONS = {**MIRRORS, "rot90": T.Rotate90((1,)), "rot180": T.Rotate90((2,)), "rot270": T.Rotate90((3,))}


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def faces(made):
    """A cat with keypoints, one without, and a dog, whose category has none."""
    made.content["categories"][1] = dict(FACE)
    made.image(1)
    made.square(1, keypoints=POINTS, num_keypoints=3)
    made.square(1, x=12)
    made.square(1, x=20, category_id=7)
    return made


@st.composite
def marked(draw):
    """A sample whose keypoints are at the centres of pixels, each pixel of a colour of its own."""
    height, width = 2 * draw(st.integers(2, 12)), 2 * draw(st.integers(2, 12))
    rng = generator(draw(st.integers(0, 2**20)))
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(height)[:, None], np.arange(width)
    points = np.zeros((3, 4, 3))
    points[..., 0] = rng.integers(width, size=(3, 4)) + 0.5
    points[..., 1] = rng.integers(height, size=(3, 4)) + 0.5
    points[..., 2] = rng.integers(3, size=(3, 4))
    points[points[..., 2] == 0] = 0
    boxes = np.array([[0.0, 0, width, height]] * 3)
    return T.Sample(image, boxes, np.array([1, 2, 3]), np.full(3, 9.0), None, boxes[:0], keypoints=points,
                    mirrored=ORDER, semantic=image[..., 0] * np.uint8(7) + image[..., 1])


def colours(sample):
    """(N, K, 3) of the pixels that keypoints lie in, zeros for those that are not labelled."""
    x, y = (np.floor(sample.keypoints[..., axis]).astype(int) for axis in (0, 1))
    return sample.image[y, x] * (sample.keypoints[..., 2:] > 0)


@pytest.mark.parametrize("name", MOTIONS)
@given(marked())
def test_law_motions_move_keypoints_and_pixels_alike(name, sample):
    moved = MOTIONS[name](sample, generator())
    order = ORDER if name in MIRRORS else np.arange(4)
    np.testing.assert_array_equal(colours(moved), colours(sample)[:, order])
    np.testing.assert_array_equal(moved.keypoints[..., 2], sample.keypoints[:, order, 2])
    assert not moved.keypoints[moved.keypoints[..., 2] == 0].any()


@pytest.mark.parametrize("flip", MIRRORS.values(), ids=MIRRORS)
@given(marked())
def test_law_a_flip_twice_is_the_identity(flip, sample):
    again = flip(flip(sample, generator()), generator())
    np.testing.assert_array_equal(again.keypoints, sample.keypoints)
    np.testing.assert_array_equal(again.semantic, sample.semantic)


@given(marked())
def test_law_four_quarter_turns_are_the_identity(sample):
    turned = sample
    for _ in range(4):
        turned = T.Rotate90((1,))(turned, generator())
    np.testing.assert_array_equal(turned.keypoints, sample.keypoints)
    np.testing.assert_array_equal(turned.semantic, sample.semantic)


@given(marked())
def test_law_a_vertical_flip_is_a_horizontal_one_and_half_a_turn(sample):
    one = MIRRORS["vertical"](sample, generator())
    other = T.Rotate90((2,))(MIRRORS["horizontal"](sample, generator()), generator())
    np.testing.assert_array_equal(one.keypoints, other.keypoints)
    np.testing.assert_array_equal(one.semantic, other.semantic)


@given(marked(), st.integers(0, 2**20))
def test_law_keypoints_outside_a_crop_are_no_longer_labelled(sample, seed):
    height, width = sample.size
    cut = T.RandomScaleCrop((height // 2, width // 2), (2.0, 2.0))(sample, generator(seed))  # a quarter, not resampled
    top, left = (int(v) for v in cut.image[0, 0, :2])
    x, y, v = (sample.keypoints[..., axis] for axis in range(3))
    inside = (x > left) & (x < left + width // 2) & (y > top) & (y < top + height // 2) & (v > 0)
    np.testing.assert_array_equal(cut.keypoints[..., 2], v * inside)
    np.testing.assert_array_equal(colours(cut), colours(sample) * inside[..., None])
    assert not cut.keypoints[~inside].any()


@given(marked(), st.integers(0, 2**20))
def test_law_padding_shifts_keypoints(sample, seed):
    height, width = sample.size
    padded = T.RandomScaleCrop((2 * height, 2 * width), (0.5, 0.5))(sample, generator(seed))
    np.testing.assert_array_equal(padded.keypoints[..., 2], sample.keypoints[..., 2])
    np.testing.assert_array_equal(colours(padded), colours(sample))


@given(marked(), st.sampled_from([2, 3]))
def test_law_enlarging_scales_keypoints(sample, factor):
    grown = T.Resize((min(sample.size) * factor,))(sample, generator())
    np.testing.assert_allclose(grown.keypoints[..., :2], sample.keypoints[..., :2] * factor, rtol=1e-12)
    np.testing.assert_array_equal(grown.keypoints[..., 2], sample.keypoints[..., 2])


def test_law_keypoints_go_with_their_objects():
    boxes = np.array([[0.0, 0, 2, 2], [18, 18, 20, 20]])
    points = np.array([[[1.0, 1, 2]], [[19.0, 19, 2]]])
    sample = T.Sample(np.zeros((20, 20, 3), np.uint8), boxes, np.array([1, 2]), np.full(2, 4.0), None, boxes[:0],
                      keypoints=points)
    seen = set()
    for seed in range(60):
        cut = T.RandomScaleCrop((10, 10), (2.0, 2.0))(sample, generator(seed))
        assert cut.keypoints.shape == (len(cut.labels), 1, 3)
        seen |= {(int(label), *xy) for label, xy in zip(cut.labels, cut.keypoints[:, 0, 2:].tolist(), strict=True)}
    assert {label for label, _ in seen} == {1, 2} and (1, 2.0) in seen
    still = T.PerImageNormalize()(T.BrightnessContrast()(sample, generator()), generator())
    np.testing.assert_array_equal(still.keypoints, points)


def test_law_without_pairs_keypoints_keep_their_places():
    sample = T.Sample(np.zeros((4, 6, 3), np.uint8), np.array([[0.0, 0, 6, 4]]), np.array([1]), np.full(1, 24.0), None,
                      np.zeros((0, 4)), keypoints=np.array([[[1.0, 1, 2], [2, 3, 1]]]))
    flipped = MIRRORS["horizontal"](sample, generator())
    assert flipped.keypoints.tolist() == [[[5, 1, 2], [4, 3, 1]]]


@pytest.mark.parametrize(("names", "pairs"), [
    (NAMES, ((1, 2),)), (["Left Paw", "tail", "Right Paw"], ((0, 2),)), (["RIGHT", "LEFT"], ((0, 1),)),
    (["eye_left", "left_ear", "nose"], ()), ([], ())])
def test_law_sides_are_paired_by_their_names(names, pairs):
    assert side_pairs(names) == pairs


def test_law_a_skeleton_is_that_of_the_category():
    skeleton = skeleton_of(FACE)
    assert skeleton == Skeleton(tuple(NAMES), ((0, 1), (0, 2)), ((1, 2),))
    assert skeleton.mirrored.tolist() == ORDER.tolist()
    assert skeleton.as_category() == {"keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]}
    assert skeleton_of(FACE, [("nose", "tail")]).mirrored.tolist() == [3, 1, 2, 0]
    assert skeleton_of({"id": 1}) is skeleton_of({"id": 1, "keypoints": []}) is None


@pytest.mark.parametrize(("fields", "pairs", "text"), [
    ({"keypoints": "nose"}, None, "its keypoints must be a list of different names, got 'nose'"),
    ({"keypoints": ["a", "a"]}, None, "its keypoints must be a list of different names"),
    ({"keypoints": ["a", 1]}, None, "its keypoints must be a list of different names"),
    ({"skeleton": [[0, 1]]}, None, r"its skeleton must be a list of pairs of numbers in 1\.\.4, got \[\[0, 1\]\]"),
    ({"skeleton": [[1, 5]]}, None, "its skeleton must be a list of pairs"),
    ({"skeleton": [1, 2]}, None, "its skeleton must be a list of pairs"),
    ({}, [("nose", "ear")], "a pair of keypoints must be two of nose, left_eye, right_eye, tail, got"),
    ({}, [("nose", "nose")], "a pair of keypoints must be two of")])
def test_contract_malformed_categories(fields, pairs, text):
    with pytest.raises(ValueError, match=f"category 3: {text}"):
        skeletons_of([{**FACE, **fields}], pairs)


def test_contract_categories_have_the_same_keypoints():
    other = {**FACE, "id": 4, "keypoints": NAMES[::-1]}
    with pytest.raises(ValueError, match="category 4: its keypoints must be those of category 3"):
        skeletons_of([FACE, other])
    assert set(skeletons_of([FACE, {**FACE, "id": 4, "skeleton": []}, {"id": 5}])) == {3, 4}


MALFORMED = [
    (POINTS[:-1], "must be 12 numbers, x, y and visibility of each of 4, got 11"),
    ([[1, 2, 2]] * 4, r"must be 12 numbers, x, y and visibility of each of 4, got an array \(4, 3\)"),
    ([float("nan"), *POINTS[1:]], "must be finite numbers"),
    ([*POINTS[:-1], 3], "the visibility of a keypoint must be 0, 1 or 2, got 3"),
    ([*POINTS[:-1], 0.5], "the visibility of a keypoint must be 0, 1 or 2, got 0.5"),
    (["x", *POINTS[1:]], "must be a flat list of numbers"), ("123", "must be a flat list of numbers"),
    ({"x": 1}, "must be a flat list of numbers")]


@pytest.mark.parametrize(("values", "text"), MALFORMED)
def test_contract_malformed_keypoints(faces, values, text):
    with pytest.raises(ValueError, match=text):
        read_keypoints(values, 4)
    faces.content["annotations"][0]["keypoints"] = values
    with pytest.raises(ValueError, match=f"CocoDataset: annotation 1 of image 1: .*{text}"):
        CocoDataset(*faces.write(), keypoints=True)
    assert "keypoints" not in CocoDataset(*faces.write())[0][1]
    found = [f for f in inspect_dataset(*faces.write()).errors]
    assert [(f.kind, f.subject) for f in found] == [("malformed-keypoints", "annotation 1 of image 1")]
    assert not inspect_dataset(*faces.write(), keypoints=False).fatal


def test_law_targets_have_keypoints_where_they_are_asked_for(faces):
    assert "keypoints" not in CocoDataset(*faces.write())[0][1]
    dataset = CocoDataset(*faces.write(), keypoints=True)
    _, target = dataset[0]
    assert target["keypoints"].dtype == torch.float32
    assert target["keypoints"].tolist() == [np.reshape(POINTS, (4, 3)).tolist(), [[0] * 3] * 4, [[0] * 3] * 4]
    assert dataset.num_keypoints == 4 and dataset.has_keypoints
    assert dataset.categories == [{"id": 3, "name": "cat", "keypoints": NAMES, "skeleton": [[1, 2], [1, 3]]},
                                  {"id": 7, "name": "dog"}]
    assert CocoDataset(*faces.write()).categories == [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    flipped = CocoDataset(*faces.write(), keypoints=True, transform=T.HorizontalFlip(1))[0][1]["keypoints"][0]
    assert flipped.tolist() == [[20, 5, 2], [0, 0, 0], [23.5, 8, 1], [18, 9, 2]]
    flipped = CocoDataset(*faces.write(), keypoints=True, keypoint_pairs=[], transform=T.HorizontalFlip(1))
    assert flipped[0][1]["keypoints"][0].tolist() == [[20, 5, 2], [23.5, 8, 1], [0, 0, 0], [18, 9, 2]]


def test_law_what_is_not_labelled_is_zero(faces):
    faces.content["annotations"][0]["keypoints"] = [9, 9, 0, *POINTS[3:]]
    assert CocoDataset(*faces.write(), keypoints=True)[0][1]["keypoints"][0, 0].tolist() == [0, 0, 0]


def test_law_a_file_without_keypoints_gives_none(made):
    made.image(1)
    made.square(1)
    dataset = CocoDataset(*made.write(), keypoints=True)
    assert "keypoints" not in dataset[0][1]
    assert dataset.num_keypoints == 0 and not dataset.has_keypoints


def test_law_an_image_without_objects_has_none(faces):
    faces.image(2)
    _, target = CocoDataset(*faces.write(), keypoints=True, transform=T.HorizontalFlip(1))[1]
    assert target["keypoints"].shape == (0, 4, 3)


def test_law_keypoints_of_crowds_are_no_objects(faces):
    faces.content["annotations"][0]["iscrowd"] = 1
    dataset = CocoDataset(*faces.write(), keypoints=True)
    assert dataset[0][1]["keypoints"].shape == (2, 4, 3) and not dataset.has_keypoints


def test_contract_a_category_that_names_them_wrongly(faces):
    faces.content["categories"][1]["skeleton"] = [[1, 9]]
    with pytest.raises(ValueError, match="CocoDataset: category 3: its skeleton must be"):
        CocoDataset(*faces.write(), keypoints=True)
    report = inspect_dataset(*faces.write())
    assert [(f.kind, f.subject) for f in report.errors] == [("malformed-skeleton", "category 3")]
    assert not any(f.kind == "nameless-keypoints" for f in report.findings)


@pytest.mark.parametrize(("kind", "severity", "edit"), [
    ("keypoint-count", "warning", lambda c: c["annotations"][0].update(num_keypoints=2)),
    ("keypoint-over-border", "warning", lambda c: c["annotations"][0].update(keypoints=[32, *POINTS[1:]])),
    ("different-keypoints", "error", lambda c: c["categories"][0].update(keypoints=NAMES[::-1])),
    ("nameless-keypoints", "note", lambda c: c["annotations"][2].update(keypoints=[1, 1, 2])),
    ("without-keypoints", "note", lambda c: None)])
def test_law_the_doctor_finds_what_is_planted(faces, kind, severity, edit):
    edit(faces.content)
    report = inspect_dataset(*faces.write())
    assert kind in {f.kind for f in report.findings if f.severity == severity}
    assert {f.kind for f in report.findings} <= {kind, "without-keypoints", "category-id-gaps", "few-objects"}
    assert not any("keypoint" in f.kind for f in inspect_dataset(*faces.write(), keypoints=False).findings)


ANYTHING = st.recursive(st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=3),
                        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner))


@settings(suppress_health_check=list(HealthCheck))
@given(names=ANYTHING | st.lists(st.text(max_size=2), max_size=3), skeleton=ANYTHING, points=ANYTHING, count=ANYTHING)
def test_law_whatever_a_file_says_of_keypoints_is_a_finding_or_read(tmp_path_factory, names, skeleton, points, count):
    content = {"images": [{"id": 1, "file_name": "1.png", "height": 20, "width": 30}],
               "categories": [{"id": 3, "name": "cat", "keypoints": names, "skeleton": skeleton}],
               "annotations": [{"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5], "keypoints": points,
                                "num_keypoints": count}]}
    folder = tmp_path_factory.getbasetemp() / "no-images"  # other tests' pictures are below its parent
    folder.mkdir(exist_ok=True)
    report = inspect_dataset(content, folder)
    faults = [f for f in report.errors if f.kind != "missing-image"]
    try:
        dataset = CocoDataset(content, folder, keypoints=True)
    except ValueError:
        assert faults
    else:
        assert not faults and isinstance(dataset.num_keypoints, int)


def test_agreement_with_coco_persons(test_data):
    root = test_data / "coco-mini"
    coco = pytest.importorskip("pycocotools.coco").COCO(root / "annotations" / "person_keypoints_train.json")
    files = root / "annotations" / "person_keypoints_train.json", root / "images" / "train"
    dataset = CocoDataset(*files, keypoints=True)
    assert dataset.num_keypoints == 17 and len(dataset.skeletons[1].limbs) == 19
    assert dataset.skeletons[1].pairs == tuple((k, k + 1) for k in range(1, 17, 2))
    persons = 0
    for index, image_id in enumerate(dataset.image_ids):
        points = dataset.sample(index).keypoints
        wanted = coco.loadAnns(coco.getAnnIds(image_id, iscrowd=False))
        assert points.reshape(len(points), 51).tolist() == [a["keypoints"] for a in wanted]
        persons += int((points[..., 2] > 0).any(1).sum())
    assert persons == 33
    report = inspect_dataset(*files)
    assert not report.fatal and not report.warnings


def test_law_an_own_transform_may_leave_keypoints_alone(faces):
    dataset = CocoDataset(*faces.write(), keypoints=True, transform=lambda s, rng: replace(s, labels=s.labels))
    assert dataset[0][1]["keypoints"].shape == (3, 4, 3)
