"""Semantic labels: from PNG label maps, from a panoptic file, from the objects' masks; moved with their image."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import roikit.masks as rle
from roikit.data import CocoDataset, inspect_dataset
from roikit.data import transforms as T
from roikit.data.semantic import LabelFolder, PanopticFile, open_semantic, union_of_masks

MOTIONS = {"horizontal": T.HorizontalFlip(1), "vertical": T.VerticalFlip(1), "rot90": T.Rotate90((1,))}
ON_IMAGE = {"horizontal": np.fliplr, "vertical": np.flipud, "rot90": np.rot90}
SEGMENTS = {7: 3, 70_000: 9, 300: 3}  # segment id -> category


def generator(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def maps(made, tmp_path):
    """Two images with label maps of 0..4 and 255, one of them with a palette."""
    folder = tmp_path / "maps"
    folder.mkdir()
    values = {}
    for number in (1, 2):
        made.image(number)
        made.square(number)
        values[number] = generator(number).choice(np.uint8([0, 1, 2, 3, 4, 255]), (20, 30))
        image = Image.fromarray(values[number])
        if number == 2:
            image.putpalette([v for k in range(256) for v in (255 - k, k, 0)])
        image.save(folder / f"{number}.png")
    return made, folder, values


@pytest.fixture
def panoptic(made, tmp_path):
    """An image of three segments and a gap, and the label map that it stands for."""
    made.image(5)
    made.square(5)
    ids = np.zeros((20, 30), np.int64)
    ids[:8], ids[8:12, :20], ids[15:] = 7, 70_000, 300
    folder = tmp_path / "panoptic"
    folder.mkdir()
    Image.fromarray(np.dstack([ids % 256, ids // 256 % 256, ids // 65536]).astype(np.uint8)).save(folder / "five.png")
    content = {"categories": [{"id": 9}, {"id": 3}, {"id": 5}], "annotations": [
        {"image_id": 5, "file_name": "five.png",
         "segments_info": [{"id": i, "category_id": c} for i, c in SEGMENTS.items()]}]}
    labels = np.full((20, 30), 255, np.uint8)
    labels[:8], labels[8:12, :20], labels[15:] = 1, 3, 1

    def write():
        (tmp_path / "panoptic.json").write_text(json.dumps(content))
        return tmp_path / "panoptic.json"

    return made, write, content, labels


def test_law_label_maps_are_taken_as_they_are(maps):
    made, folder, values = maps
    dataset = CocoDataset(*made.write(), semantic=folder, semantic_classes=5)
    for (_, target), wanted in zip(dataset, values.values(), strict=True):
        assert target["semantic"].dtype == torch.uint8
        np.testing.assert_array_equal(target["semantic"], wanted)
    assert dataset.semantic_classes == 5
    assert CocoDataset(*made.write(), semantic=folder).semantic_classes is None
    assert "semantic" not in CocoDataset(*made.write())[0][1]


def test_law_maps_are_called_as_their_images(tmp_path):
    (tmp_path / "train").mkdir()
    for name in ("train/a.png", "b.png"):
        Image.fromarray(np.ones((2, 3), np.uint8)).save(tmp_path / name)
    folder = LabelFolder(tmp_path)
    assert folder.labels(1, "train/a.jpg", 2, 3).all() and folder.labels(2, "val\\b.jpeg", 2, 3).all()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*c\.png"):
        folder.labels(3, "c.jpg", 2, 3)


def test_law_a_panoptic_file_gives_its_categories_in_order(panoptic):
    made, write, _, labels = panoptic
    dataset = CocoDataset(*made.write(), semantic=write())
    np.testing.assert_array_equal(dataset[0][1]["semantic"], labels)
    assert dataset.semantic_classes == 4
    assert PanopticFile(write()).category_ids == [3, 5, 9]


def test_law_the_smaller_of_two_masks_lies_on_top():
    big, small = np.zeros((2, 8, 10), np.uint8)
    big[1:7, 1:9], small[2:4, 3:5] = 1, 1
    wanted = big * 4
    wanted[2:4, 3:5] = 9
    masks = [rle.encode(np.asfortranarray(m)) for m in (big, small)]
    np.testing.assert_array_equal(union_of_masks(masks, [4, 9], (8, 10)), wanted)
    np.testing.assert_array_equal(union_of_masks(masks[::-1], [9, 4], (8, 10)), wanted)
    same = union_of_masks([masks[0], masks[0]], [1, 2], (8, 10))
    np.testing.assert_array_equal(same, big * 2)  # of equal areas the later
    crowd = union_of_masks(masks[1:], [9], (8, 10), ignored=masks[:1])
    np.testing.assert_array_equal(crowd, np.where(small, 9, big * 255))
    assert not union_of_masks([], [], (8, 10)).any()


def test_law_the_union_of_masks_of_a_data_set(made):
    made.image(1)
    made.image(2)
    made.square(1, x=2, y=3, side=10, category_id=7)
    made.square(1, x=4, y=5, side=3, category_id=3)
    made.square(1, x=20, y=5, side=4, iscrowd=1)
    dataset = CocoDataset(*made.write(), semantic="instances")
    labels = dataset[0][1]["semantic"].numpy()
    wanted = np.zeros((20, 30), np.uint8)
    wanted[3:13, 2:12], wanted[5:8, 4:7], wanted[5:9, 20:24] = 2, 1, 255
    np.testing.assert_array_equal(labels, wanted)
    assert dataset.semantic_classes == 3 and not dataset[1][1]["semantic"].any()
    flipped = CocoDataset(*made.write(), semantic="instances", transform=T.HorizontalFlip(1))[0][1]["semantic"]
    np.testing.assert_array_equal(flipped, wanted[:, ::-1])


def test_contract_the_union_needs_masks_and_few_classes(made):
    made.image(1)
    record = made.square(1)
    made.content["categories"] += [{"id": k, "name": str(k)} for k in range(10, 263)]
    with pytest.raises(ValueError, match="semantic='instances' tells 254 categories apart at most, got 255"):
        CocoDataset(*made.write(), semantic="instances")
    record["segmentation"] = []
    with pytest.raises(ValueError, match="CocoDataset: semantic='instances' needs masks"):
        CocoDataset(*made.write(), semantic="instances")


def labelled(labels):
    image = np.repeat(labels[:, :, None], 3, axis=2)
    return T.Sample(image, np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), [], np.zeros((0, 4)), semantic=labels)


@st.composite
def label_maps(draw):
    size = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    return generator(draw(st.integers(0, 2**20))).integers(0, 256, size, np.uint8)


@pytest.mark.parametrize("name", MOTIONS)
@given(label_maps())
def test_law_motions_move_labels_and_pixels_alike(name, labels):
    moved = MOTIONS[name](labelled(labels), generator())
    np.testing.assert_array_equal(moved.semantic, ON_IMAGE[name](labels))
    np.testing.assert_array_equal(moved.semantic, moved.image[..., 0])


@given(label_maps(), st.integers(0, 2**20), st.integers(1, 30), st.integers(1, 30))
def test_law_a_crop_makes_no_new_labels(labels, seed, height, width):
    cut = T.RandomScaleCrop((height, width), (0.3, 3.0))(labelled(labels), generator(seed))
    assert cut.semantic.shape == (height, width) and cut.semantic.dtype == np.uint8
    assert set(np.unique(cut.semantic)) <= {*np.unique(labels), 255}


@given(label_maps(), st.integers(0, 2**20))
def test_law_padding_is_ignored(labels, seed):
    height, width = labels.shape
    padded = T.RandomScaleCrop((2 * height, 2 * width), (0.5, 0.5), fill=1.0)(labelled(labels), generator(seed))
    np.testing.assert_array_equal(padded.semantic, padded.image[..., 0])  # the fill is white, 255
    assert np.count_nonzero(padded.semantic == 255) == 3 * labels.size + np.count_nonzero(labels == 255)


@given(label_maps(), st.sampled_from([2, 3]))
def test_law_enlarging_repeats_labels(labels, factor):
    grown = T.Resize((min(labels.shape) * factor,))(labelled(labels), generator())
    np.testing.assert_array_equal(grown.semantic, labels.repeat(factor, axis=0).repeat(factor, axis=1))


def test_law_shrinking_takes_the_label_in_the_middle():
    labels = np.arange(54, dtype=np.uint8).reshape(6, 9)
    shrunk = T.Resize((2,))(labelled(labels), generator())
    np.testing.assert_array_equal(shrunk.semantic, labels[1::3, 1::3])


def test_contract_label_maps_that_do_not_fit(maps, tmp_path):
    made, folder, _ = maps
    with pytest.raises(ValueError, match=r"1\.png has the label 3, and labels are 0\.\.2 and 255"):
        CocoDataset(*made.write(), semantic=folder, semantic_classes=3)[0]
    Image.fromarray(np.zeros((20, 31), np.uint8)).save(folder / "1.png")
    with pytest.raises(ValueError, match=r"1\.png must be 30x20 as its image, got 31x20"):
        CocoDataset(*made.write(), semantic=folder)[0]
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "1.png")
    with pytest.raises(ValueError, match=r"1\.png must be 8-bit grey or have a palette, got mode RGB"):
        CocoDataset(*made.write(), semantic=folder)[0]
    (folder / "1.png").write_bytes((folder / "2.png").read_bytes()[:200])
    with pytest.raises(OSError, match=r"1\.png cannot be"):
        CocoDataset(*made.write(), semantic=folder)[0]


@pytest.mark.parametrize(("edit", "text"), [
    (lambda c: c.pop("categories"), "is no COCO panoptic file: KeyError: 'categories'"),
    (lambda c: c.update(annotations=3), "is no COCO panoptic file: TypeError"),
    (lambda c: c.update(categories=[]), "it must have 1 to 254 categories, got 0"),
    (lambda c: c["annotations"][0]["segments_info"][0].update(category_id=4), "the category 4, which it does not list"),
    (lambda c: c["annotations"][0]["segments_info"].pop(0), "five.png has the segment 7, which .* does not list")])
def test_contract_panoptic_files_that_do_not_fit(panoptic, edit, text):
    made, write, content, _ = panoptic
    edit(content)
    with pytest.raises(ValueError, match=text):
        CocoDataset(*made.write(), semantic=write())[0]


def test_contract_panoptic_files_that_are_not_there(panoptic, tmp_path):
    made, write, content, _ = panoptic
    with pytest.raises(FileNotFoundError):
        open_semantic(tmp_path / "none.json")
    content["annotations"][0]["image_id"] = 6
    with pytest.raises(FileNotFoundError, match="does not list image 5"):
        CocoDataset(*made.write(), semantic=write())[0]
    write().rename(tmp_path / "other.json")
    with pytest.raises(FileNotFoundError, match="there is no folder .*other with the PNG files"):
        open_semantic(tmp_path / "other.json")


def found(made, semantic, **options):
    report = inspect_dataset(*made.write(), semantic=semantic, **options)
    return [(f.kind, f.subject) for f in report.errors]


def test_law_the_doctor_finds_what_is_planted(maps):
    made, folder, _ = maps
    assert found(made, folder) == found(made, folder, semantic_classes=5, check_pixels=True) == []
    assert found(made, folder, semantic_classes=4) == [("semantic-label", "image 1"), ("semantic-label", "image 2")]
    Image.fromarray(np.zeros((20, 31), np.uint8)).save(folder / "1.png")
    (folder / "2.png").unlink()
    assert found(made, folder) == [("semantic-size", "image 1"), ("missing-semantic", "image 2")]
    (folder / "1.png").write_bytes(b"no picture")
    assert found(made, folder)[0] == ("broken-semantic", "image 1")
    assert found(made, folder / "none.json") == [("unreadable-semantic", "the semantic labels")]


def test_law_the_doctor_looks_into_panoptic_files(panoptic):
    made, write, content, _ = panoptic
    assert found(made, write()) == []
    content["annotations"][0]["segments_info"].pop()
    assert found(made, write()) == [("semantic-label", "image 5")]
    content["annotations"].clear()
    assert found(made, write()) == [("missing-semantic", "image 5")]
